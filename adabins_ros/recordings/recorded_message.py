# SPDX-License-Identifier: Apache-2.0
"""One recorded message: its bytes, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adabins_ros.frames.errors import RecordingError
from adabins_ros.messages.fields import header_stamp_ns, MessageError
from rosbags.typesys import (
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
    Stores,
    TypesysError,
)

if TYPE_CHECKING:
    from rosbags.interfaces.typing import Typesdict
    from rosbags.typesys.store import Typestore

# RFC 8878, first bytes of a frame.
_ZSTD = b'\x28\xb5\x2f\xfd'
_HEADER = 'std_msgs/msg/Header'
_IDL_SEPARATOR = '=' * 80 + '\n'


@dataclass(frozen=True)
class RecordedMessage:
    """
    One message as it lies in the recording.

    Attributes
    ----------
    topic, msgtype : str
        The type in ROS 2's form, 'sensor_msgs/msg/Image'.
    log_ns : int
        When it was recorded, ns.
    raw : bytes
        As recorded: CDR, or ROS 1's own serialisation.

    """

    topic: str
    msgtype: str
    log_ns: int
    raw: bytes
    _types: RecordedType = field(repr=False, compare=False)

    def decode(self) -> Any:
        """
        Return the message, its fields named as in ROS 2's or (from ROS 1) ROS 1's definition.

        Raises
        ------
        RecordingError
            The bytes are not such a message, or its type is unknown.

        """
        return self._types.decode(self)

    def cdr(self) -> bytes:
        """Return the message in CDR, as ROS 2 publishes it; raises as `decode`."""
        return self._types.cdr(self)

    def stamp_ns(self) -> int:
        """
        Return the stamp of a message that starts with a std_msgs/Header, without decoding it.

        The recording time stands in for a stamp of 0, which drivers without a clock leave.
        """
        return self.header_stamp_ns() or self.log_ns

    def header_stamp_ns(self) -> int:
        """Return the stamp as it was recorded, 0 where a driver left none."""
        return self._types.header_stamp_ns(self)


class RecordedType:
    """
    The type of a topic; its definition is parsed when the first message needs it.

    Parameters
    ----------
    path : Path
        Of the recording, for errors.
    msgtype : str
        As recorded.
    definition : str
        Empty where the recording holds none: then the one that ROS ships stands in.
    idl : bool
        The definition is OMG IDL, not a .msg.
    ros1 : bool
        Messages are in ROS 1's serialisation, not in CDR.

    """

    def __init__(
        self, path: Path, msgtype: str, definition: str, *, idl: bool = False, ros1: bool = False
    ) -> None:
        self.msgtype = normal_type_name(msgtype)
        self._path = path
        self._definition = definition
        self._idl = idl
        self._ros1 = ros1

    def decode(self, message: RecordedMessage) -> Any:
        try:
            if self._ros1:
                return self._whole_types.deserialize_ros1(message.raw, self.msgtype)
            return self._whole_types.deserialize_cdr(message.raw, self.msgtype)
        except Exception as error:  # hand-made bytes can raise nearly anything in the decoder
            raise self._unreadable(message, error) from error

    def cdr(self, message: RecordedMessage) -> bytes:
        if not self._ros1:
            return message.raw
        try:
            return bytes(self._ros2_types.ros1_to_cdr(message.raw, self.msgtype))
        except Exception as error:  # as above
            raise self._unreadable(message, error) from error

    def header_stamp_ns(self, message: RecordedMessage) -> int:
        try:
            return header_stamp_ns(message.raw, ros1=self._ros1)
        except MessageError as error:
            raise self._unreadable(message, error) from error

    @cached_property
    def _known_types(self) -> Typestore:
        try:
            types = self._recorded_types()
        except (TypesysError, ValueError, KeyError, AssertionError):
            types = {}
        if self.msgtype in types:
            store = get_typestore(Stores.EMPTY)
            store.register(types)
            return store
        if self.msgtype in shipped_types(self._ros1).fielddefs:
            return shipped_types(self._ros1)
        raise TypesysError(
            f'the recording holds no definition of {self.msgtype}, and ROS ships none'
        )

    @cached_property
    def _whole_types(self) -> Typestore:
        """Refuse definitions that lack what ROS's have: readers count on these fields."""
        store, usual = self._known_types, shipped_types(self._ros1).fielddefs
        for name in usual.keys() & store.fielddefs.keys():
            known, there = ({field for field, _ in x[name][1]} for x in (usual, store.fielddefs))
            if missing := ', '.join(sorted(known - there)):
                raise TypesysError(
                    f'the definition of {name} in the recording is damaged: it lacks {missing}'
                )
        return store

    @cached_property
    def _ros2_types(self) -> Typestore:
        return with_ros2_header(self._known_types)

    def _recorded_types(self) -> Typesdict:
        if not self._idl:
            return get_types_from_msg(self._definition, self.msgtype) if self._definition else {}
        types: Typesdict = {}
        for part in self._definition.split(_IDL_SEPARATOR):
            text = part.partition('\n')[2] if part.startswith('IDL: ') else part
            if text.strip():
                types.update(get_types_from_idl(text))
        return types

    def _unreadable(self, message: RecordedMessage, error: Exception) -> RecordingError:
        what = f'{self._path}: message on {message.topic} recorded at {message.log_ns} ns'
        if isinstance(error, TypesysError):
            return RecordingError(f'{what} can not be decoded: {error}')
        if message.raw.startswith(_ZSTD):
            return RecordingError(
                f'{what} is compressed with zstd, and the metadata.yaml that says so is missing; '
                'copy it too'
            )
        return RecordingError(
            f'{what} is damaged, or no {self.msgtype}: {in_words(error)}; copy it again'
        )


def normal_type_name(name: str) -> str:
    """Return 'sensor_msgs/msg/Image' for that and for the 'sensor_msgs/Image' of old bags."""
    package, _, rest = name.partition('/')
    return f'{package}/msg/{rest}' if rest and '/' not in rest else name


@cache
def shipped_types(ros1: bool = False) -> Typestore:
    """Return the message types of a ROS installation."""
    return get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)


def with_ros2_header(types: Typestore) -> Typestore:
    """Return a ROS 1 recording's types with ROS 2's header, which has no `seq`."""
    store = get_typestore(Stores.EMPTY)
    header = shipped_types().fielddefs[_HEADER]
    store.register({**types.fielddefs, _HEADER: header})
    return store


def in_words(error: Exception) -> str:
    """Return the text of an error, or its kind where it has none."""
    return str(error).rstrip('.') or type(error).__name__

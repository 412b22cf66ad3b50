# SPDX-License-Identifier: Apache-2.0
"""One recorded message: its bytes, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
import struct
from typing import Any, TYPE_CHECKING

from adabins_ros.messages.stamps import NANOSECONDS
from rosbags.interfaces import Connection
from rosbags.typesys import TypesysError

from .definitions import normal_type_name, types_of, with_ros2_header
from .errors import RecordingError
from .storage import way_out

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

# RFC 8878, first bytes of a frame.
_ZSTD = b'\x28\xb5\x2f\xfd'


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
        Return the message, its fields named as in ROS 2's or (from a .bag) ROS 1's definition.

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
        return self._types.stamp_ns(self)


class RecordedType:
    """The type of a connection; its definitions are parsed when the first message needs them."""

    def __init__(self, path: Path, connection: Connection, ros1: bool) -> None:
        self.msgtype = normal_type_name(connection.msgtype)
        self._path = path
        self._connection = connection
        self._ros1 = ros1
        self._store: Typestore | None = None
        self._ros2_store: Typestore | None = None

    def decode(self, message: RecordedMessage) -> Any:
        try:
            store = self._known_types()
            if self._ros1:
                return store.deserialize_ros1(message.raw, self.msgtype)
            return store.deserialize_cdr(message.raw, self.msgtype)
        except Exception as error:  # hand-made bytes can raise nearly anything in the decoder
            raise self._unreadable(message, error) from error

    def cdr(self, message: RecordedMessage) -> bytes:
        if not self._ros1:
            return message.raw
        try:
            if self._ros2_store is None:
                self._ros2_store = with_ros2_header(self._known_types())
            return bytes(self._ros2_store.ros1_to_cdr(message.raw, self.msgtype))
        except Exception as error:  # as above
            raise self._unreadable(message, error) from error

    def stamp_ns(self, message: RecordedMessage) -> int:
        # ROS 1 has `seq` where CDR has its own four bytes: the stamp follows in both.
        raw = message.raw
        big = not self._ros1 and len(raw) > 1 and raw[1] == 0
        if len(raw) < 12:
            raise self._unreadable(message, ValueError(f'{len(raw)} bytes hold no header'))
        seconds, nanoseconds = struct.unpack_from('>iI' if big else '<iI', raw, 4)
        return (seconds * NANOSECONDS + nanoseconds) or message.log_ns

    def _known_types(self) -> Typestore:
        if self._store is None:
            self._store = types_of(self._connection, self._ros1)
        return self._store

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
            f'{what} is damaged, or no {self.msgtype}: {in_words(error)}; {way_out(self._path)}'
        )


def in_words(error: Exception) -> str:
    """Return the text of an error, or its kind where it has none."""
    return str(error).rstrip('.') or type(error).__name__

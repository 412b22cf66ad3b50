# SPDX-License-Identifier: Apache-2.0
"""Writing recordings that `ros2 bag` and Foxglove open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
import os
from pathlib import Path
import struct
from typing import Any, Final, TYPE_CHECKING

from adabins_ros.frames.errors import RecordingError
from adabins_ros.messages.fields import stamp_from_ns
from adabins_ros.whole_files import unfinished_folder
import numpy as np
from rosbags.interfaces import (
    Connection,
    Nodetype,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from .recorded_message import shipped_types

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

# Humble reads the metadata up to version 8; later ROS reads it too.
_METADATA_VERSION: Final = 8
_NUMPY_NAMES = {'byte': 'uint8', 'char': 'uint8'}


class RecordingWriter:
    """
    Write messages into a new recording.

    A path that ends in .mcap becomes one mcap file, any other one a rosbag2 folder with mcap
    storage and metadata.yaml. What is unfinished lies beside it under a hidden name and takes the
    final name when the writer is closed; an exception inside the `with` block removes it.

    Parameters
    ----------
    path : path
        Never overwritten.
    compress : bool
        Compress chunks with zstd: worth its time for raw images, not for JPEG and PNG.

    Raises
    ------
    RecordingError
        The path exists, or can't be written.

    """

    def __init__(self, path: str | os.PathLike[str], *, compress: bool = False) -> None:
        self.path = Path(path)
        self.message_count = 0
        self._check_free()
        self._types = shipped_types()
        self._connections: dict[str, Connection] = {}
        self._stack = ExitStack()
        try:
            self._unfinished = self._stack.enter_context(unfinished_folder(self.path))
            self._writer = Writer(
                self._unfinished / (self.path.stem if self._is_file else self.path.name),
                version=_METADATA_VERSION,
                storage_plugin=StoragePlugin.MCAP,
            )
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except OSError as error:
            self._stack.close()
            raise RecordingError(f'{self.path} can not be written: {error}') from None

    @property
    def _is_file(self) -> bool:
        return self.path.suffix == '.mcap'

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def add_topic(self, topic: str, msgtype: str, *, latched: bool | None = None) -> None:
        """
        Declare a topic; `write` does it where this was not called.

        Parameters
        ----------
        topic : str
            '/camera/image_raw'
        msgtype : str
            'sensor_msgs/msg/Image'
        latched : bool, optional
            Record the publisher as transient-local, so that players do the same. By default for
            /tf_static only.

        Raises
        ------
        RecordingError
            The type is not one that ROS ships, or the topic has another type already.

        """
        if msgtype not in self._types.fielddefs:
            raise RecordingError(f'{topic} can not be written: the type {msgtype} is unknown')
        latched = topic.rpartition('/')[2] == 'tf_static' if latched is None else latched
        self._connections[topic] = self._writer.add_connection(
            topic, msgtype, typestore=self._types, offered_qos_profiles=[_quality(latched)]
        )

    def write(
        self,
        topic: str,
        msgtype: str,
        message: Any,
        *,
        log_ns: int,
        frame_id: str = '',
        stamp_ns: int | None = None,
    ) -> None:
        """
        Write one message.

        Parameters
        ----------
        topic : str
            '/camera/image_raw'
        msgtype : str
            'sensor_msgs/msg/Image'
        message : mapping, message or bytes
            Fields by name (missing ones take their defaults), a message of rclpy or rosbags, or
            CDR as `rclpy.serialization.serialize_message` returns it.
        log_ns : int
            Recording time, ns.
        frame_id : str
            For the header of a mapping that has none.
        stamp_ns : int, optional
            Likewise; the recording time by default.

        Raises
        ------
        RecordingError
            The message does not fit the type, or the disk is full.

        """
        if topic not in self._connections:
            self.add_topic(topic, msgtype)
        connection = self._connections[topic]
        if connection.msgtype != msgtype:
            raise RecordingError(f'{topic} is a {connection.msgtype}, not a {msgtype}')
        if isinstance(message, Mapping) and 'header' not in message and self._has_header(msgtype):
            seconds, nanoseconds = stamp_from_ns(log_ns if stamp_ns is None else stamp_ns)
            stamp = {'sec': seconds, 'nanosec': nanoseconds}
            message = {'header': {'stamp': stamp, 'frame_id': frame_id}, **message}
        try:
            self._writer.write(connection, log_ns, self._serialized(msgtype, message))
        except OSError as error:
            raise RecordingError(f'{self.path} can not be written: {error}') from None
        self.message_count += 1

    def close(self) -> None:
        """
        Finish the recording and give it its name.

        Raises
        ------
        RecordingError
            Something else has taken the name meanwhile, or the disk is full.

        """
        try:
            self._writer.close()
            self._check_free()
            written = self._writer.path
            if self._is_file:
                written = next(written.glob('*.mcap'))
            written.rename(self.path)
        except OSError as error:
            raise RecordingError(f'{self.path} can not be written: {error}') from None
        finally:
            self._stack.close()

    def keep(self) -> None:
        """
        Give the recording its name as far as it was written, where it can't be finished.

        It has no index then and is read with --salvage (`ros2 bag reindex` also mends folders).
        """
        with suppress(Exception):  # the disk is full, and writing has failed already
            self._writer.close()
        parts = sorted(self._unfinished.rglob('*.mcap'))
        if parts and not os.path.lexists(self.path):
            (parts[0] if self._is_file else parts[0].parent).rename(self.path)
        self._stack.close()

    @property
    def size_bytes(self) -> int:
        """Return how large the unfinished file is on the disk."""
        return sum(file.stat().st_size for file in self._unfinished.rglob('*.mcap'))

    def abort(self) -> None:
        """Remove what was written."""
        self._writer.abort()
        self._stack.close()

    def _check_free(self) -> None:
        if os.path.lexists(self.path):
            raise RecordingError(
                f'{self.path} exists already and is not overwritten; remove it or choose another '
                'name'
            )

    def _has_header(self, msgtype: str) -> bool:
        return any(name == 'header' for name, _ in self._types.fielddefs[msgtype][1])

    def _serialized(self, msgtype: str, message: Any) -> bytes | memoryview:
        if isinstance(message, (bytes, memoryview)):
            return message
        try:
            built = build_message(self._types, msgtype, message)
            return self._types.serialize_cdr(built, msgtype)
        except (ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
            raise RecordingError(f'this is no {msgtype}: {error}') from error


def _quality(latched: bool) -> Qos:
    unspecified = QosTime(0, 0)
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        unspecified,
        unspecified,
        QosLiveliness.AUTOMATIC,
        unspecified,
        False,
    )


def build_message(types: Typestore, msgtype: str, value: Any) -> Any:
    """
    Return a message of the store, field by field.

    Parameters
    ----------
    types : Typestore
        Of rosbags.
    msgtype : str
        'sensor_msgs/msg/Image'
    value : mapping, tuple or message
        A mapping by field names, where missing ones take their defaults; a tuple in the order of
        the fields; or any object with the fields as attributes.

    Raises
    ------
    ValueError
        A field that the type does not have, or a value that does not fit.

    """
    fields = types.fielddefs[msgtype][1]
    names = [name for name, _ in fields]
    if isinstance(value, tuple):
        value = dict(zip(names, value, strict=True))
    elif not isinstance(value, Mapping):
        value = {name: getattr(value, name) for name in names}
    unknown = set(value) - set(names)
    if unknown:
        raise ValueError(f'{msgtype} has no field {", ".join(sorted(unknown))}')
    return types.types[msgtype](
        **{name: _field(types, kind, value.get(name)) for name, kind in fields}
    )


def _field(types: Typestore, kind: Any, value: Any) -> Any:
    node, detail = kind
    if node == Nodetype.NAME:
        return build_message(types, detail, {} if value is None else value)
    if node == Nodetype.BASE:
        return _base(detail[0], value)
    (item, item_detail), count = detail
    if item == Nodetype.NAME or item_detail[0] == 'string':
        values = [None] * count if value is None else value
        return [_field(types, (item, item_detail), one) for one in values]
    dtype = _NUMPY_NAMES.get(item_detail[0], item_detail[0])
    if value is None:
        return np.zeros(count if node == Nodetype.ARRAY else 0, dtype)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return np.frombuffer(value, dtype)
    array = np.asarray(value, dtype).reshape(-1)
    if node == Nodetype.ARRAY and array.size != count:
        raise ValueError(f'{array.size} values for an array of {count}')
    return array


def _base(name: str, value: Any) -> Any:
    kind = {'string': str, 'bool': bool}.get(name, float if name.startswith('float') else int)
    return kind() if value is None else kind(value)

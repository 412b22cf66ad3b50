# SPDX-License-Identifier: Apache-2.0
"""Reading a ROS 1 bag: by rosbags, and chunk by chunk where it has no sound index."""

from __future__ import annotations

from collections.abc import Collection, Iterator
import mmap
from pathlib import Path
import struct
from typing import Any, Final, NamedTuple

from adabins_ros.messages.fields import NANOSECONDS
from rosbags.interfaces import ConnectionExtRosbag1
from rosbags.rosbag1 import Reader

from .recorded_file import (
    BrokenRecord,
    Channel,
    Item,
    part,
    RecordedFile,
    unpacked,
    WalkedFile,
)
from .recorded_message import RecordedType

# https://wiki.ros.org/Bags/Format/2.0: a record is a header of NAME=VALUE fields and its data.
_MAGIC: Final = b'#ROSBAG V2.0\n'
_MESSAGE, _BAG_HEADER, _CHUNK, _CONNECTION = 2, 3, 5, 7
_MAX_HEADER = 1 << 20
_U32 = struct.Struct('<I')


class IndexedRos1File(RecordedFile):
    """A bag with a sound index."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._reader = Reader(path)
        self._reader.open()
        for x in self._reader.connections:
            types = RecordedType(path, x.msgtype, x.msgdef.data, ros1=True)
            assert isinstance(x.ext, ConnectionExtRosbag1)
            self._found[x.id] = Channel(x.topic, types, x.msgcount, bool(x.ext.latching))
        if self._reader.message_count:
            self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time - 1

    def messages(self, channels: Collection[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels by recording time."""
        chosen = [x for x in self._reader.connections if self._found[x.id] in channels]
        for connection, log_ns, raw in self._reader.messages(chosen, start=start_ns):
            yield self._found[connection.id], log_ns, raw

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class WalkedRos1File(WalkedFile):
    """
    A bag without a sound index, or with damage: what can be found in its chunks.

    Attributes
    ----------
    unclosed : bool
        Its writer was stopped, so that it has no index; it may be whole all the same.

    """

    unclosed = True

    def _walk(self) -> Iterator[Item]:
        with (
            self._path.open('rb') as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            try:
                if view[: len(_MAGIC)] != _MAGIC:
                    raise BrokenRecord(0, 'it is no bag of version 2.0')
                yield from self._records(view)
            except BrokenRecord as error:
                self._broken(error.position, str(error))

    def _records(self, view: Any) -> Iterator[Item]:
        for record in _walk_records(view, len(_MAGIC), len(view)):
            if record.kind == _BAG_HEADER:
                self.unclosed = record.fields.get(b'index_pos', bytes(8)) == bytes(8)
            elif record.kind == _CHUNK:
                try:
                    yield from self._chunk(view, record)
                except BrokenRecord as error:
                    if record.end >= len(view):
                        raise
                    # What follows this chunk is found by its length.
                    self._broken(error.position, str(error), record.end)
            else:
                yield from self._take(view, record)
            if record.end > len(view):
                raise BrokenRecord(len(view), 'the file ends within a record')

    def _chunk(self, view: Any, record: _Record) -> Iterator[Item]:
        data = part(view, record.start, record.end - record.start)
        compression = record.fields.get(b'compression', b'none').decode(errors='replace')
        packed = compression != 'none'
        if packed:
            data = unpacked(record.position, compression, data)
        try:
            for inner in _walk_records(data, 0, len(data)):
                yield from self._take(data, inner)
        except BrokenRecord as error:
            if packed:
                raise BrokenRecord(record.position, f'in this chunk {error}') from None
            raise BrokenRecord(record.start + error.position, str(error)) from None

    def _take(self, data: Any, record: _Record) -> Iterator[Item]:
        if record.kind not in (_MESSAGE, _CONNECTION):
            return
        if record.end > len(data):
            raise BrokenRecord(record.position, 'the file ends within a record')
        content = part(data, record.start, record.end - record.start)
        try:
            (key,) = _U32.unpack(record.fields[b'conn'])
            if record.kind == _CONNECTION:
                if key not in self._found:
                    self._found[key] = self._channel(record.fields[b'topic'], content)
                return
            seconds, nanoseconds = struct.unpack('<II', record.fields[b'time'])
            channel = self._found[key]
        except (KeyError, struct.error, ValueError) as error:
            raise BrokenRecord(record.position, f'a record lacks or misuses {error}') from None
        yield channel, seconds * NANOSECONDS + nanoseconds, content

    def _channel(self, topic: bytes, content: bytes) -> Channel:
        fields = _fields(content)
        # Comments of definitions may be in any character set.
        definition = fields[b'message_definition'].decode(errors='replace')
        types = RecordedType(self._path, fields[b'type'].decode(), definition, ros1=True)
        name = '/' + '/'.join(part for part in topic.decode().split('/') if part)
        return Channel(name, types, 0, fields.get(b'latching') == b'1')


class _Record(NamedTuple):
    position: int
    kind: int
    fields: dict[bytes, bytes]
    start: int
    end: int


def _walk_records(data: Any, start: int, stop: int) -> Iterator[_Record]:
    """Yield the records; the data of the last one may go beyond the end."""
    position = start
    while position < stop:
        length = _length(data, position, stop)
        if length > _MAX_HEADER:
            raise BrokenRecord(position, 'no record is here')
        after = position + 4 + length
        size = _length(data, after, stop, position)
        try:
            fields = _fields(part(data, position + 4, length))
        except ValueError:
            raise BrokenRecord(position, 'no record is here') from None
        kind = fields.get(b'op', b'')
        if len(kind) != 1:
            raise BrokenRecord(position, 'a record without its kind')
        record = _Record(position, kind[0], fields, after + 4, after + 4 + size)
        yield record
        position = record.end


def _length(data: Any, position: int, stop: int, record: int | None = None) -> int:
    if position + 4 > stop:
        place = position if record is None else record
        raise BrokenRecord(place, 'the file ends within a record')
    return int(_U32.unpack_from(data, position)[0])


def _fields(header: bytes) -> dict[bytes, bytes]:
    fields = {}
    position = 0
    while position < len(header):
        if position + 4 > len(header):
            raise ValueError('a field without its length')
        start = position + 4
        position = start + _U32.unpack_from(header, position)[0]
        name, equals, value = header[start:position].partition(b'=')
        if position > len(header) or not equals:
            raise ValueError('a field without its value')
        fields[name] = value
    return fields

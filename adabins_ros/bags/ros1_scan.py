# SPDX-License-Identifier: Apache-2.0
"""
Walk through the records of a ROS 1 bag, without its index.

https://wiki.ros.org/Bags/Format/2.0; a record is a header of NAME=VALUE fields and its data.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import struct
from typing import Any, Final, NamedTuple

from adabins_ros.messages.stamps import NANOSECONDS
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinition,
    MessageDefinitionFormat,
)

from .decompression import decompressor
from .definitions import normal_type_name
from .scanning import ChannelScan, DamageError, FileScan, HEAD_BYTES, in_memory, NO_CHUNK, Read

_MAGIC: Final = b'#ROSBAG V2.0\n'
_MESSAGE, _BAG_HEADER, _CHUNK, _CONNECTION = 2, 3, 5, 7
_PEEK = 192
_MAX_HEADER = 1 << 20
_U32 = struct.Struct('<I')
Fields = dict[bytes, bytes]


class _Record(NamedTuple):
    position: int
    fields: Fields
    start: int
    size: int
    head: bytes


def scan_ros1(path: Path) -> FileScan:
    """
    Find every message of a bag; where it is damaged, those that can still be found.

    Only the heads of the messages are read, unless their chunk is compressed.
    """
    scan = FileScan(path, '.bag')
    with path.open('rb') as file:
        size = os.fstat(file.fileno()).st_size

        def read(offset: int, count: int) -> bytes:
            return os.pread(file.fileno(), count, offset)

        try:
            if read(0, len(_MAGIC)) != _MAGIC:
                raise DamageError(0, 'it is no bag of version 2.0')
            _scan_file(scan, read, size)
        except DamageError as error:
            scan.broken(error)
    return scan


def load_chunk(file: int, position: int) -> bytes:
    """Return the records of the chunk at a position of the open file; raises DamageError."""

    def read(offset: int, count: int) -> bytes:
        return os.pread(file, count, offset)

    return _unpacked(read, _record(read, position))


def _scan_file(scan: FileScan, read: Read, size: int) -> None:
    closed = False
    for record in _walk(read, len(_MAGIC), size):
        kind = _kind(record)
        if kind == _BAG_HEADER:
            closed = record.fields.get(b'index_pos', bytes(8)) != bytes(8)
        elif kind == _CHUNK:
            try:
                _scan_chunk(scan, record, read, size)
            except DamageError as error:
                if record.start + record.size >= size:
                    raise
                # What follows this chunk is found all the same.
                scan.broken(error, record.start + record.size)
        else:
            _take(scan, record, read, NO_CHUNK, size)
        if record.start + record.size > size:
            raise DamageError(size, 'the file ends within a record')
    if not closed:
        raise DamageError(size, 'the bag was never closed, its index is missing')


def _scan_chunk(scan: FileScan, record: _Record, read: Read, size: int) -> None:
    if record.fields.get(b'compression', b'none') == b'none':
        end = min(record.start + record.size, size)
        for inner in _walk(read, record.start, end):
            _take(scan, inner, read, NO_CHUNK, end)
        return
    data = _unpacked(read, record)
    inside = in_memory(data)
    try:
        for inner in _walk(inside, 0, len(data)):
            _take(scan, inner, inside, record.position, len(data))
    except DamageError as error:
        raise DamageError(record.position, f'in this chunk {error.reason}') from None


def _take(scan: FileScan, record: _Record, read: Read, chunk: int, stop: int) -> None:
    kind = _kind(record)
    if kind not in (_MESSAGE, _CONNECTION):
        return
    if record.start + record.size > stop:
        raise DamageError(record.position, 'the file ends within a record')
    try:
        (key,) = _U32.unpack(record.fields[b'conn'])
        if kind == _CONNECTION:
            if key not in scan.channels:
                fields = _fields(read(record.start, record.size))
                scan.channels[key] = _channel(key, record.fields[b'topic'], fields)
            return
        seconds, nanoseconds = struct.unpack('<II', record.fields[b'time'])
        channel = scan.channels[key]
    except (KeyError, struct.error, ValueError) as error:
        raise DamageError(record.position, f'a record lacks or misuses {error}') from None
    head = record.head[: min(HEAD_BYTES, record.size)]
    log_ns = seconds * NANOSECONDS + nanoseconds
    channel.add(log_ns, head, record.start, record.size, chunk, ros1=True)


def _channel(key: int, topic: bytes, fields: Fields) -> ChannelScan:
    latched = fields.get(b'latching') == b'1'
    definition = MessageDefinition(
        MessageDefinitionFormat.MSG, fields[b'message_definition'].decode()
    )
    owner: Any = None
    connection = Connection(
        key,
        '/' + '/'.join(part for part in topic.decode().split('/') if part),
        normal_type_name(fields[b'type'].decode()),
        definition,
        fields.get(b'md5sum', b'').decode(),
        0,
        ConnectionExtRosbag1(None, int(latched)),
        owner,
    )
    return ChannelScan(connection, latched)


def _walk(read: Read, start: int, stop: int) -> Iterator[_Record]:
    position = start
    while position < stop:
        record = _record(read, position)
        yield record
        position = record.start + record.size


def _record(read: Read, position: int) -> _Record:
    head = read(position, _PEEK)
    if len(head) < 4:
        raise DamageError(position, 'the file ends within a record')
    (length,) = _U32.unpack_from(head)
    if length > _MAX_HEADER:
        raise DamageError(position, 'no record is here')
    if 8 + length + HEAD_BYTES > len(head):
        head = read(position, 8 + length + HEAD_BYTES)
    if 8 + length > len(head):
        raise DamageError(position, 'the file ends within a record')
    after = 4 + length
    try:
        fields = _fields(head[4:after])
    except ValueError:
        raise DamageError(position, 'no record is here') from None
    (size,) = _U32.unpack_from(head, after)
    start = after + 4
    return _Record(position, fields, position + start, size, head[start:])


def _fields(header: bytes) -> Fields:
    fields = {}
    position = 0
    while position < len(header):
        if position + 4 > len(header):
            raise ValueError('a field without its length')
        (length,) = _U32.unpack_from(header, position)
        start = position + 4
        end = start + length
        name, equals, value = header[start:end].partition(b'=')
        if end > len(header) or not equals:
            raise ValueError('a field without its value')
        fields[name] = value
        position = end
    return fields


def _kind(record: _Record) -> int:
    kind = record.fields.get(b'op', b'')
    if len(kind) != 1:
        raise DamageError(record.position, 'a record without its kind')
    return kind[0]


def _unpacked(read: Read, record: _Record) -> bytes:
    name = record.fields.get(b'compression', b'').decode(errors='replace')
    unpack = decompressor(name)
    if unpack is None:
        raise DamageError(record.position, f'unknown compression {name!r}')
    packed = read(record.start, record.size)
    if len(packed) < record.size:
        raise DamageError(record.position, 'the file ends within a chunk')
    try:
        return unpack(packed)
    except Exception as error:  # each library has its own kinds
        raise DamageError(record.position, f'a chunk can not be decompressed: {error}') from None

# SPDX-License-Identifier: Apache-2.0
"""
Walk through the records of an mcap file, without its index.

https://mcap.dev/spec; a record is an opcode, a length of 8 bytes and so many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import struct
from typing import Any, Final, NamedTuple
import zlib

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)

from .decompression import decompressor
from .scanning import (
    ChannelScan,
    DamageError,
    FileScan,
    HEAD_BYTES,
    in_memory,
    NO_CHUNK,
    Read,
    Unpack,
)

_MAGIC: Final = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _DATA_END = 2, 3, 4, 5, 6, 8, 15
_RECORD = struct.Struct('<BQ')
_MESSAGE_HEADER = struct.Struct('<HIQQ')
_CHUNK_HEADER = struct.Struct('<QQQI')
_MESSAGE_START = _RECORD.size + _MESSAGE_HEADER.size
_PEEK = _MESSAGE_START + HEAD_BYTES
_FORMATS = {
    'ros2msg': MessageDefinitionFormat.MSG,
    'ros2idl': MessageDefinitionFormat.IDL,
    'omgidl': MessageDefinitionFormat.IDL,
}


class _Record(NamedTuple):
    position: int
    kind: int
    start: int
    size: int
    head: bytes


class _Chunk(NamedTuple):
    compression: str
    unpacked_size: int
    checksum: int
    start: int
    size: int


def scan_mcap(path: Path, unpack: Unpack | None = None) -> FileScan:
    """
    Find every message of a file; where it is damaged, those that can still be found.

    Only the heads of the messages are read, unless their chunk is compressed.

    Parameters
    ----------
    path : Path
        An .mcap.
    unpack : callable, optional
        Decompresses a message, for recordings whose messages are packed one by one.

    """
    scan = FileScan(path, '.mcap')
    with path.open('rb') as file:
        size = os.fstat(file.fileno()).st_size

        def read(offset: int, count: int) -> bytes:
            return os.pread(file.fileno(), count, offset)

        walk = _Walk(scan, read, unpack)
        start = len(_MAGIC)
        while True:
            try:
                walk.records(start, size)
                break
            except DamageError as error:
                following = [x for x in _chunks_by_index(read, size) if x > error.position]
                start = following[0] if following else size
                scan.broken(error, start)
        if not scan.damage and read(size - len(_MAGIC), len(_MAGIC)) != _MAGIC:
            scan.broken(DamageError(size, 'the end of the file is missing'))
    return scan


def load_chunk(file: int, position: int) -> bytes:
    """
    Return the records of the chunk at a position of the open file.

    Raises
    ------
    DamageError
        It is cut off, its compression is unknown or its checksum is wrong.

    """

    def read(offset: int, count: int) -> bytes:
        return os.pread(file, count, offset)

    return _unpacked(read, position, _chunk(read, position + _RECORD.size))


class _Walk:
    """Collects what the records say."""

    def __init__(self, scan: FileScan, read: Read, unpack: Unpack | None) -> None:
        self._scan = scan
        self._read = read
        self._unpack = unpack
        self._schemas: dict[int, tuple[str, MessageDefinition]] = {}

    def records(self, start: int, stop: int) -> None:
        """Go through the file; raises DamageError."""
        for record in _walk(self._read, start, stop, whole=False):
            if record.kind in (_DATA_END, _FOOTER):
                return
            if record.kind == _CHUNK:
                try:
                    self._enter(record, stop)
                except DamageError as error:
                    if record.start + record.size >= stop:
                        raise
                    # What follows this chunk is found all the same.
                    self._scan.broken(error, record.start + record.size)
            else:
                self._take(record, self._read, NO_CHUNK, stop)

    def _enter(self, record: _Record, stop: int) -> None:
        chunk = _chunk(self._read, record.start)
        if not chunk.compression:
            end = min(chunk.start + chunk.size, stop)
            for inner in _walk(self._read, chunk.start, end, whole=True):
                self._take(inner, self._read, NO_CHUNK, end)
            if end < chunk.start + chunk.size:
                raise DamageError(end, 'the file ends within a chunk')
            return
        data = _unpacked(self._read, record.position, chunk)

        inside = in_memory(data)
        try:
            for inner in _walk(inside, 0, len(data), whole=True):
                self._take(inner, inside, record.position, len(data))
        except DamageError as error:
            raise DamageError(record.position, f'in this chunk {error.reason}') from None

    def _take(self, record: _Record, read: Read, chunk: int, stop: int) -> None:
        if record.kind not in (_MESSAGE, _SCHEMA, _CHANNEL):
            return
        if record.start + record.size > stop:
            raise DamageError(record.position, 'the file ends within a record')
        if record.kind == _MESSAGE:
            self._message(record, read, chunk)
            return
        try:
            content = read(record.start, record.size)
            if record.kind == _SCHEMA:
                self._schema(content)
            else:
                self._channel(content)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise DamageError(record.position, f'no readable description: {error}') from None

    def _message(self, record: _Record, read: Read, chunk: int) -> None:
        if record.size < _MESSAGE_HEADER.size:
            raise DamageError(record.position, 'a message without its header')
        channel_id, _, log_ns, _ = _MESSAGE_HEADER.unpack_from(record.head, _RECORD.size)
        channel = self._scan.channels.get(channel_id)
        if channel is None or log_ns >= 2**63:
            raise DamageError(record.position, f'a message of the unknown channel {channel_id}')
        offset = record.start + _MESSAGE_HEADER.size
        size = record.size - _MESSAGE_HEADER.size
        head = record.head[_MESSAGE_START:]
        if self._unpack is not None:
            try:
                head = self._unpack(read(offset, size))[:HEAD_BYTES]
            except Exception:  # the library's own kinds; this message is found damaged when read
                head = b''
        channel.add(log_ns, head[:size], offset, size, chunk, ros1=False)

    def _schema(self, content: bytes) -> None:
        (key,) = struct.unpack_from('<H', content)
        name, position = _text(content, 2)
        encoding, position = _text(content, position)
        text, _ = _text(content, position)
        kind = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
        self._schemas[key] = (name, MessageDefinition(kind, text))

    def _channel(self, content: bytes) -> None:
        key, schema = struct.unpack_from('<HH', content)
        topic, position = _text(content, 4)
        encoding, position = _text(content, position)
        if key in self._scan.channels:
            return
        undefined = MessageDefinition(MessageDefinitionFormat.NONE, '')
        name, definition = self._schemas.get(schema, ('', undefined))
        extension = ConnectionExtRosbag2(encoding, [])
        owner: Any = None
        connection = Connection(key, topic, name, definition, '', 0, extension, owner)
        metadata = content[position:]
        latched = b'transient_local' in metadata or b'durability: 1' in metadata
        self._scan.channels[key] = ChannelScan(connection, latched)


def _walk(read: Read, start: int, stop: int, whole: bool) -> Iterator[_Record]:
    """Yield the records; whole: none may go beyond the end, else only chunks may."""
    position = start
    while position < stop:
        head = read(position, _PEEK)
        if len(head) < _RECORD.size:
            raise DamageError(position, 'the file ends within a record')
        kind, size = _RECORD.unpack_from(head)
        end = position + _RECORD.size + size
        if not 0 < kind < 128 or (end > stop and (whole or kind != _CHUNK)):
            reason = 'the file ends within a record' if 0 < kind < 16 else 'no record is here'
            raise DamageError(position, reason)
        yield _Record(position, kind, position + _RECORD.size, size, head)
        position = end


def _chunk(read: Read, start: int) -> _Chunk:
    head = read(start, 64)
    try:
        _, _, unpacked_size, checksum = _CHUNK_HEADER.unpack_from(head)
        compression, position = _text(head, _CHUNK_HEADER.size)
        (size,) = struct.unpack_from('<Q', head, position)
    except (struct.error, UnicodeDecodeError, ValueError):
        raise DamageError(start, 'a chunk without its header') from None
    return _Chunk(compression, unpacked_size, checksum, start + position + 8, size)


def _unpacked(read: Read, position: int, chunk: _Chunk) -> bytes:
    unpack = decompressor(chunk.compression)
    if unpack is None:
        raise DamageError(position, f'unknown compression {chunk.compression!r}')
    packed = read(chunk.start, min(chunk.size, 2**31 - 1))
    if len(packed) < chunk.size:
        raise DamageError(position, 'the file ends within a chunk')
    try:
        data = unpack(packed)
    except Exception as error:  # each library has its own kinds
        raise DamageError(position, f'a chunk can not be decompressed: {error}') from None
    if len(data) != chunk.unpacked_size or (chunk.checksum and zlib.crc32(data) != chunk.checksum):
        raise DamageError(position, 'a chunk has a wrong checksum')
    return data


def _chunks_by_index(read: Read, size: int) -> list[int]:
    """Return where chunks start, as the summary at the file's end says, if it is whole."""
    footer = read(max(size - 37, 0), 37)
    if len(footer) < 37 or footer[29:] != _MAGIC or footer[0] != _FOOTER:
        return []
    (start,) = struct.unpack_from('<Q', footer, 9)
    found = []
    try:
        for record in _walk(read, start, size - 37, whole=True) if start else ():
            if record.kind == _CHUNK_INDEX:
                found.append(struct.unpack('<Q', read(record.start + 16, 8))[0])
    except (DamageError, struct.error):
        pass
    return sorted(found)


def _text(content: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from('<I', content, position)
    end = position + 4 + length
    if end > len(content):
        raise ValueError('a text goes beyond its record')
    start = position + 4
    return content[start:end].decode(), end

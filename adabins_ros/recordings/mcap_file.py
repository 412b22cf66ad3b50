# SPDX-License-Identifier: Apache-2.0
"""Reading an mcap file: by the mcap package, and record by record where it is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
import mmap
from pathlib import Path
import re
import struct
from typing import Any, Final
import zlib

import lz4.frame  # type: ignore[import-untyped]
from mcap.data_stream import ReadDataStream
from mcap.reader import make_reader, SeekingReader
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, Message, Schema
from mcap.stream_reader import breakup_chunk, StreamReader
import zstandard

from .recorded_file import Channel, Item, Tally
from .recorded_message import in_words, RecordedType

# https://mcap.dev/spec: a record is an opcode, a length of 8 bytes and so many bytes.
_MAGIC: Final = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 2, 3, 4, 5, 6, 15
_RECORD = struct.Struct('<BQ')
_MESSAGE_HEADER = struct.Struct('<HIQQ')
# Times, unpacked size, checksum, and the length of the compression's name.
_CHUNK_HEADER = struct.Struct('<QQQII')
# A chunk below 16 MiB * 256; times and sizes behind it are checked.
_CHUNK_START = re.compile(rb'\x06.{4}\x00{4}', re.DOTALL)
_COMPRESSIONS = (b'', b'lz4', b'zstd')
# Encodings of messages and of their definitions that ROS has.
_ROS: Final = {'cdr': ('ros2msg', 'ros2idl', 'omgidl'), 'ros1': ('ros1msg',)}


class _Damage(Exception):
    """Bytes that are no record where one is expected."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


class _Descriptions:
    """The channels with ROS messages, and what the others hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self.others: dict[int, str] = {}

    def add_schema(self, schema: Schema) -> None:
        self._schemas.setdefault(schema.id, schema)

    def add_channel(self, channel: McapChannel) -> None:
        if channel.id in self.channels:
            return
        schema = self._schemas.get(channel.schema_id)
        encodings = _ROS.get(channel.message_encoding, ())
        if schema is None or (schema.data and schema.encoding not in encodings):
            name = f' ({schema.name})' if schema else ''
            self.others[channel.id] = f'{channel.topic} in {channel.message_encoding}{name}'
            return
        types = RecordedType(
            self._path,
            schema.name,
            schema.data.decode('utf-8', 'replace'),
            idl=schema.encoding.endswith('idl'),
            ros1=channel.message_encoding == 'ros1',
        )
        self.channels[channel.id] = Channel(channel.topic, types, 0, _is_latched(channel))


class McapFile:
    """A sound mcap file (a RecordedFile): its summary tells what it holds and where."""

    def __init__(self, path: Path) -> None:
        self.damage: list[str] = []
        self._file = path.open('rb')
        try:
            self._reader: Any = make_reader(self._file, validate_crcs=True)
            assert isinstance(self._reader, SeekingReader)
            self._descriptions = _Descriptions(path)
            summary = self._reader.get_summary()
            statistics = summary.statistics if summary else None
            self._indexed = bool(summary and summary.chunk_indexes)
            if summary is None or statistics is None:
                self._count(path)
                return
            for schema in summary.schemas.values():
                self._descriptions.add_schema(schema)
            for found in summary.channels.values():
                self._descriptions.add_channel(found)
            if statistics.channel_count > len(summary.channels):
                self._count(path)
                return
            self.start_ns, self.end_ns = statistics.message_start_time, statistics.message_end_time
            for number, channel in self._descriptions.channels.items():
                channel.count = statistics.channel_message_counts.get(number, 0)
        except BaseException:
            self._file.close()
            raise

    @property
    def channels(self) -> list[Channel]:
        """Return the channels with ROS messages."""
        return list(self._descriptions.channels.values())

    @property
    def others(self) -> list[str]:
        """Say what the other channels hold."""
        return list(self._descriptions.others.values())

    def messages(self, channels: list[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels, by recording time where there is an index."""
        wanted = {id(channel) for channel in channels}
        found = 0
        for number, message in self._all({x.topic for x in channels}, start_ns or 0):
            channel = self._descriptions.channels.get(number)
            if channel is not None and id(channel) in wanted:
                found += 1
                yield channel, message.log_time, message.data
        count = sum(channel.count for channel in channels)
        # Of a chunk without checksum the library skips what it does not understand.
        if start_ns is None and found < count:
            raise ValueError(f'{found} of {count} messages were found')

    def _all(self, topics: set[str], start_ns: int) -> Iterator[tuple[int, Message]]:
        if self._indexed:
            for _, channel, message in self._reader.iter_messages(topics, starting_at=start_ns):
                yield channel.id, message
            return
        for message in self._in_file_order():
            if message.log_time >= start_ns:
                yield message.channel_id, message

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _count(self, path: Path) -> None:
        tally = Tally(path)
        for message in self._in_file_order():
            channel = self._descriptions.channels.get(message.channel_id)
            if channel is not None:
                tally.add(channel, message.log_time)
        self.start_ns, self.end_ns = tally.start_ns, tally.end_ns

    def _in_file_order(self) -> Iterator[Message]:
        self._file.seek(0)
        for record in StreamReader(self._file, validate_crcs=True, emit_chunks=True).records:
            parts = breakup_chunk(record, True) if isinstance(record, Chunk) else [record]
            for part in parts:
                if isinstance(part, Schema):
                    self._descriptions.add_schema(part)
                elif isinstance(part, McapChannel):
                    self._descriptions.add_channel(part)
                elif isinstance(part, Message):
                    yield part


class DamagedMcapFile:
    """
    What can be found in a damaged mcap file (a RecordedFile).

    Everything before the damage, and every whole chunk behind it: a chunk is told by a header
    whose sizes fit each other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptions = _Descriptions(path)
        self._tally = Tally(path)
        with path.open('rb') as file:
            self._describe_by_summary(file)
        for _ in self._walk(self._tally):
            pass
        self.damage = self._tally.damage
        self.start_ns, self.end_ns = self._tally.start_ns, self._tally.end_ns

    @property
    def channels(self) -> list[Channel]:
        """Return the channels with ROS messages."""
        return list(self._descriptions.channels.values())

    @property
    def others(self) -> list[str]:
        """Say what the other channels hold."""
        return list(self._descriptions.others.values())

    def messages(self, channels: list[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels that can be read, in the order of the file."""
        wanted = {id(channel) for channel in channels}
        for channel, log_ns, data in self._walk(None):
            if id(channel) in wanted and log_ns >= (start_ns or 0):
                yield channel, log_ns, data

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def _describe_by_summary(self, file: Any) -> None:
        """Learn of channels whose own record may be damaged."""
        try:
            summary = make_reader(file).get_summary()
        except Exception:  # the library's own kinds, and those of whatever it unpacks
            return
        for schema in summary.schemas.values() if summary else ():
            self._descriptions.add_schema(schema)
        for channel in summary.channels.values() if summary else ():
            self._descriptions.add_channel(channel)

    def _walk(self, tally: Tally | None) -> Iterator[Item]:
        with (
            self._path.open('rb') as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            position = len(_MAGIC)
            while position < len(view):
                try:
                    yield from self._records(view, position, tally)
                    break
                except _Damage as error:
                    resumes = _next_chunk(view, error.position + 1)
                    if tally is not None:
                        tally.broken(error.position, str(error), resumes)
                    position = resumes
            # A walk to the footer leaves what follows unseen.
            whole = view[-len(_MAGIC) :] == _MAGIC and len(view) > len(_MAGIC)
            if tally is not None and not tally.damage and not whole:
                tally.broken(len(view), 'the end of the file is missing')

    def _records(self, view: Any, start: int, tally: Tally | None) -> Iterator[Item]:
        for kind, position, size in _walk_records(view, start, len(view)):
            if kind in (_DATA_END, _FOOTER):
                return
            if kind != _CHUNK:
                yield from self._take(kind, view, position, size, tally)
                continue
            try:
                yield from self._chunk(view, position, size, tally)
            except _Damage as error:
                # What follows this chunk is found by its length.
                if tally is not None:
                    tally.broken(error.position, str(error), position + size)

    def _chunk(self, view: Any, start: int, size: int, tally: Tally | None) -> Iterator[Item]:
        position = start - _RECORD.size
        content = view[start : start + size]
        try:
            *_, unpacked_size, checksum, name = _CHUNK_HEADER.unpack_from(content)
            named = _CHUNK_HEADER.size + name
            compression = content[_CHUNK_HEADER.size : named].decode()
            first = named + 8
        except (struct.error, UnicodeDecodeError):
            raise _Damage(position, 'a chunk without its header') from None
        data = content[first:]
        if compression:
            data = _unpacked(position, compression, data)
        wrong = len(data) != unpacked_size or (checksum and zlib.crc32(data) != checksum)
        wrong = wrong and start + size <= len(view)
        if wrong and compression:
            raise _Damage(position, 'a chunk has a wrong checksum')
        try:
            for kind, inner, length in _walk_records(data, 0, len(data)):
                yield from self._take(kind, data, inner, length, tally)
        except _Damage as error:
            if compression:
                raise _Damage(position, f'in this chunk {error}') from None
            raise _Damage(start + first + error.position, str(error)) from None
        if wrong and not compression and tally is not None:
            tally.broken(position, 'a chunk has a wrong checksum', position)

    def _take(
        self, kind: int, data: Any, start: int, size: int, tally: Tally | None
    ) -> Iterator[Item]:
        content = data[start : start + size]
        if kind in (_SCHEMA, _CHANNEL):
            read: Callable[[ReadDataStream], Any] = (
                Schema.read if kind == _SCHEMA else McapChannel.read
            )
            try:
                found = read(ReadDataStream(BytesIO(content)))
            except Exception as error:  # as above
                raise _Damage(
                    start - _RECORD.size, f'no readable description: {in_words(error)}'
                ) from None
            add = (
                self._descriptions.add_schema
                if kind == _SCHEMA
                else (self._descriptions.add_channel)
            )
            add(found)
        elif kind == _MESSAGE:
            if size < _MESSAGE_HEADER.size:
                raise _Damage(start - _RECORD.size, 'a message without its header')
            number, _, log_ns, _ = _MESSAGE_HEADER.unpack_from(content)
            channel = self._descriptions.channels.get(number)
            if (channel is None and number not in self._descriptions.others) or log_ns >= 2**63:
                raise _Damage(start - _RECORD.size, f'a message of the unknown channel {number}')
            if channel is not None:
                if tally is not None:
                    tally.add(channel, log_ns)
                yield channel, log_ns, bytes(content[_MESSAGE_HEADER.size :])


def _walk_records(view: Any, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, first byte and size of each record; private ones (from 128) are skipped."""
    position = start
    while position < stop:
        if position + _RECORD.size > stop:
            raise _Damage(position, 'the file ends within a record')
        kind, size = _RECORD.unpack_from(view, position)
        first = position + _RECORD.size
        cut_off = 0 < kind <= _DATA_END and size < 2**40
        if kind == 0 or (first + size > stop and not (kind == _CHUNK and cut_off)):
            raise _Damage(
                position, 'the file ends within a record' if cut_off else 'no record is here'
            )
        if kind < 128:
            yield kind, first, size
        position = first + size


def _next_chunk(view: Any, start: int) -> int:
    """Return where the next whole chunk starts, the end of the file where there is none."""
    for found in _CHUNK_START.finditer(view, start):
        position = found.start()
        _, size = _RECORD.unpack_from(view, position)
        first = position + _RECORD.size
        named = first + _CHUNK_HEADER.size
        if first + size > len(view) or size < _CHUNK_HEADER.size + 8:
            continue
        begin, end, _, _, name = _CHUNK_HEADER.unpack_from(view, first)
        if name > 4 or begin > end or view[named : named + name] not in _COMPRESSIONS:
            continue
        (packed,) = struct.unpack_from('<Q', view, named + name)
        if _CHUNK_HEADER.size + name + 8 + packed == size:
            return position
    return len(view)


def _unpacked(position: int, compression: str, data: bytes) -> bytes:
    """Return what was compressed; of data that is cut off, what can be had."""
    try:
        if compression == 'zstd':
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
        if compression == 'lz4':
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    except Exception as error:  # each library has its own kinds
        raise _Damage(position, f'a chunk can not be decompressed: {in_words(error)}') from None
    raise _Damage(position, f'unknown compression {compression!r}')


def _is_latched(channel: McapChannel) -> bool:
    offered = str(channel.metadata.get('offered_qos_profiles', ''))
    latching = channel.metadata.get('latching', '') in ('1', 'true', 'True')
    return latching or 'transient_local' in offered or 'durability: 1' in offered

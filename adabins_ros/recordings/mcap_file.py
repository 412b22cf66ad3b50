# SPDX-License-Identifier: Apache-2.0
"""Reading an mcap file: by the mcap package, and record by record where it is damaged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from io import BytesIO
import mmap
from pathlib import Path
import re
import struct
from typing import Any, Final
import zlib

from mcap.data_stream import ReadDataStream
from mcap.reader import make_reader
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, Message, Schema
from mcap.stream_reader import breakup_chunk, StreamReader

from .recorded_file import (
    BrokenRecord,
    Channel,
    Item,
    part,
    RecordedFile,
    unpacked,
    WalkedFile,
)
from .recorded_message import in_words, RecordedType

# https://mcap.dev/spec: a record is an opcode, a length of 8 bytes and so many bytes.
_MAGIC: Final = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END, _FIRST_PRIVATE = 2, 3, 4, 5, 6, 15, 128
_RECORD = struct.Struct('<BQ')
_MESSAGE_HEADER = struct.Struct('<HIQQ')
# Times, unpacked size, checksum, and the length of the compression's name.
_CHUNK_HEADER = struct.Struct('<QQQII')
# A chunk below 4 GiB; times and sizes behind it are checked.
_CHUNK_START = re.compile(rb'\x06.{4}\x00{4}', re.DOTALL)
_COMPRESSIONS = (b'', b'lz4', b'zstd')
# No record that is cut off claims more.
_MOST_BYTES = 2**40
# Encodings of messages and of their definitions that ROS has.
_ROS: Final = {'cdr': ('ros2msg', 'ros2idl', 'omgidl'), 'ros1': ('ros1msg',)}


class _Descriptions:
    """The channels with ROS messages, and what the others hold, by their numbers."""

    def __init__(self, path: Path, channels: dict[int, Channel]) -> None:
        self._path = path
        self._schemas: dict[int, Schema] = {}
        self.channels = channels
        self.others: dict[int, str] = {}

    def add(self, record: object) -> None:
        """Take in a schema or a channel; leave all else."""
        if isinstance(record, Schema):
            self._schemas.setdefault(record.id, record)
        if not isinstance(record, McapChannel) or record.id in self.channels:
            return
        schema, encoding = self._schemas.get(record.schema_id), record.message_encoding
        if schema is None or (schema.data and schema.encoding not in _ROS.get(encoding, ())):
            name = f' ({schema.name})' if schema else ''
            self.others[record.id] = f'{record.topic} in {encoding}{name}'
            return
        types = RecordedType(
            self._path,
            schema.name,
            schema.data.decode('utf-8', 'replace'),
            idl=schema.encoding.endswith('idl'),
            ros1=encoding == 'ros1',
        )
        offered = str(record.metadata.get('offered_qos_profiles', ''))
        latched = record.metadata.get('latching') in ('1', 'true', 'True')
        latched = latched or 'transient_local' in offered or 'durability: 1' in offered
        self.channels[record.id] = Channel(record.topic, types, 0, latched)

    def add_summary(self, summary: Any) -> None:
        """Take in what the end of a file says."""
        for record in (*summary.schemas.values(), *summary.channels.values()):
            self.add(record)


class McapFile(RecordedFile):
    """A sound mcap file: its summary tells what it holds and where."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._descriptions = _Descriptions(path, self._found)
        self.others = self._descriptions.others.values()
        self._file = path.open('rb')
        try:
            self._reader: Any = make_reader(self._file, validate_crcs=True)
            summary = self._reader.get_summary()
            self._indexed = bool(summary and summary.chunk_indexes)
            statistics = summary.statistics if summary else None
            if (
                summary is None
                or statistics is None
                or statistics.channel_count > len(summary.channels)
            ):
                self._count()
                return
            self._descriptions.add_summary(summary)
            self.start_ns, self.end_ns = statistics.message_start_time, statistics.message_end_time
            for number, channel in self._found.items():
                channel.count = statistics.channel_message_counts.get(number, 0)
        except BaseException:
            self._file.close()
            raise

    def messages(self, channels: Collection[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels, by recording time where there is an index."""
        found = 0
        for number, message in self._all({x.topic for x in channels}, start_ns or 0):
            channel = self._found.get(number)
            if channel in channels:
                assert channel is not None
                found += 1
                yield channel, message.log_time, message.data
        count = sum(channel.count for channel in channels)
        # Of a chunk without checksum the library skips what it does not understand.
        if start_ns is None and found < count:
            raise ValueError(f'{found} of {count} messages were found')

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _all(self, topics: set[str], start_ns: int) -> Iterator[tuple[int, Message]]:
        if self._indexed:
            for _, channel, message in self._reader.iter_messages(topics, starting_at=start_ns):
                yield channel.id, message
            return
        for message in self._in_file_order():
            if message.log_time >= start_ns:
                yield message.channel_id, message

    def _count(self) -> None:
        times = [0, 0]
        for number, message in enumerate(self._in_file_order()):
            channel = self._found.get(message.channel_id)
            if channel is not None:
                channel.count += 1
            time = message.log_time
            times = [min(times[0], time), max(times[1], time)] if number else [time, time]
        self.start_ns, self.end_ns = times

    def _in_file_order(self) -> Iterator[Message]:
        self._file.seek(0)
        for record in StreamReader(self._file, validate_crcs=True, emit_chunks=True).records:
            for inner in breakup_chunk(record, True) if isinstance(record, Chunk) else [record]:
                self._descriptions.add(inner)
                if isinstance(inner, Message):
                    yield inner


class DamagedMcapFile(WalkedFile):
    """
    What can be found in a damaged mcap file.

    Everything before the damage, and every whole chunk behind it: a chunk is told by a header
    whose sizes fit each other.
    """

    def __init__(self, path: Path) -> None:
        self._descriptions = _Descriptions(path, {})
        super().__init__(path)
        self._found = self._descriptions.channels
        self.others = self._descriptions.others.values()

    def _walk(self) -> Iterator[Item]:
        with (
            self._path.open('rb') as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            # The library has its own kinds of errors, and those of whatever it unpacks.
            with suppress(Exception):
                # Here are also the channels whose own record is damaged.
                self._descriptions.add_summary(make_reader(file).get_summary())
            position = len(_MAGIC)
            while position < len(view):
                try:
                    yield from self._records(view, position)
                    break
                except BrokenRecord as error:
                    position = _next_chunk(view, error.position + 1)
                    self._broken(error.position, str(error), position)
            end = max(len(view) - len(_MAGIC), len(_MAGIC))
            whole = part(view, end, len(_MAGIC)) == _MAGIC
            if not whole and not self.damage:
                self._broken(len(view), 'the end of the file is missing')

    def _records(self, view: Any, start: int) -> Iterator[Item]:
        for kind, first, size in _walk_records(view, start, len(view)):
            if kind in (_DATA_END, _FOOTER):
                return
            if kind != _CHUNK:
                yield from self._take(kind, view, first, size)
                continue
            try:
                yield from self._chunk(view, first, size)
            except BrokenRecord as error:
                # What follows this chunk is found by its length.
                self._broken(error.position, str(error), first + size)

    def _chunk(self, view: Any, start: int, size: int) -> Iterator[Item]:
        position = start - _RECORD.size
        content = part(view, start, size)
        try:
            *_, unpacked_size, checksum, name = _CHUNK_HEADER.unpack_from(content)
            compression = part(content, _CHUNK_HEADER.size, name).decode()
            first = _CHUNK_HEADER.size + name + 8
        except (struct.error, UnicodeDecodeError):
            raise BrokenRecord(position, 'a chunk without its header') from None
        data = content[first:]
        if compression:
            data = unpacked(position, compression, data)
        wrong = len(data) != unpacked_size or (checksum and zlib.crc32(data) != checksum)
        wrong = wrong and start + size <= len(view)
        if wrong and compression:
            raise BrokenRecord(position, 'a chunk has a wrong checksum')
        try:
            for kind, inner, length in _walk_records(data, 0, len(data)):
                yield from self._take(kind, data, inner, length)
        except BrokenRecord as error:
            if compression:
                raise BrokenRecord(position, f'in this chunk {error}') from None
            raise BrokenRecord(start + first + error.position, str(error)) from None
        if wrong:
            self._broken(position, 'a chunk has a wrong checksum', position)

    def _take(self, kind: int, data: Any, start: int, size: int) -> Iterator[Item]:
        if kind not in (_SCHEMA, _CHANNEL, _MESSAGE):
            return
        position, content = start - _RECORD.size, part(data, start, size)
        if kind != _MESSAGE:
            read: Any = Schema.read if kind == _SCHEMA else McapChannel.read
            try:
                self._descriptions.add(read(ReadDataStream(BytesIO(content))))
            except Exception as error:  # as above
                raise BrokenRecord(
                    position, f'no readable description: {in_words(error)}'
                ) from None
            return
        if size < _MESSAGE_HEADER.size:
            raise BrokenRecord(position, 'a message without its header')
        number, _, log_ns, _ = _MESSAGE_HEADER.unpack_from(content)
        channel = self._descriptions.channels.get(number)
        if log_ns >= 2**63 or (channel is None and number not in self._descriptions.others):
            raise BrokenRecord(position, f'a message of the unknown channel {number}')
        if channel is not None:
            yield channel, log_ns, part(content, _MESSAGE_HEADER.size, size)


def _walk_records(view: Any, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, first byte and size of each record; of the last, a chunk may be cut off."""
    position = start
    while position < stop:
        if position + _RECORD.size > stop:
            raise BrokenRecord(position, 'the file ends within a record')
        kind, size = _RECORD.unpack_from(view, position)
        first = position + _RECORD.size
        cut_off = 0 < kind <= _DATA_END and size < _MOST_BYTES
        if kind == 0 or (first + size > stop and not (kind == _CHUNK and cut_off)):
            reason = 'the file ends within a record' if cut_off else 'no record is here'
            raise BrokenRecord(position, reason)
        if kind < _FIRST_PRIVATE:
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
        if name > 4 or begin > end or part(view, named, name) not in _COMPRESSIONS:
            continue
        (packed,) = struct.unpack_from('<Q', view, named + name)
        if _CHUNK_HEADER.size + name + 8 + packed == size:
            return position
    return len(view)

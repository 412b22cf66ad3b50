# SPDX-License-Identifier: Apache-2.0
"""
An index of one recording, made in one pass without decoding, for reading messages in any order.

It goes to worker processes by pickling: files are opened there when the first message is read, and
nothing is ever written beside the recording.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
import os
from pathlib import Path
from typing import Any

from adabins_ros.bags import RecordedMessage, RecordingError, TopicInfo
from adabins_ros.bags.decompression import zstd_decompress
from adabins_ros.bags.mcap_scan import scan_mcap
from adabins_ros.bags.parts import recording_parts
from adabins_ros.bags.random_access import MessageFile, open_message_file
from adabins_ros.bags.recorded_message import in_words, RecordedType
from adabins_ros.bags.ros1_scan import scan_ros1
from adabins_ros.bags.scanning import ChannelScan, FileScan
from adabins_ros.bags.sqlite_scan import scan_sqlite
from adabins_ros.bags.storage import way_out
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection


@dataclass(frozen=True)
class _Topic:
    """The messages of a topic by recording time; one array element each."""

    stamp_ns: NDArray[np.int64]
    log_ns: NDArray[np.int64]
    place: NDArray[np.int64]
    """(N, 5): connection, file, chunk, offset, size."""


def index_bag(path: str | os.PathLike[str], *, salvage: bool = False) -> BagIndex:
    """
    Index a recording.

    Parameters
    ----------
    path : path
        A ROS 1 .bag, a rosbag2 folder (sqlite3 or mcap, plain or zstd), or one .mcap or .db3.
    salvage : bool
        Take what can still be read of a damaged recording; `BagIndex.damage` says what is lost.

    Raises
    ------
    RecordingError
        Missing, no recording, or damaged: the text says at which byte and what to do.

    """
    return BagIndex(Path(path), salvage)


class BagIndex:
    """
    Where each message of a recording lies.

    Attributes
    ----------
    path : Path
    topics : dict of str to TopicInfo
    damage : list of str
        What is damaged, where the index was made with `salvage`.

    """

    def __init__(self, path: Path, salvage: bool) -> None:
        self.path = path
        parts = recording_parts(path, salvage=salvage)
        self._packed_messages = parts.packed_messages
        self._unpacked = parts.unpacked
        scans = [_scan(part, parts.packed_messages) for part in parts.files]
        self.damage = [*parts.damage]
        self.damage += [f'{scan.path} is {text}' for scan in scans for text in scan.damage]
        if self.damage and not salvage:
            more = f' ({len(self.damage)} such places)' if len(self.damage) > 1 else ''
            raise RecordingError(
                f'{self.damage[0]}{more}; {way_out(path)}, or use what is left with --salvage'
            )
        if not any(scan.message_count for scan in scans):
            what = f': {self.damage[0]}' if self.damage else ''
            raise RecordingError(f'{path} holds no message{what}')
        self._files = [(scan.path, scan.kind) for scan in scans]
        channels = [
            (file, channel)
            for file, scan in enumerate(scans)
            for channel in scan.channels.values()
            if channel.connection.msgtype
        ]
        self._connections = [channel.connection for _, channel in channels]
        self._kinds = [scans[file].kind for file, _ in channels]
        self.topics: dict[str, TopicInfo] = {}
        self._index: dict[str, _Topic] = {}
        for name in sorted({connection.topic for connection in self._connections}):
            self._add_topic(name, channels)
        self._forget_open_files()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files and the folder of unpacked ones behind."""
        dropped = ('_open', '_types', '_process', '_unpacked')
        return {name: value for name, value in self.__dict__.items() if name not in dropped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up what `__getstate__` gave."""
        self.__dict__.update(state)
        self._unpacked = None
        self._forget_open_files()

    @property
    def message_count(self) -> int:
        """Return the number of messages."""
        return sum(info.count for info in self.topics.values())

    def stamps_ns(self, topic: str) -> NDArray[np.int64]:
        """Return the header stamps of a topic's messages, (N,), in recording order, ns."""
        return self._index[topic].stamp_ns

    def log_ns(self, topic: str) -> NDArray[np.int64]:
        """Return the recording times of a topic's messages, (N,), ns."""
        return self._index[topic].log_ns

    def message(self, topic: str, index: int) -> RecordedMessage:
        """
        Return one message of a topic, counted in recording order.

        Raises
        ------
        RecordingError
            Its bytes are damaged or can't be read.

        """
        known = self._index[topic]
        connection, file, chunk, offset, size = known.place[index].tolist()
        log_ns = int(known.log_ns[index])
        try:
            raw = self._file(file).read(chunk, offset, size)
            if self._packed_messages:
                raw = zstd_decompress(raw)
        except Exception as error:  # sqlite3, zstd and lz4 have their own kinds
            raise RecordingError(
                f'{self._files[file][0]}: message on {topic} recorded at {log_ns} ns can not be '
                f'read: {in_words(error)}; {way_out(self.path)}'
            ) from error
        types = self._types_of(connection)
        return RecordedMessage(topic, types.msgtype, log_ns, raw, types)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RecordedMessage]:
        """Yield messages, by topic and then by recording time; raises as `message`."""
        for name in self.topics if topics is None else topics:
            for index in range(self.topics[name].count):
                yield self.message(name, index)

    def describe_topics(self) -> str:
        """Return the topics with their types and counts in one line."""
        found = (f'{x.name} ({x.msgtype}, {x.count})' for x in self.topics.values())
        return ', '.join(found) or 'no topics'

    def keep(self, topics: Collection[str]) -> None:
        """Forget where the messages of all other topics lie: an hour of imu takes 100 MB."""
        self._index = {name: self._index[name] for name in topics}
        self.topics = {name: self.topics[name] for name in topics}

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        for file in self._open.values():
            file.close()
        self._forget_open_files()

    def _add_topic(self, name: str, channels: list[tuple[int, ChannelScan]]) -> None:
        chosen = [x for x in enumerate(channels) if x[1][1].connection.topic == name]
        msgtype = RecordedType(self.path, chosen[0][1][1].connection, ros1=False).msgtype
        places, logs, stamps = [], [], []
        for number, (file, channel) in chosen:
            place = np.empty((len(channel.log_ns), 5), np.int64)
            place[:, 0], place[:, 1] = number, file
            place[:, 2], place[:, 3], place[:, 4] = channel.chunks, channel.offsets, channel.sizes
            places.append(place)
            logs.append(np.asarray(channel.log_ns, np.int64))
            stamps.append(np.asarray(channel.stamp_ns, np.int64))
        log_ns = np.concatenate(logs)
        order = np.argsort(log_ns, kind='stable')
        self._index[name] = _Topic(
            np.concatenate(stamps)[order], log_ns[order], np.concatenate(places)[order]
        )
        latched = any(channel.latched for _, (_, channel) in chosen)
        self.topics[name] = TopicInfo(name, msgtype, int(log_ns.size), latched)

    def _forget_open_files(self) -> None:
        self._open: dict[int, MessageFile] = {}
        self._types: dict[int, RecordedType] = {}
        self._process = os.getpid()

    def _file(self, number: int) -> MessageFile:
        if self._process != os.getpid():  # forked: SQLite's handles must not be shared
            self._forget_open_files()
        if number not in self._open:
            self._open[number] = open_message_file(*self._files[number])
        return self._open[number]

    def _types_of(self, number: int) -> RecordedType:
        if number not in self._types:
            connection: Connection = self._connections[number]
            self._types[number] = RecordedType(
                self.path, connection, ros1=self._kinds[number] == '.bag'
            )
        return self._types[number]


def _scan(part: Path, packed_messages: bool) -> FileScan:
    unpack = zstd_decompress if packed_messages else None
    try:
        if part.suffix == '.bag':
            return scan_ros1(part)
        return scan_mcap(part, unpack) if part.suffix == '.mcap' else scan_sqlite(part, unpack)
    except OSError as error:
        raise RecordingError(f'{part} can not be read: {error.strerror}') from None

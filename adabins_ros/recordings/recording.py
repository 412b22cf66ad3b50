# SPDX-License-Identifier: Apache-2.0
"""Opening recordings: ROS 1 bags, rosbag2 folders, and lone mcap and sqlite3 files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
import heapq
import os
from pathlib import Path

from adabins_ros.frames.errors import RecordingError
import zstandard

from .mcap_file import DamagedMcapFile, McapFile
from .recorded_file import DamageError, Item, RecordedFile, WalkedFile
from .recorded_message import in_words, RecordedMessage
from .ros1_file import IndexedRos1File, WalkedRos1File
from .sqlite_file import DamagedSqliteFile, SqliteFile
from .storage import recording_parts, way_out

_MOST_NAMED = 3


@dataclass(frozen=True)
class TopicInfo:
    """What is recorded of one topic; `latched` is true for transient-local publishers."""

    name: str
    msgtype: str
    count: int
    latched: bool = False


def open_recording(path: str | os.PathLike[str], *, salvage: bool = False) -> Recording:
    """
    Open a recording. It is read front to back; nothing is ever written into its folder.

    Parameters
    ----------
    path : path
        A ROS 1 .bag, a rosbag2 folder (sqlite3 or mcap, plain or zstd), or one .mcap or .db3.
    salvage : bool
        Take what can still be read of a damaged recording; `Recording.damage` says what is lost.

    Returns
    -------
    Recording
        A context manager.

    Raises
    ------
    DamageError
        Cut off or damaged: a RecordingError that says where.
    RecordingError
        Missing, empty, without ROS messages, or no recording; the text says what to do.

    """
    return Recording(Path(path), salvage=salvage)


class Recording:
    """
    An open recording.

    Attributes
    ----------
    path : Path
    topics : dict of str to TopicInfo
        With ROS messages; those in other encodings are ignored.
    start_ns, end_ns : int
        Times of the first and the last message, ns; both 0 without messages.
    message_count : int
    damage : list of str
        What is lost, and up to which time each damaged file was read; only with `salvage`.
    remarks : list of str
        What else is worth knowing: a bag that was never closed.

    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self.path = path
        self.remarks: list[str] = []
        self._salvage = salvage
        self._stack = ExitStack()
        try:
            parts = recording_parts(path, salvage=salvage)
            if parts.unpacked is not None:
                self._stack.callback(parts.unpacked.cleanup)
            self._packed_messages = parts.packed_messages
            self._paths = parts.files
            self._files = [self._open(file) for file in parts.files]
            self.damage = [*parts.damage]
            for file, opened in zip(parts.files, self._files, strict=True):
                self.damage += [f'{file} is {text}' for text in opened.damage]
            self._summarise()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        """
        Yield messages in the order of their recording times (salvaged: in that of the file).

        Parameters
        ----------
        topics : collection of str, optional
            Only these; all by default.
        start_ns : int, optional
            Only messages recorded at or after this time, ns.

        Raises
        ------
        RecordingError
            A topic that is not in the recording, or damage (a DamageError): the text says where.

        """
        missing = [topic for topic in topics or () if topic not in self.topics]
        if missing:
            raise RecordingError(
                f'{self.path} has no topic {", ".join(missing)}; it has {self.describe_topics()}'
            )
        streams = [
            self._stream(path, file, topics, start_ns)
            for path, file in zip(self._paths, self._files, strict=True)
        ]
        for channel, log_ns, raw in heapq.merge(*streams, key=lambda item: item[1]):
            yield RecordedMessage(channel.topic, channel.types.msgtype, log_ns, raw, channel.types)

    def describe_topics(self) -> str:
        """Return the topics with their types and counts in one line."""
        return (
            ', '.join(
                f'{info.name} ({info.msgtype}, {info.count})' for info in self.topics.values()
            )
            or 'no topics'
        )

    def _open(self, path: Path) -> RecordedFile:
        try:
            walked = _walked(path) if self._salvage else None
            file = walked if walked and walked.damage else self._sound(path)
        except Exception as error:  # each library lets its own kinds through
            raise self._damage(path, error) from error
        self._stack.callback(file.close)
        return file

    def _sound(self, path: Path) -> RecordedFile:
        """Open a file; raises whatever the library raises if it is damaged."""
        if path.suffix == '.mcap':
            return McapFile(path)
        if path.suffix == '.db3':
            return SqliteFile(path)
        try:
            return IndexedRos1File(path)
        except Exception:  # as above
            walked = WalkedRos1File(path)
            if walked.damage:
                raise
        if walked.unclosed:
            self.remarks.append(f'{path} was never closed and has no index: it was read without')
        return walked

    def _damage(self, path: Path, error: Exception) -> DamageError:
        """Return where a file is damaged, as a walk through it finds, and else as it was told."""
        try:
            found = _walked(path).damage
        except Exception:  # as above
            found = []
        what = found[0] if found else in_words(error)
        more = f' ({len(found)} such places)' if len(found) > 1 else ''
        return DamageError(f'{path} is damaged: {what}{more}; {way_out(path)}')

    def _stream(
        self,
        path: Path,
        file: RecordedFile,
        topics: Collection[str] | None,
        start_ns: int | None,
    ) -> Iterator[Item]:
        chosen = [x for x in file.channels if topics is None or x.topic in topics]
        if not chosen:
            return
        try:
            for channel, log_ns, raw in file.messages(chosen, start_ns):
                if self._packed_messages:
                    raw = self._unpacked(raw)
                yield channel, log_ns, raw
        except (RecordingError, GeneratorExit):
            raise
        except Exception as error:  # as above
            raise self._damage(path, error) from error

    def _unpacked(self, raw: bytes) -> bytes:
        try:
            return zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        except zstandard.ZstdError:
            if not self._salvage:
                raise
            return b''  # found to be damaged when it is decoded

    def _summarise(self) -> None:
        topics: dict[str, TopicInfo] = {}
        for file in self._files:
            for channel in file.channels:
                known = topics.get(
                    channel.topic, TopicInfo(channel.topic, channel.types.msgtype, 0)
                )
                topics[channel.topic] = replace(
                    known,
                    count=known.count + channel.count,
                    latched=known.latched or channel.latched,
                )
        self.topics = dict(sorted(topics.items()))
        others = sorted({x for file in self._files for x in file.others})
        if others and not topics:
            more = f' and {len(others) - _MOST_NAMED} more' if len(others) > _MOST_NAMED else ''
            raise RecordingError(
                f'{self.path} holds no ROS messages, but {", ".join(others[:_MOST_NAMED])}{more}: '
                'record ROS topics, or convert it to them'
            )
        self.message_count = sum(info.count for info in self.topics.values())
        filled = [file for file in self._files if any(x.count for x in file.channels)]
        self.start_ns = min((file.start_ns for file in filled), default=0)
        self.end_ns = max((file.end_ns for file in filled), default=0)


def _walked(path: Path) -> WalkedFile:
    walked = {'.mcap': DamagedMcapFile, '.db3': DamagedSqliteFile, '.bag': WalkedRos1File}
    return walked[path.suffix](path)

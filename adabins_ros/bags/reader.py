# SPDX-License-Identifier: Apache-2.0
"""Opening recordings: ROS 1 bags, rosbag2 folders, and lone mcap and sqlite3 files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
import heapq
import os
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    ConnectionExtRosbag2,
    QosDurability,
)
from rosbags.rosbag1 import Reader as Ros1Reader

from .definitions import normal_type_name
from .errors import RecordingError
from .recorded_message import in_words, RecordedMessage, RecordedType
from .storage import open_readers, way_out


@dataclass(frozen=True)
class TopicInfo:
    """What is recorded of one topic; `latched` is true for transient-local publishers."""

    name: str
    msgtype: str
    count: int
    latched: bool = False


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """
    Open a recording.

    Parameters
    ----------
    path : path
        A ROS 1 .bag, a rosbag2 folder (sqlite3 or mcap, plain or zstd), or one .mcap or .db3.

    Returns
    -------
    Recording
        A context manager.

    Raises
    ------
    RecordingError
        Missing, empty, cut off, damaged, or no recording; the text says what to do.

    """
    return Recording(Path(path))


class Recording:
    """
    An open recording.

    Attributes
    ----------
    path : Path
    topics : dict of str to TopicInfo
    start_ns, end_ns : int
        Times of the first and the last message, ns; both 0 without messages.
    message_count : int

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        try:
            self._readers = open_readers(path, self._stack)
            self._read_summary()
        except RecordingError:
            self._stack.close()
            raise
        except Exception as error:  # rosbags lets many kinds through for damaged files
            self._stack.close()
            raise RecordingError(
                f'{path} can not be opened, it is cut off or damaged: {in_words(error)}; '
                f'{way_out(path)}'
            ) from error

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        """
        Yield messages in the order of their recording times.

        Parameters
        ----------
        topics : collection of str, optional
            Only these; all by default.
        start_ns : int, optional
            Only messages recorded at or after this time, ns. What lies before is not read.

        Raises
        ------
        RecordingError
            A topic that is not in the recording, or damage: the text says after which message.

        """
        if topics is not None:
            self._check_topics(topics)
        given = 0
        try:
            for connection, log_ns, raw in self._merged(topics, start_ns):
                topic, types = connection.topic, self._types[_key(connection)]
                yield RecordedMessage(topic, types.msgtype, log_ns, bytes(raw), types)
                given += 1
        except RecordingError:
            raise
        except GeneratorExit:
            raise
        except Exception as error:  # as above
            raise RecordingError(
                f'{self.path} is damaged after message {given} of {self.message_count}: '
                f'{in_words(error)}; {way_out(self.path)}'
            ) from error

    def _merged(
        self, topics: Collection[str] | None, start_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        streams = []
        for reader in self._readers:
            chosen = [x for x in reader.connections if topics is None or x.topic in topics]
            if chosen:
                streams.append(reader.messages(connections=chosen, start=start_ns))
        return heapq.merge(*streams, key=lambda item: item[1])

    def _check_topics(self, topics: Collection[str]) -> None:
        missing = [topic for topic in topics if topic not in self.topics]
        if missing:
            raise RecordingError(
                f'{self.path} has no topic {", ".join(missing)}; it has {self.describe_topics()}'
            )

    def describe_topics(self) -> str:
        """Return the topics with their types and counts in one line."""
        return (
            ', '.join(
                f'{info.name} ({info.msgtype}, {info.count})' for info in self.topics.values()
            )
            or 'no topics'
        )

    def _read_summary(self) -> None:
        self.topics: dict[str, TopicInfo] = {}
        self._types: dict[tuple[int, int], RecordedType] = {}
        stores: dict[tuple[object, ...], RecordedType] = {}
        for reader in self._readers:
            for connection in reader.connections:
                name = normal_type_name(connection.msgtype)
                key = (name, connection.msgdef, connection.digest)
                if key not in stores:
                    stores[key] = RecordedType(
                        self.path, connection, isinstance(reader, Ros1Reader)
                    )
                self._types[_key(connection)] = stores[key]
                known = self.topics.get(connection.topic, TopicInfo(connection.topic, name, 0))
                self.topics[connection.topic] = replace(
                    known,
                    count=known.count + connection.msgcount,
                    latched=known.latched or _is_latched(connection),
                )
        self.topics = dict(sorted(self.topics.items()))
        filled = [reader for reader in self._readers if reader.message_count]
        self.start_ns = min((reader.start_time for reader in filled), default=0)
        self.end_ns = max((reader.end_time for reader in filled), default=1) - 1
        self.message_count = sum(reader.message_count for reader in filled)


def _key(connection: Connection) -> tuple[int, int]:
    return id(connection.owner), connection.id


def _is_latched(connection: Connection) -> bool:
    extension = connection.ext
    if isinstance(extension, ConnectionExtRosbag1):
        return bool(extension.latching)
    assert isinstance(extension, ConnectionExtRosbag2)
    profiles = extension.offered_qos_profiles
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)

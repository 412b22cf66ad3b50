# SPDX-License-Identifier: Apache-2.0
"""What one walk through a file of a recording finds: topics, and where each message lies."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
import struct

from adabins_ros.messages.stamps import NANOSECONDS
from rosbags.interfaces import Connection

# Bytes of a message that hold the stamp of a std_msgs/Header, in CDR and in ROS 1.
HEAD_BYTES = 12
NO_CHUNK = -1
Unpack = Callable[[bytes], bytes]
Read = Callable[[int, int], bytes]


class DamageError(Exception):
    """Bytes that are no record where one is expected."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


@dataclass
class ChannelScan:
    """
    The messages of one connection, in the order of the file.

    Attributes
    ----------
    connection : Connection
        Of rosbags, without an owner.
    latched : bool
    log_ns, stamp_ns : array of int64
        Recording times and header stamps (garbage for types without a header), ns.
    offsets, sizes : array of int64
        Of the message's bytes in the file or in its chunk; in sqlite3 the row.
    chunks : array of int64
        Position of the compressed chunk, or NO_CHUNK.

    """

    connection: Connection
    latched: bool = False
    log_ns: array[int] = field(default_factory=lambda: array('q'))
    stamp_ns: array[int] = field(default_factory=lambda: array('q'))
    offsets: array[int] = field(default_factory=lambda: array('q'))
    sizes: array[int] = field(default_factory=lambda: array('q'))
    chunks: array[int] = field(default_factory=lambda: array('q'))

    def add(
        self, log_ns: int, head: bytes, offset: int, size: int, chunk: int, ros1: bool
    ) -> None:
        """Take in a message by its first bytes and its place."""
        self.log_ns.append(log_ns)
        self.stamp_ns.append(header_stamp(head, ros1) or log_ns)
        self.offsets.append(offset)
        self.sizes.append(size)
        self.chunks.append(chunk)


@dataclass
class FileScan:
    """
    One file of a recording.

    Attributes
    ----------
    path : Path
    kind : str
        '.mcap', '.bag' or '.db3'.
    channels : dict of int to ChannelScan
    damage : list of str
        Where it broke, by byte or row; empty for a sound file.

    """

    path: Path
    kind: str
    channels: dict[int, ChannelScan] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)

    @property
    def message_count(self) -> int:
        """Return how many messages were found."""
        return sum(len(channel.log_ns) for channel in self.channels.values())

    def broken(self, error: DamageError, resumes: int | None = None) -> None:
        """Note damage, with the number of messages in front of it and the bytes lost to it."""
        size = self.path.stat().st_size
        lost = (size if resumes is None else min(resumes, size)) - error.position
        self.damage.append(
            f'broken at byte {error.position} of {size}, after {self.message_count} readable '
            f'messages: {error.reason}' + (f'; {lost} bytes are lost' if lost > 0 else '')
        )


def in_memory(data: bytes) -> Read:
    """Return the function that reads (offset, count) from bytes."""

    def read(offset: int, count: int) -> bytes:
        end = offset + count
        return data[offset:end]

    return read


def header_stamp(head: bytes, ros1: bool) -> int:
    """Return the stamp of a message that starts with a std_msgs/Header, ns; 0 where none is."""
    if len(head) < HEAD_BYTES:
        return 0
    big = not ros1 and head[1] == 0
    seconds, nanoseconds = struct.unpack_from('>iI' if big else '<iI', head, 4)
    return int(seconds * NANOSECONDS + nanoseconds)

# SPDX-License-Identifier: Apache-2.0
"""What every reader of one recorded file gives; and files that are walked front to back."""

from __future__ import annotations

import bz2
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adabins_ros.frames.errors import RecordingError
from adabins_ros.messages.fields import NANOSECONDS
import lz4.frame  # type: ignore[import-untyped]
import zstandard

from .recorded_message import in_words, RecordedType


class DamageError(RecordingError):
    """A recording that is damaged; `--salvage` reads the rest of it."""


class BrokenRecord(Exception):
    """Bytes that are no record where one is expected; says where, counted from 0."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


@dataclass(eq=False)
class Channel:
    """The messages of one topic and type in one file."""

    topic: str
    types: RecordedType
    count: int = 0
    latched: bool = False


Item = tuple[Channel, int, bytes]
"""A channel, the recording time in ns, and the bytes of a message."""


class RecordedFile:
    """
    One file of a recording.

    Attributes
    ----------
    start_ns, end_ns : int
        Times of the first and the last message; both 0 without messages.
    others : collection of str
        What channels hold that are no ROS messages.
    damage : sequence of str
        Where it broke and up to which time it was read, for files that were walked through.

    """

    others: Collection[str] = ()
    damage: Sequence[str] = ()
    start_ns = end_ns = 0

    def __init__(self) -> None:
        self._found: dict[int, Channel] = {}

    @property
    def channels(self) -> list[Channel]:
        """Return the channels with ROS messages."""
        return list(self._found.values())

    def messages(self, channels: Collection[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels; raises whatever the format's library raises."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""


class WalkedFile(RecordedFile):
    """
    A file that is read front to back, going on behind damage where that can be.

    A subclass yields from `_walk` what it finds, and tells `_broken` of the damage it meets. The
    first walk counts.
    """

    def __init__(self, path: Path, place: str = 'byte') -> None:
        super().__init__()
        self._path = path
        self._place = place
        self._size = path.stat().st_size
        self.damage: list[str] = []
        self._count = 0
        self._counting = True
        for channel, log_ns, _ in self._walk():
            channel.count += 1
            self.start_ns = min(self.start_ns, log_ns) if self._count else log_ns
            self.end_ns = max(self.end_ns, log_ns)
            self._count += 1
        self._counting = False

    def messages(self, channels: Collection[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels that can be read, in the order of the file."""
        for channel, log_ns, data in self._walk():
            if channel in channels and log_ns >= (start_ns or 0):
                yield channel, log_ns, data

    def _walk(self) -> Iterator[Item]:
        raise NotImplementedError

    def _broken(self, position: int, reason: str, resumes: int | None = None) -> None:
        """Note damage, up to which message and time it was read, and the bytes lost to it."""
        if not self._counting:
            return
        in_bytes = self._place == 'byte'
        read = f'{self._count} readable messages'
        if self._count:
            read += f', up to {(self.end_ns - self.start_ns) / NANOSECONDS:.2f} s'
        of = f' of {self._size}' if in_bytes else ''
        lost = (self._size if resumes is None else min(resumes, self._size)) - position
        loss = f'; {lost} bytes are lost' if in_bytes and lost > 0 else ''
        self.damage.append(f'broken at {self._place} {position}{of}, after {read}: {reason}{loss}')


def part(data: Any, start: int, size: int) -> bytes:
    """Return so many bytes from there; fewer where the data end."""
    end = start + size
    return bytes(data[start:end])


def unpacked(position: int, compression: str, data: bytes) -> bytes:
    """
    Return what was compressed with zstd, lz4 or bz2; of data that is cut off, what can be had.

    Raises
    ------
    BrokenRecord
        At this position: the data are damaged, or compressed otherwise.

    """
    try:
        if compression == 'zstd':
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
        if compression == 'lz4':
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
        if compression == 'bz2':
            return bz2.BZ2Decompressor().decompress(data)
    except Exception as error:  # each library has its own kinds
        raise BrokenRecord(
            position, f'a chunk can not be decompressed: {in_words(error)}'
        ) from None
    raise BrokenRecord(position, f'unknown compression {compression!r}')

# SPDX-License-Identifier: Apache-2.0
"""What every reader of one recorded file gives, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adabins_ros.frames.errors import RecordingError
from adabins_ros.messages.fields import NANOSECONDS

from .recorded_message import RecordedType

Item = tuple['Channel', int, bytes]
"""A channel, the recording time in ns, and the bytes of a message."""


class DamageError(RecordingError):
    """A recording that is damaged; `--salvage` reads the rest of it."""


@dataclass
class Channel:
    """The messages of one topic and type in one file; `count` is 0 where it was not counted."""

    topic: str
    types: RecordedType
    count: int = 0
    latched: bool = False


class RecordedFile(Protocol):
    """
    One file of a recording.

    Attributes
    ----------
    channels : list of Channel
        With ROS messages; others are not there.
    start_ns, end_ns : int
        Times of the first and the last message; both 0 without messages.
    damage : list of str
        Where it broke and up to which time it was read, for files that were walked through.
    others : sequence of str
        What channels hold that are no ROS messages.

    """

    start_ns: int
    end_ns: int
    damage: list[str]

    @property
    def channels(self) -> list[Channel]: ...

    @property
    def others(self) -> Sequence[str]: ...

    def messages(self, channels: list[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels; raises whatever the format's library raises."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Tally:
    """Counts what a walk through a file finds, and notes where it is damaged."""

    def __init__(self, path: Path, place: str = 'byte') -> None:
        self.damage: list[str] = []
        self.start_ns = self.end_ns = self.count = 0
        self._size = path.stat().st_size
        self._place = place

    def add(self, channel: Channel, log_ns: int) -> None:
        """Take in a message."""
        channel.count += 1
        self.start_ns = min(self.start_ns, log_ns) if self.count else log_ns
        self.end_ns = max(self.end_ns, log_ns) if self.count else log_ns
        self.count += 1

    def broken(self, position: int, reason: str, resumes: int | None = None) -> None:
        """Note damage, up to which message and time it was read, and the bytes lost to it."""
        until = f', up to {(self.end_ns - self.start_ns) / NANOSECONDS:.2f} s'
        text = f'broken at {self._place} {position}'
        if self._place == 'byte':
            text += f' of {self._size}'
        text += f', after {self.count} readable messages{until if self.count else ""}: {reason}'
        lost = (self._size if resumes is None else min(resumes, self._size)) - position
        if self._place == 'byte' and lost > 0:
            text += f'; {lost} bytes are lost'
        self.damage.append(text)

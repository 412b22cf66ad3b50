# SPDX-License-Identifier: Apache-2.0
"""What happened to the frames: counts, and how long every stage took."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import threading
import time

import numpy as np

WINDOW = 300
"""Frames over which percentiles are taken."""


@dataclass(frozen=True)
class BadFrames:
    """How many frames one cause made useless, what the last did, and when (monotonic s)."""

    count: int
    text: str
    last_s: float


@dataclass(frozen=True)
class FrameReport:
    """
    Hold the statistics at one moment.

    Attributes
    ----------
    received, dropped, idle, published : int
        Frames that arrived, that a newer one replaced before the network was free, for which the
        network had nothing to do, and that led to published depth.
    bad : dict
        Frames that could not be used, by cause.
    latency_s : dict
        Median and 99th percentile of every stage over the last `WINDOW` frames, seconds.
    received_s : float or None
        When the last frame arrived, `time.monotonic` seconds.

    """

    received: int = 0
    dropped: int = 0
    idle: int = 0
    published: int = 0
    bad: dict[str, BadFrames] = field(default_factory=dict)
    latency_s: dict[str, tuple[float, float]] = field(default_factory=dict)
    received_s: float | None = None


class FrameStatistics:
    """Count frames and time their stages; written by two threads, read by a third party."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._bad: dict[str, BadFrames] = {}
        self._seconds: dict[str, deque[float]] = {}
        self._received_s: float | None = None

    def count_received(self) -> None:
        """Count a frame that arrived."""
        with self._lock:
            self._counts['received'] += 1
            self._received_s = time.monotonic()

    def count_dropped(self) -> None:
        """Count a frame that a newer one replaced."""
        with self._lock:
            self._counts['dropped'] += 1

    def count_published(self) -> None:
        """Count a frame whose depth was published."""
        with self._lock:
            self._counts['published'] += 1

    def count_idle(self) -> None:
        """Count a frame for which the network had nothing to do."""
        with self._lock:
            self._counts['idle'] += 1

    def count_bad(self, cause: str, text: str) -> None:
        """Count a frame that could not be used, and keep what is to be said about it."""
        with self._lock:
            count = self._bad[cause].count + 1 if cause in self._bad else 1
            self._bad[cause] = BadFrames(count, text, time.monotonic())

    def record(self, stage: str, seconds: float) -> None:
        """Add one duration of a stage, seconds."""
        with self._lock:
            self._seconds.setdefault(stage, deque(maxlen=WINDOW)).append(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record how long the block took; not when it raises."""
        start = time.perf_counter()
        yield
        self.record(stage, time.perf_counter() - start)

    def report(self) -> FrameReport:
        """Return the statistics of now."""
        with self._lock:
            counts, bad, received_s = dict(self._counts), dict(self._bad), self._received_s
            seconds = {stage: list(values) for stage, values in self._seconds.items()}
        latency = {
            stage: (float(np.percentile(values, 50)), float(np.percentile(values, 99)))
            for stage, values in seconds.items()
        }
        return FrameReport(**counts, bad=bad, latency_s=latency, received_s=received_s)

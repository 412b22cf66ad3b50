# SPDX-License-Identifier: Apache-2.0
"""What the node tells about itself: counts and times of frames, warnings, and /diagnostics."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import threading
import time
from typing import TYPE_CHECKING

from adabins_ros.ros.model_loading import ModelStatus
from adabins_ros.ros.scale_status import scale_values
from adabins_ros.ros.stream_hints import SILENT_S
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor
    from adabins_ros.scale import ScaleFit

WINDOW = 300
"""Frames over which percentiles are taken."""
BAD_FRAME_S = 5.0
"""How long a frame that could not be used is worth a word, seconds."""
WARNING_PERIOD_S = 10.0
"""Shortest time between two warnings of the same cause, seconds."""


class ThrottledWarnings:
    """Warn of each cause at once, and again now and then, with how often it happened between."""

    def __init__(self, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._lock = threading.Lock()
        self._causes: dict[str, tuple[float, int]] = {}

    def warn(self, cause: str, text: str) -> None:
        """Log `text` unless its cause was logged within the period."""
        now = time.monotonic()
        with self._lock:
            logged_s, silent = self._causes.get(cause, (None, 0))
            if logged_s is not None and now - logged_s < WARNING_PERIOD_S:
                self._causes[cause] = (logged_s, silent + 1)
                return
            self._causes[cause] = (now, 0)
        self._warn(f'{text} ({silent} more of this kind before)' if silent else text)


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
    counts : Counter
        Frames by what became of them: 'received', 'dropped' (a newer one came before the network
        was free), 'idle' (the network had nothing to do), 'published'.
    bad : dict
        Frames that could not be used, by cause.
    latency_s : dict
        Median and 99th percentile of every stage over the last `WINDOW` frames, seconds.

    """

    counts: Counter[str] = field(default_factory=Counter)
    bad: dict[str, BadFrames] = field(default_factory=dict)
    latency_s: dict[str, tuple[float, float]] = field(default_factory=dict)


class FrameStatistics:
    """
    Count frames and time their stages; written by two threads, read by a third party.

    Attributes
    ----------
    received_s : float or None
        When the last frame arrived, `time.monotonic` seconds.

    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._bad: dict[str, BadFrames] = {}
        self._seconds: dict[str, deque[float]] = {}
        self.received_s: float | None = None

    def count(self, fate: str) -> None:
        """Count a frame by what became of it; see `FrameReport.counts`."""
        with self._lock:
            self._counts[fate] += 1
            if fate == 'received':
                self.received_s = time.monotonic()

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
            counts, bad = Counter(self._counts), dict(self._bad)
            seconds = {stage: list(values) for stage, values in self._seconds.items()}
        latency = {}
        for stage, values in seconds.items():
            values.sort()
            latency[stage] = values[len(values) // 2], values[99 * len(values) // 100]
        return FrameReport(counts, bad, latency)


@dataclass(frozen=True)
class NodeCondition:
    """
    Hold how the node is, whatever its cameras see.

    Attributes
    ----------
    state : str
        'unconfigured', 'inactive' or 'active'.
    problem : str or None
        Why the last configuration failed.
    predictor : DepthPredictor or None
        The loaded model.
    model : ModelStatus
        Its name, and what became of the last change.

    """

    state: str
    problem: str | None
    predictor: DepthPredictor | None
    model: ModelStatus


class DepthDiagnostics:
    """Tell how a camera fares in one status a second; rates are those since the last."""

    def __init__(self, node_name: str, camera: str, statistics: FrameStatistics) -> None:
        self._name = f'{node_name.lstrip("/")}: depth {camera}'.rstrip()
        self._statistics = statistics
        self._last_s = time.monotonic()
        self._last: Counter[str] = Counter()

    def status(
        self,
        condition: NodeCondition,
        *,
        topic: str,
        hints: list[str],
        camera_info: str,
        focal_scale: float,
        inference_size: tuple[int, int] | None,
        scale: ScaleFit,
        other_clock: str,
    ) -> DiagnosticStatus:
        """
        Return the status of now; call it regularly, rates are over the time between calls.

        Parameters
        ----------
        condition
            Of the node.
        topic
            Where images are expected.
        hints
            What is wrong with the streams, in sentences.
        camera_info, focal_scale, inference_size, scale
            Of the last frame: which one it got, the factor of the focal correction, height and
            width that the network saw, px, and what is known of the true scale.
        other_clock
            What is to be said of stamps that are not of this clock.

        """
        now, report = time.monotonic(), self._statistics.report()
        elapsed = max(now - self._last_s, 1e-3)
        rates = {
            way: (report.counts[fate] - self._last[fate]) / elapsed
            for way, fate in (('in', 'received'), ('out', 'published'))
        }
        self._last_s, self._last = now, report.counts
        bad = [
            f'frames can not be used: {frames.text}'
            for frames in report.bad.values()
            if now - frames.last_s < BAD_FRAME_S
        ]
        silent_s = (
            None if self._statistics.received_s is None else now - self._statistics.received_s
        )
        level, message = _summary(condition, topic, hints, bad, rates, silent_s)
        predictor, size = condition.predictor, inference_size
        device = str(predictor.device) if predictor else 'none'
        values: dict[str, object] = {
            'state': condition.state,
            'model': predictor.description if predictor else 'not loaded',
            'model active': condition.model.active or 'none',
            'model change': condition.model.change,
            'trained': predictor.is_trained if predictor else 'unknown',
            'device': device,
            'engine': predictor.engine if predictor else 'none',
            'inference size': f'{size[1]}x{size[0]}' if size else 'none yet',
            'focal scale': f'{focal_scale:.4f}',
            'image topic': topic,
            'camera_info': camera_info,
            **{f'rate {way} (Hz)': f'{rate:.2f}' for way, rate in rates.items()},
            **{
                f'frames {fate}': report.counts[fate]
                for fate in ('received', 'published', 'dropped', 'idle')
            },
            'frames bad': sum(frames.count for frames in report.bad.values()),
        }
        for cause, frames in sorted(report.bad.items()):
            values[f'frames bad: {cause}'] = frames.count
        for stage, (median, high) in report.latency_s.items():
            values[f'{stage} p50 (ms)'] = f'{median * 1e3:.2f}'
            values[f'{stage} p99 (ms)'] = f'{high * 1e3:.2f}'
        if other_clock:
            values['frame age'] = f'not known: {other_clock}'
        values |= {f'scale {name}': value for name, value in scale_values(scale).items()}
        for number, hint in enumerate([*hints, *bad], 1):
            values[f'hint {number}'] = hint
        return DiagnosticStatus(
            level=level,
            name=self._name,
            message=message,
            hardware_id=device,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )


def _summary(
    condition: NodeCondition,
    topic: str,
    hints: list[str],
    bad: list[str],
    rates: dict[str, float],
    silent_s: float | None,
) -> tuple[bytes, str]:
    """Return the level and the one sentence that matters most; no image came for `silent_s`."""
    if condition.problem is not None:
        return DiagnosticStatus.ERROR, f'not configured: {condition.problem}'
    if condition.state != 'active' or condition.predictor is None:
        return DiagnosticStatus.OK, f'{condition.state}: waits for ros2 lifecycle set'
    concerns, level = [*hints, *bad], DiagnosticStatus.WARN
    if silent_s is None:
        concerns = concerns or [f'no image on {topic} yet']
    elif silent_s > SILENT_S:
        concerns.insert(0, f'no image on {topic} for {silent_s:.0f} s')
        level = DiagnosticStatus.STALE
    elif bad and not rates['out']:
        level = DiagnosticStatus.ERROR
    if not condition.predictor.is_trained:
        concerns.append('untrained network: depth is meaningless')
    if concerns:
        return level, '; '.join(concerns)
    if rates['in'] and not rates['out']:
        return (
            DiagnosticStatus.OK,
            f'{rates["in"]:.1f} images/s arrive, nobody subscribes to depth',
        )
    return DiagnosticStatus.OK, f'depth at {rates["out"]:.1f} Hz from {rates["in"]:.1f} images/s'

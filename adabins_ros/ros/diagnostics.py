# SPDX-License-Identifier: Apache-2.0
"""The node's state for /diagnostics, in plain language and in figures."""

from __future__ import annotations

from dataclasses import dataclass, field
import time
from typing import TYPE_CHECKING

from adabins_ros.ros.frame_statistics import FrameReport
from adabins_ros.ros.stream_hints import SILENT_S
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor

BAD_FRAME_S = 5.0
"""How long a frame that could not be used is worth a word, seconds."""


@dataclass(frozen=True)
class NodeCondition:
    """
    Hold what a diagnostic status is made from.

    Attributes
    ----------
    state : str
        'unconfigured', 'inactive' or 'active'.
    problem : str or None
        Why the last configuration failed.
    predictor : DepthPredictor or None
        The loaded model.
    topic : str
        Where images are expected.
    report : FrameReport
        Counts and latencies.
    hints : list of str
        What is wrong with the streams, in sentences.
    focal_scale : float
        Factor of the focal correction of the last frame.
    inference_size : tuple of int or None
        Height and width that the network saw last, px.

    """

    state: str
    problem: str | None = None
    predictor: DepthPredictor | None = None
    topic: str = ''
    report: FrameReport = field(default_factory=FrameReport)
    hints: list[str] = field(default_factory=list)
    focal_scale: float = 1.0
    inference_size: tuple[int, int] | None = None


class DepthDiagnostics:
    """Turn the node's condition into one status a second; rates are those since the last."""

    def __init__(self, node_name: str, camera: str = '') -> None:
        self._name = f'{node_name.lstrip("/")}: depth {camera}'.rstrip()
        self._last_s = time.monotonic()
        self._last = FrameReport()

    def status(self, condition: NodeCondition) -> DiagnosticStatus:
        """Return the status of now; call it regularly, rates are over the time between calls."""
        now, report = time.monotonic(), condition.report
        elapsed = max(now - self._last_s, 1e-3)
        rate_in = (report.received - self._last.received) / elapsed
        rate_out = (report.published - self._last.published) / elapsed
        bad = [
            f'frames can not be used: {frames.text}'
            for frames in report.bad.values()
            if now - frames.last_s < BAD_FRAME_S
        ]
        self._last_s, self._last = now, report
        level, message = _summary(condition, bad, rate_in, rate_out, now)
        predictor = condition.predictor
        values: dict[str, object] = {
            'state': condition.state,
            'model': predictor.description if predictor else 'not loaded',
            'trained': predictor.is_trained if predictor else 'unknown',
            'device': predictor.device if predictor else 'none',
            'inference size': 'none yet'
            if condition.inference_size is None
            else '{1}x{0}'.format(*condition.inference_size),
            'focal scale': f'{condition.focal_scale:.4f}',
            'image topic': condition.topic,
            'rate in (Hz)': f'{rate_in:.2f}',
            'rate out (Hz)': f'{rate_out:.2f}',
            'frames received': report.received,
            'frames published': report.published,
            'frames dropped': report.dropped,
            'frames idle': report.idle,
            'frames bad': sum(frames.count for frames in report.bad.values()),
        }
        for cause, frames in sorted(report.bad.items()):
            values[f'frames bad: {cause}'] = frames.count
        for stage, (median, high) in report.latency_s.items():
            values[f'{stage} p50 (ms)'] = f'{median * 1e3:.2f}'
            values[f'{stage} p99 (ms)'] = f'{high * 1e3:.2f}'
        for number, hint in enumerate([*condition.hints, *bad], 1):
            values[f'hint {number}'] = hint
        return DiagnosticStatus(
            level=level,
            name=self._name,
            message=message,
            hardware_id=str(predictor.device) if predictor else 'none',
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )


def _summary(
    condition: NodeCondition, bad: list[str], rate_in: float, rate_out: float, now: float
) -> tuple[bytes, str]:
    """Return the level and the one sentence that matters most."""
    if condition.problem is not None:
        return DiagnosticStatus.ERROR, f'not configured: {condition.problem}'
    if condition.state != 'active' or condition.predictor is None:
        return DiagnosticStatus.OK, f'{condition.state}: waits for ros2 lifecycle set'
    concerns, level = [*condition.hints, *bad], DiagnosticStatus.WARN
    if condition.report.received_s is None:
        concerns = concerns or [f'no image on {condition.topic} yet']
    elif (silent_s := now - condition.report.received_s) > SILENT_S:
        concerns.insert(0, f'no image on {condition.topic} for {silent_s:.0f} s')
        level = DiagnosticStatus.STALE
    elif bad and not rate_out:
        level = DiagnosticStatus.ERROR
    if not condition.predictor.is_trained:
        concerns.append('untrained network: depth is meaningless')
    if concerns:
        return level, '; '.join(concerns)
    if rate_in and not rate_out:
        return DiagnosticStatus.OK, f'{rate_in:.1f} images/s arrive, nobody subscribes to depth'
    return DiagnosticStatus.OK, f'depth at {rate_out:.1f} Hz from {rate_in:.1f} images/s'

# SPDX-License-Identifier: Apache-2.0
"""Predict frame by frame and keep figures, never images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
import math
from typing import TYPE_CHECKING

from adabins_ros.evaluation.depth_errors import (
    average,
    clipped,
    DepthErrors,
    DepthRanges,
    median_scaled,
    pixel_errors,
)
from adabins_ros.evaluation.flicker import Change, Flicker
from adabins_ros.evaluation.frames import Frames
from adabins_ros.evaluation.protocols import Protocol
from adabins_ros.evaluation.scale_factor import frame_factor, scale_factor, ScaleFactor
from adabins_ros.evaluation.simulated_sensors import Look, SENSORS, View
from adabins_ros.evaluation.uncertainty import Calibration, Sparsification
from adabins_ros.frames import RgbdSample
from adabins_ros.inference.smoothing import Smoothing
from adabins_ros.scale import EvidenceError, MetricScale, ScaleFit
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.estimate import DepthEstimate
    from adabins_ros.inference.predictor import DepthPredictor

Read = tuple[int, RgbdSample | Exception]
"""Number of a frame, and the frame or why it is unusable."""


@dataclass(frozen=True)
class FrameResult:
    """
    The figures of one frame.

    Attributes
    ----------
    number : int
        Place among the frames of the evaluation.
    name, source : str
        Of the frame, and of the recording or folder that it is from.
    errors, scaled : DepthErrors
        As predicted; after multiplication by `scale`.
    scale : float
        median(true depth) / median(predicted depth).
    factor : float
        What multiplies depth so that half of it is too large, see `frame_factor`.
    anchored : dict of str to DepthErrors
        After MetricScale took in what a simulated sensor measures, by sensor; the frames of a
        recording one after the other, as in the node.
    given : dict of str to bool
        Whether there was a scale, by sensor; without one depth stays as predicted.
    flicker_scale, flicker_still : float
        See `flicker.Change`.
    smoothed_flicker_scale, smoothed_flicker_still : float
        The same of depth that was smoothed over time; NaN if it was not asked for.
    within_one_std, within_two_std : float
        Share of the pixels so near to the truth; NaN without a standard deviation.
    ause_abs_rel, ause_rms : float
        See SparsificationErrors; NaN without a standard deviation.
    seconds : float
        Time of the prediction.

    """

    number: int
    name: str
    source: str
    errors: DepthErrors
    scaled: DepthErrors
    scale: float
    factor: float
    anchored: dict[str, DepthErrors]
    given: dict[str, bool]
    flicker_scale: float
    flicker_still: float
    smoothed_flicker_scale: float
    smoothed_flicker_still: float
    within_one_std: float
    within_two_std: float
    ause_abs_rel: float
    ause_rms: float
    seconds: float


@dataclass
class Evaluation:
    """
    What was found; grows by a row of figures with each frame.

    Attributes
    ----------
    frames : list of FrameResult
        Frames with valid truth, in their order.
    without_truth : list of str
        Names of frames where no true depth counts.
    unusable : list of str
        Frames that could not be read, with the reasons.
    depth_ranges : DepthRanges
    calibration : Calibration
    sparsification : Sparsification

    """

    frames: list[FrameResult] = field(default_factory=list)
    without_truth: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    depth_ranges: DepthRanges = field(default_factory=DepthRanges)
    calibration: Calibration = field(default_factory=Calibration)
    sparsification: Sparsification = field(default_factory=Sparsification)

    @property
    def errors(self) -> DepthErrors:
        """Return the errors averaged over frames."""
        return average(frame.errors for frame in self.frames)

    @property
    def scaled(self) -> DepthErrors:
        """Return the errors that are left with each frame's median scale, averaged likewise."""
        return average(frame.scaled for frame in self.frames)

    @property
    def factor(self) -> ScaleFactor:
        """Return the factor on depth that the frames ask for."""
        return scale_factor(frame.factor for frame in self.frames)

    def by_source(self) -> dict[str, list[FrameResult]]:
        """Return the frames of each recording or folder by its name."""
        found: dict[str, list[FrameResult]] = {}
        for frame in self.frames:
            found.setdefault(frame.source, []).append(frame)
        return found

    def notable(self) -> dict[str, FrameResult]:
        """Return the best, median and worst frame by abs_rel; fewer of fewer frames."""
        ordered = sorted(self.frames, key=lambda frame: frame.errors.abs_rel)
        if not ordered:
            return {}
        chosen = {'best': 0, 'median': (len(ordered) - 1) // 2, 'worst': len(ordered) - 1}
        places: dict[int, str] = {}
        for name, place in chosen.items():
            places.setdefault(place, name)
        return {name: ordered[place] for place, name in places.items()}


def evaluate(
    predictor: DepthPredictor,
    frames: Frames,
    protocol: Protocol,
    progress: Callable[[Iterable[Read]], Iterable[Read]] = iter,
    sensors: Mapping[str, Look] = SENSORS,
    smoothing_s: float = 0.0,
) -> Evaluation:
    """
    Predict every frame and compare it with its truth.

    Parameters
    ----------
    predictor : DepthPredictor
        With its options, such as flip averaging.
    frames : Frames
        What to predict.
    protocol : Protocol
        Which pixels and depths count.
    progress : callable
        Wraps the frames, to show how far it is.
    sensors : mapping of str to Look
        What is simulated to measure the scale.
    smoothing_s : float
        Predict each frame once more, smoothed over so many seconds, and compare the flicker; all
        other figures are of single images. 0: leave that out.

    Returns
    -------
    Evaluation

    """
    found = Evaluation()
    recordings: dict[int, _Recording] = {}
    for number, sample in progress(frames.read()):
        if isinstance(sample, Exception):
            found.unusable.append(f'{frames.name(number)}: {sample}')
            continue
        truth = protocol.counted(sample.depth)
        if truth.any():
            estimate = predict(predictor, sample, protocol)
            source, frame = frames.indices[number].tolist()
            if source not in recordings:
                recordings = {source: _Recording(sensors, smoothing_s)}
            stamp_s = int(frames.sources[source].stamps_ns[frame]) / 1e9
            view = View(estimate.depth, estimate.std, truth, sample.camera)
            change, fits = recordings[source].add(stamp_s, view)
            smoothed = Change()
            if smoothing_s:
                memory = recordings[source].smoothing.at(stamp_s)
                depth = predict(predictor, sample, protocol, memory).depth
                smoothed = recordings[source].smoothed.add(stamp_s, depth, truth)
            found.frames.append(
                _compare(number, sample, estimate, truth, protocol, found, fits, change, smoothed)
            )
        else:
            found.without_truth.append(sample.name)
    return found


def predict(
    predictor: DepthPredictor,
    sample: RgbdSample,
    protocol: Protocol,
    smoothing: Smoothing | None = None,
) -> DepthEstimate:
    """Predict a frame, with its own focal length where the protocol allows it."""
    focal = sample.focal_length_px
    known = protocol.uses_focal_lengths and math.isfinite(focal) and focal > 0
    words = () if smoothing is None else (smoothing,)
    return predictor.predict(np.ascontiguousarray(sample.image), focal if known else None, *words)


class _Recording:
    """What is remembered from frame to frame of one recording."""

    def __init__(self, sensors: Mapping[str, Look], smoothing_s: float) -> None:
        self.sensors = {name: (look, MetricScale()) for name, look in sensors.items()}
        self.flicker, self.smoothed = Flicker(), Flicker()
        self.smoothing = Smoothing(smoothing_s or 1.0)

    def add(self, stamp_s: float, view: View) -> tuple[Change, dict[str, ScaleFit]]:
        """Return what changed from the last frame, and the scale by each sensor."""
        change = self.flicker.add(stamp_s, view.depth, view.true)
        # Frames that do not follow each other are other places, whatever their stamps.
        new = None if change.follows else True
        for name, (look, scale) in self.sensors.items():
            try:
                predicted, measured, std = look(view)
            except EvidenceError as error:
                scale.refuse(str(error))
                continue
            scale.update(predicted, measured, std, stamp_s=stamp_s, source=name, scene_changed=new)
        return change, {name: scale.at(stamp_s) for name, (_, scale) in self.sensors.items()}


def _compare(
    number: int,
    sample: RgbdSample,
    estimate: DepthEstimate,
    truth: NDArray[np.float32],
    protocol: Protocol,
    sums: Evaluation,
    fits: Mapping[str, ScaleFit],
    change: Change,
    smoothed: Change,
) -> FrameResult:
    """Return the figures of one frame and add its pixels to the sums."""
    limits = protocol.min_depth, protocol.max_depth
    valid = truth > 0
    y = truth[valid].astype(np.float64)
    p = clipped(estimate.depth[valid], *limits)
    std = estimate.std[valid].astype(np.float64)
    sums.depth_ranges.add(p, y)
    one = two = ause_abs_rel = ause_rms = math.nan
    known = np.isfinite(std)
    if known.any():
        pixels = p[known], y[known], std[known]
        one, two = sums.calibration.add(*pixels)
        sparsified = sums.sparsification.add(*pixels)
        ause_abs_rel, ause_rms = sparsified.ause_abs_rel, sparsified.ause_rms
    anchored = {
        name: pixel_errors(clipped(fit.depth(estimate.depth[valid]), *limits), y, *limits)
        for name, fit in fits.items()
    }
    return FrameResult(
        number,
        sample.name,
        sample.source,
        pixel_errors(p, y, *limits),
        pixel_errors(median_scaled(p, y, *limits), y, *limits),
        float(np.median(y) / np.median(p)),
        frame_factor(estimate.depth[valid], y),
        anchored,
        {name: fit.anchored for name, fit in fits.items()},
        change.scale,
        change.still,
        smoothed.scale,
        smoothed.still,
        one,
        two,
        ause_abs_rel,
        ause_rms,
        sum(estimate.seconds.values()),
    )

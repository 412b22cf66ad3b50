# SPDX-License-Identifier: Apache-2.0
"""Predict frame by frame and keep figures, never images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
import math
from typing import Protocol as Interface
from typing import TYPE_CHECKING

from adabins_ros.evaluation.depth_errors import (
    average,
    clipped,
    DepthErrors,
    DepthRanges,
    median_scaled,
    pixel_errors,
)
from adabins_ros.evaluation.frames import Frames
from adabins_ros.evaluation.protocols import Protocol
from adabins_ros.evaluation.uncertainty import Calibration, Sparsification
from adabins_ros.frames import RgbdSample
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.estimate import DepthEstimate

Read = tuple[int, RgbdSample | Exception]
"""Number of a frame, and the frame or why it is unusable."""


class Predictor(Interface):
    """Anything that predicts, such as a DepthPredictor."""

    def predict(
        self, image: NDArray[np.uint8], focal_length_px: float | None = None
    ) -> DepthEstimate:
        """Estimate the depth of one image."""
        ...


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
    predictor: Predictor,
    frames: Frames,
    protocol: Protocol,
    progress: Callable[[Iterable[Read]], Iterable[Read]] = iter,
) -> Evaluation:
    """
    Predict every frame and compare it with its truth.

    Parameters
    ----------
    predictor : Predictor
        With its options, such as flip averaging.
    frames : Frames
        What to predict.
    protocol : Protocol
        Which pixels and depths count.
    progress : callable
        Wraps the frames, to show how far it is.

    Returns
    -------
    Evaluation

    """
    found = Evaluation()
    for number, sample in progress(frames.read()):
        if isinstance(sample, Exception):
            found.unusable.append(f'{frames.name(number)}: {sample}')
            continue
        truth = protocol.counted(sample.depth)
        if truth.any():
            estimate = predict(predictor, sample, protocol)
            found.frames.append(_compare(number, sample, estimate, truth, protocol, found))
        else:
            found.without_truth.append(sample.name)
    return found


def predict(predictor: Predictor, sample: RgbdSample, protocol: Protocol) -> DepthEstimate:
    """Predict a frame, with its own focal length where the protocol allows it."""
    focal = sample.focal_length_px
    known = protocol.uses_focal_lengths and math.isfinite(focal) and focal > 0
    return predictor.predict(np.ascontiguousarray(sample.image), focal if known else None)


def _compare(
    number: int,
    sample: RgbdSample,
    estimate: DepthEstimate,
    truth: NDArray[np.float32],
    protocol: Protocol,
    sums: Evaluation,
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
    return FrameResult(
        number,
        sample.name,
        sample.source,
        pixel_errors(p, y, *limits),
        pixel_errors(median_scaled(p, y, *limits), y, *limits),
        float(np.median(y) / np.median(p)),
        one,
        two,
        ause_abs_rel,
        ause_rms,
        sum(estimate.seconds.values()),
    )

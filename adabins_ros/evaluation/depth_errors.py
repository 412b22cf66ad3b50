# SPDX-License-Identifier: Apache-2.0
"""The depth errors that papers report, per image and averaged over images, and by true depth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]
EDGES_M = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0, math.inf)


@dataclass(frozen=True)
class DepthErrors:
    """
    Hold the errors of one image, or their means over several.

    With y the true depth, p the predicted one, both in m, and means over the valid pixels.
    All figures are NaN if no pixel was valid.

    Attributes
    ----------
    d1, d2, d3 : float
        Share of pixels with max(y / p, p / y) below 1.25, 1.25^2, 1.25^3.
    abs_rel : float
        mean |y - p| / y, "REL".
    sq_rel : float
        mean (y - p)^2 / y, m.
    rms : float
        sqrt(mean (y - p)^2), m.
    rms_log : float
        sqrt(mean (ln y - ln p)^2).
    log10 : float
        mean |log10 y - log10 p|.
    silog : float
        100 times the standard deviation of ln p - ln y (Eigen et al. 2014, as KITTI reports it).
    d1_scaled : float
        d1 after multiplying the prediction by median(y) / median(p): what is left when the scale
        is known.
    pixels : int
        Valid pixels, in all images together.
    images : int
        Images with at least one valid pixel.

    """

    d1: float = math.nan
    d2: float = math.nan
    d3: float = math.nan
    abs_rel: float = math.nan
    sq_rel: float = math.nan
    rms: float = math.nan
    rms_log: float = math.nan
    log10: float = math.nan
    silog: float = math.nan
    d1_scaled: float = math.nan
    pixels: int = 0
    images: int = 0


NAMES = tuple(one.name for one in fields(DepthErrors) if one.name not in ('pixels', 'images'))
"""Of the figures, in their order; what else DepthErrors holds counts what they are of."""


def depth_errors(
    prediction: NDArray[Any], truth: NDArray[Any], min_depth: float, max_depth: float
) -> DepthErrors:
    """
    Compare one predicted depth image with the true one, as the authors' code does.

    Only pixels whose true depth is finite and inside (min_depth, max_depth) count. The prediction
    is clipped to the range; where it is NaN it counts as min_depth, so that a prediction cannot
    gain by leaving hard pixels out.

    Parameters
    ----------
    prediction, truth : (H, W) float
        Depth, m.
    min_depth, max_depth : float
        Range of the evaluation, m; 1e-3 and 10 for NYU Depth v2, 1e-3 and 80 for KITTI.

    Returns
    -------
    DepthErrors
        With `pixels` and `images` 0 and figures of NaN if no true depth is valid; `average`
        leaves such images out.

    Raises
    ------
    ValueError
        If the shapes differ or the range is not 0 < min_depth < max_depth.

    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f'prediction of shape {prediction.shape} for a truth of shape {truth.shape}; '
            'resize the prediction to the truth first'
        )
    if not 0 < min_depth < max_depth:
        raise ValueError(
            f'depth range {min_depth:g}..{max_depth:g} m: 0 < min_depth < max_depth is needed'
        )
    valid = (truth > min_depth) & (truth < max_depth)
    y = truth[valid].astype(np.float64)
    return pixel_errors(clipped(prediction[valid], min_depth, max_depth), y, min_depth, max_depth)


def clipped(prediction: NDArray[Any], min_depth: float, max_depth: float) -> Pixels:
    """Return predictions as they are compared: float64 inside the range, NaN as min_depth, m."""
    return np.nan_to_num(
        prediction.astype(np.float64), nan=min_depth, posinf=max_depth, neginf=min_depth
    ).clip(min_depth, max_depth)


def median_scaled(p: Pixels, y: Pixels, min_depth: float, max_depth: float) -> Pixels:
    """Return predictions (P,) times median(y) / median(p), clipped: the scale is then right."""
    return (p * (np.median(y) / np.median(p))).clip(min_depth, max_depth)


def pixel_errors(p: Pixels, y: Pixels, min_depth: float, max_depth: float) -> DepthErrors:
    """
    Compare the valid pixels of one image.

    Parameters
    ----------
    p, y : (P,) float64
        `clipped` predictions and true depths inside the range, m.
    min_depth, max_depth : float
        Range of the evaluation, m.

    """
    if y.size == 0:
        return DepthErrors()
    ratio = np.maximum(y / p, p / y)
    difference = y - p
    log_difference = np.log(p) - np.log(y)
    scaled = median_scaled(p, y, min_depth, max_depth)
    return DepthErrors(
        d1=float(np.mean(ratio < 1.25)),
        d2=float(np.mean(ratio < 1.25**2)),
        d3=float(np.mean(ratio < 1.25**3)),
        abs_rel=float(np.mean(np.abs(difference) / y)),
        sq_rel=float(np.mean(difference**2 / y)),
        rms=float(np.sqrt(np.mean(difference**2))),
        rms_log=float(np.sqrt(np.mean(log_difference**2))),
        log10=float(np.mean(np.abs(log_difference)) / math.log(10)),
        silog=float(100 * np.std(log_difference)),
        d1_scaled=float(np.mean(np.maximum(y / scaled, scaled / y) < 1.25)),
        pixels=y.size,
        images=1,
    )


def average(errors: Iterable[DepthErrors]) -> DepthErrors:
    """
    Return the mean of every figure over images, each image with the same weight.

    Images without valid truth are left out. `pixels` and `images` are sums; they are 0 and the
    figures NaN if nothing is left.
    """
    counted = [error for error in errors if error.pixels]
    if not counted:
        return DepthErrors()
    means = {name: float(np.mean([getattr(error, name) for error in counted])) for name in NAMES}
    return DepthErrors(
        **means,
        pixels=sum(error.pixels for error in counted),
        images=sum(error.images for error in counted),
    )


@dataclass(frozen=True)
class RangeErrors:
    """
    Errors over all pixels of all images whose true depth lies in one range.

    Attributes
    ----------
    low, high : float
        The range, low included, m.
    pixels : int
    share : float
        Of all pixels with truth.
    abs_rel, rms, d1 : float
        As in DepthErrors, but over pixels.
    bias : float
        mean (p - y), m; positive: seen too far away.

    """

    low: float
    high: float
    pixels: int
    share: float
    abs_rel: float
    rms: float
    d1: float
    bias: float

    @property
    def label(self) -> str:
        """Return the range for people, '1-2 m' for one."""
        if math.isinf(self.high):
            return f'> {self.low:g} m'
        return f'{self.low:g}-{self.high:g} m'


class DepthRanges:
    """Add up the errors of pixels by their true depth; sums are kept, pixels are not."""

    def __init__(self) -> None:
        self._sums = np.zeros((5, len(EDGES_M) - 1))

    def add(self, prediction: Pixels, truth: Pixels) -> None:
        """Add pixels, (P,) m; all valid and positive."""
        number = np.digitize(truth, EDGES_M) - 1
        difference = prediction - truth
        ratio = np.maximum(prediction / truth, truth / prediction)
        for row, values in enumerate(
            (None, np.abs(difference) / truth, difference**2, ratio < 1.25, difference)
        ):
            self._sums[row] += np.bincount(number, values, minlength=self._sums.shape[1])

    def errors(self) -> list[RangeErrors]:
        """Return the ranges that hold pixels, near ones first."""
        pixels = self._sums[0]
        found = []
        for number in np.flatnonzero(pixels).tolist():
            count, *sums = self._sums[:, number].tolist()
            abs_rel, square, d1, bias = (value / count for value in sums)
            low, high, share = EDGES_M[number], EDGES_M[number + 1], float(count / pixels.sum())
            errors = abs_rel, math.sqrt(square), d1, bias
            found.append(RangeErrors(low, high, int(count), share, *errors))
        return found

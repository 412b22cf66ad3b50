# SPDX-License-Identifier: Apache-2.0
"""
The line that most points agree on: log measured - log predicted over log predicted.

Two parameters, the offset a (log of the scale at the pivot) and the slope b (exponent - 1), with
a normal prior. A third of the points may be wrong, all to one side too: so the search starts from
the densest place, not from a median, and goes on by re-weighting with Welsch's function (Holland
and Welsch, "Robust regression using iteratively reweighted least-squares", 1977).
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

KERNEL = 0.3
"""Width of Welsch's function, log units: a point e^0.3 = 35 % off counts 0.6."""
_STEP = 0.04
_HALF_RANGE = 3.0
_SLOPES = np.array([-0.4, -0.25, -0.1, 0.0, 0.1, 0.25, 0.45, 0.7])
_ITERATIONS = 12
_SETTLED = 5e-4

_PLACES = np.arange(round(2 * _HALF_RANGE / _STEP))
_LAGS = (_PLACES[:, None] - _PLACES) * (_STEP / KERNEL)
_BUMPS = np.where(np.abs(_LAGS) <= 3, np.exp(-0.5 * _LAGS**2), 0.0)


@dataclass(frozen=True)
class Line:
    """
    A robust fit and what it is worth.

    Attributes
    ----------
    state : (2,) float64
        Offset and slope.
    information : (2, 2) float64
        Of the points alone, without the prior.
    residuals : (N,) float64
        log measured - log of what the line makes of predicted.
    spread : float
        Standard deviation of the points that the line goes through.

    """

    state: NDArray[np.float64]
    information: NDArray[np.float64]
    residuals: NDArray[np.float64]
    spread: float


def fit_line(
    position: NDArray[np.float64],
    value: NDArray[np.float64],
    weight: NDArray[np.float64],
    prior: NDArray[np.float64],
    prior_information: NDArray[np.float64],
    *,
    effective: float,
    smallest_spread: float,
    start: NDArray[np.float64] | None = None,
) -> Line:
    """
    Fit value = a + b position.

    Parameters
    ----------
    position, value : (N,) float64
        log predicted - log pivot, and log measured - log predicted.
    weight : (N,) float64
        Of each point, any unit.
    prior : (2,) float64
        Offset and slope expected.
    prior_information : (2, 2) float64
        Inverse of the prior's covariance.
    effective : float
        So many points count as independent: neighbours share the network's error.
    smallest_spread : float
        Lower limit of what is taken for the points' standard deviation.
    start : (2,) float64, optional
        Where to start from; otherwise the densest place is searched for.

    Returns
    -------
    Line

    """
    weight = weight / weight.sum()
    state = start
    if state is None:
        state = _densest(position, value, weight, prior, prior_information, effective)
    (offset, slope), (prior_offset, prior_slope) = state.tolist(), prior.tolist()
    (known_aa, known_ab), (_, known_bb) = prior_information.tolist()
    for _ in range(_ITERATIONS):
        residuals = value - (offset + slope * position)
        trust = weight * np.exp(residuals * residuals * (-0.5 / KERNEL**2))
        trust /= trust.sum()
        pulled, along = trust * residuals, trust * position
        spread = _spread(float(pulled @ residuals))
        worth = effective / max(spread, smallest_spread) ** 2
        aa, ab, bb = worth, worth * float(along.sum()), worth * float(along @ position)
        # Solved for the step, so that the prior's pull vanishes with its information.
        a, b = prior_offset - offset, prior_slope - slope
        pull_a = worth * float(pulled.sum()) + known_aa * a + known_ab * b
        pull_b = worth * float(along @ residuals) + known_ab * a + known_bb * b
        both_aa, both_ab, both_bb = aa + known_aa, ab + known_ab, bb + known_bb
        determinant = both_aa * both_bb - both_ab * both_ab
        step_a = (both_bb * pull_a - both_ab * pull_b) / determinant
        step_b = (both_aa * pull_b - both_ab * pull_a) / determinant
        offset, slope = offset + step_a, slope + step_b
        if max(abs(step_a), abs(step_b)) < _SETTLED:
            break
    residuals = value - (offset + slope * position)
    information = np.array([[aa, ab], [ab, bb]])
    return Line(np.array([offset, slope]), information, residuals, spread)


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a (2, 2) matrix, in a tenth of LAPACK's time."""
    (a, b), (c, d) = matrix.tolist()
    return np.array([[d, -b], [-c, a]]) / (a * d - b * c)


def _spread(narrowed: float) -> float:
    """Return the standard deviation from the variance that Welsch's function narrowed."""
    # 1/s^2 = 1/t^2 - 1/k^2
    return math.sqrt(1 / max(1 / max(narrowed, 1e-12) - 1 / KERNEL**2, 1 / KERNEL**2))


def _densest(
    position: NDArray[np.float64],
    value: NDArray[np.float64],
    weight: NDArray[np.float64],
    prior: NDArray[np.float64],
    prior_information: NDArray[np.float64],
    effective: float,
) -> NDArray[np.float64]:
    """Return the best of all offsets and a few slopes: density of points times prior."""
    slopes = _SLOPES + prior[1]
    middle = float(np.partition(value, value.size // 2)[value.size // 2])
    bins = _PLACES.size
    offsets = middle - _HALF_RANGE + _STEP * (_PLACES + 0.5)
    # A histogram for each slope, all in one.
    lines = value - slopes[:, None] * position
    places = np.floor((lines - (middle - _HALF_RANGE)) / _STEP).astype(np.int64)
    places = np.clip(places, 0, bins - 1) + bins * np.arange(len(slopes))[:, None]
    counts = np.bincount(
        places.ravel(), np.broadcast_to(weight, places.shape).ravel(), bins * len(slopes)
    ).reshape(len(slopes), bins)
    density = counts @ _BUMPS
    a, b = offsets[None, :] - prior[0], slopes[:, None] - prior[1]
    (aa, ab), (_, bb) = prior_information
    score = effective * np.log(np.maximum(density, 1e-9))
    score -= 0.5 * (aa * a * a + 2 * ab * a * b + bb * b * b)
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    return np.array([offsets[column], slopes[row]])

# SPDX-License-Identifier: Apache-2.0
"""What sources measured, beside what the network said: checked, in logs, and compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import math
from typing import Any

from adabins_ros.scale.scale_options import ScaleOptions
import numpy as np
from numpy.typing import ArrayLike, NDArray

# More points cost time and say no more: neighbours share the network's errors.
MOST_POINTS = 400
_LARGEST_RELATIVE_STD = 1.0
# Sources that differ by less do not contradict each other.
_LEAST_FACTOR = 1.25


class EvidenceError(ValueError):
    """Measurements that say nothing about the scale; the text is for people."""


def is_known(depth: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which depths were measured: those that are positive and finite."""
    with np.errstate(invalid='ignore'):
        return np.isfinite(depth) & (depth > 0)


@dataclass(frozen=True)
class Evidence:
    """
    Points in logs.

    Attributes
    ----------
    log_pivot : float
        Weighted mean of the log of the predicted depth.
    position : (N,) float64
        log predicted - log pivot.
    value : (N,) float64
        log measured - log predicted.
    weight : (N,) float64
    relative_std : (N,) float64
        Of value: both standard deviations, relative to their depth.
    single : bool
        One point was asked for: a range finder.

    """

    log_pivot: float
    position: NDArray[np.float64]
    value: NDArray[np.float64]
    weight: NDArray[np.float64]
    relative_std: NDArray[np.float64]
    single: bool

    @cached_property
    def usual_variance(self) -> float:
        """Return the median of `relative_std` squared."""
        return float(np.median(self.relative_std)) ** 2

    @property
    def points(self) -> int:
        """Return how many points there are."""
        return len(self.value)


def gather(
    predicted: ArrayLike,
    measured: ArrayLike,
    predicted_std: ArrayLike | None,
    measured_std: ArrayLike | None,
    source: str,
    options: ScaleOptions,
) -> Evidence:
    """
    Bring points into logs; what is not positive and finite is left out.

    Parameters
    ----------
    predicted, measured : (N,) float
        m.
    predicted_std, measured_std : (N,) or () float or None
        m; what is not positive and finite counts as unknown.
    source : str
        Whose points they are, for the errors.
    options : ScaleOptions
        Fewer than `min_points` are refused, but for one alone; `smallest_spread` is added to all
        relative deviations, so that no point rules.

    Raises
    ------
    EvidenceError
        Too few points are left.
    ValueError
        The shapes differ.

    """
    predicted = np.asarray(predicted, np.float64).ravel()
    measured = np.asarray(measured, np.float64).ravel()
    if predicted.shape != measured.shape:
        raise ValueError(
            f'{predicted.size} predicted for {measured.size} measured depths of {source}'
        )
    asked = predicted.size
    taken = np.flatnonzero(is_known(predicted) & is_known(measured))
    if taken.size > MOST_POINTS:
        taken = taken[np.linspace(0, taken.size - 1, MOST_POINTS).astype(int)]
    if not taken.size or (asked > 1 and taken.size < options.min_points):
        raise EvidenceError(_too_few(source, asked, taken.size, options.min_points))
    predicted_part, measured_part = predicted[taken], measured[taken]
    variance = _relative_variance(predicted_std, predicted_part, taken, asked)
    variance = variance + _relative_variance(measured_std, measured_part, taken, asked)
    weight = 1 / (options.smallest_spread**2 + variance)
    log_predicted = np.log(predicted_part)
    log_pivot = float(weight @ log_predicted / weight.sum())
    return Evidence(
        log_pivot,
        log_predicted - log_pivot,
        np.log(measured_part) - log_predicted,
        weight,
        np.sqrt(variance),
        asked == 1,
    )


def _too_few(source: str, asked: int, usable: int, min_points: int) -> str:
    if asked >= min_points and usable:
        return (
            f'too little overlap: only {usable} of {asked} points of {source} have both a '
            f'depth in the image and a measurement, at least {min_points} are needed'
        )
    if usable:
        return f'too few points: {source} has {usable}, at least {min_points} are needed'
    return f'too few points: {source} has none that the camera sees'


def _relative_variance(
    std: ArrayLike | None, depth: NDArray[np.float64], taken: NDArray[np.intp], asked: int
) -> NDArray[np.float64]:
    if std is None:
        return np.zeros(depth.shape)
    spread = np.asarray(std, np.float64).ravel()
    if spread.size not in (1, asked):
        raise ValueError(f'{spread.size} standard deviations for {asked} depths')
    relative = (spread[taken] if spread.size == asked else spread) / depth
    bounded = np.minimum(relative, _LARGEST_RELATIVE_STD)
    return np.square(np.where(is_known(relative), bounded, 0.0))


@dataclass(frozen=True)
class Statement:
    """
    What one source says, without what was known before.

    Attributes
    ----------
    stamp_s, log_pivot : float
        When, s, and at which ln of the network's depth, m.
    state : (2,) float64
        Offset ln d' - ln d there, and its slope over ln d (`ScaleFit`).
    sigma : float
        One standard deviation of the offset.

    """

    stamp_s: float
    log_pivot: float
    state: NDArray[np.float64]
    sigma: float


class Contradictions:
    """
    Compare what several sources say at about the same time.

    Parameters
    ----------
    options : ScaleOptions
        `contradiction_s` and `gate`.
    exponent_sigma : float
        Of the slope, for depths that only one of two sources sees.

    """

    def __init__(self, options: ScaleOptions, exponent_sigma: float) -> None:
        self._options, self._exponent_sigma = options, exponent_sigma
        self._statements: dict[str, Statement] = {}

    def check(self, source: str, said: Statement) -> None:
        """
        Keep what a source says, and compare it with the others, half way between what two saw.

        Parameters
        ----------
        source : str
            Its name, for the reason.
        said : Statement
            Replaces what it said before.

        Raises
        ------
        EvidenceError
            Two differ by more than their sigmas explain, and by a quarter at least.

        """
        self._statements[source] = said
        for name, other in self.others(source, said.stamp_s):
            half = (other.log_pivot - said.log_pivot) / 2
            ours = said.state[0] + said.state[1] * half
            theirs = other.state[0] - other.state[1] * half
            doubt = math.hypot(said.sigma, other.sigma, 2 * half * self._exponent_sigma)
            if abs(ours - theirs) > max(self._options.gate * doubt, math.log(_LEAST_FACTOR)):
                raise EvidenceError(
                    f'sources contradict each other: {source} says a factor of '
                    f'{math.exp(ours):.2f}, {name} {math.exp(theirs):.2f}'
                )

    def others(self, source: str, stamp_s: float) -> list[tuple[str, Statement]]:
        """Return what others than a source said within `contradiction_s` of a time, s."""
        return [
            (name, other)
            for name, other in self._statements.items()
            if name != source and abs(stamp_s - other.stamp_s) <= self._options.contradiction_s
        ]

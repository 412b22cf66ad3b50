# SPDX-License-Identifier: Apache-2.0
"""Whether the standard deviation is as large as the errors are."""

from __future__ import annotations

from dataclasses import dataclass
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

ONE_STD_SHARE = math.erf(1 / math.sqrt(2))
TWO_STD_SHARE = math.erf(2 / math.sqrt(2))
"""Share of a normal distribution within one and two standard deviations: 68.3 and 95.4 %."""
EXPECTED_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, ONE_STD_SHARE, 0.8, 0.9, TWO_STD_SHARE, 0.99)
# Errors in standard deviations, for the quantile that gives the temperature: 0.5 % a step.
_STEPS = np.geomspace(1e-4, 1e5, 4096)
_SMALLEST_STD_M = 1e-9


@dataclass(frozen=True)
class CalibrationErrors:
    """
    How often the truth lies as near as the standard deviation says.

    Attributes
    ----------
    within_one_std, within_two_std : float
        Share of the pixels of all images whose true depth lies within one, two standard
        deviations of the prediction; a normal distribution has 0.683 and 0.954.
    within_one_std_of_images, within_two_std_of_images : float
        The same per image, averaged over images.
    reliability : list of (float, float)
        Share of the truth that a normal distribution has within some number of standard
        deviations, and the share found there.
    temperature : float
        Factor on the standard deviation that brings the share within one to 68.3 %; above 1: the
        network is too sure of itself.
    pixels : int

    """

    within_one_std: float
    within_two_std: float
    within_one_std_of_images: float
    within_two_std_of_images: float
    reliability: list[tuple[float, float]]
    temperature: float
    pixels: int


class Calibration:
    """Count how many standard deviations off the predictions are; pixels are not kept."""

    def __init__(self) -> None:
        normal = NormalDist()
        self._limits = np.array([normal.inv_cdf((1 + share) / 2) for share in EXPECTED_SHARES])
        self._within = np.zeros(len(EXPECTED_SHARES), np.int64)
        self._histogram = np.zeros(_STEPS.size + 1, np.int64)
        self._images: list[tuple[float, float]] = []

    def add(
        self,
        prediction: NDArray[np.float64],
        truth: NDArray[np.float64],
        std: NDArray[np.float64],
    ) -> tuple[float, float]:
        """
        Add the pixels of one image.

        Parameters
        ----------
        prediction, truth, std : (P,) float64
            m; all finite, at least one.

        Returns
        -------
        (float, float)
            Share of the pixels within one and two standard deviations.

        """
        off = np.abs(prediction - truth) / np.maximum(std, _SMALLEST_STD_M)
        ordered = np.sort(off)
        within = np.searchsorted(ordered, self._limits, side='right')
        self._within += within
        ends = np.searchsorted(ordered, _STEPS, side='right')
        self._histogram += np.diff(ends, prepend=0, append=off.size)
        one, two = (
            float(within[EXPECTED_SHARES.index(share)] / off.size)
            for share in (ONE_STD_SHARE, TWO_STD_SHARE)
        )
        self._images.append((one, two))
        return one, two

    def errors(self) -> CalibrationErrors | None:
        """Return what was found; None without any pixel."""
        pixels = int(self._histogram.sum())
        if not pixels:
            return None
        shares = (self._within / pixels).tolist()
        of_images = np.mean(self._images, axis=0).tolist()
        return CalibrationErrors(
            shares[EXPECTED_SHARES.index(ONE_STD_SHARE)],
            shares[EXPECTED_SHARES.index(TWO_STD_SHARE)],
            of_images[0],
            of_images[1],
            list(zip(EXPECTED_SHARES, shares, strict=True)),
            self._quantile(ONE_STD_SHARE),
            pixels,
        )

    def _quantile(self, share: float) -> float:
        """Return the number of standard deviations within which this share of the truth lies."""
        reached = np.cumsum(self._histogram) / self._histogram.sum()
        # The last count is of what is farther off than all steps.
        return float(np.interp(share, reached[:-1], _STEPS))

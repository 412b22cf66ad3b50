# SPDX-License-Identifier: Apache-2.0
"""Whether the standard deviation is as large as the errors, and large where they are."""

from __future__ import annotations

from dataclasses import dataclass
import math
from statistics import NormalDist

from adabins_ros.evaluation.depth_errors import Pixels
import numpy as np

ONE_STD_SHARE = math.erf(1 / math.sqrt(2))
TWO_STD_SHARE = math.erf(2 / math.sqrt(2))
"""Share of a normal distribution within one and two standard deviations: 68.3 and 95.4 %."""
EXPECTED_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, ONE_STD_SHARE, 0.8, 0.9, TWO_STD_SHARE, 0.99)
# Errors in standard deviations, for the quantile that gives the temperature: 0.5 % a step.
_STEPS = np.geomspace(1e-4, 1e5, 4096)
_SMALLEST_STD_M = 1e-9
REMOVED_SHARES = np.linspace(0, 0.95, 20)
"""Shares of the pixels that are left out, the least sure ones first."""


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

    def add(self, prediction: Pixels, truth: Pixels, std: Pixels) -> tuple[float, float]:
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


@dataclass(frozen=True)
class SparsificationErrors:
    """
    Errors of what is left when the least sure pixels are left out, over those of all pixels.

    Area under the sparsification error (AUSE) of Ilg et al., "Uncertainty Estimates and
    Multi-Hypotheses Networks for Optical Flow", ECCV 2018: pixels are removed in the order of
    their standard deviation, and by an oracle in the order of their true errors. Each curve is
    the error of the remaining pixels over the share that was removed, normalised by the error of
    all pixels. AUSE is the area between the two: 0 if the standard deviation orders the pixels
    as their errors do. Areas are over removed shares of 0 to 0.95 by the trapezoidal rule;
    curves and areas are per image, averaged over images.

    Attributes
    ----------
    removed : (20,) float64
        Removed shares.
    abs_rel, abs_rel_oracle, rms, rms_oracle : (20,) float64
        The curves; all begin at 1.
    ause_abs_rel, ause_rms : float
    gain_abs_rel, gain_rms : float
        Area between the curve of a random order (1 all over) and that of the standard deviation
        (AURG, Poggi et al., CVPR 2020): above 0 it knows something of the errors.

    """

    removed: Pixels
    abs_rel: Pixels
    abs_rel_oracle: Pixels
    rms: Pixels
    rms_oracle: Pixels

    @property
    def ause_abs_rel(self) -> float:
        """Return the AUSE of the absolute relative error."""
        return _area(self.abs_rel - self.abs_rel_oracle)

    @property
    def ause_rms(self) -> float:
        """Return the AUSE of the root mean square error."""
        return _area(self.rms - self.rms_oracle)

    @property
    def gain_abs_rel(self) -> float:
        """Return the gain over a random order in absolute relative error."""
        return _area(1 - self.abs_rel)

    @property
    def gain_rms(self) -> float:
        """Return the gain over a random order in root mean square error."""
        return _area(1 - self.rms)


class Sparsification:
    """Average the curves of images; images are not kept."""

    def __init__(self) -> None:
        self._sums = np.zeros((4, REMOVED_SHARES.size))
        self._images = 0

    def add(self, prediction: Pixels, truth: Pixels, std: Pixels) -> SparsificationErrors:
        """
        Add one image and return its own curves.

        Parameters
        ----------
        prediction, truth, std : (P,) float64
            As for `Calibration.add`.

        """
        square = (prediction - truth) ** 2
        relative = np.abs(prediction - truth) / truth
        order = np.argsort(std, kind='stable')
        curves = np.stack(
            [
                _curve(relative[order]),
                _curve(np.sort(relative)),
                np.sqrt(_curve(square[order])),
                np.sqrt(_curve(np.sort(square))),
            ]
        )
        self._sums += curves
        self._images += 1
        return SparsificationErrors(REMOVED_SHARES, *curves)

    def errors(self) -> SparsificationErrors | None:
        """Return the mean over images; None without any."""
        if not self._images:
            return None
        return SparsificationErrors(REMOVED_SHARES, *self._sums / self._images)


def _curve(ordered: Pixels) -> Pixels:
    """Return the mean of what is kept over the mean of all; the first ones are kept longest."""
    sums = np.cumsum(ordered)
    if sums[-1] <= 0:
        # Nothing is wrong, so nothing can be ordered better.
        return np.ones(REMOVED_SHARES.size)
    kept = np.maximum(np.rint((1 - REMOVED_SHARES) * ordered.size).astype(int), 1)
    curve: Pixels = sums[kept - 1] / kept / (sums[-1] / ordered.size)
    return curve


def _area(curve: Pixels) -> float:
    steps = np.diff(REMOVED_SHARES)
    return float(((curve[1:] + curve[:-1]) / 2 * steps).sum())

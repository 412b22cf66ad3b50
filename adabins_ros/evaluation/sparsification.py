# SPDX-License-Identifier: Apache-2.0
"""Whether the pixels with the largest standard deviation are those with the largest errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REMOVED_SHARES = np.linspace(0, 0.95, 20)
"""Shares of the pixels that are left out, the least sure ones first."""
_LAST_KEPT = 1


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

    removed: NDArray[np.float64]
    abs_rel: NDArray[np.float64]
    abs_rel_oracle: NDArray[np.float64]
    rms: NDArray[np.float64]
    rms_oracle: NDArray[np.float64]

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

    def add(
        self,
        prediction: NDArray[np.float64],
        truth: NDArray[np.float64],
        std: NDArray[np.float64],
    ) -> SparsificationErrors:
        """
        Add one image and return its own curves.

        Parameters
        ----------
        prediction, truth, std : (P,) float64
            m; all finite, at least one.

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


def _curve(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of what is kept over the mean of all; the first ones are kept longest."""
    sums = np.cumsum(ordered)
    if sums[-1] <= 0:
        # Nothing is wrong, so nothing can be ordered better.
        return np.ones(REMOVED_SHARES.size)
    kept = np.maximum(np.rint((1 - REMOVED_SHARES) * ordered.size).astype(int), _LAST_KEPT)
    curve: NDArray[np.float64] = sums[kept - 1] / kept / (sums[-1] / ordered.size)
    return curve


def _area(curve: NDArray[np.float64]) -> float:
    steps = np.diff(REMOVED_SHARES)
    return float(((curve[1:] + curve[:-1]) / 2 * steps).sum())

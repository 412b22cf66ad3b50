# SPDX-License-Identifier: Apache-2.0
"""Errors by how far away things are."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

EDGES_M = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0, math.inf)


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
    abs_rel : float
        mean |p - y| / y.
    rms : float
        sqrt(mean (p - y)^2), m.
    d1 : float
        Share of pixels with max(y / p, p / y) below 1.25.
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

    def add(self, prediction: NDArray[np.float64], truth: NDArray[np.float64]) -> None:
        """
        Add pixels.

        Parameters
        ----------
        prediction, truth : (P,) float64
            Depth, m; all valid and positive.

        """
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
            found.append(
                RangeErrors(
                    EDGES_M[number],
                    EDGES_M[number + 1],
                    int(count),
                    float(count / pixels.sum()),
                    abs_rel,
                    math.sqrt(square),
                    d1,
                    bias,
                )
            )
        return found

# SPDX-License-Identifier: Apache-2.0
"""The factor on depth that a recording asks for, for the parameter `scale_factor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class ScaleFactor:
    """
    What multiplies depth so that half of it is too large and half too small.

    Attributes
    ----------
    factor : float
        Median over frames; NaN without any.
    spread : float
        Standard deviation of its logarithm over frames, from the median deviation: 0.1 is 10 %.

    """

    factor: float = math.nan
    spread: float = math.nan

    def lines(self, subject: str) -> list[str]:
        """Say it of a subject, with the line for the parameter file."""
        return [
            f'{subject}: a factor of {self.factor:.2f} on depth would be right; it varies by '
            f'{self.spread:.0%} over the frames. The line for the parameter file:',
            f'    scale_factor: {self.factor:.3f}',
        ]


def frame_factor(depth: NDArray[Any], truth: NDArray[Any]) -> float:
    """
    Return the factor of one frame.

    Parameters
    ----------
    depth, truth : (P,) float
        The network's and the true depth of the same pixels, m; what is not positive and finite
        does not count.

    Returns
    -------
    float
        exp of the median of log truth - log depth; NaN if nothing counts.

    """
    with np.errstate(all='ignore'):
        logs = np.log(truth.astype(np.float64)) - np.log(depth.astype(np.float64))
    logs = logs[np.isfinite(logs)]
    return math.exp(float(np.median(logs))) if logs.size else math.nan


def scale_factor(factors: Iterable[float]) -> ScaleFactor:
    """Return what the frames with these factors ask for together."""
    logs = np.log([factor for factor in factors if factor > 0])
    if not logs.size:
        return ScaleFactor()
    middle = float(np.median(logs))
    spread = _TO_SIGMA * float(np.median(np.abs(logs - middle)))
    return ScaleFactor(math.exp(middle), spread)

# SPDX-License-Identifier: Apache-2.0
"""What is known of the scale at one time, and how it changes a depth image."""

from __future__ import annotations

from dataclasses import dataclass
import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGE = 10_000
_TOGETHER = 40_000


@dataclass(frozen=True)
class ScaleFit:
    """
    The scale at one time: log d' = log(factor pivot) + exponent (log d - log pivot).

    Attributes
    ----------
    anchored : bool
        Whether a measurement that was taken in stands behind it; otherwise depth stays as the
        network says it (factor and exponent 1).
    factor : float
        d' / d at the pivot.
    pivot : float
        The depth of the network's, m, at which the scale is known best.
    exponent : float
    sigma : float
        Standard deviation of log d' at the pivot.
    sigma_exponent : float
        Standard deviation of the exponent.
    support : int
        Consistent points of the last measurement that was taken in.
    age_s : float
        Seconds from that measurement; infinite before the first.
    reason : str
        Why there is no scale, or why the last measurement was refused; '' if all is well.
    sources : tuple of str
        The measurements that stand behind the scale.

    """

    anchored: bool
    factor: float
    pivot: float
    exponent: float
    sigma: float
    sigma_exponent: float
    support: int
    age_s: float
    reason: str
    sources: tuple[str, ...] = ()

    def depth(self, depth: NDArray[np.floating]) -> NDArray[np.float32]:
        """
        Return the metric depth.

        Parameters
        ----------
        depth : (H, W) float
            The network's depth, m; any shape. NaN stays.

        Returns
        -------
        (H, W) float32
            m; the network's as it is where there is no scale.

        """
        depth = np.asarray(depth, np.float32)
        if not self.anchored:
            return depth
        tools, logs = _tools(depth), np.empty_like(depth)
        with np.errstate(all='ignore'):
            if self.exponent != 1:
                tools.log(depth, logs)
            return np.multiply(depth, self._ratio(tools, logs, logs), out=logs)

    def std(self, depth: NDArray[np.floating], std: NDArray[np.floating]) -> NDArray[np.float32]:
        """
        Return the standard deviation of the metric depth, the scale's own doubt in it.

        Parameters
        ----------
        depth, std : (H, W) float
            The network's depth and its standard deviation, m.

        Returns
        -------
        (H, W) float32
            m; the network's as it is where there is no scale.

        """
        return self.scaled(depth, std)[1]

    def scaled(
        self,
        depth: NDArray[np.floating],
        std: NDArray[np.floating],
        *,
        widen: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """
        Return what `depth` and `std` return, in less time than both.

        Parameters
        ----------
        depth, std : (H, W) float
            The network's, m.
        widen : bool
            Where there is no scale, let std tell the doubt about the depth as it is: it grows with
            the age of the last good scale.

        """
        depth, std = np.asarray(depth, np.float32), np.asarray(std, np.float32)
        if not (self.anchored or widen):
            return depth, std
        metric, spread = np.empty_like(depth), np.empty_like(std)
        # In parts that stay in the processor's cache between the steps.
        rows = max(1, _TOGETHER // max(1, math.prod(depth.shape[1:])))
        tools = _tools(depth)
        memory = np.empty((2, *depth[:rows].shape), np.float32)
        sigma = np.full_like(memory[0], self.sigma)
        with np.errstate(all='ignore'):
            for first in range(0, len(depth), rows):
                part = slice(first, first + rows)
                near, own = depth[part], std[part]
                logs, ratio = memory[:, : len(near)]
                tools.log(near, logs)
                ratio = self._ratio(tools, logs, ratio)
                logs -= math.log(self.pivot)
                logs *= self.sigma_exponent
                doubt = tools.magnitude(logs, sigma[: len(near)], logs)
                doubt *= near
                if self.exponent != 1:
                    own = own * np.float32(self.exponent)
                tools.magnitude(doubt, own, doubt)
                np.multiply(doubt, ratio, out=spread[part])
                np.multiply(near, ratio, out=metric[part])
        return metric, spread

    def _ratio(self, tools: Any, logs: NDArray[np.float32], out: NDArray[np.float32]) -> Any:
        """Return d' / d from log d: one number, or in the memory that is given."""
        power = self.exponent - 1
        if not power:
            return np.float32(self.factor)
        np.multiply(logs, power, out=out)
        out += math.log(self.factor) - power * math.log(self.pivot)
        return tools.exp(out, out)


class _Numpy:
    """What is used of OpenCV, by numpy."""

    log, exp, magnitude = np.log, np.exp, np.hypot


def _tools(values: NDArray[np.float32]) -> Any:
    """
    Return OpenCV for an image, where a program has loaded it; it needs a fifth of numpy's time.

    What it makes of NaN does not matter: the result is multiplied with the depth.
    """
    opencv = sys.modules.get('cv2')
    return opencv if opencv and values.ndim == 2 and values.size >= _LARGE else _Numpy

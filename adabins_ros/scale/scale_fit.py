# SPDX-License-Identifier: Apache-2.0
"""What is known of the scale at one time, and how it changes a depth image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        """Return the metric depth of the network's, m; see `scaled`."""
        depth = np.asarray(depth, np.float32)
        if not self.anchored:
            return depth
        if self.exponent == 1:
            return depth * np.float32(self.factor)
        with np.errstate(all='ignore'):
            return depth * self._ratio(self._logs(depth))

    def std(self, depth: NDArray[np.floating], std: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the standard deviation of the metric depth, m; see `scaled`."""
        return self.scaled(depth, std)[1]

    def scaled(
        self,
        depth: NDArray[np.floating],
        std: NDArray[np.floating],
        *,
        widen: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """
        Return the metric depth and its standard deviation, the scale's own doubt in it.

        Parameters
        ----------
        depth, std : (H, W) float
            The network's depth and its standard deviation, m; any shape. NaN stays.
        widen : bool
            Where there is no scale, let std tell the doubt about the depth as it is: it grows with
            the age of the last good scale.

        Returns
        -------
        depth, std : (H, W) float32
            m; the network's as they are where there is no scale, but for `widen`.

        """
        depth, std = np.asarray(depth, np.float32), np.asarray(std, np.float32)
        if not (self.anchored or widen):
            return depth, std
        with np.errstate(all='ignore'):
            logs = self._logs(depth)
            ratio = self._ratio(logs)
            of_scale = np.square(logs * np.float32(self.sigma_exponent))
            of_scale += np.float32(self.sigma**2)
            variance = of_scale * np.square(depth) + np.square(std * np.float32(self.exponent))
            return depth * ratio, np.sqrt(variance) * ratio

    def _logs(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return log(d / pivot); what it makes of a depth that is none does not matter."""
        return np.log(depth / np.float32(self.pivot))

    def _ratio(self, logs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return d' / d from log(d / pivot)."""
        return np.exp(logs * np.float32(self.exponent - 1)) * np.float32(self.factor)

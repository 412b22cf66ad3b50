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
        """
        Return the metric depth.

        Parameters
        ----------
        depth : (H, W) float
            The network's depth, m; any shape. NaN and infinities stay.

        Returns
        -------
        (H, W) float32
            m.

        """
        depth = np.asarray(depth, np.float32)
        if not self.anchored:
            return depth
        if self.exponent == 1:
            return depth * np.float32(self.factor)
        return self._ratio(depth) * depth

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
        return self.widened_std(depth, std) if self.anchored else np.asarray(std, np.float32)

    def widened_std(
        self, depth: NDArray[np.floating], std: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """
        Return what `std` does, without a scale too: then the doubt about the depth as it is.

        It grows with the age of the last good scale, and with the distance to the pivot.
        """
        depth, std = np.asarray(depth, np.float32), np.asarray(std, np.float32)
        with np.errstate(all='ignore'):
            ratio = self._ratio(depth)
            off = np.log(depth / np.float32(self.pivot)) * np.float32(self.sigma_exponent)
            variance = np.square(off, out=off)
            variance += np.float32(self.sigma**2)
            variance *= np.square(depth)
            slope = np.float32(self.exponent)
            variance += np.square(slope * std)
            return ratio * np.sqrt(variance, out=variance)

    def _ratio(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return d' / d."""
        with np.errstate(all='ignore'):
            power = np.float32(self.exponent - 1)
            scale = np.float32(self.factor * self.pivot ** (1 - self.exponent))
            return scale * np.power(depth, power)

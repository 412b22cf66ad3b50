# SPDX-License-Identifier: Apache-2.0
"""How much depth changes from one frame to the next where it should not."""

from __future__ import annotations

from dataclasses import dataclass
import math

from adabins_ros.evaluation.scale_factor import frame_factor
import numpy as np
from numpy.typing import NDArray

LARGEST_GAP_S = 0.5
_SAME_VIEW, _SHARE_OF_SAME_VIEW = 0.05, 0.5
_STILL, _SHARE_OF_STILL = 0.02, 0.05
RULE = (
    f'a frame follows another if it is at most {LARGEST_GAP_S:g} s later and half of the true '
    f'depths changed by less than {_SAME_VIEW:.0%}'
)


@dataclass(frozen=True)
class Change:
    """
    From the frame before to this one.

    Attributes
    ----------
    follows : bool
        Whether this one follows the other, as RULE says; unrelated places do not, whatever their
        stamps.
    scale : float
        |change of log(truth / depth)|, the median of all pixels; NaN if it does not follow.
    still : float
        Mean |change of log depth| where the truth changed by less than 2 %; NaN likewise, or where
        hardly a pixel is still.

    """

    follows: bool = False
    scale: float = math.nan
    still: float = math.nan


class Flicker:
    """Compare each frame of a recording with the one before, which is all that is kept."""

    def __init__(self) -> None:
        self._before: tuple[float, NDArray[np.float32], NDArray[np.float32]] | None = None

    def add(
        self, stamp_s: float, depth: NDArray[np.float32], truth: NDArray[np.float32]
    ) -> Change:
        """
        Add a frame.

        Parameters
        ----------
        stamp_s : float
            s.
        depth, truth : (H, W) float32
            m; truth 0 where unknown.

        """
        before, self._before = self._before, (stamp_s, depth, truth)
        if before is None:
            return Change()
        earlier_s, depth_before, truth_before = before
        if not 0 < stamp_s - earlier_s <= LARGEST_GAP_S or truth.shape != truth_before.shape:
            return Change()
        known, known_before = truth > 0, truth_before > 0
        both = known & known_before
        moved = np.abs(np.log(truth[both] / truth_before[both]))
        if not moved.size or (moved < _SAME_VIEW).mean() < _SHARE_OF_SAME_VIEW:
            return Change()
        factor = frame_factor(depth[known], truth[known])
        factor_before = frame_factor(depth_before[known_before], truth_before[known_before])
        scale = abs(math.log(factor) - math.log(factor_before))
        still = moved < _STILL
        if still.mean() < _SHARE_OF_STILL:
            return Change(True, scale)
        ratio = depth[both][still] / depth_before[both][still]
        return Change(True, scale, float(np.mean(np.abs(np.log(ratio)))))

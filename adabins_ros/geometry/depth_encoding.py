# SPDX-License-Identifier: Apache-2.0
"""Depth as ROS's depth images say it (REP 117, REP 118)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FARTHEST_MM = 65535
"""The largest depth that the encoding 16UC1 can say, millimetres."""
END_SHARE = 0.01
"""How near to an end of the model's range depth says no more than 'out of range'."""


def mark_range(
    depth: NDArray[np.float32],
    nearest: float,
    farthest: float,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """
    Mark what lies out of range as REP 117 says: -Inf too near, +Inf too far, NaN unknown.

    Parameters
    ----------
    depth : (H, W) float32
        Metres.
    nearest, farthest : float
        Depth that still counts as in range, metres.
    out : (H, W) float32, optional
        Array to write into.

    Returns
    -------
    (H, W) float32

    """
    marked = np.empty_like(depth) if out is None else out
    np.copyto(marked, depth)
    # Most images have nothing to mark, which their extremes tell at once, unless one is NaN.
    if not depth.max() <= farthest:
        np.copyto(marked, np.float32(np.inf), where=depth > farthest)
    if not depth.min() >= nearest:
        np.copyto(marked, np.float32(-np.inf), where=depth < nearest)
    return marked


def millimetres(depth: NDArray[Any]) -> NDArray[np.uint16]:
    """
    Return depth in the encoding 16UC1 of REP 118; the one rule of all that writes it.

    Parameters
    ----------
    depth : (H, W) float
        Metres; NaN, infinities (REP 117), zero and negative depth are unknown.

    Returns
    -------
    (H, W) uint16
        Millimetres, rounded; 0 for what is unknown, and for what is farther than the encoding can
        say (65.535 m): a number there would be a wrong depth.

    """
    scaled = depth * np.float32(1000)
    np.rint(scaled, out=scaled)
    # A comparison with NaN is false.
    with np.errstate(invalid='ignore'):
        known = (scaled > 0) & (scaled <= FARTHEST_MM)
    scaled[~known] = 0
    return scaled.astype(np.uint16)


def range_to_show(
    min_depth: float, max_depth: float, nearest: float, farthest: float
) -> tuple[float, float]:
    """
    Return between which depths a published depth counts as in range (REP 117).

    A model never says more than its farthest depth, nor less than its nearest: what lies within
    1 % of an end is there because the model has no word for what is beyond. A tighter limit is
    kept.

    Parameters
    ----------
    min_depth, max_depth : float
        What the user asked for, metres; 0: as far as the model goes.
    nearest, farthest : float
        The ends of the model for this camera, metres.

    Returns
    -------
    (float, float)
        For `mark_range`, metres.

    """
    least, most = nearest * (1 + END_SHARE), farthest * (1 - END_SHARE)
    return max(min_depth, least), min(max_depth, most) if max_depth > 0 else most

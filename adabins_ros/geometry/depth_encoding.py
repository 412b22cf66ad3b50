# SPDX-License-Identifier: Apache-2.0
"""Depth as ROS's depth images say it (REP 117, REP 118)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FARTHEST_MM = 65535
"""The largest depth that the encoding 16UC1 can say, millimetres."""


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
    if farthest < np.inf:
        np.copyto(marked, np.float32(np.inf), where=depth > farthest)
    if nearest > 0:
        np.copyto(marked, np.float32(-np.inf), where=depth < nearest)
    return marked


def millimetres(marked: NDArray[np.float32]) -> NDArray[np.uint16]:
    """
    Return depth in the encoding 16UC1 of REP 118.

    Parameters
    ----------
    marked : (H, W) float32
        Metres, NaN and infinities as in REP 117.

    Returns
    -------
    (H, W) uint16
        Millimetres, rounded; 0 for what is unknown or out of range; 65535 for what is farther
        than the encoding can say (it is free at least up to there).

    """
    scaled = marked * np.float32(1000)
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, FARTHEST_MM, out=scaled)
    scaled[~np.isfinite(marked)] = 0
    return scaled.astype(np.uint16)

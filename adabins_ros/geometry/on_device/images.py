# SPDX-License-Identifier: Apache-2.0
"""Depth as the pixels of published images; `depth_encoding` and `colors` for tensors."""

from __future__ import annotations

from functools import lru_cache

from adabins_ros.geometry.colors import (
    DEPTH_COLORS,
    entries_per_metre,
    FIRST_ENTRY,
    LAST_ENTRY,
    UNKNOWN_ENTRY,
)
from adabins_ros.geometry.depth_encoding import FARTHEST_MM
import numpy as np
import torch


def mark_range(depth: torch.Tensor, nearest: float, farthest: float) -> torch.Tensor:
    """
    Mark what lies out of range as REP 117 says: -Inf too near, +Inf too far, NaN unknown.

    Parameters
    ----------
    depth : (H, W) float32
        Metres.
    nearest, farthest : float
        Depth that still counts as in range, metres.

    """
    marked = depth
    if farthest < np.inf:
        marked = marked.masked_fill(marked > float(np.float32(farthest)), torch.inf)
    if nearest > 0:
        marked = marked.masked_fill(marked < float(np.float32(nearest)), -torch.inf)
    return marked


def millimetres(marked: torch.Tensor) -> torch.Tensor:
    """
    Return depth in the encoding 16UC1 of REP 118.

    Parameters
    ----------
    marked : (H, W) float32
        Metres, NaN and infinities as in REP 117.

    Returns
    -------
    (H, W) int16
        The bits of uint16, which torch hardly knows: millimetres, rounded; 0 for what is unknown
        or out of range; 65535 for what is farther than the encoding can say.

    """
    scaled = (marked * 1000).round().clamp(0, FARTHEST_MM)
    return scaled.masked_fill(~marked.isfinite(), 0).to(torch.int32).to(torch.int16)


def depth_colors(depth: torch.Tensor, min_depth: float, max_depth: float) -> torch.Tensor:
    """
    Colour a depth image: near is warm, far is cold, unknown is dark grey.

    Parameters
    ----------
    depth : (H, W) float32
        Depth, m; infinities as in REP 117, NaN unknown.
    min_depth, max_depth : float
        The ends of the colour scale, m, which is linear in between.

    Returns
    -------
    (H, W, 3) uint8
        RGB.

    Raises
    ------
    ValueError
        If max_depth is not above min_depth.

    """
    per_metre = float(np.float32(entries_per_metre(min_depth, max_depth)))
    entries = (depth - float(np.float32(min_depth))) * per_metre + (FIRST_ENTRY + 0.5)
    entries = entries.clamp(FIRST_ENTRY, LAST_ENTRY).masked_fill(depth.isnan(), UNKNOWN_ENTRY)
    return _table_on(depth.device)[entries.to(torch.int64)]


@lru_cache(maxsize=4)
def _table_on(device: torch.device) -> torch.Tensor:
    return torch.tensor(DEPTH_COLORS[:, 0]).to(device)

# SPDX-License-Identifier: Apache-2.0
"""Colours for depth and for its uncertainty; fast enough for every frame of a node."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

UNKNOWN_COLOR = (64, 64, 64)
UNKNOWN_ENTRY = 0
FIRST_ENTRY = 1
LAST_ENTRY = 255


def _color_table(positions: NDArray[np.int64], colormap: int) -> NDArray[np.uint8]:
    """Return (256, 1, 3) RGB: grey for unknown, then 255 samples of OpenCV's colour map."""
    bgr = cv2.applyColorMap(positions.astype(np.uint8)[:, np.newaxis], colormap)
    table = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
    table[UNKNOWN_ENTRY] = UNKNOWN_COLOR
    table.flags.writeable = False
    return table


# One table entry for unknown values in front of 255 colours, in RGB, (256, 1, 3).
# Near is red and far is blue; certain is dark violet and uncertain is yellow.
DEPTH_COLORS = _color_table(np.arange(256)[::-1], cv2.COLORMAP_TURBO)
STD_COLORS = _color_table(np.arange(256), cv2.COLORMAP_VIRIDIS)


def depth_colors(
    depth: NDArray[Any],
    min_depth: float,
    max_depth: float,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """
    Colour a depth image: near is warm, far is cold, unknown is dark grey.

    Parameters
    ----------
    depth : (H, W) float
        Depth, m. Infinity is farther than `max_depth`, -infinity nearer than `min_depth`
        (REP 117), NaN unknown.
    min_depth, max_depth : float
        The ends of the colour scale, m, which is linear in between.
    out : (H, W, 3) uint8, optional
        C-contiguous array to write into, so that a stream of frames needs no new memory.

    Returns
    -------
    (H, W, 3) uint8
        RGB.

    Raises
    ------
    ValueError
        If max_depth is not above min_depth.

    """
    return _colored(depth, min_depth, max_depth, DEPTH_COLORS, out)


def std_colors(std: NDArray[Any], max_std: float) -> NDArray[np.uint8]:
    """
    Colour a standard deviation: 0 is dark, `max_std` is bright yellow, unknown is dark grey.

    Parameters
    ----------
    std : (H, W) float
        One standard deviation, m; NaN unknown.
    max_std : float
        The upper end of the colour scale, m.

    Returns
    -------
    (H, W, 3) uint8
        RGB.

    Raises
    ------
    ValueError
        If max_std is not positive.

    """
    return _colored(std, 0.0, max_std, STD_COLORS)


def _colored(
    values: NDArray[Any],
    lowest: float,
    highest: float,
    table: NDArray[np.uint8],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Look the values up in the table, linearly between the lowest and the highest."""
    if not lowest < highest:
        raise ValueError(
            f'colour scale {lowest:g}..{highest:g} m: its end must be above its start'
        )
    entries = np.subtract(values, lowest, dtype=np.float32)
    entries *= np.float32((LAST_ENTRY - FIRST_ENTRY) / (highest - lowest))
    entries += np.float32(FIRST_ENTRY + 0.5)
    np.clip(entries, FIRST_ENTRY, LAST_ENTRY, out=entries)
    np.copyto(entries, UNKNOWN_ENTRY, where=np.isnan(entries))
    return np.asarray(cv2.applyColorMap(entries.astype(np.uint8), table, out), np.uint8)

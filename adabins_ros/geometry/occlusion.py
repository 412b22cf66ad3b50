# SPDX-License-Identifier: Apache-2.0
"""Which points a camera sees, where a sensor beside it also sees what lies behind."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Noise and the slant of one surface stay below this between neighbours on opposite sides.
AROUND_RATIO = 1.1
# An edge, in any direction: a floor at grazing angle rises less from one pixel to the next.
EDGE_RATIO = 1.5
# Points that stand so many mean distances apart still belong to one surface: the rings of a lidar
# lie wider apart than the points on a ring.
SPACINGS = 4
_SMALLEST_WINDOW = 2
_QUADRANTS_IN_FRONT = 3


def visible(
    pixels: NDArray[Any],
    depth: NDArray[Any],
    shape: tuple[int, int],
    window: int | None = None,
) -> NDArray[np.bool_]:
    """
    Tell which projected points lie behind no nearer surface.

    A lidar above a camera sees over an obstacle, and the points of the wall behind fall between
    those on the obstacle. A point is hidden if nearer ones lie around it (in at least three of the
    four quadrants of a window), or if one within half the window is nearer by a third: there is an
    edge, and on which side the point lies can't be told. The nearer points of a floor or a wall
    at grazing angle all lie on one side, so that those surfaces stay.

    Parameters
    ----------
    pixels : (N, 2) float
        Column and row, px, as `project` returns them; NaN is nowhere.
    depth : (N,) float
        m.
    shape : (int, int)
        Height and width of the image, px.
    window : int, optional
        How far a surface's points may lie apart, px; by default four times the mean distance of
        the points inside.

    Returns
    -------
    (N,) bool
        False also for points outside of the image.

    """
    buffer = nearest_depth(pixels, depth, shape)
    rows, columns, inside = _places(pixels, shape)
    found = int(np.count_nonzero(buffer))
    if not found:
        return inside
    if window is None:
        window = math.ceil(SPACINGS * math.sqrt(buffer.size / found))
    window = int(np.clip(window, _SMALLEST_WINDOW, max(shape)))
    buffer[buffer == 0] = np.inf
    own = np.asarray(depth, np.float32)[inside]
    at = rows[inside], columns[inside]
    square = np.ones((window + 1, window + 1), np.uint8)
    in_front = np.zeros(own.size, np.int8)
    for anchor in ((0, 0), (0, window), (window, 0), (window, window)):
        in_front += cv2.erode(buffer, square, anchor=anchor)[at] * AROUND_RATIO < own
    half = np.ones((window // 2 * 2 + 1,) * 2, np.uint8)
    at_edge = cv2.erode(buffer, half)[at] * EDGE_RATIO <= own
    result = inside.copy()
    result[inside] = (in_front < _QUADRANTS_IN_FRONT) & ~at_edge
    return result


def nearest_depth(
    pixels: NDArray[Any], depth: NDArray[Any], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """
    Return the image with the nearest depth at each pixel (a z-buffer).

    Parameters
    ----------
    pixels : (N, 2) float
        Column and row, px; NaN and what lies outside of the image are left out.
    depth : (N,) float
        m.
    shape : (int, int)
        Height and width, px.

    Returns
    -------
    (H, W) float32
        m; 0 where no point is.

    """
    rows, columns, inside = _places(pixels, shape)
    image = np.full(shape, np.inf, np.float32)
    np.minimum.at(image, (rows[inside], columns[inside]), np.asarray(depth, np.float32)[inside])
    image[np.isinf(image)] = 0
    return image


def _places(
    pixels: NDArray[Any], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the whole row and column of each point, and which lie within the image."""
    # np.rint would send all halves to even pixels.
    whole = np.floor(np.asarray(pixels) + 0.5)
    with np.errstate(invalid='ignore'):
        inside = np.all((whole >= 0) & (whole < (shape[1], shape[0])), axis=-1)
    places = np.where(inside[:, None], whole, 0).astype(np.int64)
    return places[:, 1], places[:, 0], inside

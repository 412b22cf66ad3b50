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
# A window is a little more than the distance of a lidar's rings, and no more than a share of the
# image: what lies farther apart is no surface.
_WINDOW_PER_SPACING = 1.2
_SMALLEST_WINDOW = 2
_SIZE_PER_WINDOW = 16
_COLUMNS_TOGETHER = 3


def visible(
    pixels: NDArray[Any],
    depth: NDArray[Any],
    shape: tuple[int, int],
    window: int | None = None,
) -> NDArray[np.bool_]:
    """
    Tell which projected points lie behind no nearer surface.

    A lidar above a camera sees over an obstacle, and the points of the wall behind fall between
    those on the obstacle. A point is hidden if nearer ones lie around it (in all four
    quadrants of a window), or if one within half the window is nearer by a third: there is an
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
        How far a surface's points may lie apart, px; by default a little more than they mostly
        do from row to row.

    Returns
    -------
    (N,) bool
        False also for points outside of the image.

    """
    rows, columns, inside = _places(pixels, shape)
    if not inside.any():
        return inside
    if window is None:
        window = _window(rows, columns, shape)
    own = np.asarray(depth, np.float32)[inside]
    at = rows * shape[1] + columns
    buffer = nearest_by_place(at, own, shape[0] * shape[1]).reshape(shape)
    square = np.ones((window + 1, window + 1), np.uint8)
    surrounded = np.ones(own.size, np.bool_)
    for anchor in ((0, 0), (0, window), (window, 0), (window, window)):
        surrounded &= cv2.erode(buffer, square, anchor=anchor).ravel()[at] * AROUND_RATIO < own
    half = np.ones((window // 2 * 2 + 1,) * 2, np.uint8)
    at_edge = cv2.erode(buffer, half).ravel()[at] * EDGE_RATIO <= own
    result = inside.copy()
    result[inside] = ~(surrounded | at_edge)
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
    at = rows * shape[1] + columns
    image = nearest_by_place(at, np.asarray(depth, np.float32)[inside], shape[0] * shape[1])
    image[np.isinf(image)] = 0
    return image.reshape(shape)


def nearest_by_place(
    places: NDArray[np.int64], distances: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Return the least distance at each of so many places; infinite where there is none."""
    # With one index numpy needs a tenth of the time that it needs with rows and columns.
    nearest = np.full(count, np.inf, np.float32)
    np.minimum.at(nearest, places, distances)
    return nearest


def _window(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> int:
    """Return a little more than the usual distance of points above each other, px."""
    # In one number, strips farther apart than rows can be.
    places = np.sort(columns // _COLUMNS_TOGETHER * (3 * shape[0]) + rows)
    apart = np.diff(places)
    apart = apart[(apart > 1) & (apart < shape[0])]
    spacing = float(np.median(apart)) if apart.size else 1.0
    largest = max(_SMALLEST_WINDOW, max(shape) // _SIZE_PER_WINDOW)
    return min(max(_SMALLEST_WINDOW, math.ceil(_WINDOW_PER_SPACING * spacing) + 1), largest)


def _places(
    pixels: NDArray[Any], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the whole rows and columns of the points within the image, and which those are."""
    # np.rint would send all halves to even pixels.
    columns, rows = np.floor(np.asarray(pixels).T + 0.5)
    with np.errstate(invalid='ignore'):
        inside = (columns >= 0) & (columns < shape[1]) & (rows >= 0) & (rows < shape[0])
    return rows[inside].astype(np.int64), columns[inside].astype(np.int64), inside

# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a depth image become points."""

from __future__ import annotations

import math
import threading

import cv2
import numpy as np
from numpy.typing import NDArray

# A network's edges are as wide as its output's pixels, whatever the camera's size. So edges are
# looked for at no less than WORKING_SIZE px (the halves of a preset's input) and less than twice
# that, in neighbourhoods that grow with the image: 3x3 px up to 320 px, and a ramp counts as an
# edge up to a thirtieth of the image's longer side.
WORKING_SIZE = 320
SIZE_PER_RADIUS = 320
SIZE_PER_RAMP_RADIUS = 64
SMALLEST_RAMP_RADIUS = 3

UNKNOWN_STEP = np.float32(1e30)
_thread = threading.local()


def valid_points(
    depth: NDArray[np.float32],
    std: NDArray[np.float32] | None,
    *,
    min_depth: float,
    max_depth: float,
    max_std_ratio: float | None = None,
    edge_ratio: float | None = None,
    stride: int = 1,
) -> NDArray[np.bool_]:
    """
    Tell which depths can be trusted as points.

    Parameters
    ----------
    depth : (H, W) float32
        Depth, m; NaN, infinite, zero and negative depths are never valid.
    std : (H, W) float32 or None
        One standard deviation of the depth, m; NaN is unknown and not gated.
    min_depth, max_depth : float
        Range of valid depths, both ends included, m.
    max_std_ratio : float, optional
        Largest std / depth. 0, infinity and None switch the gate off.
    edge_ratio : float, optional
        Largest relative step of depth to the neighbours on both sides, beyond what the slant of
        the surface explains; see `flying_pixels`. 0.05 removes nine in ten of the
        pixels that a smooth edge leaves behind. 0, infinity and None switch the gate off.
    stride : int
        Tell it of the pixels 0, stride, 2 stride, .. of rows and columns. Their neighbours for the
        edges are those of the whole image.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) bool

    Raises
    ------
    ValueError
        If std has another shape than depth.

    """
    # Copied once: what lies apart in memory takes longer to look at than to copy.
    taken = np.ascontiguousarray(depth[::stride, ::stride])
    valid = taken >= np.float32(min_depth)
    valid &= taken <= np.float32(min(max_depth, np.finfo(np.float32).max))
    if min_depth <= 0:
        valid &= taken > 0
    if std is not None and is_on(max_std_ratio):
        if std.shape != depth.shape:
            raise ValueError(f'std of shape {std.shape} for depth of shape {depth.shape}')
        unsure = std[::stride, ::stride] > taken * np.float32(max_std_ratio)
        valid &= np.logical_not(unsure, out=unsure)
    if is_on(edge_ratio):
        valid &= ~flying_pixels(depth, float(edge_ratio or 0), stride)
    return valid


def flying_pixels(
    depth: NDArray[np.float32], edge_ratio: float, stride: int = 1
) -> NDArray[np.bool_]:
    """
    Find pixels that hang in the air between a near and a far surface.

    A smooth edge leaves depths between its two surfaces. Such a pixel has a nearer neighbour on
    one side and a farther one on the other, but so has every pixel of a floor at grazing angle.
    The inverse depth of a plane is affine in the pixel, so that its step is the same all over the
    plane, and only across an edge a narrow ridge of steps rises: the ridge is kept by a white
    top-hat transform, which removes everything wider than an edge can be.

    Parameters
    ----------
    depth : (H, W) float32
        Depth, m. Infinity is far away; NaN, zero and negative depths are unknown and no neighbour.
    edge_ratio : float
        Step of the inverse depth to the neighbours on both sides, relative to the pixel's own
        inverse depth and above the surface's, from which on a pixel is said to fly.
    stride : int
        Tell it of the pixels 0, stride, 2 stride, .. of rows and columns.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) bool

    """
    # Of so many rows and columns one is looked at, a power of two.
    reduction = 1 << max(0, (max(depth.shape) // WORKING_SIZE).bit_length() - 1)
    flying = _flying(np.ascontiguousarray(depth[::reduction, ::reduction]), edge_ratio)
    if stride % reduction:
        # Each looked-at pixel speaks for those up to the next one.
        rows, columns = (np.arange(0, side, stride) // reduction for side in depth.shape)
        return flying.take(columns, axis=1).take(rows, axis=0)
    return flying[:: stride // reduction, :: stride // reduction]


def _flying(depth: NDArray[np.float32], edge_ratio: float) -> NDArray[np.bool_]:
    size = max(depth.shape)
    neighbours = _square(max(1, round(size / SIZE_PER_RADIUS)))
    wider_than_edges = _square(max(SMALLEST_RAMP_RADIUS, round(size / SIZE_PER_RAMP_RADIUS)))
    inverse, nearest, farthest = _work_arrays(depth.shape)
    with np.errstate(all='ignore'):
        unknown = np.flatnonzero(~(depth > 0))
        np.reciprocal(depth, out=inverse)
        inverse.put(unknown, 0)
        cv2.dilate(inverse, neighbours, nearest)
        inverse.put(unknown, UNKNOWN_STEP)
        cv2.erode(inverse, neighbours, farthest)
        np.subtract(nearest, inverse, out=nearest)
        np.subtract(inverse, farthest, out=farthest)
        step = np.minimum(nearest, farthest, out=nearest)
        step.put(unknown, UNKNOWN_STEP)
        level = cv2.erode(step, wider_than_edges, inverse)
        surface = cv2.dilate(level, wider_than_edges, farthest)
        ridge = np.subtract(step, surface, out=step)
        ridge *= depth
        return ridge > edge_ratio


def _work_arrays(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return this thread's three float32 planes: new memory for each frame costs more than use."""
    planes: NDArray[np.float32] | None = getattr(_thread, 'planes', None)
    if planes is None or planes.shape[1:] != shape:
        planes = np.empty((3, *shape), np.float32)
        _thread.planes = planes
    return planes


def is_on(ratio: float | None) -> bool:
    """Tell whether a gate's ratio switches it on."""
    return ratio is not None and 0 < ratio < math.inf


def _square(radius: int) -> NDArray[np.uint8]:
    """Return the square structuring element of 2 radius + 1 px."""
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""Depth of one camera as another camera beside it sees it, with occlusion."""

from __future__ import annotations

import math

from adabins_ros.datasets.lidar import nearest_depth, NEAREST_M, project
from adabins_ros.geometry.back_projection import back_project
from adabins_ros.geometry.camera import EQUIDISTANT, PinholeCamera
import cv2
import numpy as np
from numpy.typing import NDArray

# What lies so much deeper than its neighbourhood shows through a gap of the surface in front.
_GAP_RATIO = 1.05
_GAP_WINDOW = 5
_LARGEST_SPLAT = 4
_FAR = np.float32(1e9)


def reproject_depth(
    depth: NDArray[np.float32],
    source: PinholeCamera,
    target: PinholeCamera,
    target_from_source: NDArray[np.float64],
) -> NDArray[np.float32]:
    """
    Turn a depth image into that of another camera.

    Each pixel becomes a point, moves into the target's optical frame and covers as many pixels
    there as the ratio of the focal lengths asks for; the nearest one stays (a z-buffer). What
    would be seen only through the gaps that are left in a surface is removed.

    Parameters
    ----------
    depth : (H, W) float32
        Metres along z, NaN or 0 unknown, of the source camera.
    source, target : PinholeCamera
        The source at the size of the image; a distorted one is rectified point by point.
    target_from_source : (4, 4) float64
        Turns points of the source's optical frame into the target's.

    Returns
    -------
    (target.height, target.width) float32
        Metres along the target's z, 0 unknown.

    """
    points = _points(depth, source)
    rotation = target_from_source[:3, :3].astype(np.float32)
    points = points @ rotation.T + target_from_source[:3, 3].astype(np.float32)
    columns, rows, points = project(points[points[:, 2] > NEAREST_M], target)
    size = (target.height, target.width)
    splat = min(math.ceil(max(target.fx / source.fx, abs(target.fy / source.fy))), _LARGEST_SPLAT)
    # A step on a turned grid falls twice on one pixel and then on none.
    offsets = (np.arange(splat + 1) / splat - 0.5) * _spread(splat)
    image = np.full(size, np.inf, np.float32)
    for row in offsets:
        for column in offsets:
            layer = nearest_depth(rows + row, columns + column, points[:, 2], size)
            np.minimum(image, np.where(layer > 0, layer, np.inf), out=image)
    image[np.isinf(image)] = 0
    return _without_gaps(image)


def _spread(splat: int) -> float:
    """Return how far apart, px, the outer of splat + 1 copies of a point lie."""
    return 0.5 if splat == 1 else splat * splat / (splat + 1)


def _points(depth: NDArray[np.float32], camera: PinholeCamera) -> NDArray[np.float32]:
    """Return the known points in the camera's optical frame, (N, 3)."""
    with np.errstate(invalid='ignore'):
        known = np.isfinite(depth) & (depth > 0)
    if not camera.is_distorted:
        points: NDArray[np.float32] = back_project(depth, camera)[known]
        return points
    rows, columns = np.nonzero(known)
    pixels = np.stack([columns, rows], -1).astype(np.float64)[:, None]
    coefficients = np.array(camera.distortion, np.float64)
    if camera.distortion_model == EQUIDISTANT:
        four = np.resize(coefficients if coefficients.size else np.zeros(4), 4)
        rays = cv2.fisheye.undistortPoints(pixels, camera.matrix, four).reshape(-1, 2)
    else:
        rays = cv2.undistortPoints(pixels, camera.matrix, coefficients).reshape(-1, 2)
    distance = depth[known]
    return np.stack([rays[:, 0] * distance, rays[:, 1] * distance, distance], -1).astype(
        np.float32
    )


def _without_gaps(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove pixels that are much deeper than many of their neighbours on all sides."""
    known = depth > 0
    near = np.where(known, depth, _FAR)
    kernel = np.ones((_GAP_WINDOW, _GAP_WINDOW), np.uint8)
    front = cv2.erode(near, kernel)
    suspects = known & (depth > front * _GAP_RATIO)
    if not suspects.any():
        return depth
    # Nearer surface to the left and right, or above and below: an edge has it on one side only.
    half = _GAP_WINDOW // 2
    across = _between(near, np.ones((1, half), np.uint8), depth)
    down = _between(near, np.ones((half, 1), np.uint8), depth)
    return np.where(suspects & across & down, np.float32(0), depth)


def _between(
    near: NDArray[np.float32], kernel: NDArray[np.uint8], depth: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Tell where something nearer lies on both sides along the kernel's direction."""
    tall, wide = kernel.shape
    before = cv2.erode(near, kernel, anchor=(wide - 1, tall - 1))
    after = cv2.erode(near, kernel, anchor=(0, 0))
    limit = depth / _GAP_RATIO
    sides: NDArray[np.bool_] = (before < limit) & (after < limit)
    return sides

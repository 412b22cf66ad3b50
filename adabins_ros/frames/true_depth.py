# SPDX-License-Identifier: Apache-2.0
"""
Which depth is true for a colour image: aligned, of a camera beside, or of a lidar.

Everything ends as (height, width) float32 of the colour camera, metres along z, 0 unknown.
"""

from __future__ import annotations

import math
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera, same_shape
from adabins_ros.geometry.occlusion import nearest_depth, visible
from adabins_ros.geometry.projection import project, rays
from adabins_ros.messages import MessageError
import cv2
import numpy as np
from numpy.typing import NDArray

Depth = NDArray[np.float32]

_LARGEST_SPLAT = 4
# How far apart, px, the points of a surface may lie after they were spread.
_GAP_WINDOW = 4


def aligned_depth(depth: Depth, size: tuple[int, int]) -> Depth:
    """
    Return depth whose pixels lie on those of the colour image, at the colour image's size.

    Parameters
    ----------
    depth : (h, w) float32
        Metres; NaN, infinities, 0 and less count as unknown. May be written to.
    size : (int, int)
        Height and width of the colour image, px.

    Raises
    ------
    MessageError
        Cause 'shape': the two have another ratio of sides, so they can't be aligned.

    """
    known = _known(depth)
    if known.shape == size:
        return known
    if not same_shape(known.shape, size):
        raise MessageError(
            'shape',
            f'depth of {known.shape[1]}x{known.shape[0]} does not lie on the pixels of an image '
            f'of {size[1]}x{size[0]}',
        )
    return np.asarray(cv2.resize(known, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def reprojected_depth(
    depth: Depth,
    source: PinholeCamera,
    target: PinholeCamera,
    target_from_source: NDArray[np.float64],
) -> Depth:
    """
    Turn a depth image into that of another camera.

    Each pixel becomes a point, moves into the target's optical frame and covers as many pixels
    there as the ratio of the focal lengths asks for; the nearest one stays (a z-buffer), and what
    shows through the gaps of a nearer surface is removed.

    Parameters
    ----------
    depth : (H, W) float32
        Metres along z, NaN or 0 unknown, of the source camera.
    source, target : PinholeCamera
        The source at the size of the image; distortion of both is taken into account.
    target_from_source : (4, 4) float64
        Turns points of the source's optical frame into the target's.

    Returns
    -------
    (target.height, target.width) float32
        Metres along the target's z, 0 unknown.

    Raises
    ------
    CameraError
        Cause 'distortion': a lens model that is not known.

    """
    with np.errstate(invalid='ignore'):
        known = np.isfinite(depth) & (depth > 0)
    slopes, distance = rays(source)[known], depth[known]
    points = np.column_stack([slopes * distance[:, None], distance])
    pixels, z, _ = project(_moved(points, target_from_source), target)
    size = (target.height, target.width)
    splat = min(math.ceil(max(target.fx / source.fx, abs(target.fy / source.fy))), _LARGEST_SPLAT)
    # A step on a turned grid falls twice on one pixel and then on none.
    spread = 0.5 if splat == 1 else splat * splat / (splat + 1)
    offsets = (np.arange(splat + 1) / splat - 0.5) * spread
    image = np.full(size, np.inf, np.float32)
    for row in offsets:
        for column in offsets:
            layer = nearest_depth(pixels + np.array([column, row], np.float32), z, size)
            np.minimum(image, np.where(layer > 0, layer, np.inf), out=image)
    image[np.isinf(image)] = 0
    rows, columns = np.nonzero(image)
    places = np.column_stack([columns, rows])
    seen = visible(places, image[rows, columns], size, _GAP_WINDOW * max(splat, 1))
    image[rows[~seen], columns[~seen]] = 0
    return image


def lidar_depth(
    points: NDArray[Any], camera: PinholeCamera, camera_from_points: NDArray[np.float64]
) -> Depth:
    """
    Project points into a camera; the nearest on a pixel counts, and those it hides are removed.

    Parameters
    ----------
    points : (N, 3) float
        Metres.
    camera : PinholeCamera
        Its distortion is applied.
    camera_from_points : (4, 4) float64
        Turns the points into the camera's optical frame (z forward).

    Returns
    -------
    (height, width) float32
        Depth along z, m; 0 unknown. Points behind the camera are left out.

    Raises
    ------
    CameraError
        Cause 'distortion': a lens model that is not known.

    """
    size = (camera.height, camera.width)
    pixels, z, _ = project(_moved(points, camera_from_points), camera)
    seen = visible(pixels, z, size)
    return nearest_depth(pixels[seen], z[seen], size)


def cloud_points(cloud: NDArray[Any]) -> NDArray[np.float32]:
    """
    Return the finite points of a structured cloud with fields x, y and z.

    Returns
    -------
    (N, 3) float32
        Metres, in the cloud's frame.

    Raises
    ------
    MessageError
        Cause 'fields': x, y or z is missing.

    """
    names = cloud.dtype.names or ()
    if not {'x', 'y', 'z'} <= set(names):
        raise MessageError('fields', f'cloud has the fields {", ".join(names)}, not x, y and z')
    points = np.stack([cloud[name].reshape(-1) for name in ('x', 'y', 'z')], -1)
    points = points.astype(np.float32, copy=False)
    finite: NDArray[np.float32] = points[np.isfinite(points).all(-1)]
    return finite


def _known(depth: Depth) -> Depth:
    """Return depth with 0 for NaN, infinities and what lies behind the camera."""
    if not depth.flags.writeable:
        depth = depth.copy()
    cv2.patchNaNs(depth, 0)
    # After NaNs are gone two comparisons find what else is unusable.
    if depth.size and not (depth.min() >= 0 and depth.max() < np.inf):
        depth[~((depth > 0) & (depth < np.inf))] = 0
    return depth


def _moved(points: NDArray[Any], target_from_points: NDArray[np.float64]) -> NDArray[np.float32]:
    rotation = target_from_points[:3, :3].astype(np.float32)
    return points @ rotation.T + target_from_points[:3, 3].astype(np.float32)

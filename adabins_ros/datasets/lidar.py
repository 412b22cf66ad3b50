# SPDX-License-Identifier: Apache-2.0
"""Points of a lidar as the sparse depth image of a camera."""

from __future__ import annotations

from typing import Any

from adabins_ros.geometry.camera import EQUIDISTANT, PinholeCamera
from adabins_ros.messages import MessageError
import cv2
import numpy as np
from numpy.typing import NDArray

# A point nearer than this is the robot itself, or noise.
NEAREST_M = 0.05
# Lens models are fitted within the image; far outside they may fold points back into it.
_MARGIN = 0.3


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


def project_points(
    points: NDArray[Any], camera: PinholeCamera, camera_from_points: NDArray[np.float64]
) -> NDArray[np.float32]:
    """
    Project points into a camera; of those on one pixel the nearest counts.

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

    """
    rotation = camera_from_points[:3, :3].astype(np.float32)
    inside = points @ rotation.T + camera_from_points[:3, 3].astype(np.float32)
    inside = inside[inside[:, 2] > NEAREST_M]
    columns, rows, inside = project(inside, camera)
    return nearest_depth(rows, columns, inside[:, 2], (camera.height, camera.width))


def project(
    points: NDArray[np.float32], camera: PinholeCamera
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return columns, rows (px) and the points of the optical frame near the image."""
    columns = points[:, 0] / points[:, 2] * camera.fx + camera.cx
    rows = points[:, 1] / points[:, 2] * camera.fy + camera.cy
    if not camera.is_distorted:
        return columns, rows, points
    near = (np.abs(columns / camera.width - 0.5) < 0.5 + _MARGIN) & (
        np.abs(rows / camera.height - 0.5) < 0.5 + _MARGIN
    )
    if camera.distortion_model == EQUIDISTANT:
        near = np.ones_like(near)  # straight lines of the pinhole leave a wide image early
    points = points[near]
    if not len(points):
        return columns[near], rows[near], points
    pixels = _distorted(points, camera).reshape(-1, 2).astype(np.float32)
    return pixels[:, 0], pixels[:, 1], points


def nearest_depth(
    rows: NDArray[Any], columns: NDArray[Any], depth: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """
    Return the image with the nearest depth at each pixel (a z-buffer); 0 where none is.

    Parameters
    ----------
    rows, columns : (N,) float or int
        Pixels; those outside of the image are left out.
    depth : (N,) float32
        Metres.
    size : (int, int)
        Height and width, px.

    """
    height, width = size
    # np.rint would send all halves to even pixels.
    row, column = np.floor(rows + 0.5), np.floor(columns + 0.5)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = row[inside].astype(np.int64) * width + column[inside].astype(np.int64)
    image = np.full(height * width, np.inf, np.float32)
    np.minimum.at(image, place, depth[inside].astype(np.float32, copy=False))
    image[np.isinf(image)] = 0
    return image.reshape(height, width)


def _distorted(points: NDArray[np.float32], camera: PinholeCamera) -> NDArray[Any]:
    """Return pixels as the lens makes them."""
    still = np.zeros(3)
    objects = points.astype(np.float64)[:, None]
    coefficients = np.array(camera.distortion, np.float64)
    if camera.distortion_model == EQUIDISTANT:
        four = np.zeros(4)
        four[: min(4, coefficients.size)] = coefficients[:4]
        return cv2.fisheye.projectPoints(objects, still, still, camera.matrix, four)[0]
    return cv2.projectPoints(objects, still, still, camera.matrix, coefficients)[0]

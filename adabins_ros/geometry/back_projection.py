# SPDX-License-Identifier: Apache-2.0
"""From a depth image to organised points in the camera's optical frame."""

from __future__ import annotations

from functools import lru_cache

from adabins_ros.geometry.camera import PinholeCamera
import cv2
import numpy as np
from numpy.typing import NDArray


def back_project(
    depth: NDArray[np.float32],
    camera: PinholeCamera,
    stride: int = 1,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """
    Return the point that every pixel sees.

    Parameters
    ----------
    depth : (H, W) float32
        Distance along the optical axis, m; NaN and infinity where unknown.
    camera : PinholeCamera
        The camera of the depth image at its size. Distortion is not looked at: rectify first.
    stride : int
        Take the pixels 0, stride, 2 stride, .. of rows and columns, each on its own ray.
    out : (ceil(H / stride), ceil(W / stride), 3) float32, optional
        C-contiguous array to write into, so that a stream of frames needs no new memory.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride), 3) float32
        x right, y down, z forward (REP 103 optical frame), m; all three NaN where the depth is
        not finite.

    Raises
    ------
    ValueError
        If the depth has another size than the camera, or the stride is below 1.

    """
    planes = back_project_planes(depth, camera, stride)
    points = np.empty((*planes.shape[1:], 3), np.float32) if out is None else out
    wrong_form = points.shape != (*planes.shape[1:], 3) or points.dtype != np.float32
    if wrong_form or not points.flags.c_contiguous:
        raise ValueError(
            f'out is {points.dtype} {points.shape}, needed C-contiguous float32 '
            f'{(*planes.shape[1:], 3)}'
        )
    # OpenCV interleaves in half the time of strided numpy products.
    cv2.merge(list(planes), points)
    return points


def back_project_planes(
    depth: NDArray[np.float32], camera: PinholeCamera, stride: int = 1
) -> NDArray[np.float32]:
    """
    Do what `back_project` does, with the coordinates apart.

    Returns
    -------
    (3, ceil(H / stride), ceil(W / stride)) float32
        x, y and z, m.

    Raises
    ------
    ValueError
        As `back_project`.

    """
    if depth.shape != (camera.height, camera.width):
        raise ValueError(
            f'depth of shape {depth.shape}, but its camera has {camera.width}x{camera.height} '
            'px; scale the camera first'
        )
    if stride < 1:
        raise ValueError(f'stride = {stride}: it must be at least 1')
    x_per_metre, y_per_metre = ray_slopes(camera, stride)
    taken = depth[::stride, ::stride]
    planes = np.empty((3, *taken.shape), np.float32)
    x, y, z = planes
    np.copyto(z, taken)
    infinite = np.isinf(z)
    if infinite.any():
        np.copyto(z, np.float32(np.nan), where=infinite)
    np.multiply(z, x_per_metre, out=x)
    np.multiply(z, y_per_metre, out=y)
    return planes


@lru_cache(maxsize=16)
def ray_slopes(
    camera: PinholeCamera, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x/z of every taken column, (W',), and y/z of every taken row, (H', 1)."""
    columns = np.arange(0, camera.width, stride)
    rows = np.arange(0, camera.height, stride)[:, np.newaxis]
    x_per_metre = ((columns - camera.cx) / camera.fx).astype(np.float32)
    y_per_metre = ((rows - camera.cy) / camera.fy).astype(np.float32)
    x_per_metre.flags.writeable = y_per_metre.flags.writeable = False
    return x_per_metre, y_per_metre

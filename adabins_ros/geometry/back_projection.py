# SPDX-License-Identifier: Apache-2.0
"""From a depth image to organised points in the camera's optical frame."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

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
    check_camera(depth, camera, stride)
    z = np.ascontiguousarray(depth[::stride, ::stride])
    points = np.empty((*z.shape, 3), np.float32) if out is None else out
    wrong_form = points.shape != (*z.shape, 3) or points.dtype != np.float32
    if wrong_form or not points.flags.c_contiguous:
        raise ValueError(
            f'out is {points.dtype} {points.shape}, needed C-contiguous float32 {(*z.shape, 3)}'
        )
    infinite = np.isinf(z)
    if infinite.any():
        z = np.where(infinite, np.float32(np.nan), z)
    x_per_metre, y_per_metre = ray_slopes(camera, stride)
    # OpenCV interleaves in half the time of strided numpy products.
    cv2.merge([z * x_per_metre, z * y_per_metre, z], points)
    return points


def check_camera(depth: Any, camera: PinholeCamera, stride: int) -> None:
    """
    Refuse a depth image, of numpy or torch, that its camera did not take, and a wrong stride.

    Raises
    ------
    ValueError
        If the depth has another size than the camera, or the stride is below 1.

    """
    shape = tuple(depth.shape)
    if shape != (camera.height, camera.width):
        raise ValueError(
            f'depth of shape {shape}, but its camera has {camera.width}x{camera.height} '
            'px; scale the camera first'
        )
    if stride < 1:
        raise ValueError(f'stride = {stride}: it must be at least 1')


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

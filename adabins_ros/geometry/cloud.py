# SPDX-License-Identifier: Apache-2.0
"""From a depth image to points as sensor_msgs/PointCloud2 wants them, and to where it is free."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
import cv2
import numpy as np
from numpy.typing import NDArray

# 20 bytes a point and every field on its own 4 bytes: readers go by the offsets of the fields
# (rviz2, PCL, sensor_msgs), so the 32 bytes of PCL's own structures would only be more to send.
FIELD_NAMES = ('x', 'y', 'z', 'rgb', 'std')
CLOUD_DTYPE = np.dtype([(name, '<f4') for name in FIELD_NAMES])
CLOUD_WITH_HEIGHT_DTYPE = np.dtype([(name, '<f4') for name in (*FIELD_NAMES, 'height')])
POINT_DTYPE = np.dtype([(name, '<f4') for name in FIELD_NAMES[:3]])

# Few rows at a time, so that what lies between input and output stays in the cache.
ROWS_AT_A_TIME = 128

_RGB_BITS = np.int32(0x00FFFFFF)


def pack_cloud(
    depth: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    std: NDArray[np.float32],
    valid: NDArray[np.bool_],
    camera: PinholeCamera,
    stride: int = 1,
    out: NDArray[Any] | None = None,
    heights: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """
    Back-project a depth image and interleave the fields of its points.

    Parameters
    ----------
    depth, std : (H, W) float32
        Distance along the optical axis and its standard deviation, m; NaN unknown.
    rgb : (H, W, 3) uint8
        Colour of each pixel.
    valid : (ceil(H / stride), ceil(W / stride)) bool
        Points that are not valid get NaN as x, y and z, as those of a depth that is not finite;
        they keep colour and std.
    camera : PinholeCamera
        Of the depth image at its size, without distortion.
    stride : int
        Take the pixels 0, stride, 2 stride, .. of rows and columns, each on its own ray.
    out : (ceil(H / stride), ceil(W / stride)) CLOUD_DTYPE, optional
        C-contiguous array to write into, so that a stream of frames needs no new memory.
    heights : (ceil(H / stride), ceil(W / stride)) float32, optional
        Above the floor, m: a further field, and CLOUD_WITH_HEIGHT_DTYPE instead.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) CLOUD_DTYPE
        x right, y down, z forward (REP 103 optical frame), m; rgb (0x00RRGGBB as the bits of a
        float32, as PCL and rviz2 read it) and std.

    Raises
    ------
    ValueError
        If an array has not the size that belongs to the camera, or a wrong dtype.

    """
    _check_camera(depth, camera, stride)
    _require('depth', depth, depth.shape, np.dtype(np.float32))
    _require('rgb', rgb, (*depth.shape, 3), np.dtype(np.uint8))
    _require('std', std, depth.shape, np.dtype(np.float32))
    depths, stds, colors = depth[::stride, ::stride], std[::stride, ::stride], rgb[::stride]
    dtype = CLOUD_DTYPE if heights is None else CLOUD_WITH_HEIGHT_DTYPE
    cloud = np.empty(depths.shape, dtype) if out is None else out
    _require('valid', valid, depths.shape, np.dtype(np.bool_))
    _require('out', cloud, depths.shape, dtype)
    if heights is not None:
        _require('heights', heights, depths.shape, np.dtype(np.float32))
    if not cloud.flags.c_contiguous:
        raise ValueError(f'out with strides {cloud.strides} is not C-contiguous')
    shape = (*cloud.shape, -1)
    metres, bits = cloud.view('<f4').reshape(shape), cloud.view('<i4').reshape(shape)
    x_per_metre, y_per_metre = _ray_slopes(camera, stride)
    for first in range(0, len(cloud), ROWS_AT_A_TIME):
        rows = slice(first, first + ROWS_AT_A_TIME)
        x, y, z, _, deviation, *more = np.moveaxis(metres[rows], -1, 0)
        known = np.array(depths[rows])
        known = np.where(valid[rows] & np.isfinite(known), known, np.float32(np.nan))
        np.multiply(known, x_per_metre, out=x)
        np.multiply(known, y_per_metre[rows], out=y)
        z[:] = known
        deviation[:] = stds[rows]
        if heights is not None:
            more[0][:] = heights[rows]
        # Columns are left out last: numbers are gathered in half the time of bytes in threes.
        pixels = cv2.cvtColor(colors[rows], cv2.COLOR_RGB2BGRA).view('<i4')
        # As integers, for no arithmetic may touch the bits.
        np.bitwise_and(pixels[:, ::stride, 0], _RGB_BITS, out=bits[rows, :, 3])
    return cloud


def clearing_points(
    depth: NDArray[np.float32],
    sure: NDArray[np.bool_],
    camera: PinholeCamera,
    *,
    farthest_m: float,
    clear_range_m: float,
    stride: int = 1,
) -> NDArray[Any]:
    """
    Return up to where the ray of each sure pixel is free, for who traces rays from the camera.

    Parameters
    ----------
    depth : (H, W) float32
        Up to which nothing is in the way, along the optical axis, m.
    sure : (ceil(H / stride), ceil(W / stride)) bool
        Which of the pixels 0, stride, 2 stride, .. of rows and columns can be trusted, those
        beyond the range included (`valid_points`); the rays of the others tell nothing.
    camera : PinholeCamera
        Of this image, without distortion.
    farthest_m : float
        The largest depth that is in range, m: what lies beyond is free up to there.
    clear_range_m : float
        No ray is longer, m.
    stride : int
        Of `sure`.

    Returns
    -------
    (N,) POINT_DTYPE
        x right, y down, z forward (REP 103 optical frame), m; all finite.

    Raises
    ------
    ValueError
        If an array has not the size that belongs to the camera.

    """
    _check_camera(depth, camera, stride)
    depths = depth[::stride, ::stride]
    _require('sure', sure, depths.shape, np.dtype(np.bool_))
    x_per_metre, y_per_metre = _ray_slopes(camera, stride)
    ends = np.minimum(depths, _ray_ends(camera, stride, clear_range_m, farthest_m))
    points = cv2.merge([ends * x_per_metre, ends * y_per_metre, ends])
    # A mask would take four times as long.
    return points.reshape(-1, 3).take(np.flatnonzero(sure), axis=0).view(POINT_DTYPE).reshape(-1)


@lru_cache(maxsize=8)
def _ray_ends(
    camera: PinholeCamera, stride: int, range_m: float, farthest_m: float
) -> NDArray[np.float32]:
    """Return the depth at which every taken pixel's ray is so long, farthest_m at most."""
    x, y = _ray_slopes(camera, stride)
    ends = np.minimum(np.float32(range_m) / np.sqrt(1 + x * x + y * y), np.float32(farthest_m))
    ends.flags.writeable = False
    return ends


def _require(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError that names the array unless it has this shape and dtype."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f'{name} is {array.dtype} {array.shape}, needed {dtype} {shape}')


def _check_camera(depth: NDArray[Any], camera: PinholeCamera, stride: int) -> None:
    """Refuse a depth image that its camera did not take, and a wrong stride."""
    if depth.shape != (camera.height, camera.width):
        raise ValueError(
            f'depth of shape {depth.shape}, but its camera has {camera.width}x{camera.height} '
            'px; scale the camera first'
        )
    if stride < 1:
        raise ValueError(f'stride = {stride}: it must be at least 1')


@lru_cache(maxsize=16)
def _ray_slopes(
    camera: PinholeCamera, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what `PinholeCamera.slopes` does, float32 and once for a stream."""
    x_per_metre, y_per_metre = (slopes.astype(np.float32) for slopes in camera.slopes(stride))
    x_per_metre.flags.writeable = y_per_metre.flags.writeable = False
    return x_per_metre, y_per_metre

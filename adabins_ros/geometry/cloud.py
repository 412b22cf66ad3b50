# SPDX-License-Identifier: Apache-2.0
"""Points, colours and uncertainties interleaved as sensor_msgs/PointCloud2 wants them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# 20 bytes a point and every field on its own 4 bytes: readers go by the offsets of the fields
# (rviz2, PCL, sensor_msgs), so the 32 bytes of PCL's own structures would only be more to send.
FIELD_NAMES = ('x', 'y', 'z', 'rgb', 'std')
CLOUD_DTYPE = np.dtype([(name, '<f4') for name in FIELD_NAMES])

# Few rows at a time, so that what lies between input and output stays in the cache.
ROWS_AT_A_TIME = 64

_QUIET_NAN_BITS = np.int32(0x7FC00000)
_RGB_BITS = np.int32(0x00FFFFFF)


def pack_cloud(
    points: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    std: NDArray[np.float32],
    valid: NDArray[np.bool_],
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """
    Interleave the fields of an organised cloud.

    Parameters
    ----------
    points : (3, H, W) float32
        x, y and z, m; see `back_project_planes`.
    rgb : (H, W, 3) uint8
        Colour of each point.
    std : (H, W) float32
        One standard deviation of the depth, m; NaN unknown.
    valid : (H, W) bool
        Points that are not valid get NaN as x, y and z; they keep colour and std.
    out : (H, W) CLOUD_DTYPE, optional
        C-contiguous array to write into, so that a stream of frames needs no new memory.

    Returns
    -------
    (H, W) CLOUD_DTYPE
        x, y, z, rgb (0x00RRGGBB as the bits of a float32, as PCL and rviz2 read it) and std.

    Raises
    ------
    ValueError
        If the arrays do not have the same height and width, or a wrong dtype.

    """
    shape = points.shape[1:]
    cloud = np.empty(shape, CLOUD_DTYPE) if out is None else out
    _require('points', points, (3, *shape), np.dtype(np.float32))
    _require('rgb', rgb, (*shape, 3), np.dtype(np.uint8))
    _require('std', std, shape, np.dtype(np.float32))
    _require('valid', valid, shape, np.dtype(np.bool_))
    _require('out', cloud, shape, CLOUD_DTYPE)
    if not cloud.flags.c_contiguous:
        raise ValueError(f'out with strides {cloud.strides} is not C-contiguous')
    bits = cloud.view('<i4').reshape(*shape, len(FIELD_NAMES))
    coordinates = points.view('<i4')
    for first in range(0, shape[0], ROWS_AT_A_TIME):
        rows = slice(first, first + ROWS_AT_A_TIME)
        # Or-ing these bits into any float32 makes it a NaN, without a branch a point.
        nan_bits = np.multiply(~valid[rows], _QUIET_NAN_BITS, dtype=np.int32)
        xyz = np.bitwise_or(coordinates[:, rows], nan_bits)
        # Whole pixels are gathered in half the time that three bytes of each take.
        pixels = np.ascontiguousarray(rgb[rows].view('V3')).view(np.uint8)
        color = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGRA).view('<i4')[..., 0]
        color &= _RGB_BITS
        # As integers, for no arithmetic may touch the bits.
        cv2.merge([*xyz, color, np.ascontiguousarray(std[rows]).view('<i4')], bits[rows])
    return cloud


def _require(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError that names the array unless it has this shape and dtype."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f'{name} is {array.dtype} {array.shape}, needed {dtype} {shape}')

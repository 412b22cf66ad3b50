# SPDX-License-Identifier: Apache-2.0
"""A depth image as the bytes of an organised cloud, made where the depth lies."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from adabins_ros.geometry.back_projection import check_camera, ray_slopes
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.cloud import CLOUD_DTYPE, FIELD_NAMES
import numpy as np
from numpy.typing import NDArray
import torch

_QUIET_NAN_BITS = 0x7FC00000


def packed_cloud(
    depth: torch.Tensor,
    rgb: torch.Tensor,
    std: torch.Tensor,
    valid: torch.Tensor,
    camera: PinholeCamera,
    stride: int = 1,
) -> torch.Tensor:
    """
    Back-project a depth image and interleave the fields of its points.

    Parameters
    ----------
    depth, std : (H, W) float32
        Distance along the optical axis and its standard deviation, m.
    rgb : (H, W, 3) uint8
        Colour of each pixel.
    valid : (ceil(H / stride), ceil(W / stride)) bool
        Points that are not valid get NaN as x, y and z; they keep colour and std.
    camera : PinholeCamera
        Of the depth image at its size, without distortion.
    stride : int
        Take every so many rows and columns.

    Returns
    -------
    (ceil(H / stride) * ceil(W / stride) * 5 + 1,) int32
        The bytes of `geometry.cloud.pack_cloud`, then how many points are not valid: all that a
        PointCloud2 needs in one download. `read_packed_cloud` reads it.

    Raises
    ------
    ValueError
        If the depth has another size than the camera, or another array than the depth.

    """
    check_camera(depth, camera, stride)
    height, width = depth.shape
    z = depth[::stride, ::stride]
    for name, tensor, shape in (
        ('rgb', rgb, (height, width, 3)),
        ('std', std, (height, width)),
        ('valid', valid, tuple(z.shape)),
    ):
        if tuple(tensor.shape) != shape:
            raise ValueError(f'{name} is {tuple(tensor.shape)}, needed {shape}')
    z = z.masked_fill(z.isinf(), torch.nan)
    x_per_metre, y_per_metre = _slopes_on(depth.device, camera, stride)
    packed = torch.empty(z.numel() * len(FIELD_NAMES) + 1, dtype=torch.int32, device=z.device)
    bits = packed[:-1].view(*z.shape, len(FIELD_NAMES))
    nan_bits = (~valid).to(torch.int32) * _QUIET_NAN_BITS
    for axis, coordinate in enumerate((z * x_per_metre, z * y_per_metre, z.contiguous())):
        torch.bitwise_or(coordinate.view(torch.int32), nan_bits, out=bits[..., axis])
    red, green, blue = rgb[::stride, ::stride].to(torch.int32).unbind(-1)
    bits[..., 3] = red << 16 | green << 8 | blue
    bits[..., 4] = std[::stride, ::stride].contiguous().view(torch.int32)
    packed[-1] = (~valid).sum()
    return packed


def read_packed_cloud(
    packed: NDArray[np.int32], height: int, width: int
) -> tuple[NDArray[Any], bool]:
    """
    Read what `packed_cloud` made of height x width points.

    Returns
    -------
    cloud : (height, width) CLOUD_DTYPE
        A view.
    is_dense : bool
        Whether all points are valid.

    """
    return packed[:-1].view(CLOUD_DTYPE).reshape(height, width), not packed[-1]


@lru_cache(maxsize=16)
def _slopes_on(
    device: torch.device, camera: PinholeCamera, stride: int
) -> tuple[torch.Tensor, torch.Tensor]:
    x_per_metre, y_per_metre = ray_slopes(camera, stride)
    return torch.tensor(x_per_metre).to(device), torch.tensor(y_per_metre).to(device)

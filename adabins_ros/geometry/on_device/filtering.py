# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a depth image become points; `geometry.filtering` for tensors."""

from __future__ import annotations

from adabins_ros.geometry.filtering import (
    is_on,
    SIZE_PER_RADIUS,
    SIZE_PER_RAMP_RADIUS,
    SMALLEST_RAMP_RADIUS,
    UNKNOWN_STEP,
    working_reduction,
)
import numpy as np
import torch
from torch.nn import functional


def valid_points(
    depth: torch.Tensor,
    std: torch.Tensor | None,
    *,
    min_depth: float,
    max_depth: float,
    max_std_ratio: float | None = None,
    edge_ratio: float | None = None,
    stride: int = 1,
) -> torch.Tensor:
    """
    Tell which depths can be trusted as points.

    Parameters
    ----------
    depth, std : (H, W) float32, and None for no std
        Depth and one standard deviation, m.
    min_depth, max_depth, max_std_ratio, edge_ratio, stride : float and int
        As in `geometry.filtering.valid_points`.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) bool

    Raises
    ------
    ValueError
        If std has another shape than depth.

    """
    taken = depth[::stride, ::stride]
    valid = taken >= _single(min_depth)
    valid &= taken <= _single(min(max_depth, float(np.finfo(np.float32).max)))
    if min_depth <= 0:
        valid &= taken > 0
    if std is not None and is_on(max_std_ratio):
        if std.shape != depth.shape:
            shapes = f'{tuple(std.shape)} for depth of shape {tuple(depth.shape)}'
            raise ValueError(f'std of shape {shapes}')
        valid &= ~(std[::stride, ::stride] > taken * _single(max_std_ratio or 0))
    if is_on(edge_ratio):
        valid &= ~flying_pixels(depth, float(edge_ratio or 0), stride)
    return valid


def flying_pixels(depth: torch.Tensor, edge_ratio: float, stride: int = 1) -> torch.Tensor:
    """
    Find pixels that hang in the air between a near and a far surface.

    Parameters
    ----------
    depth : (H, W) float32
        Depth, m. Infinity is far away; NaN, zero and negative depths are unknown and no neighbour.
    edge_ratio, stride : float and int
        As in `geometry.filtering.flying_pixels`, which says how they are found.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) bool

    """
    reduction = working_reduction(depth.shape)
    flying = _flying(depth[::reduction, ::reduction], edge_ratio)
    if stride % reduction:
        height, width = depth.shape
        enlarged = flying.repeat_interleave(reduction, 0).repeat_interleave(reduction, 1)
        return enlarged[:height:stride, :width:stride]
    return flying[:: stride // reduction, :: stride // reduction]


def _flying(depth: torch.Tensor, edge_ratio: float) -> torch.Tensor:
    size = max(depth.shape)
    radius = max(1, round(size / SIZE_PER_RADIUS))
    ramp_radius = max(SMALLEST_RAMP_RADIUS, round(size / SIZE_PER_RAMP_RADIUS))
    unknown_step = _single(float(UNKNOWN_STEP))
    unknown = ~(depth > 0)
    inverse = depth.reciprocal()
    nearest = _dilated(inverse.masked_fill(unknown, 0), radius)
    farthest = _eroded(inverse.masked_fill(unknown, unknown_step), radius)
    step = torch.minimum(nearest - inverse, inverse - farthest).masked_fill(unknown, unknown_step)
    surface = _dilated(_eroded(step, ramp_radius), ramp_radius)
    return (step - surface) * depth > _single(edge_ratio)


def _dilated(image: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the largest value of each square of 2 radius + 1 px; nothing lies outside."""
    across = functional.max_pool2d(image[None], (1, 2 * radius + 1), 1, (0, radius))
    return functional.max_pool2d(across, (2 * radius + 1, 1), 1, (radius, 0))[0]


def _eroded(image: torch.Tensor, radius: int) -> torch.Tensor:
    return -_dilated(-image, radius)


def _single(value: float) -> float:
    """Round as numpy's float32 does, so that thresholds are the same."""
    return float(np.float32(value))

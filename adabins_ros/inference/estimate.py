# SPDX-License-Identifier: Apache-2.0
"""What a prediction is, and how an image's and its mirrored image's are averaged."""

from dataclasses import dataclass, field

from adabins_ros.model.adabins import DepthDistribution
import numpy as np
from numpy.typing import NDArray
import torch


@dataclass(frozen=True)
class DepthEstimate:
    """What the network says about one image of H x W pixels; depth is along the optical axis."""

    depth: NDArray[np.float32]
    """(H, W), metres."""
    std: NDArray[np.float32]
    """(H, W), one standard deviation in metres; NaN for the regression strategy."""
    bin_centers: NDArray[np.float32]
    """(N,), metres, increasing; empty for the regression strategy."""
    inference_size: tuple[int, int]
    """Height and width that the network saw, pixels."""
    focal_scale: float = 1.0
    """Factor by which the focal correction has multiplied all of the above."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time taken by the stages ``resize``, ``network`` and ``upsample``."""


def merge_flipped(straight: DepthDistribution, mirrored: DepthDistribution) -> torch.Tensor:
    """
    Average an image's prediction with its mirrored image's.

    Returns (1, 2, h, w): the mean depth, and the standard deviation of the two distributions mixed
    half and half.
    """
    depths = torch.cat([straight.depth, mirrored.depth.flip(-1)])
    stds = torch.cat([straight.std, mirrored.std.flip(-1)])
    depth = depths.mean(0, keepdim=True)
    variance = stds.square().mean(0, keepdim=True) + depths.var(0, correction=0, keepdim=True)
    return torch.cat([depth, variance.sqrt()], 1)

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


def merge_flipped(both: DepthDistribution) -> torch.Tensor:
    """
    Average an image's prediction with its mirrored image's.

    Parameters
    ----------
    both : DepthDistribution
        Of a batch of two: the image, and the image mirrored.

    Returns
    -------
    torch.Tensor
        (1, 2, h, w): the mean depth, and the standard deviation of the two distributions mixed
        half and half; metres.

    """
    depth, std = (torch.stack([maps[0], maps[1].flip(-1)]) for maps in both[:2])
    variance = std.square().mean(0) + depth.var(0, correction=0)
    return torch.cat([depth.mean(0), variance.sqrt()])[None]

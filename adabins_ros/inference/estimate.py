# SPDX-License-Identifier: Apache-2.0
"""What a prediction is, and how an image's and its mirrored image's are averaged."""

from __future__ import annotations

from dataclasses import dataclass, field

from adabins_ros.inference.stage_times import StageTimes
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
    """Time taken by the stages ``resize``, ``network`` and ``upsample``; in a batch, by all."""


@dataclass(frozen=True)
class DeviceEstimate:
    """What the network says about one image, still where it was computed."""

    moments: torch.Tensor
    """(2, H, W) float32: depth and standard deviation as ``DepthEstimate`` has them, metres."""
    bin_centers: torch.Tensor
    """(N,) float32, metres."""
    image: torch.Tensor | None
    """(H, W, 3) uint8 RGB, the image on a GPU; None on the CPU, where it is the caller's."""
    inference_size: tuple[int, int]
    """Height and width that the network saw, pixels."""
    focal_scale: float
    """Factor by which the focal correction has multiplied moments and centres."""
    times: StageTimes
    """Of ``resize``, ``network`` and ``upsample``; in a batch, of all images."""

    @property
    def depth(self) -> torch.Tensor:
        """(H, W) float32, metres."""
        return self.moments[0]

    @property
    def std(self) -> torch.Tensor:
        """(H, W) float32, metres; NaN for the regression strategy."""
        return self.moments[1]

    def on_host(self) -> DepthEstimate:
        """Wait for it, and download it if it is on a GPU."""
        depth, std = self.moments.cpu().numpy()
        return DepthEstimate(
            depth,
            std,
            self.bin_centers.cpu().numpy(),
            self.inference_size,
            self.focal_scale,
            self.times.seconds(),
        )


def merge_flipped(both: DepthDistribution) -> torch.Tensor:
    """
    Average images' predictions with their mirrored images'.

    Parameters
    ----------
    both : DepthDistribution
        Of a batch of 2 B: the images, then the images mirrored.

    Returns
    -------
    torch.Tensor
        (B, 2, h, w): the mean depth, and the standard deviation of the two distributions mixed
        half and half; metres.

    """
    halves = (maps.chunk(2) for maps in both[:2])
    depth, std = (torch.stack([straight, other.flip(-1)]) for straight, other in halves)
    variance = std.square().mean(0) + depth.var(0, correction=0)
    return torch.cat([depth.mean(0), variance.sqrt()], 1)

# SPDX-License-Identifier: Apache-2.0
"""A network with the normalisation of its pixels: what every engine runs."""

from __future__ import annotations

from adabins_ros.model.adabins import DepthDistribution
from adabins_ros.model.config import AdaBinsConfig
import torch
from torch import nn


class PixelNetwork(nn.Module):
    """
    From pixels to depth.

    Parameters
    ----------
    network : nn.Module
        An ``AdaBins`` or a deployed form of it.
    config : AdaBinsConfig
        Its mean and standard deviation of the pixels.
    memory_format : torch.memory_format
        Of the image that the network sees.

    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        config: AdaBinsConfig,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__()
        self.network = network
        self.memory_format = memory_format
        self.register_buffer('mean', torch.tensor(config.mean).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(config.std).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> DepthDistribution:
        """Estimate depth from (B, h, w, 3) RGB pixels of 0 to 255, uint8 or float32."""
        # In the authors' order of roundings: deep random networks magnify any other one.
        image = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return self.network(image.contiguous(memory_format=self.memory_format))

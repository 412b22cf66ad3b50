# SPDX-License-Identifier: Apache-2.0
"""
The graph that inference runs: the network's function, exactly, with less arithmetic.

Every rewrite is exact in real arithmetic, so the depth changes only by rounding. Each can be
switched off by itself, which is how ``benchmarks/rewrites.py`` measures them.
"""

import copy

from adabins_ros.inference.deployed_decoder import DeployedDecoder
from adabins_ros.inference.folding import fold_batch_norms
from adabins_ros.inference.hybrid_regression import HybridRegression
from adabins_ros.inference.rewrites import Rewrites
from adabins_ros.model.adabins import AdaBins, DepthDistribution
from adabins_ros.model.bins import at_least_single, depth_and_std
import torch
from torch import nn


@torch.no_grad()
def deploy(network: AdaBins, rewrites: Rewrites | None = None) -> nn.Module:
    """
    Build the graph that inference runs.

    Parameters
    ----------
    network : AdaBins
        On the CPU; left as it is.
    rewrites : Rewrites, optional
        Those that pay by default.

    Returns
    -------
    nn.Module
        Maps the image to a ``DepthDistribution`` like the network, for any legal size and batch.
        Without Python that depends on data, so that it can be traced and exported; it can't be
        trained or saved as a checkpoint.

    """
    rewrites = rewrites or Rewrites()
    if rewrites.fold_norms:
        network = fold_batch_norms(network)
    else:
        network = copy.deepcopy(network).eval().requires_grad_(False)
    return DeployedAdaBins(network, rewrites).requires_grad_(False)


class DeployedAdaBins(nn.Module):
    """The network's graph with rewrites; made by ``deploy`` from a network that it takes over."""

    def __init__(self, network: AdaBins, rewrites: Rewrites) -> None:
        super().__init__()
        self.config = network.config
        self.encoder = network.encoder
        self.decoder = DeployedDecoder(network.encoder, network.decoder, rewrites)
        if self.config.bin_strategy == 'adaptive':
            self.regression = HybridRegression(
                network, fold_kernels=rewrites.fold_kernels, tile_pixels=rewrites.tile_pixels
            )
        elif self.config.bin_strategy != 'regression':
            self.fixed_bins = network.fixed_bins
        self.eval()

    def forward(self, image: torch.Tensor) -> DepthDistribution:
        """Estimate depth and its distribution, as ``AdaBins.forward`` does."""
        decoded = self.decoder(self.encoder(image))
        strategy = self.config.bin_strategy
        if strategy == 'regression':
            low, high = self.config.min_depth, self.config.max_depth
            depth = low + (high - low) * torch.sigmoid(decoded.to(at_least_single(decoded)))
            nothing = depth.new_empty((depth.shape[0], 0))
            return DepthDistribution(depth, torch.full_like(depth, torch.nan), nothing)
        if strategy == 'adaptive':
            depth, std, centers = self.regression(decoded)
        else:
            centers = self.fixed_bins(decoded.shape[0])
            depth, std = depth_and_std(decoded, centers)
        if self.config.std_factor != 1:
            std = std * self.config.std_factor
        return DepthDistribution(depth, std, centers)

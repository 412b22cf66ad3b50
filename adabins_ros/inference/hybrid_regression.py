# SPDX-License-Identifier: Apache-2.0
"""Mini-ViT and hybrid regression with what is linear in a row made one product."""

from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.bins import (
    at_least_single,
    bin_centers,
    moments_over_bins,
    normalized_widths,
)
import torch
from torch import nn


class InSinglePrecision(nn.Sequential):
    """Layers that compute in float32 whatever autocast says; double precision is kept."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind = x.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(x)
        with torch.autocast(kind, enabled=False):
            return super().forward(x.to(at_least_single(x)))


class HybridRegression(nn.Module):
    """
    From the decoded features to depth (paper, equations 1 to 3).

    Under autocast the widths of the bins, the softmax and the sums over the bins stay in float32:
    little arithmetic, through which an error in half precision would move the depth of all pixels.

    The range-attention maps K x and the 1x1 convolution W after them are one product, W K x; the
    1x1 convolution P that ends separable range features makes it W K P x, on fewer channels.

    Parameters
    ----------
    network : AdaBins
        With adaptive bins; its parts are taken over.
    fold_kernels : bool
        Whether P goes into the product.
    tile_pixels : int, optional
        Pixels whose N bin scores are held at a time; all of an image by default.

    """

    def __init__(
        self, network: AdaBins, *, fold_kernels: bool = True, tile_pixels: int | None = None
    ) -> None:
        super().__init__()
        self.config = network.config
        self.mini_vit = network.mini_vit
        # Left out of the mini-ViT, so that what is folded away does not stay.
        self.range_features: nn.Module = network.mini_vit.range_features
        self.mini_vit.range_features = nn.Identity()
        self.mini_vit.regressor = InSinglePrecision(*network.mini_vit.regressor)
        self.pointwise: nn.Conv2d | None = None
        if fold_kernels and isinstance(self.range_features, nn.Sequential):
            self.range_features, pointwise = self.range_features
            assert isinstance(pointwise, nn.Conv2d)
            self.pointwise = pointwise
        self.conv_out = network.conv_out
        self.tile_pixels = tile_pixels

    def forward(self, decoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Choose the bins and weigh them at each pixel.

        Parameters
        ----------
        decoded : torch.Tensor
            (B, C_d, h, w).

        Returns
        -------
        depth, std : torch.Tensor
            (B, 1, h, w), metres.
        centers : torch.Tensor
            (B, N), metres.

        Raises
        ------
        ValueError
            If the image has too few or too many patches.

        """
        raw_widths, kernels = self.mini_vit.widths_and_kernels(decoded)
        widths = normalized_widths(raw_widths, self.config.bin_eps)
        centers = bin_centers(widths, self.config.min_depth, self.config.max_depth)
        weight, bias = self._scoring(kernels)
        pixels = self.range_features(decoded).permute(0, 2, 3, 1).flatten(1, 2)
        moments = self._moments(pixels, weight, bias, centers)
        # Neither unflatten nor len, with which a traced graph would keep its sizes.
        depth, std = moments.reshape(moments.shape[0], 1, *decoded.shape[-2:], 2).unbind(-1)
        return depth, std, centers

    def _scoring(self, kernels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the weight (B, N, C) and the bias (B, 1, N) of the scores of a pixel's features."""
        weight, bias = self.conv_out.weight.flatten(1) @ kernels, self.conv_out.bias
        assert bias is not None
        bias = bias.expand(weight.shape[0], 1, -1)
        if self.pointwise is not None:
            assert self.pointwise.bias is not None
            bias = bias + (weight @ self.pointwise.bias)[:, None]
            weight = weight @ self.pointwise.weight.flatten(1)
        return weight, bias

    def _moments(
        self,
        pixels: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        centers: torch.Tensor,
    ) -> torch.Tensor:
        """Give depth and standard deviation, (B, pixels, 2), metres; see ``depth_and_std``."""
        transposed = weight.transpose(1, 2)
        tiles = [
            moments_over_bins(torch.baddbmm(bias, tile, transposed), centers)
            for tile in (pixels.split(self.tile_pixels, dim=1) if self.tile_pixels else [pixels])
        ]
        return torch.cat(tiles, 1) if len(tiles) > 1 else tiles[0]

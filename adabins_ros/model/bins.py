# SPDX-License-Identifier: Apache-2.0
"""Depth bins: equations 1 to 3 of the paper and the fixed bins of its Table 2."""

import math

from adabins_ros.model.config import BinSpace
import torch
from torch import nn
from torch.nn import functional

_LARGEST_SPREAD = 60.0


def normalized_widths(raw_widths: torch.Tensor, eps: float) -> torch.Tensor:
    """
    Normalise bin widths to a sum of one (equation 1).

    b_i = (b'_i + eps) / sum_j (b'_j + eps), with b' (..., N) not negative. Half precision gives
    widths in float32: their sum places the far bins.
    """
    positive = raw_widths.to(at_least_single(raw_widths)) + eps
    return positive / positive.sum(dim=-1, keepdim=True)


def bin_centers(
    widths: torch.Tensor, min_depth: float, max_depth: float, space: BinSpace = 'linear'
) -> torch.Tensor:
    """
    Place the bins' centres in the depth range (equation 2), or in that of the logarithm of depth.

    c(b_i) = d_min + (d_max - d_min) (b_i / 2 + sum_{j<i} b_j), with b (..., N); metres. In log
    space ln c, ln d_min and ln d_max stand for c, d_min and d_max.
    """
    upper_edges = torch.cumsum(widths, dim=-1)
    places = upper_edges - widths / 2
    if space == 'log':
        return min_depth * torch.exp(math.log(max_depth / min_depth) * places)
    return min_depth + (max_depth - min_depth) * places


def depth_and_std(
    logits: torch.Tensor, centers: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Turn bin scores into depth (equation 3) and its standard deviation.

    depth = sum_k c(b_k) p_k and variance = sum_k (c(b_k) - depth)^2 p_k with p the softmax over
    the bins. Both come from one product with the rows [c, c^2]; the centres are taken relative to
    their mean, which keeps the difference of squares accurate in single precision.

    Parameters
    ----------
    logits : torch.Tensor
        (B, N, h, w).
    centers : torch.Tensor
        (B, N), metres.

    Returns
    -------
    depth, std : torch.Tensor
        (B, 1, h, w), metres; at least in float32, whatever the scores are in.

    """
    batch, _, height, width = logits.shape
    scores = logits.flatten(2).transpose(1, 2)
    depth, std = moments_over_bins(scores, centers, torch.zeros_like(centers))
    return depth.reshape(batch, 1, height, width), std.reshape(batch, 1, height, width)


def moments_over_bins(
    scores: torch.Tensor, centers: torch.Tensor, offsets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Do what ``depth_and_std`` does for scores with the bins last, up to offsets of the bins.

    As exp(s + o) = exp(s) exp(o), offsets that all pixels share are weights of the bins: nothing
    has to be added to the scores of every pixel.

    Parameters
    ----------
    scores : torch.Tensor
        (B, pixels, N).
    centers, offsets : torch.Tensor
        (B, N), metres and logarithms.

    Returns
    -------
    depth, std : torch.Tensor
        (B, pixels), metres; at least in float32.

    """
    dtype = at_least_single(scores)
    centers, offsets = centers.to(dtype), offsets.to(dtype)
    middle = centers.mean(1, keepdim=True)
    relative = centers - middle
    # With offsets that far apart a bin counts for nothing; sums stay above zero.
    weights = torch.exp((offsets - offsets.amax(1, keepdim=True)).clamp_min(-_LARGEST_SPREAD))
    powers = torch.stack([weights, weights * relative, weights * relative.square()], 2)
    likelihoods = torch.softmax(scores, 2, dtype=dtype)
    total, first, second = product_as_given(likelihoods, powers).unbind(2)
    first, second = first / total, second / total
    # The clamp is above zero so that the square root keeps a finite gradient.
    std = (second - first.square()).clamp_min(1e-12).sqrt()
    return first + middle, std


def at_least_single(tensor: torch.Tensor) -> torch.dtype:
    """Return a tensor's dtype, but float32 for half precision, too coarse for sums over bins."""
    return torch.promote_types(tensor.dtype, torch.float32)


def product_as_given(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply matrices in their own precision, whatever autocast says."""
    kind = left.device.type
    if not torch.is_autocast_enabled(kind):
        return left @ right
    with torch.autocast(kind, enabled=False):
        return left @ right


class FixedBins(nn.Module):
    """
    Bins that do not depend on the image: Table 2's ``uniform``, ``log`` and ``trained``.

    ``uniform`` and ``log`` divide the depth range evenly in depth and in its logarithm;
    ``trained`` learns one set of widths for the data set, from uniform ones.
    """

    fixed_centers: torch.Tensor

    def __init__(
        self, strategy: str, num_bins: int, min_depth: float, max_depth: float, eps: float
    ) -> None:
        super().__init__()
        self.min_depth, self.max_depth, self.eps = min_depth, max_depth, eps
        if strategy == 'trained':
            self.raw_widths = nn.Parameter(torch.zeros(num_bins))
            return
        if strategy == 'uniform':
            edges = torch.linspace(min_depth, max_depth, num_bins + 1, dtype=torch.float64)
        elif strategy == 'log':
            edges = torch.linspace(
                math.log(min_depth), math.log(max_depth), num_bins + 1, dtype=torch.float64
            ).exp()
        else:
            raise ValueError(f'{strategy!r} bins are not fixed: choose uniform, log or trained')
        centers = ((edges[1:] + edges[:-1]) / 2).float()
        self.register_buffer('fixed_centers', centers, persistent=False)

    def forward(self, batch: int) -> torch.Tensor:
        """Give the centres, (batch, N), metres."""
        if hasattr(self, 'raw_widths'):
            widths = normalized_widths(functional.softplus(self.raw_widths), self.eps)
            centers = bin_centers(widths, self.min_depth, self.max_depth)
        else:
            centers = self.fixed_centers
        return centers.expand(batch, -1)

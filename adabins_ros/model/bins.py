# SPDX-License-Identifier: Apache-2.0
"""Depth bins: equations 1 to 3 of the paper and the fixed bins of its Table 2."""

import math

import torch
from torch import nn
from torch.nn import functional


def normalized_widths(raw_widths: torch.Tensor, eps: float) -> torch.Tensor:
    """
    Normalise bin widths to a sum of one (equation 1).

    b_i = (b'_i + eps) / sum_j (b'_j + eps), with b' (..., N) not negative.
    """
    positive = raw_widths + eps
    return positive / positive.sum(dim=-1, keepdim=True)


def bin_centers(widths: torch.Tensor, min_depth: float, max_depth: float) -> torch.Tensor:
    """
    Place the bins' centres in the depth range (equation 2).

    c(b_i) = d_min + (d_max - d_min) (b_i / 2 + sum_{j<i} b_j), with b (..., N); metres.
    """
    upper_edges = torch.cumsum(widths, dim=-1)
    return min_depth + (max_depth - min_depth) * (upper_edges - widths / 2)


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
        (B, 1, h, w), metres.

    """
    batch, _, height, width = logits.shape
    # Half precision is too coarse for the sums, double is kept.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    centers = centers.to(dtype)
    # The bins last: the pixels' scores then lie together, as the product that made them left them.
    probabilities = torch.softmax(logits.flatten(2).transpose(1, 2).to(dtype), dim=2)
    middle = centers.mean(dim=1, keepdim=True)
    relative = centers - middle
    moments = probabilities @ torch.stack([relative, relative.square()], dim=2)
    first, second = moments.transpose(1, 2).reshape(batch, 2, 1, height, width).unbind(1)
    # The clamp is above zero so that the square root keeps a finite gradient.
    std = (second - first.square()).clamp_min(1e-12).sqrt()
    return first + middle.view(batch, 1, 1, 1), std


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

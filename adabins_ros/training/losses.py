# SPDX-License-Identifier: Apache-2.0
"""The paper's losses, SILog (equation 4) and bin-centre chamfer (5), and two beyond it."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

_SMALLEST_DEPTH_M = 1e-6
_SMALLEST_SQUARE = 1e-12
_SMALLEST_SPREAD = 1e-3


def resize_like(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Up-sample the prediction (B, 1, h, w) to the truth's (B, 1, H, W), in single precision."""
    prediction = prediction.float()
    if prediction.shape[-2:] == truth.shape[-2:]:
        return prediction
    return functional.interpolate(
        prediction, size=truth.shape[-2:], mode='bilinear', align_corners=True
    )


def valid_depth(truth: torch.Tensor, min_depth: float, max_depth: float) -> torch.Tensor:
    """Tell where the truth can teach: inside the open depth range (so neither 0 nor NaN)."""
    return (truth > min_depth) & (truth < max_depth)


class _DepthLoss(nn.Module):
    """
    Compares what the network says with the truth in its depth range.

    Parameters
    ----------
    min_depth, max_depth : float
        The network's depth range, m.

    """

    def __init__(self, min_depth: float, max_depth: float) -> None:
        super().__init__()
        self.min_depth, self.max_depth = min_depth, max_depth

    def log_error(
        self, prediction: torch.Tensor, truth: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ln prediction - ln truth of two of one size, and where the truth can teach."""
        valid = valid_depth(truth, self.min_depth, self.max_depth)
        # 1 m in place of unknown depth: its logarithm is finite, and so is the gradient.
        truth = torch.where(valid, truth, 1.0)
        return torch.log(prediction.clamp_min(_SMALLEST_DEPTH_M)) - torch.log(truth), valid


class SILog(_DepthLoss):
    """
    Scale-invariant log loss over all valid pixels of the batch (equation 4).

    alpha sqrt(var(g) + (1 - lambda) mean(g)^2) with g = ln prediction - ln truth. With lambda 1
    a common factor of the whole prediction costs nothing. Unlike in the authors' code, truth
    beyond the network's range does not count: no bin could reach it.

    Parameters
    ----------
    min_depth, max_depth : float
        The network's depth range, m.
    lambda_, alpha : float
        Share of the mean error that is forgiven, and factor.

    """

    def __init__(
        self, min_depth: float, max_depth: float, *, lambda_: float = 0.85, alpha: float = 10.0
    ) -> None:
        super().__init__(min_depth, max_depth)
        self.lambda_, self.alpha = lambda_, alpha

    def forward(
        self,
        prediction: torch.Tensor,
        truth: torch.Tensor,
        scale_known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Compare a prediction with the truth.

        While several processes train, each compares the pixels of its own share of the batch.

        Parameters
        ----------
        prediction : torch.Tensor
            (B, 1, h, w), m; up-sampled here to the truth's size.
        truth : torch.Tensor
            (B, 1, H, W), m; 0 where unknown.
        scale_known : torch.Tensor, optional
            (B,) bool; a common factor of an image where it is false costs nothing.

        Returns
        -------
        torch.Tensor
            Scalar; 0 with zero gradients if no pixel is valid.

        """
        error, valid = self.log_error(resize_like(prediction, truth), truth.float())
        error = torch.where(valid, error, 0.0)
        if scale_known is not None:
            known = scale_known.view(-1, 1, 1, 1)
            counts = valid.sum((1, 2, 3), keepdim=True).clamp_min(1)
            centred = torch.where(valid, error - error.sum((1, 2, 3), keepdim=True) / counts, 0.0)
            error = torch.where(known, error, centred)
        pixels = valid.sum().clamp_min(1)
        mean = error.sum() / pixels
        # In two passes: the difference of the means of squares would lose digits.
        deviation = torch.where(valid, error - mean, 0.0).square().sum()
        square = deviation / pixels + (1.0 - self.lambda_) * mean.square()
        loss = self.alpha * square.clamp_min(_SMALLEST_SQUARE).sqrt()
        return torch.where(valid.any(), loss, loss * 0.0)


class LogGradient(_DepthLoss):
    """
    Difference of the edges of log depth, at four scales (Li and Snavely, CVPR 2018, L_grad).

    The mean over neighbouring valid pixels of |dx g| + |dy g|, with g = ln prediction - ln truth,
    in every, every second, fourth and eighth pixel of the prediction; then the mean over scales.
    """

    scales = (1, 2, 4, 8)

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """
        Compare a prediction with the truth, whose nearest pixels are taken.

        Parameters
        ----------
        prediction : torch.Tensor
            (B, 1, h, w), m.
        truth : torch.Tensor
            (B, 1, H, W), m; 0 where unknown.

        Returns
        -------
        torch.Tensor
            Scalar; 0 with zero gradients if no two valid pixels are neighbours.

        """
        prediction = prediction.float()
        truth = functional.interpolate(truth.float(), size=prediction.shape[-2:], mode='nearest')
        error, valid = self.log_error(prediction, truth)
        loss = error.new_zeros(())
        for scale in self.scales:
            there, level = valid[..., ::scale, ::scale], error[..., ::scale, ::scale]
            for axis in (-2, -1):
                size = level.shape[axis] - 1
                both = there.narrow(axis, 1, size) & there.narrow(axis, 0, size)
                edges = torch.where(both, level.diff(dim=axis).abs(), 0.0)
                loss = loss + edges.sum() / both.sum().clamp_min(1)
        return loss / len(self.scales)


class StdLikelihood(_DepthLoss):
    """
    Negative log-likelihood of the log depth error under a Laplace distribution of the network's.

    ln s + sqrt(2) |g| / s, with g = ln prediction - ln truth and s the standard deviation over the
    depth; the mean over all valid pixels of the batch (Kendall and Gal, NIPS 2017, section 3, with
    the likelihood of an L1 loss). It teaches the spread of the bins alone: g and the depth are
    taken as given, so the depth is left to SILog.
    """

    def forward(
        self, prediction: torch.Tensor, std: torch.Tensor, truth: torch.Tensor
    ) -> torch.Tensor:
        """
        Compare a standard deviation with the errors that it should foretell.

        Parameters
        ----------
        prediction, std : torch.Tensor
            (B, 1, h, w), m; up-sampled here to the truth's size.
        truth : torch.Tensor
            (B, 1, H, W), m; 0 where unknown.

        Returns
        -------
        torch.Tensor
            Scalar; 0 with zero gradients if no pixel is valid.

        """
        prediction, std = resize_like(prediction.detach(), truth), resize_like(std, truth)
        error, valid = self.log_error(prediction, truth.float())
        spread = (std / prediction.clamp_min(_SMALLEST_DEPTH_M)).clamp_min(_SMALLEST_SPREAD)
        likelihood = torch.log(spread) + math.sqrt(2) * error.abs() / spread
        return torch.where(valid, likelihood, 0.0).sum() / valid.sum().clamp_min(1)


class BinCentersChamfer(_DepthLoss):
    """
    Bidirectional chamfer distance between bin centres and true depths (equation 5).

    Per image, the mean over the bins of the squared distance to the nearest true depth, plus the
    mean over the true depths of that to the nearest bin; then the mean over images. Depth has one
    dimension: between two centres that follow each other only these, and only the lowest and the
    highest depth there, can be nearest. So it is exact without the N x P matrix of distances.
    """

    def forward(self, bin_centers: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """
        Compare bin centres with the depths that are there.

        Parameters
        ----------
        bin_centers : torch.Tensor
            (B, N), m; any order.
        truth : torch.Tensor
            (B, 1, H, W), m; 0 where unknown.

        Returns
        -------
        torch.Tensor
            Scalar, m^2. An image without valid depth adds 0.

        """
        centers = bin_centers.float().sort(dim=1).values
        depths = truth.float().flatten(1)
        valid = valid_depth(depths, self.min_depth, self.max_depth)
        depths = torch.where(valid, depths, 0.0)
        counts = valid.sum(dim=1, keepdim=True)
        with torch.no_grad():
            # Depths of interval i are above centre i - 1, and not above centre i.
            intervals = torch.searchsorted(centers, depths)
            nearest_depths = _nearest_depths(centers, depths, valid, intervals)
            nearest_centers = _nearest_centers(centers, depths, intervals)
        to_depths = torch.where(counts > 0, nearest_depths - centers, 0.0).square().mean(dim=1)
        to_centers = centers.gather(1, nearest_centers) - depths
        to_centers = torch.where(valid, to_centers, 0.0).square().sum(dim=1)
        return (to_depths + to_centers / counts.squeeze(1).clamp_min(1)).mean()


def _nearest_depths(
    centers: torch.Tensor, depths: torch.Tensor, valid: torch.Tensor, intervals: torch.Tensor
) -> torch.Tensor:
    """Find for each centre (B, N) the nearest valid depth, from each interval's ends; m."""
    ends = depths.new_full((len(depths), centers.shape[1] + 1), torch.inf)
    lowest = ends.scatter_reduce(1, intervals, torch.where(valid, depths, torch.inf), 'amin')
    highest = (-ends).scatter_reduce(1, intervals, torch.where(valid, depths, -torch.inf), 'amax')
    below = highest[:, :-1].cummax(dim=1).values
    above = lowest[:, 1:].flip(1).cummin(dim=1).values.flip(1)
    nearest = torch.where(above - centers < centers - below, above, below)
    # An image without valid depth has none; its distances are not used.
    return torch.where(nearest.isfinite(), nearest, 0.0)


def _nearest_centers(
    centers: torch.Tensor, depths: torch.Tensor, intervals: torch.Tensor
) -> torch.Tensor:
    """Find for each depth (B, P) the index of the nearest of the sorted centres (B, N)."""
    below = (intervals - 1).clamp_min(0)
    above = intervals.clamp_max(centers.shape[1] - 1)
    to_below = (depths - centers.gather(1, below)).abs()
    return torch.where(to_below < (centers.gather(1, above) - depths).abs(), below, above)

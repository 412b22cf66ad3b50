# SPDX-License-Identifier: Apache-2.0
"""Batch norms that see the images of all processes, on a CPU too."""

from __future__ import annotations

from adabins_ros.training.process_sum import sum_over_processes
from timm.layers import convert_sync_batchnorm
import torch
from torch import nn


def synchronize_norms(network: nn.Module, device: torch.device) -> None:
    """
    Let the batch norms of a network see the images of all processes.

    Parameters
    ----------
    network : nn.Module
        Changed in place; the names and tensors of its state_dict stay.
    device : torch.device
        On which it trains. On a GPU the norms become torch's own kind, which refuses tensors on
        a CPU.

    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                if device.type == 'cuda':
                    # timm's conversion: torch's loses the activation in timm's norms.
                    module.add_module(name, convert_sync_batchnorm(child))
                else:
                    module.add_module(name, SynchronizedBatchNorm2d(child))


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """
    Train with mean and variance over the images of all processes; evaluate like any batch norm.

    Parameters
    ----------
    norm : nn.BatchNorm2d
        Whose parameters and statistics are taken over, and of timm's norms drop and activation.

    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop = norm.get_submodule('drop') if hasattr(norm, 'drop') else nn.Identity()
        self.act = norm.get_submodule('act') if hasattr(norm, 'act') else nn.Identity()
        self.training = norm.training

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise features (B, C, H, W); B, H and W may differ between processes."""
        normal = self._normalized(images) if self.training else super().forward(images)
        output: torch.Tensor = self.act(self.drop(normal))
        return output

    def _normalized(self, images: torch.Tensor) -> torch.Tensor:
        values = images.to(torch.promote_types(images.dtype, torch.float32))
        pixels = values.new_tensor([values.numel() / self.num_features])
        sums = sum_over_processes(torch.cat([values.sum((0, 2, 3)), pixels]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        # In two passes: the difference of the means of squares would lose digits.
        centred = values - mean.view(-1, 1, 1)
        variance = sum_over_processes(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach(), count)
        scale = (variance + self.eps).rsqrt() * self.weight
        normal = torch.addcmul(self.bias.view(-1, 1, 1), centred, scale.view(-1, 1, 1))
        return normal.to(images.dtype)

    def _track(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        """Move the running statistics; the variance is unbiased, as in torch's norms."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        unbiased = variance * (count / (count - 1).clamp_min(1))
        self.running_var.lerp_(unbiased, self.momentum)

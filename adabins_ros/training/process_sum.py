# SPDX-License-Identifier: Apache-2.0
"""Sums over the processes of a run through which gradients flow."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """
    Add up a tensor of all processes; all must call this alike and in the same order.

    A loss that is made of such sums is the same in every process. Its gradient, once
    DistributedDataParallel has averaged it over the processes, is the one that a single process
    with all their batches would find.
    """
    total: torch.Tensor = _ProcessSum.apply(tensor)
    return total


def processes_train_together(module: nn.Module) -> bool:
    """Tell whether a module is in training in one of several processes, which then add up."""
    return module.training and distributed.is_available() and distributed.is_initialized()


class _ProcessSum(torch.autograd.Function):
    # torch.distributed.nn.functional.all_reduce does the same, but newer releases of torch warn
    # of it, and older ones lack what they recommend.

    @staticmethod
    def forward(context: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return sum_over_processes(gradient)

# SPDX-License-Identifier: Apache-2.0
"""Weights held in half precision, for a network that autocast runs."""

from adabins_ros.inference.hybrid_regression import InSinglePrecision
import torch
from torch import nn

_MULTIPLYING = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


def hold_weights_in(module: nn.Module, dtype: torch.dtype) -> None:
    """
    Convert, in place, the weights that autocast would convert at every frame.

    It keeps such copies for training only. The products are the same; reading the weights takes
    half the time and memory, and what autocast computes in float32 keeps its own.
    """
    for child in module.children():
        if isinstance(child, _MULTIPLYING):
            child.to(dtype)
        elif not isinstance(child, InSinglePrecision):
            hold_weights_in(child, dtype)

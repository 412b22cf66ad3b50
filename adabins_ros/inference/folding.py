# SPDX-License-Identifier: Apache-2.0
"""Batch norms folded into the convolutions before them: the same function, fewer passes."""

import copy

from adabins_ros.model.adabins import AdaBins
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_batch_norms(network: AdaBins) -> AdaBins:
    """
    Copy a network, with every batch norm that directly follows a convolution folded into it.

    Which norm follows which convolution is seen in one forward pass, so that it holds for any
    timm backbone. Exact in real arithmetic.

    Parameters
    ----------
    network : AdaBins
        In evaluation mode, on the CPU; left as it is.

    Returns
    -------
    AdaBins
        Cannot be trained or saved.

    """
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    parents = {
        module: (parent, name)
        for parent in folded.modules()
        for name, module in parent.named_children()
    }
    for convolution, norm in _pairs(folded):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        parent, name = parents[norm]
        # timm's norms apply the activation as well.
        setattr(parent, name, getattr(norm, 'act', nn.Identity()))
    return folded


@torch.no_grad()
def _pairs(network: AdaBins) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Find the norms whose input is the untouched output of one convolution."""
    made_by: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def convolved(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        # Holding the tensor keeps its identity from being given to another one.
        made_by[id(output)] = module, output

    def normed(module: nn.Module, inputs: tuple) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        convolution, _ = made_by.pop(id(inputs[0]), (None, None))
        if convolution is not None:
            pairs.append((convolution, module))

    hooks = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(convolved))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(normed))
    dtype = next(network.parameters()).dtype
    # The mini-ViT has no batch norms, so that the size need not be legal for it.
    network.decoder(network.encoder(torch.zeros(1, 3, 64, 64, dtype=dtype)))
    for hook in hooks:
        hook.remove()
    return pairs

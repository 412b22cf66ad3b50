# SPDX-License-Identifier: Apache-2.0
"""A network's transformer in plain operations, whose sizes an exporter can follow."""

from __future__ import annotations

from adabins_ros.model.errors import ModelError
import torch
from torch import nn
from torch.nn import functional


def make_traceable(network: nn.Module) -> nn.Module:
    """
    Replace every ``nn.TransformerEncoder`` in place, with the same weights.

    torch's own has fused kernels that ONNX lacks, and keeps the number of tokens that it was
    traced with.

    Raises
    ------
    ModelError
        If a transformer is of a kind that is not known here.

    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.TransformerEncoder):
                layers = (_PostNormLayer(layer) for layer in child.layers)
                setattr(parent, name, nn.Sequential(*layers))
    return network.eval()


class _PostNormLayer(nn.Module):
    """What ``nn.TransformerEncoderLayer`` does with (B, S, E) in evaluation mode."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if not isinstance(layer, nn.TransformerEncoderLayer) or layer.norm_first:
            raise ModelError(f'{layer} can not be exported: only post-norm layers can')
        if layer.activation is not functional.relu:
            raise ModelError(f'{layer} can not be exported: only layers with ReLU can')
        attention = layer.self_attn
        self.heads = attention.num_heads
        assert attention.in_proj_weight is not None
        self.in_weight, self.in_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out = attention.out_proj
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.mlp = nn.Sequential(layer.linear1, nn.ReLU(), layer.linear2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        projected = functional.linear(tokens, self.in_weight, self.in_bias)
        size = tokens.shape[-1] // self.heads
        # (B, S, 3 E) to three of (B, heads, S, size).
        query, key, value = (
            part.reshape(tokens.shape[0], -1, self.heads, size).transpose(1, 2)
            for part in projected.chunk(3, dim=-1)
        )
        weights = torch.softmax((query * size**-0.5) @ key.transpose(2, 3), dim=-1)
        attended = (weights @ value).transpose(1, 2).flatten(2)
        tokens = self.norm1(tokens + self.out(attended))
        return self.norm2(tokens + self.mlp(tokens))

# SPDX-License-Identifier: Apache-2.0
"""The 3x3 convolutions of decoder and mini-ViT, plain or separable."""

from torch import nn


def convolution(in_channels: int, out_channels: int, kind: str) -> nn.Module:
    """
    Make a 3x3 convolution that keeps the size.

    ``full`` is a plain convolution; ``separable`` a depthwise one followed by a 1x1, about nine
    times fewer multiplications.
    """
    if kind == 'full':
        return nn.Conv2d(in_channels, out_channels, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1),
    )

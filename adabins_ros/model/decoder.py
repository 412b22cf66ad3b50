# SPDX-License-Identifier: Apache-2.0
"""Decoder: four up-sampling blocks with skips, from stride 32 back to stride 2."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


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


class UpSample(nn.Module):
    """Resize to the skip's size, concatenate, then twice convolution, norm and LeakyReLU."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, kind: str) -> None:
        super().__init__()
        self.block = nn.Sequential(
            convolution(in_channels + skip_channels, out_channels, kind),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(),
            convolution(out_channels, out_channels, kind),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(),
        )

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Merge (B, C, h, w) with the skip (B, S, H, W) into (B, out, H, W)."""
        resized = functional.interpolate(
            coarse, size=skip.shape[-2:], mode='bilinear', align_corners=True
        )
        return self.block(torch.cat([resized, skip], dim=1))


class Decoder(nn.Module):
    """
    Bring an encoder's pyramid back to half the input's size.

    Parameters
    ----------
    encoder_channels : sequence of int
        Channels at strides 2, 4, 8, 16, 32.
    channels : sequence of int
        Channels of the bottleneck and of the four up-sampling blocks.
    out_channels : int
        C_d, channels of the decoded features.
    kind : {'full', 'separable'}
        The 3x3 convolutions.
    bottleneck_padding : int
        Padding of the 1x1 bottleneck convolution. With 1, as in the authors' code, the stride-32
        map grows by a border of the bias alone.

    """

    def __init__(
        self,
        encoder_channels: Sequence[int],
        channels: Sequence[int],
        out_channels: int,
        *,
        kind: str = 'full',
        bottleneck_padding: int = 0,
    ) -> None:
        super().__init__()
        self.bottleneck = nn.Conv2d(
            encoder_channels[4], channels[0], 1, padding=bottleneck_padding
        )
        skips = reversed(encoder_channels[:4])
        self.up = nn.ModuleList(
            UpSample(coarse, skip, fine, kind)
            for coarse, skip, fine in zip(channels[:4], skips, channels[1:], strict=True)
        )
        self.out = convolution(channels[4], out_channels, kind)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Decode the five features, finest first, into (B, C_d, H / 2, W / 2)."""
        decoded = self.bottleneck(features[4])
        for up, skip in zip(self.up, reversed(features[:4]), strict=True):
            decoded = up(decoded, skip)
        return self.out(decoded)

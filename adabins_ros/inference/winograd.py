# SPDX-License-Identifier: Apache-2.0
"""Winograd's minimal filtering, F(4x4, 3x3): a quarter of a 3x3 convolution's products."""

import torch
from torch import nn
from torch.nn import functional

_TILE, _WINDOW = 4, 6
# Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


class WinogradConvolution(nn.Module):
    """
    A 3x3 convolution by tiles of 4x4 pixels: 36 products a channel pair instead of 144.

    The tiles' windows are gathered and transformed in bands of a few rows, which stay in the
    cache. It rounds about four times as coarsely as the plain convolution, and needs many
    channels to pay for its transforms.

    Parameters
    ----------
    convolution : nn.Conv2d
        3x3 of stride 1 and padding 1.

    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        self.out_channels = weight.shape[0]
        kernel = torch.tensor(_KERNEL, dtype=torch.float64)
        products = torch.einsum('ai,ocij,bj->abco', kernel, weight.double(), kernel)
        products = products.flatten(0, 1).to(weight.dtype).contiguous()
        self.products = nn.Parameter(products, requires_grad=False)
        self.bias = convolution.bias
        for name, matrix in (('into', _INPUT), ('out_of', _OUTPUT)):
            one_way = torch.tensor(matrix, dtype=weight.dtype)
            both_ways = torch.kron(one_way, one_way)
            self.register_buffer(name, both_ways, persistent=False)

    into: torch.Tensor
    out_of: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H, W) to (B, O, H, W), best channels-last."""
        channels, height, width = x.shape[1:]
        down, across = -(-height // _TILE), -(-width // _TILE)
        border = (0, 0, 1, _TILE * across + 1 - width, 1, _TILE * down + 1 - height)
        padded = functional.pad(x.permute(0, 2, 3, 1), border)
        # (B, down, across, C, 6, 6), a view: the windows overlap.
        windows = padded.unfold(1, _WINDOW, _TILE).unfold(2, _WINDOW, _TILE)
        bands = windows.permute(4, 5, 0, 1, 2, 3).split(self._band(across * channels), dim=3)
        done = [self._convolve(band, channels) for band in bands]
        full = torch.cat(done, 1) if len(done) > 1 else done[0]
        return full[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, windows: torch.Tensor, channels: int) -> torch.Tensor:
        """Convolve windows (6, 6, B, rows, across, C) to (B, 4 rows, 4 across, O)."""
        batch, rows, across = windows.shape[2:5]
        taps = _WINDOW * _WINDOW
        spectrum = (self.into @ windows.reshape(taps, -1)).view(taps, -1, channels)
        product = torch.bmm(spectrum, self.products).view(taps, -1)
        tiles = (self.out_of @ product).view(_TILE, _TILE, batch, rows, across, self.out_channels)
        pixels = tiles.permute(2, 3, 0, 4, 1, 5)
        if self.bias is not None:
            pixels = pixels + self.bias
        return pixels.reshape(batch, _TILE * rows, _TILE * across, self.out_channels)

    @staticmethod
    def _band(row_size: int) -> int:
        """Choose the tile rows of a band, whose windows should stay in a core's cache."""
        return max(1, 40_000 // row_size)

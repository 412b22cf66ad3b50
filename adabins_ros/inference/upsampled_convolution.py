# SPDX-License-Identifier: Apache-2.0
"""The 3x3 convolution over an up-sampled map beside a skip, without its products at full size."""

import torch
from torch import nn
from torch.nn import functional


class UpsampledConvolution(nn.Module):
    """
    conv3x3(cat[up(x), skip]) with the products of the coarse half at its own resolution.

    Bilinear up-sampling acts per channel, so it commutes with products over channels:
    conv3x3(up(x)) is the sum over the nine taps of shift(up(W_tap x)). The shifted up-samplings
    are separable and enter as small dense matrices, whose rows outside the image are zero like the
    padding of the convolution. With a coarse map of a quarter of the pixels that takes about
    (1/4 + (w / 2 + h / 3) / C) of the multiplications of the up-sampled half.

    Parameters
    ----------
    convolution : nn.Conv2d
        3x3 with padding 1 and a bias, from C + S channels to O.
    coarse_channels : int
        C, the first input channels, which are up-sampled.
    constant : torch.Tensor, optional
        (O, 3, 3), taps over one more up-sampled channel that is one everywhere.

    """

    def __init__(
        self,
        convolution: nn.Conv2d,
        coarse_channels: int,
        constant: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach(), convolution.bias
        assert bias is not None
        out_channels, in_channels = weight.shape[:2]
        coarse, fine = weight.tensor_split([coarse_channels], dim=1)
        self.taps = _frozen(coarse.permute(1, 2, 3, 0).reshape(coarse_channels, -1))
        if constant is None:
            constant = weight.new_zeros((out_channels, 3, 3))
        self.constant = _frozen(constant.permute(1, 2, 0).reshape(-1))
        with torch.device('meta'):
            self.skip = nn.Conv2d(in_channels - coarse_channels, out_channels, 3, padding=1)
        self.skip.weight, self.skip.bias = _frozen(fine), _frozen(bias)

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Convolve the coarse (B, C, h, w), resized, and the skip (B, S, H, W) to (B, O, H, W)."""
        batch, channels, h, w = coarse.shape
        full = self.skip(skip).permute(0, 2, 3, 1)
        _, height, width, out_channels = full.shape
        pixels = coarse.permute(0, 2, 3, 1).reshape(-1, channels)
        products = torch.addmm(self.constant, pixels, self.taps)
        products = products.view(batch * h, w, 3, 3, out_channels)
        rows = shifted_resizing(h, height, products).expand(batch, 3, height, h).unbind(1)
        columns = shifted_resizing(w, width, products).expand(batch * h, 3, width, w).unbind(1)
        sums = full.reshape(batch, height, width * out_channels)
        for dy, vertical in enumerate(rows):
            wide = torch.bmm(columns[0], products[:, :, dy, 0])
            wide = wide.baddbmm_(columns[1], products[:, :, dy, 1])
            wide = wide.baddbmm_(columns[2], products[:, :, dy, 2])
            sums = sums.baddbmm_(vertical, wide.view(batch, h, width * out_channels))
        return sums.view(batch, height, width, out_channels).permute(0, 3, 1, 2)


def shifted_resizing(size: int, full_size: int, like: torch.Tensor) -> torch.Tensor:
    """
    Give the linear resizing of a row (align_corners) seen by the three taps of a convolution.

    Returns (3, full_size, size) of the dtype and device of ``like``: row I of matrix t makes the
    resized element I + t - 1, and zero where there is none.
    """
    unit = torch.eye(size, dtype=like.dtype, device=like.device)[None]
    resizing = functional.interpolate(unit, full_size, mode='linear', align_corners=True)[0].T
    padded = functional.pad(resizing, (0, 0, 1, 1))
    return torch.stack([padded.narrow(0, tap, full_size) for tap in range(3)])


def _frozen(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=False)

# SPDX-License-Identifier: Apache-2.0
"""The decoder with its linear parts merged and its products at the lowest resolution."""

from adabins_ros.inference.rewrites import Rewrites
from adabins_ros.inference.upsampled_convolution import UpsampledConvolution
from adabins_ros.inference.winograd import WinogradConvolution
from adabins_ros.model.decoder import Decoder, UpSample
from adabins_ros.model.encoder import Encoder
import torch
from torch import nn
from torch.nn import functional


class DeployedDecoder(nn.Module):
    """
    The function of ``Decoder`` after ``Encoder``'s head.

    Both modules are taken over; the encoder loses a head that merges with the bottleneck.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, rewrites: Rewrites) -> None:
        super().__init__()
        self.bottleneck: nn.Module = decoder.bottleneck
        coarse_channels = decoder.bottleneck.out_channels
        blocks = [up for up in decoder.up if isinstance(up, UpSample)]
        firsts: list[nn.Module] = []
        for up in blocks:
            firsts.append(_joined(up.block[0], coarse_channels, rewrites))
            coarse_channels = _out_channels(up.block[3])
        merged = merged_bottleneck(encoder.head, decoder.bottleneck)
        if rewrites.fuse_bottleneck and merged is not None:
            encoder.head = nn.Identity()
            self.bottleneck = merged
            first = blocks[0].block[0]
            if isinstance(first, nn.Conv2d) and merged.in_channels < merged.out_channels:
                self.bottleneck = nn.ZeroPad2d(_padding(merged))
                absorbed, constant = _absorbed(merged, first)
                firsts[0] = _joined(absorbed, merged.in_channels, rewrites, constant)
        self.up = nn.ModuleList(
            _Block(first, up, rewrites) for first, up in zip(firsts, blocks, strict=True)
        )
        self.out = _faster(decoder.out, rewrites)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Decode the five features, finest first, into (B, C_d, H / 2, W / 2)."""
        decoded = self.bottleneck(features[4])
        for up, skip in zip(self.up, reversed(features[:4]), strict=True):
            decoded = up(decoded, skip)
        return self.out(decoded)


class _Block(nn.Module):
    """An up-sampling block; its first layer resizes and joins by itself."""

    def __init__(self, first: nn.Module, up: UpSample, rewrites: Rewrites) -> None:
        super().__init__()
        self.first = first
        rest = [_faster(layer, rewrites) for layer in list(up.block)[1:]]
        self.rest = nn.Sequential(*(each for each in rest if not isinstance(each, nn.Identity)))

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.rest(self.first(coarse, skip))


class _ConcatenatedConvolution(nn.Module):
    """A block's first convolution as it is written, with a channel of ones if asked."""

    def __init__(self, convolution: nn.Module, with_ones: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.with_ones = with_ones

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        size = skip.shape[-2:]
        resized = functional.interpolate(coarse, size, mode='bilinear', align_corners=True)
        parts = [resized, skip]
        if self.with_ones:
            parts.append(torch.ones_like(skip[:, :1]))
        return self.convolution(torch.cat(parts, dim=1))


def merged_bottleneck(head: nn.Module, bottleneck: nn.Conv2d) -> nn.Conv2d | None:
    """
    Multiply the encoder's head and the bottleneck, two 1x1 convolutions, into one.

    None if the padding keeps them apart: a head with a bias under a padded bottleneck.
    """
    if isinstance(head, nn.Identity):
        return bottleneck
    assert isinstance(head, nn.Conv2d)
    assert bottleneck.bias is not None
    padding = _padding(bottleneck)
    if padding and head.bias is not None:
        return None
    outer = bottleneck.weight.flatten(1).double()
    weight = outer @ head.weight.flatten(1).double()
    bias = bottleneck.bias.double()
    if head.bias is not None:
        bias = bias + outer @ head.bias.double()
    return _convolution(weight[:, :, None, None], bias, head.weight.dtype, padding)


def _absorbed(bottleneck: nn.Conv2d, first: nn.Conv2d) -> tuple[nn.Conv2d, torch.Tensor]:
    """
    Multiply the bottleneck into the convolution that follows its up-sampling.

    Returns the convolution over the bottleneck's padded input and the skip, and the taps
    (O, 3, 3) over a channel of ones. That channel carries the bottleneck's bias, so that the
    zeros around the up-sampled map stay zeros.
    """
    assert bottleneck.bias is not None
    assert first.bias is not None
    coarse, fine = first.weight.double().tensor_split([bottleneck.out_channels], dim=1)
    through = torch.einsum('ocyx,cd->odyx', coarse, bottleneck.weight.flatten(1).double())
    constant = torch.einsum('ocyx,c->oyx', coarse, bottleneck.bias.double())
    weight = torch.cat([through, fine], 1)
    dtype = first.weight.dtype
    return _convolution(weight, first.bias, dtype, padding=1), constant.to(dtype)


def _joined(
    first: nn.Module,
    coarse_channels: int,
    rewrites: Rewrites,
    constant: torch.Tensor | None = None,
) -> nn.Module:
    """Choose the form of a block's first convolution; ``constant`` as ``_absorbed`` gives it."""
    least = rewrites.low_resolution_from
    if isinstance(first, nn.Conv2d):
        if least is not None and coarse_channels >= least:
            return UpsampledConvolution(first, coarse_channels, constant)
        if constant is not None:
            assert first.bias is not None
            weight = torch.cat([first.weight, constant[:, None]], 1)
            first = _convolution(weight, first.bias, weight.dtype, padding=1)
    return _ConcatenatedConvolution(_faster(first, rewrites), constant is not None)


def _faster(layer: nn.Module, rewrites: Rewrites) -> nn.Module:
    """Replace a layer by an equal one that is faster, where there is one."""
    if isinstance(layer, nn.LeakyReLU):
        return nn.LeakyReLU(layer.negative_slope, inplace=True)
    least = rewrites.winograd_from
    if least is None or not isinstance(layer, nn.Conv2d) or layer.kernel_size != (3, 3):
        return layer
    has_many = min(layer.in_channels, layer.out_channels) >= least
    return WinogradConvolution(layer) if has_many else layer


def _padding(convolution: nn.Conv2d) -> int:
    padding = convolution.padding[0]
    assert isinstance(padding, int)
    return padding


def _out_channels(convolution: nn.Module) -> int:
    last = convolution[-1] if isinstance(convolution, nn.Sequential) else convolution
    assert isinstance(last, nn.Conv2d)
    return last.out_channels


def _convolution(
    weight: torch.Tensor,
    bias: torch.Tensor,
    dtype: torch.dtype,
    padding: int,
) -> nn.Conv2d:
    out_channels, in_channels, size, _ = weight.shape
    with torch.device('meta'):
        made = nn.Conv2d(in_channels, out_channels, size, padding=padding)
    made.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    made.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return made

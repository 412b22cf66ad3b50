# SPDX-License-Identifier: Apache-2.0
"""The decoder with its linear parts merged and its products at the lowest resolution."""

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

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        *,
        merge_bottleneck: bool = True,
        low_resolution_from: int | None = None,
        add_separable: bool = False,
    ) -> None:
        super().__init__()
        self.bottleneck: nn.Module = decoder.bottleneck
        coarse_channels = decoder.bottleneck.out_channels
        blocks = [up for up in decoder.up if isinstance(up, UpSample)]
        firsts: list[nn.Module] = []
        for up in blocks:
            joining = up.block[0]
            if add_separable and isinstance(joining, nn.Sequential):
                firsts.append(_AddedConvolutions(joining, coarse_channels))
            else:
                firsts.append(_joined(joining, coarse_channels, low_resolution_from))
            coarse_channels = _out_channels(up.block[3])
        merged = merged_bottleneck(encoder.head, decoder.bottleneck)
        if merge_bottleneck and merged is not None:
            encoder.head = nn.Identity()
            self.bottleneck = merged
            first = blocks[0].block[0]
            if isinstance(first, nn.Conv2d) and merged.in_channels < merged.out_channels:
                self.bottleneck = nn.ZeroPad2d(_padding(merged))
                absorbed, constant = _absorbed(merged, first)
                firsts[0] = _joined(absorbed, merged.in_channels, low_resolution_from, constant)
        self.up = nn.ModuleList(
            _Block(first, up) for first, up in zip(firsts, blocks, strict=True)
        )
        self.out = decoder.out

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Decode the five features, finest first, into (B, C_d, H / 2, W / 2)."""
        decoded = self.bottleneck(features[4])
        for up, skip in zip(self.up, reversed(features[:4]), strict=True):
            decoded = up(decoded, skip)
        return self.out(decoded)


class _Block(nn.Module):
    """An up-sampling block; its first layer resizes and joins by itself."""

    def __init__(self, first: nn.Module, up: UpSample) -> None:
        super().__init__()
        self.first = first
        rest = [layer for layer in up.block[1:] if not isinstance(layer, nn.Identity)]
        for layer in rest:
            if isinstance(layer, nn.LeakyReLU):
                layer.inplace = True
        self.rest = nn.Sequential(*rest)

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


class _AddedConvolutions(nn.Module):
    """
    A block's first, separable convolution on each of its two inputs, and the sum.

    ONNX Runtime adds inside of a convolution, but copies to concatenate. What ends it leaves the
    sum as it is: the runtime computes the norm and the LeakyReLU that follow inside of that one.
    """

    def __init__(self, separable: nn.Sequential, coarse_channels: int) -> None:
        super().__init__()
        depthwise, pointwise = separable
        assert isinstance(depthwise, nn.Conv2d)
        assert isinstance(pointwise, nn.Conv2d)
        assert pointwise.bias is not None
        taps, dtype = depthwise.weight.tensor_split([coarse_channels]), pointwise.weight.dtype
        mixes = pointwise.weight.tensor_split([coarse_channels], dim=1)
        biases = pointwise.bias, torch.zeros_like(pointwise.bias)
        self.coarse, self.skip = (
            nn.Sequential(_depthwise(tap), _convolution(mix, bias, dtype, padding=0))
            for tap, mix, bias in zip(taps, mixes, biases, strict=True)
        )
        self.sum = _depthwise(torch.ones_like(mixes[0][:, :1]))

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        size = skip.shape[-2:]
        resized = functional.interpolate(coarse, size, mode='bilinear', align_corners=True)
        return self.sum(self.coarse(resized) + self.skip(skip))


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
    least: int | None,
    constant: torch.Tensor | None = None,
) -> nn.Module:
    """Choose the form of a block's first convolution; ``constant`` as ``_absorbed`` gives it."""
    if isinstance(first, nn.Conv2d):
        if least is not None and coarse_channels >= least:
            return UpsampledConvolution(first, coarse_channels, constant)
        if constant is not None:
            assert first.bias is not None
            weight = torch.cat([first.weight, constant[:, None]], 1)
            first = _convolution(weight, first.bias, weight.dtype, padding=1)
    return _ConcatenatedConvolution(first, constant is not None)


def _padding(convolution: nn.Conv2d) -> int:
    padding = convolution.padding[0]
    assert isinstance(padding, int)
    return padding


def _out_channels(convolution: nn.Module) -> int:
    last = convolution[-1] if isinstance(convolution, nn.Sequential) else convolution
    assert isinstance(last, nn.Conv2d)
    return last.out_channels


def _depthwise(weight: torch.Tensor) -> nn.Conv2d:
    channels, _, size, _ = weight.shape
    with torch.device('meta'):
        made = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False)
    made.weight = _frozen(weight)
    return made


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


def _frozen(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=False)

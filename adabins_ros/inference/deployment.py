# SPDX-License-Identifier: Apache-2.0
"""
The graph that inference runs: the network's function, exactly, with less arithmetic.

Every rewrite is exact in real arithmetic, so the depth changes only by rounding. Each can be
switched off by itself, which is how ``benchmarks/rewrites.py`` measures them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

from adabins_ros.inference.deployed_decoder import DeployedDecoder
from adabins_ros.inference.smoothing import LAST_FRAME, THIS_FRAME
from adabins_ros.model.adabins import AdaBins, GlobalPart
from adabins_ros.model.bins import at_least_single
from adabins_ros.model.errors import ModelError
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

Network = TypeVar('Network', bound=nn.Module)


@dataclass(frozen=True)
class Rewrites:
    """Which rewrites ``deploy`` makes where the shapes allow; by default those that pay."""

    fold_norms: bool = True
    """Batch norms into the convolutions before them."""
    merge_bottleneck: bool = True
    """The encoder's head and the bottleneck into the first up-sampling block's convolution."""
    low_resolution_from: int | None = 384
    """Coarse channels from which conv(up(x)) multiplies before it up-samples."""
    add_separable: bool = False
    """Separable convolutions over two joined maps as a sum of two: for ONNX Runtime."""


AS_WRITTEN = Rewrites(False, False, None)
"""None of them: the trained modules as they are."""


@torch.no_grad()
def deploy(network: AdaBins, rewrites: Rewrites | None = None) -> AdaBins:
    """
    Build the graph that inference runs.

    Parameters
    ----------
    network : AdaBins
        On the CPU; left as it is.
    rewrites : Rewrites, optional
        Those that pay by default.

    Returns
    -------
    AdaBins
        The same function for any legal size and batch, with other modules in it: it can be traced
        and exported, but neither trained nor saved as a checkpoint.

    """
    rewrites = rewrites or Rewrites()
    deployed = copy.deepcopy(network).eval().requires_grad_(False)
    if rewrites.fold_norms:
        _fold_batch_norms(deployed)
    decoder: nn.Module = DeployedDecoder(
        deployed.encoder,
        deployed.decoder,
        merge_bottleneck=rewrites.merge_bottleneck,
        low_resolution_from=rewrites.low_resolution_from,
        add_separable=rewrites.add_separable,
    )
    deployed.decoder = decoder  # type: ignore[assignment]
    if deployed.config.bin_strategy == 'adaptive':
        deployed.mini_vit.regressor = InSinglePrecision(*deployed.mini_vit.regressor)
    return deployed.eval().requires_grad_(False)


class PixelNetwork(nn.Module):
    """
    From pixels to what an engine gives: a network with the normalisation of its image.

    Parameters
    ----------
    network : AdaBins
        As it was trained, or deployed.
    memory_format : torch.memory_format
        Of the image that the network sees.
    fold_scale : bool
        Divide the weights of the encoder's first convolution, in place, rather than the pixels,
        where that one alone sees them.

    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: AdaBins,
        memory_format: torch.memory_format = torch.contiguous_format,
        *,
        fold_scale: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.memory_format = memory_format
        self.adaptive = network.config.bin_strategy == 'adaptive'
        self.register_buffer('mean', torch.tensor(network.config.mean).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(network.config.std).view(1, 3, 1, 1))
        first = _sees_the_image(network) if fold_scale else None
        self.folded = first is not None
        if first is not None:
            # The mean is not folded: zeros around the image have to stand for it.
            first.weight = nn.Parameter(first.weight / (255 * self.std), requires_grad=False)
        self.eval()

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of what it takes, in order."""
        return ('image', *(LAST_FRAME if self.adaptive else ()))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what it gives, in order."""
        return ('depth', 'std', 'bin_centers', *(THIS_FRAME if self.adaptive else ()))

    def forward(
        self,
        image: torch.Tensor,
        last_widths: torch.Tensor | None = None,
        last_kernels: torch.Tensor | None = None,
        smoothing: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """
        Give depth and std (B, h, w), bin centres (B, N) and so on of (B, H, W, 3) uint8 pixels.

        With adaptive bins it goes on from the last frame's widths and kernels with the weight
        ``smoothing``, (B,); without them they are zeros.
        """
        # In the authors' order of roundings: deep random networks magnify any other one.
        pixels = image.permute(0, 3, 1, 2).float()
        normal = pixels - 255 * self.mean if self.folded else (pixels / 255 - self.mean) / self.std
        normal = normal.contiguous(memory_format=self.memory_format)
        if not self.adaptive:
            depth, std, centers = self.network(normal)
            return depth[:, 0], std[:, 0], centers
        config, batch = self.network.config, image.shape[0]
        if last_widths is None or last_kernels is None or smoothing is None:
            last_widths = normal.new_zeros(batch, config.num_bins)
            last_kernels = normal.new_zeros(batch, config.num_kernels, config.embedding_dim)
            smoothing = normal.new_zeros(batch)
        last = GlobalPart(last_widths, last_kernels)
        (depth, std, centers), now, agreement = self.network.steadied(normal, last, smoothing)
        return depth[:, 0], std[:, 0], centers, *now, agreement


class InSinglePrecision(nn.Sequential):
    """
    Layers that compute in float32 whatever autocast says; double precision is kept.

    Those of the bins' widths: little arithmetic, through which an error in half precision would
    move the depth of all pixels.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers."""
        kind = x.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(x)
        with torch.autocast(kind, enabled=False):
            return super().forward(x.to(at_least_single(x)))


def make_traceable(network: Network) -> Network:
    """
    Replace every ``nn.TransformerEncoder`` in place by plain operations with the same weights.

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


def _sees_the_image(network: AdaBins) -> nn.Conv2d | None:
    """Find the convolution that sees the image as it is, if nothing else does."""
    image = torch.zeros(1, 3, 64, 64, dtype=next(network.parameters()).dtype)
    seeing: list[nn.Module] = []

    def look(module: nn.Module, inputs: tuple) -> None:
        if inputs[0] is image and not any(True for _ in module.children()):
            seeing.append(module)

    hooks = [module.register_forward_pre_hook(look) for module in network.encoder.modules()]
    with torch.no_grad():
        network.encoder(image)
    for hook in hooks:
        hook.remove()
    first = seeing[0] if len(seeing) == 1 else None
    return first if isinstance(first, nn.Conv2d) and network.encoder.stem is None else None


def _fold_batch_norms(network: AdaBins) -> None:
    """
    Fold every batch norm that directly follows a convolution into it, in place.

    Which norm follows which convolution is seen in one forward pass, so that it holds for any
    timm backbone.
    """
    parents = {
        module: (parent, name)
        for parent in network.modules()
        for name, module in parent.named_children()
    }
    for convolution, norm in _pairs(network):
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

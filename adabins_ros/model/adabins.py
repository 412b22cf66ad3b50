# SPDX-License-Identifier: Apache-2.0
"""AdaBins: encoder, decoder, mini-ViT and hybrid regression (paper, Figure 2)."""

from typing import Any, NamedTuple

from adabins_ros.model.bins import (
    at_least_single,
    bin_centers,
    depth_and_std,
    FixedBins,
    moments_over_bins,
    normalized_widths,
)
from adabins_ros.model.config import AdaBinsConfig
from adabins_ros.model.decoder import Decoder
from adabins_ros.model.encoder import Encoder
from adabins_ros.model.mini_vit import MiniViT
import torch
from torch import nn


class DepthDistribution(NamedTuple):
    """What one pass says about depth, in metres, at half the input's size."""

    depth: torch.Tensor
    """(B, 1, h, w), the mean (equation 3)."""
    std: torch.Tensor
    """(B, 1, h, w), one standard deviation; NaN for the regression strategy, which has none."""
    bin_centers: torch.Tensor
    """(B, N), increasing; N is 0 for the regression strategy."""


class GlobalPart(NamedTuple):
    """What one pass of the adaptive strategy says about the image as a whole."""

    widths: torch.Tensor
    """(B, N), the bins' parts of the depth range; their sum is one."""
    kernels: torch.Tensor
    """(B, C, E), of the range-attention maps."""


# Between these changes from the last frame, the last one fades out: of depth (mean |log|), so that
# it is hardly ever moved by more than a tenth; and of the kernels' energy, of which .001 to .03
# were measured in one scene, .1 in fast turns, .03 to .5 at cuts.
_FADING_DEPTH, _FADING_KERNELS = (0.08, 0.25), (0.1, 0.2)
# One pixel of so many rows and columns tells how depth changes.
_GRID = 8


class AdaBins(nn.Module):
    """
    The network of a configuration, all five bin strategies of the paper's Table 2.

    Parameters
    ----------
    config : AdaBinsConfig
        Architecture and depth range.
    pretrained_encoder : bool
        Let timm fetch the encoder's ImageNet weights.

    """

    def __init__(self, config: AdaBinsConfig, *, pretrained_encoder: bool = False) -> None:
        super().__init__()
        self.config = config
        strategy = config.bin_strategy
        self.encoder = Encoder(
            config.encoder, use_head=config.encoder_head, pretrained=pretrained_encoder
        )
        decoded = {'adaptive': config.decoded_channels, 'regression': 1}
        self.decoder = Decoder(
            self.encoder.channels,
            config.decoder_channels,
            decoded.get(strategy, config.num_bins),
            kind=config.decoder_convolution,
            bottleneck_padding=config.bottleneck_padding,
        )
        if strategy == 'adaptive':
            self.mini_vit = MiniViT(
                config.decoded_channels,
                config.num_bins,
                patch_size=config.patch_size,
                embedding_dim=config.embedding_dim,
                num_kernels=config.num_kernels,
                num_layers=config.num_layers,
                num_heads=config.num_heads,
                mlp_dim=config.mlp_dim,
                regressor_dim=config.regressor_dim,
                dropout=config.dropout,
                max_tokens=config.max_tokens,
                kind=config.decoder_convolution,
            )
            self.conv_out = nn.Conv2d(config.num_kernels, config.num_bins, 1)
        elif strategy != 'regression':
            self.fixed_bins = FixedBins(
                strategy, config.num_bins, config.min_depth, config.max_depth, config.bin_eps
            )

    def forward(self, image: torch.Tensor) -> DepthDistribution:
        """
        Estimate depth and its distribution.

        Parameters
        ----------
        image : torch.Tensor
            (B, 3, H, W), RGB / 255, normalised with the configuration's mean and std.

        Returns
        -------
        DepthDistribution
            At (ceil(H / 2), ceil(W / 2)), metres.

        Raises
        ------
        ValueError
            If the size has too few or too many patches (``config.is_legal_size``).

        """
        decoded = self.decoder(self.encoder(image))
        strategy = self.config.bin_strategy
        if strategy == 'regression':
            return self._regression(decoded)
        if strategy == 'adaptive':
            return self._distribution(*self._global_part(decoded))
        centers = self.fixed_bins(decoded.shape[0])
        return self._calibrated(*depth_and_std(decoded, centers), centers)

    def steadied(
        self, image: torch.Tensor, last: GlobalPart, weight: torch.Tensor
    ) -> tuple[DepthDistribution, GlobalPart, torch.Tensor]:
        """
        Do what ``forward`` does, adaptive bins, with the global part smoothed over time.

        Parameters
        ----------
        image : torch.Tensor
            As ``forward`` takes it.
        last : GlobalPart
            What this returned for the last frame; zeros for none.
        weight : torch.Tensor
            (B,), 0 to 1, of the last frame; 0 gives what ``forward`` gives.

        Returns
        -------
        distribution : DepthDistribution
        steady : GlobalPart
            That it was made with, for the next frame.
        agreement : torch.Tensor
            (B,), from 1 to 0 where the scene is another one: the weight was multiplied by it.

        """
        seen, range_features = self._global_part(self.decoder(self.encoder(image)))
        kernels = seen.kernels.to(at_least_single(seen.kernels))
        grid = range_features[:, ::_GRID, ::_GRID]
        before, now = (self._distribution(part, grid).depth for part in (last, seen))
        turned = (kernels - last.kernels).square().sum((1, 2)) / kernels.square().sum((1, 2))
        agreement = _faded((now / before).log().abs().mean((1, 2, 3)), _FADING_DEPTH)
        agreement = agreement * _faded(turned, _FADING_KERNELS)
        share = (weight * agreement)[:, None]
        steady = GlobalPart(
            seen.widths + share * (last.widths - seen.widths),
            kernels + share[:, :, None] * (last.kernels - kernels),
        )
        return self._distribution(steady, range_features), steady, agreement

    def parameter_groups(
        self, learning_rate: float, *, encoder_factor: float = 0.1, weight_decay: float = 0.01
    ) -> list[dict[str, Any]]:
        """
        Divide the parameters that are to be trained into an optimiser's groups.

        The encoder, trained before, learns at ``encoder_factor`` times the rate of the rest.
        Norms, biases, the learned positions and the learned widths have no weight decay.

        Parameters
        ----------
        learning_rate, encoder_factor, weight_decay : float
            Of all but the encoder; of the encoder relative to that; of the other weights.

        Returns
        -------
        list of dict
            Groups with ``params``, ``lr``, ``weight_decay`` and a ``name``; none of them empty.

        """
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                decays = parameter.ndim > 1 and not name.endswith('positional_encodings')
                in_encoder = name.startswith(('encoder.backbone.', 'encoder.head.'))
                groups.setdefault((in_encoder, decays), []).append(parameter)
        return [
            {
                'params': parameters,
                'lr': learning_rate * (encoder_factor if in_encoder else 1.0),
                'weight_decay': weight_decay if decays else 0.0,
                'name': ('encoder' if in_encoder else 'rest') + ('' if decays else '_no_decay'),
            }
            for (in_encoder, decays), parameters in groups.items()
        ]

    def _global_part(self, decoded: torch.Tensor) -> tuple[GlobalPart, torch.Tensor]:
        raw_widths, range_features, kernels = self.mini_vit(decoded)
        widths = normalized_widths(raw_widths, self.config.bin_eps)
        # (B, h, w, E'): the scores of a pixel are then a product with what lies together.
        return GlobalPart(widths, kernels), range_features.permute(0, 2, 3, 1)

    def _distribution(self, part: GlobalPart, range_features: torch.Tensor) -> DepthDistribution:
        config = self.config
        centers = bin_centers(part.widths, config.min_depth, config.max_depth, config.bin_space)
        # conv_out over the range-attention maps K x + k is one product, (W K) x + (W k + b): the
        # maps themselves, (B, C, h, w), are never needed.
        kernels, offsets = self.mini_vit.on_features(part.kernels)
        through, bias = self.conv_out.weight.flatten(1), self.conv_out.bias
        assert bias is not None
        biases = (through @ offsets + bias[:, None])[:, :, 0]
        scores = range_features.flatten(1, 2) @ (through @ kernels).transpose(1, 2)
        depth, std = moments_over_bins(scores, centers, biases)
        # Neither unflatten nor len, with which an exported graph would keep its size.
        size = (centers.shape[0], 1, *range_features.shape[1:3])
        depth, std = depth.reshape(size), std.reshape(size)
        return self._calibrated(depth, std, centers)

    def _calibrated(
        self, depth: torch.Tensor, std: torch.Tensor, centers: torch.Tensor
    ) -> DepthDistribution:
        if self.config.std_factor != 1:
            std = std * self.config.std_factor
        return DepthDistribution(depth, std, centers)

    def _regression(self, decoded: torch.Tensor) -> DepthDistribution:
        # Table 2's Base + R regresses depth directly; the sigmoid keeps it within the range.
        low, high = self.config.min_depth, self.config.max_depth
        depth = low + (high - low) * torch.sigmoid(decoded.to(at_least_single(decoded)))
        nothing = depth.new_empty((depth.shape[0], 0))
        return DepthDistribution(depth, torch.full_like(depth, torch.nan), nothing)


def _faded(change: torch.Tensor, ends: tuple[float, float]) -> torch.Tensor:
    """Fall from 1 at the first end to 0 at the second."""
    return ((ends[1] - change) / (ends[1] - ends[0])).clamp(0, 1)

# SPDX-License-Identifier: Apache-2.0
"""Encoder: a timm backbone that gives features at strides 2, 4, 8, 16 and 32."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

STRIDES = (2, 4, 8, 16, 32)


class Encoder(nn.Module):
    """
    A timm backbone as a pyramid of five features.

    A backbone that begins at stride 4 (ConvNeXt, Swin) gets a small stem beside it for stride 2,
    which nobody has trained.

    Parameters
    ----------
    name : str
        Any timm model with features at strides 4, 8, 16 and 32, and perhaps 2.
    use_head : bool
        Apply the backbone's ``conv_head`` (an EfficientNet's last 1x1 convolution, before its norm
        and activation) to the stride-32 feature, as the authors' code does.
    pretrained : bool
        Let timm fetch its ImageNet weights.

    Attributes
    ----------
    channels : tuple of int
        Channels of the five features, finest first.

    Raises
    ------
    ValueError
        If timm does not know the name, or the backbone lacks a stride or the head.

    """

    def __init__(self, name: str, *, use_head: bool = False, pretrained: bool = False) -> None:
        super().__init__()
        # Not at the top: timm brings torchvision and torch's compiler, 190 MB and a second or two
        # that a node with an exported network does without.
        import timm

        architecture = name.split('.')[0]
        if not timm.is_model(architecture):
            near = ', '.join(timm.list_models(f'*{architecture.split("_")[-1]}*')[:5])
            raise ValueError(f'timm has no encoder {name!r}; near names: {near or "none"}')
        # A Swin is made for images of one size unless it is told otherwise.
        windows = architecture.startswith(('swin_', 'swinv2_')) and '_cr_' not in architecture
        options: dict[str, Any] = {'strict_img_size': False} if windows else {}
        self.backbone = timm.create_model(
            name, features_only=True, pretrained=pretrained, **options
        )
        self.any_size = not windows
        """Whether a graph that is exported for one size holds for others; not with windows."""
        info: Any = self.backbone.feature_info
        reductions = tuple(info.reduction())
        channels = list(info.channels()[-5:])
        self.stem: nn.Module | None = None
        if reductions == STRIDES[1:]:
            channels.insert(0, channels[0] // 2)
            self.stem = nn.Sequential(
                nn.Conv2d(3, channels[0], 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels[0]),
                nn.LeakyReLU(),
                nn.Conv2d(channels[0], channels[0], 3, padding=1, bias=False),
                nn.BatchNorm2d(channels[0]),
                nn.LeakyReLU(),
            )
        elif reductions[-5:] != STRIDES:
            raise ValueError(
                f'encoder {name!r} has features at strides {reductions}, but {STRIDES} are '
                'needed, or all but the first; choose an EfficientNet, MobileNet, ResNet, '
                'ConvNeXt, Swin or another such backbone'
            )
        self.head: nn.Module = nn.Identity()
        if use_head:
            self.head, channels[-1] = self._conv_head(name, channels[-1], pretrained)
        self.channels = tuple(channels)

    @staticmethod
    def _conv_head(name: str, in_channels: int, pretrained: bool) -> tuple[nn.Module, int]:
        import timm

        with torch.device('cpu' if pretrained else 'meta'):
            whole = timm.create_model(name, num_classes=0, global_pool='', pretrained=pretrained)
        conv_head = getattr(whole, 'conv_head', None)
        if not isinstance(conv_head, nn.Conv2d) or conv_head.in_channels != in_channels:
            raise ValueError(f'encoder {name!r} has no conv_head; set encoder_head to false')
        if pretrained:
            return conv_head, conv_head.out_channels
        head = nn.Conv2d(in_channels, conv_head.out_channels, 1, bias=conv_head.bias is not None)
        return head, conv_head.out_channels

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """
        Compute the feature pyramid.

        Parameters
        ----------
        image : torch.Tensor
            (B, 3, H, W), normalised with the encoder's mean and standard deviation.

        Returns
        -------
        list of torch.Tensor
            Five features at strides 2, 4, 8, 16, 32.

        """
        if self.stem is None:
            features = self.backbone(image)[-5:]
        else:
            # To whole patches of stride 4, with the mean colour.
            height, width = image.shape[-2:]
            padded = functional.pad(image, (0, -width % 4, 0, -height % 4))
            features = [self.stem(image), *self.backbone(padded)]
            if self.backbone.output_fmt == 'NHWC':
                features[1:] = [feature.permute(0, 3, 1, 2) for feature in features[1:]]
        return [*features[:4], self.head(features[4])]

# SPDX-License-Identifier: Apache-2.0
"""What a network is: architecture, depth range, camera and origin, as checkpoints hold it."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

BinStrategy = Literal['regression', 'uniform', 'log', 'trained', 'adaptive']
BinSpace = Literal['linear', 'log']

MOST_WIDE = 1 << 14
# What a file may claim: far more than any network has, and never all of the memory.
Width = Annotated[int, Field(ge=1, le=MOST_WIDE)]
Side = Annotated[int, Field(ge=1, le=MOST_WIDE)]
Positive = Annotated[float, Field(gt=0)]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class AdaBinsConfig(BaseModel):
    """
    Configuration of an AdaBins network; the defaults are the paper's architecture.

    Depths are metres, focal lengths pixels of the network's input, sizes (height, width).
    ``bin_strategy`` names the rows of the paper's Table 2.
    """

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    name: str = 'adabins'

    # No address: timm would fetch what it names.
    encoder: str = Field('tf_efficientnet_b5.ap_in1k', pattern=r'^[\w.-]+$')
    encoder_head: bool = Field(
        True, description="use the encoder's conv_head, before its norm, as the stride-32 feature"
    )
    decoder_channels: tuple[Width, Width, Width, Width, Width] = Field(
        (2048, 1024, 512, 256, 128), description='bottleneck, then the four up-sampling blocks'
    )
    decoder_convolution: Literal['full', 'separable'] = 'full'
    bottleneck_padding: Literal[0, 1] = Field(
        1, description="padding of the 1x1 bottleneck convolution; the authors' code has 1"
    )
    decoded_channels: Width = Field(128, description='C_d, channels of the decoded features')

    bin_strategy: BinStrategy = 'adaptive'
    bin_space: BinSpace = Field(
        'linear', description='what the adaptive widths divide: depth (paper), or its logarithm'
    )
    num_bins: int = Field(256, ge=2, le=MOST_WIDE, description='N')
    bin_eps: float = Field(1e-3, gt=0, description='epsilon of equation 1')
    min_depth: float = Field(1e-3, gt=0, description='metres')
    max_depth: float = Field(10.0, gt=0, description='metres')

    patch_size: int = Field(16, ge=1, le=256, description='p, in pixels of the decoded features')
    embedding_dim: Width = Field(128, description='E')
    num_kernels: Width = Field(128, description='C, 1x1 kernels from the transformer')
    num_layers: int = Field(4, ge=1, le=100)
    num_heads: int = Field(4, ge=1)
    mlp_dim: Width = 1024
    regressor_dim: Width = 256
    dropout: float = Field(0.1, ge=0, lt=1, description='in the transformer, while it trains')
    max_tokens: int = Field(
        500, ge=1, le=1 << 20, description='learned positions; the most patches'
    )

    input_size: tuple[Side, Side] = Field((480, 640), description='height, width in training')
    exact_sizes: tuple[tuple[Side, Side], ...] = Field(
        (), description='other sizes to take as they are: crops or whole images of that scale'
    )
    training_focal_length_px: float = Field(518.86, gt=0)
    std_factor: float = Field(
        1.0, gt=0, description="calibration: factor on the bins' standard deviation"
    )
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD

    trained: bool = Field(False, description='whether the weights were trained to see depth')
    licence: str = ''
    provenance: str = ''

    @model_validator(mode='after')
    def _consistent(self) -> 'AdaBinsConfig':
        if self.min_depth >= self.max_depth:
            raise ValueError(
                f'depth range {self.min_depth} .. {self.max_depth} m is empty: '
                'min_depth must be below max_depth'
            )
        if self.embedding_dim % self.num_heads:
            raise ValueError(
                f'embedding_dim {self.embedding_dim} is not divisible by '
                f'num_heads {self.num_heads}'
            )
        if self.max_tokens < self.min_tokens:
            raise ValueError(
                f'max_tokens {self.max_tokens} is below the {self.min_tokens} that '
                f'num_kernels {self.num_kernels} needs'
            )
        return self

    @property
    def repeats_borders(self) -> bool:
        """Tell whether it sees wide images whole, between repeats of their first and last row."""
        return not self.exact_sizes

    @property
    def least_parameters(self) -> int:
        """Count learned numbers of the transformer and the decoder: no network has fewer."""
        wide = self.embedding_dim
        layers = self.num_layers * (4 * wide * wide + 2 * wide * self.mlp_dim)
        transformer = layers + self.max_tokens * wide if self.bin_strategy == 'adaptive' else 0
        return transformer + sum(a * b for a, b in pairwise(self.decoder_channels))

    @property
    def min_tokens(self) -> int:
        """Fewest patches: the transformer's first output gives bins, the next C the kernels."""
        return self.num_kernels + 1 if self.bin_strategy == 'adaptive' else 1

    def tokens(self, height: int, width: int) -> int:
        """Count the mini-ViT's patches for an input of height x width pixels."""
        stride = 2 * self.patch_size
        return (height // stride) * (width // stride)

    def is_legal_size(self, height: int, width: int) -> bool:
        """Tell whether the network can take an input of height x width pixels."""
        fits = self.min_tokens <= self.tokens(height, width) <= self.max_tokens
        return fits and min(height, width) >= 32


_AUTHORS = {
    'bin_eps': 0.1,
    # Their evaluation's images (NYU, KITTI's kb-crop) and training crops.
    'exact_sizes': ((480, 640), (416, 544), (352, 1216)),
    'licence': 'weights: see https://github.com/shariqfarooq123/AdaBins (GPL-3.0)',
}

PRESETS: dict[str, AdaBinsConfig] = {
    'adabins-nyu': AdaBinsConfig(name='adabins-nyu', **_AUTHORS),
    'adabins-kitti': AdaBinsConfig(
        name='adabins-kitti',
        max_depth=80.0,
        input_size=(352, 1216),
        training_focal_length_px=721.5,
        **_AUTHORS,
    ),
    'adabins-lite': AdaBinsConfig(
        name='adabins-lite',
        encoder='tf_efficientnet_lite0',
        encoder_head=False,
        decoder_channels=(128, 96, 64, 48, 32),
        decoder_convolution='separable',
        bottleneck_padding=0,
        decoded_channels=32,
        num_bins=64,
        bin_eps=1e-3,
        min_depth=0.1,
        max_depth=10.0,
        patch_size=8,
        embedding_dim=64,
        num_kernels=64,
        num_layers=2,
        num_heads=4,
        mlp_dim=256,
        regressor_dim=128,
        dropout=0.0,
        input_size=(240, 320),
        training_focal_length_px=277.128,
        mean=(0.498, 0.498, 0.498),
        std=(0.502, 0.502, 0.502),
        licence='Apache-2.0',
    ),
}

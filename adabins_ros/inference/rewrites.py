# SPDX-License-Identifier: Apache-2.0
"""
Which rewrites of the graph are made.

Measured on one core of an Intel Xeon (AVX-512), torch 2.14, float32, and left out because they
don't pay there:

- Products before up-sampling for 256 coarse channels (the authors' last block at 480x640): 324
  against 316 ms as written. For 1024 and 512 channels: 120 against 384 and 168 against 326 ms.
- Winograd for 128 channels at 240x320: 121 against 110 ms. For 1024, 512 and 256 channels: 71
  against 142, 55 against 150 and 71 against 114 ms.
- Softmax and depth sum in tiles of 2048 or 4800 pixels, adabins-lite: 51 against 52 ms.
- The depthwise convolution of up-sampled and skip channels apart, without joining them, and the
  1x1 convolutions as matrix products, adabins-lite: 46 to 48 against 48 ms.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Rewrites:
    """Which rewrites ``deploy`` makes where the shapes allow; by default those that pay."""

    fold_norms: bool = True
    """Batch norms into the convolutions before them."""
    fuse_bottleneck: bool = True
    """The encoder's head and the bottleneck into the first up-sampling block's convolution."""
    low_resolution_from: int | None = 384
    """Coarse channels from which conv(up(x)) multiplies before it up-samples."""
    winograd_from: int | None = 256
    """Channels, in and out, from which 3x3 convolutions become Winograd's F(4x4, 3x3)."""
    fold_kernels: bool = True
    """The 1x1 convolution of separable range features into the product with the kernels."""
    tile_pixels: int | None = None
    """Pixels whose N bin scores are held at a time."""


AS_WRITTEN = Rewrites(False, False, None, None, False, None)
"""None of them: the trained modules as they are."""


def rewrites_for(device: torch.device) -> Rewrites:
    """
    Return the rewrites that pay on a device.

    A GPU has its own fast 3x3 convolutions, in half precision too, which Winograd's large
    transforms would spoil; what else would pay there was not measured.
    """
    if device.type == 'cpu':
        return Rewrites()
    return Rewrites(low_resolution_from=None, winograd_from=None)

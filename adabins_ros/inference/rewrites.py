# SPDX-License-Identifier: Apache-2.0
"""Which rewrites of the graph are made."""

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

# SPDX-License-Identifier: Apache-2.0
"""Whether an engine computes what the network says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math

from adabins_ros.model.adabins import DepthDistribution
from adabins_ros.model.config import AdaBinsConfig
import numpy as np
import torch

Runs = Callable[[torch.Tensor], DepthDistribution]
_ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def allowed_difference_m(dtype: torch.dtype, config: AdaBinsConfig) -> float:
    """
    Give the largest difference in depth that a precision excuses, metres.

    In float32 it is 1e-4 m for depths to 10 m, and grows with the farthest depth above that, as
    the spacing of such numbers does.
    """
    return _ALLOWED[dtype] * max(10.0, config.max_depth)


@torch.inference_mode()
def largest_difference_m(
    engine: Runs, reference: Runs, shapes: Sequence[tuple[int, int, int]]
) -> float:
    """
    Run both on the same pictures and compare.

    Parameters
    ----------
    engine, reference : callable
        From (B, h, w, 3) uint8 pixels to a DepthDistribution.
    shapes : sequence of (int, int, int)
        B, h and w of the pictures.

    Returns
    -------
    float
        The largest absolute difference of depth or bin centres, metres; infinite if the results
        are of another shape, or not finite where the reference is.

    """
    largest = 0.0
    for seed, shape in enumerate(shapes):
        pixels = sample_pictures(shape, seed)
        pairs = list(zip(engine(pixels), reference(pixels), strict=True))
        if any(ours.shape != theirs.shape for ours, theirs in pairs):
            return math.inf
        if any(not torch.equal(ours.isfinite(), theirs.isfinite()) for ours, theirs in pairs):
            return math.inf
        # The spread follows from the same probabilities, but its root magnifies rounding near 0.
        for ours, theirs in (pairs[0], pairs[2]):
            if ours.numel():
                largest = max(largest, float((ours - theirs).abs().max()))
    return largest


def sample_pictures(shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    """Return reproducible pictures, (B, h, w, 3) uint8, of smooth areas and fine texture."""
    batch, height, width = shape
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (batch, 5, 7, 3))
    rows = np.arange(height) * 5 // height
    columns = np.arange(width) * 7 // width
    areas = coarse[:, rows][:, :, columns]
    ramp = np.linspace(-40, 40, width)[None, None, :, None]
    texture = generator.normal(0, 12, areas.shape)
    return torch.from_numpy(np.clip(areas + ramp + texture, 0, 255).astype(np.uint8))

# SPDX-License-Identifier: Apache-2.0
"""Whether an engine computes what the network says, and which one is fastest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math
from statistics import median
from time import perf_counter
from typing import Any

from adabins_ros.inference.engines.engine import Arrays, Engine
from adabins_ros.model.config import AdaBinsConfig
import numpy as np
from numpy.typing import NDArray

Runs = Callable[[Mapping[str, NDArray[Any]]], Arrays]
_ALLOWED = {'float32': 1e-5, 'bfloat16': 1e-2, 'float16': 2e-3}
_ROUNDS = 5
_WORTHWHILE = 0.9


def allowed_difference_m(precision: str, config: AdaBinsConfig) -> float:
    """
    Give the largest difference in depth that a precision excuses, metres.

    In float32 it is 1e-4 m for depths to 10 m, and grows with the farthest depth above that, as
    the spacing of such numbers does.
    """
    return _ALLOWED[precision] * max(10.0, config.max_depth)


def largest_difference_m(
    engine: Runs, reference: Runs, shapes: Sequence[tuple[int, int, int]]
) -> float:
    """
    Run both on the same pictures and compare.

    Parameters
    ----------
    engine, reference : callable
        As ``Engine.run``.
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
        inputs = {'image': sample_pictures(shape, seed)}
        ours, theirs = engine(inputs), reference(inputs)
        for name in ('depth', 'std', 'bin_centers'):
            if ours[name].shape != theirs[name].shape:
                return math.inf
            if not np.array_equal(np.isfinite(ours[name]), np.isfinite(theirs[name])):
                return math.inf
        # The spread follows from the same probabilities, but its root magnifies rounding near 0.
        for name in ('depth', 'bin_centers'):
            if ours[name].size:
                largest = max(largest, float(np.abs(ours[name] - theirs[name]).max()))
    return largest


def sample_pictures(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Return reproducible pictures, (B, h, w, 3) uint8, of smooth areas and fine texture."""
    batch, height, width = shape
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (batch, 5, 7, 3))
    rows = np.arange(height) * 5 // height
    columns = np.arange(width) * 7 // width
    areas = coarse[:, rows][:, :, columns]
    ramp = np.linspace(-40, 40, width)[None, None, :, None]
    texture = generator.normal(0, 12, areas.shape)
    return np.clip(areas + ramp + texture, 0, 255).astype(np.uint8)


def timed(engines: Mapping[str, Engine], size: tuple[int, int]) -> dict[str, float]:
    """Return the median time of each engine for a picture, seconds, in rounds over all of them."""
    inputs = {'image': sample_pictures((1, *size))}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(_ROUNDS + 1):
        for name, engine in engines.items():
            start = perf_counter()
            engine.run(inputs)
            # The first run of an engine also plans and allocates.
            if turn:
                seconds[name].append(perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def preferred(seconds: Mapping[str, float]) -> str:
    """
    Choose by times, simplest engine first: a later one must gain a tenth on the one before.

    So noise does not decide between equals, and the memory of another runtime has to pay.
    """
    best, *others = seconds
    for name in others:
        if seconds[name] < _WORTHWHILE * seconds[best]:
            best = name
    return best

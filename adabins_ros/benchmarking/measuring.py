# SPDX-License-Identifier: Apache-2.0
"""Latency, memory and agreement of the engines, measured in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import subprocess
import sys
from time import perf_counter

from adabins_ros.inference.checking import sample_pictures
from adabins_ros.inference.predictor import DepthPredictor
import numpy as np
from numpy.typing import NDArray

_PROBE = r"""
import re, sys
from pathlib import Path
from adabins_ros import DepthPredictor
from adabins_ros.inference.checking import sample_pictures
model, engine, device, untrained, height, width = sys.argv[1:]
predictor = DepthPredictor.from_pretrained(
    model, engine=engine, device=device, untrained=untrained == 'True'
)
picture = sample_pictures((1, int(height), int(width)))[0]
for _ in range(3):
    predictor.predict(picture)
# Not getrusage's ru_maxrss, which starts from what the process had that started this one.
print(re.search(r'VmHWM:\s*(\d+)', Path('/proc/self/status').read_text())[1])
"""


@dataclass(frozen=True)
class Figures:
    """What one engine showed with images of one size."""

    engine: str
    image_size: tuple[int, int]
    """Height and width of the camera's image, pixels."""
    inference_size: tuple[int, int]
    """Height and width that the network saw, pixels."""
    p50_ms: float
    p90_ms: float
    fps: float
    """Frames per second, one after the other: 1000 / p50."""
    speedup: tuple[float, float, float] | None
    """Torch's time over this one's in the same turn: tenth, middle and ninetieth percentile."""
    difference_m: float | None
    """Largest difference of depth to torch, metres."""


def measure(
    predictors: Mapping[str, DepthPredictor], image_size: tuple[int, int], rounds: int
) -> list[Figures]:
    """
    Let engines take turns with the same image.

    Parameters
    ----------
    predictors : mapping of str to DepthPredictor
        By engine; compared with ``torch`` if that is among them.
    image_size : (int, int)
        Height and width of the camera's image, pixels.
    rounds : int
        Timed turns; as many as a fifth of them come before, untimed.

    Returns
    -------
    list of Figures
        In the order of the predictors.

    """
    picture = sample_pictures((1, *image_size))[0]
    estimates = {name: predictor.predict(picture) for name, predictor in predictors.items()}
    warming = max(1, rounds // 5)
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(-warming, rounds):
        for name, predictor in predictors.items():
            start = perf_counter()
            predictor.predict(picture)
            if turn >= 0:
                seconds[name].append(perf_counter() - start)
    reference = estimates.get('torch')
    figures = []
    for name, estimate in estimates.items():
        times = np.array(seconds[name])
        middle, high = np.percentile(times, [50, 90])
        figures.append(
            Figures(
                engine=name,
                image_size=image_size,
                inference_size=estimate.inference_size,
                p50_ms=round(1e3 * middle, 2),
                p90_ms=round(1e3 * high, 2),
                fps=round(1 / middle, 2),
                speedup=_spread(np.array(seconds['torch']) / times) if reference else None,
                difference_m=float(np.abs(estimate.depth - reference.depth).max())
                if reference
                else None,
            )
        )
    return figures


def peak_memory_mb(
    model: str, engine: str, device: str, image_size: Sequence[int], untrained: bool = False
) -> float:
    """
    Return the most memory that a process takes to load a model and predict, MB.

    It is the resident memory of a process of its own, with Python and the engine.

    Raises
    ------
    RuntimeError
        If the process fails, with its last line.

    """
    words = [model, engine, device, str(untrained), *map(str, image_size)]
    said = subprocess.run(
        [sys.executable, '-c', _PROBE, *words], capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise RuntimeError(said.stderr.strip().splitlines()[-1])
    # The kernel counts in KiB.
    return int(said.stdout.split()[-1]) * 1024 / 1e6


def _spread(ratios: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = (round(float(value), 3) for value in np.percentile(ratios, [10, 50, 90]))
    return low, middle, high

# SPDX-License-Identifier: Apache-2.0
"""
Time the bin-centre chamfer against brute force, forward and backward, in one run.

`python benchmarks/chamfer.py`
"""

from __future__ import annotations

from collections.abc import Callable
import platform
from statistics import median
from time import perf_counter

from adabins_ros.training.losses import BinCentersChamfer
import torch

MIN_DEPTH, MAX_DEPTH = 0.1, 10.0
POINTS = 60_000
BINS = (64, 256)
REPETITIONS = 9


def brute_force(centers: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Compute the chamfer distance from all distances, an image at a time; shapes as the loss."""
    images = []
    for image_centers, depth in zip(centers, truth, strict=True):
        points = depth[(depth > MIN_DEPTH) & (depth < MAX_DEPTH)]
        squares = (image_centers[:, None] - points[None]).square()
        images.append(squares.amin(dim=1).mean() + squares.amin(dim=0).mean())
    return torch.stack(images).mean()


def with_gradient(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    centers: torch.Tensor,
    truth: torch.Tensor,
) -> tuple[float, float, torch.Tensor]:
    """Return seconds, value and the gradient with respect to the centres."""
    centers = centers.clone().requires_grad_()
    start = perf_counter()
    value = loss(centers, truth)
    (gradient,) = torch.autograd.grad(value, centers)
    return perf_counter() - start, value.item(), gradient


def main() -> None:
    """Print the table."""
    print(f'{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}')
    print(f'{POINTS} points; medians of {REPETITIONS} alternating runs, forward and backward')
    print('bins  brute force      ours  ratio  value differs  gradient differs')
    generator = torch.Generator().manual_seed(0)
    truth = MIN_DEPTH + (MAX_DEPTH - MIN_DEPTH) * torch.rand(1, 1, 200, 300, generator=generator)
    for bins in BINS:
        centers = MIN_DEPTH + (MAX_DEPTH - MIN_DEPTH) * torch.rand(1, bins, generator=generator)
        exact = BinCentersChamfer(MIN_DEPTH, MAX_DEPTH)
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(REPETITIONS):
            slow, slow_value, slow_gradient = with_gradient(brute_force, centers, truth)
            fast, fast_value, fast_gradient = with_gradient(exact, centers, truth)
            seconds[0].append(slow)
            seconds[1].append(fast)
        slow, fast = median(seconds[0]), median(seconds[1])
        gradient_error = float((slow_gradient - fast_gradient).abs().max())
        print(
            f'{bins:4d}  {1e3 * slow:8.1f} ms  {1e3 * fast:5.1f} ms  {slow / fast:5.1f}  '
            f'{abs(slow_value - fast_value):13.1e}  {gradient_error:16.1e}'
        )


if __name__ == '__main__':
    main()

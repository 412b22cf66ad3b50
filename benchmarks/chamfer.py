# SPDX-License-Identifier: Apache-2.0
"""
Time the bin-centre chamfer against brute force, forward and backward, in one run.

`python benchmarks/chamfer.py`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adabins_ros.training.losses import BinCentersChamfer
from interleaved import in_turns, median_ms, parser_of, show_table, speedup, write_figures
import torch

MIN_DEPTH, MAX_DEPTH = 0.1, 10.0
POINTS = 60_000
BINS = (64, 256)


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
) -> tuple[float, torch.Tensor]:
    """Return the value and its gradient with respect to the centres."""
    centers = centers.clone().requires_grad_()
    value = loss(centers, truth)
    (gradient,) = torch.autograd.grad(value, centers)
    return value.item(), gradient


def compare(bins: int, rounds: int) -> dict[str, Any]:
    """Time brute force and ours in turns, and tell how much they differ."""
    generator = torch.Generator().manual_seed(0)
    truth = MIN_DEPTH + (MAX_DEPTH - MIN_DEPTH) * torch.rand(1, 1, 200, 300, generator=generator)
    centers = MIN_DEPTH + (MAX_DEPTH - MIN_DEPTH) * torch.rand(1, bins, generator=generator)
    exact = BinCentersChamfer(MIN_DEPTH, MAX_DEPTH)
    seconds = in_turns(
        {
            'brute force': lambda: with_gradient(brute_force, centers, truth),
            'ours': lambda: with_gradient(exact, centers, truth),
        },
        rounds,
    )
    slow_value, slow_gradient = with_gradient(brute_force, centers, truth)
    fast_value, fast_gradient = with_gradient(exact, centers, truth)
    middle, low, high = speedup(seconds['brute force'], seconds['ours'])
    return {
        'bins': bins,
        'brute_force_ms': median_ms(seconds['brute force']),
        'ours_ms': median_ms(seconds['ours']),
        'speedup': middle,
        'speedup_quartiles': (low, high),
        'value_difference': abs(slow_value - fast_value),
        'gradient_difference': float((slow_gradient - fast_gradient).abs().max()),
    }


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument('--rounds', type=int, default=9)
    options = parser.parse_args()
    figures = [compare(bins, options.rounds) for bins in BINS]
    show_table(
        f'{POINTS} points; medians of {options.rounds} rounds, forward and backward; '
        f'{torch.get_num_threads()} threads, torch {torch.__version__}',
        ('bins', 'brute force', 'ours', 'faster', 'value differs', 'gradient differs'),
        (
            (
                row['bins'],
                f'{row["brute_force_ms"]:.1f} ms',
                f'{row["ours_ms"]:.1f} ms',
                (row['speedup'], *row['speedup_quartiles']),
                f'{row["value_difference"]:.1e}',
                f'{row["gradient_difference"]:.1e}',
            )
            for row in figures
        ),
        width=99,
    )
    write_figures(options.json, 'chamfer', figures)


if __name__ == '__main__':
    main()

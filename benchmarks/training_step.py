# SPDX-License-Identifier: Apache-2.0
"""
Time a step of training: forward, loss, backward and optimiser, in two layouts of memory.

`python benchmarks/training_step.py [--batch 8] [--rounds N]`

What `adabins train` does ("channels last") against the same module in torch's default layout, and
each part of the step alone. The frames are random, all of their depth is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adabins_ros.model import AdaBins, PRESETS
from adabins_ros.training.config import TrainingConfig
from adabins_ros.training.module import DepthTraining
from interleaved import in_turns, machine, median_ms, speedup, write_figures
from rich.console import Console
from rich.table import Table
import torch

LITE = 'adabins-lite'
WORKS = ('default', 'channels last', 'its forward pass')


class Step:
    """One step of training of a network of its own."""

    def __init__(self, batch: dict[str, torch.Tensor], memory_format: torch.memory_format) -> None:
        torch.manual_seed(0)
        config = TrainingConfig.model_validate({'loss': {'std_weight': 0.1}})
        self.training = DepthTraining(AdaBins(PRESETS[LITE]), config).train()
        self.training.network.to(memory_format=memory_format)
        self.network: Callable[..., Any] = self.training.network
        groups = self.training.network.parameter_groups(1e-5, encoder_factor=0.1, weight_decay=0)
        self.optimizer = torch.optim.AdamW(groups)
        self.image = batch['image'].contiguous(memory_format=memory_format)
        self.depth = batch['depth']

    def forward(self) -> torch.Tensor:
        """Compute the loss."""
        return self.training.losses(self.network(self.image), self.depth)['loss']

    def __call__(self) -> None:
        """Do the whole step."""
        self.optimizer.zero_grad()
        self.forward().backward()
        self.optimizer.step()


def measure(batch_size: int, rounds: int) -> dict[str, Any]:
    """Time the steps in turns."""
    generator = torch.Generator().manual_seed(0)
    height, width = PRESETS[LITE].input_size
    batch = {
        'image': torch.randn(batch_size, 3, height, width, generator=generator),
        'depth': 0.5 + 5 * torch.rand(batch_size, 1, height, width, generator=generator),
    }
    default = Step(batch, torch.contiguous_format)
    ours = Step(batch, torch.channels_last)
    seconds = in_turns(dict(zip(WORKS, (default, ours, ours.forward), strict=True)), rounds)
    return {
        'batch_size': batch_size,
        **{f'{name}, ms': median_ms(times) for name, times in seconds.items()},
        'images per second': batch_size * 1e3 / median_ms(seconds['channels last']),
        'speedup': speedup(seconds['default'], seconds['channels last']),
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=8)
    parser.add_argument('--json', type=Path, help='also write the figures here')
    options = parser.parse_args()
    figures = measure(options.batch, options.rounds)
    threads = torch.get_num_threads()
    table = Table(title=f'{LITE}, {machine()}, {threads} threads, {options.rounds} rounds')
    for column in ('step of', *WORKS, 'faster'):
        table.add_column(column)
    table.add_row(
        f'{options.batch} images',
        *(f'{figures[f"{name}, ms"]:.0f} ms' for name in WORKS),
        '{:.2f}x ({:.2f} to {:.2f})'.format(*figures['speedup']),
    )
    Console().print(table)
    if options.json:
        write_figures(options.json, 'training_step', figures)


if __name__ == '__main__':
    main()

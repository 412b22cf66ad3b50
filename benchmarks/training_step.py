# SPDX-License-Identifier: Apache-2.0
"""
Time a step of training: forward, loss, backward and optimiser, in two layouts of memory.

`python benchmarks/training_step.py [--batch 8] [--rounds N]`

What `adabins train` does ("channels last") against the same module in torch's default layout, and
each part of the step alone. The frames are random, all of their depth is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adabins_ros.model import AdaBins, PRESETS
from adabins_ros.training.config import TrainingConfig
from adabins_ros.training.module import DepthTraining
from interleaved import in_turns, median_ms, parser_of, show_table, speedup, write_figures
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
    parser = parser_of(__doc__)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=8)
    options = parser.parse_args()
    figures = measure(options.batch, options.rounds)
    threads = torch.get_num_threads()
    times = (f'{figures[f"{name}, ms"]:.0f} ms' for name in WORKS)
    show_table(
        f'{LITE}, {threads} threads, {options.rounds} rounds',
        ('step of', *WORKS, 'faster'),
        [[f'{options.batch} images', *times, figures['speedup']]],
    )
    write_figures(options.json, 'training_step', figures)


if __name__ == '__main__':
    main()

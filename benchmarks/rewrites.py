# SPDX-License-Identifier: Apache-2.0
"""
Time each exact rewrite of the deployed graph alone, and all of them, against the graph as written.

And a few changed in the deployed graph, whose layout of memory is another.

`python benchmarks/rewrites.py [--models adabins-lite adabins-nyu] [--rounds N]`

What "authors' forward" is, and which weights there are, says authors_order.py. Ratios are taken
within a round and given with their quartiles, differences are of depth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import sys
from typing import Any

from adabins_ros.inference.deployment import AS_WRITTEN, deploy, Rewrites
from adabins_ros.model import AdaBins, PRESETS
from authors_order import authors_forward, network_with_statistics
from interleaved import in_turns, machine, median_ms, speedup, write_figures
from rich.console import Console
from rich.table import Table
import torch
from torch import nn
from torch.nn import functional

ALONE = {
    'batch norms folded': Rewrites(True, False, None),
    'head, bottleneck and convolution merged': Rewrites(False, True, None),
    'products before up-sampling': Rewrites(False, False, 384),
    'products before up-sampling, all blocks': Rewrites(False, False, 1),
}
CHANGED = {
    'deployed, products before up-sampling in all blocks': Rewrites(low_resolution_from=1),
}
# What a network of separable convolutions has none of.
FULL_ONLY = ('head', 'products')


def smooth_image(height: int, width: int) -> torch.Tensor:
    """Make a (1, 3, height, width) image of blobs."""
    coarse = torch.randn(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, (height, width), mode='bicubic')


def compare(
    network: AdaBins, name: str, rewritten: nn.Module, rounds: int, channels_last: bool
) -> dict[str, Any]:
    """Time a form of the network against the network as written, in turns."""
    image = smooth_image(*network.config.input_size)
    given = image
    if channels_last:
        rewritten = rewritten.to(memory_format=torch.channels_last)
        given = image.contiguous(memory_format=torch.channels_last)
    return row(name, lambda: network(image).depth, lambda: rewritten(given).depth, rounds)


def row(
    name: str,
    before: Callable[[], torch.Tensor],
    after: Callable[[], torch.Tensor],
    rounds: int,
) -> dict[str, Any]:
    """Time two ways to the same depth, in turns."""
    difference = float((before() - after()).abs().max())
    seconds = in_turns({'before': before, 'after': after}, rounds, warm_up=0)
    middle, low, high = speedup(seconds['before'], seconds['after'])
    # The table comes last; with a large network that takes many minutes.
    print(f'{name}: {middle:.2f}x', file=sys.stderr, flush=True)
    return {
        'rewrite': name,
        'before_ms': median_ms(seconds['before']),
        'after_ms': median_ms(seconds['after']),
        'speedup': middle,
        'speedup_quartiles': (low, high),
        'difference_m': difference,
    }


def mirrored(network: AdaBins, rounds: int) -> dict[str, Any]:
    """Time mirrored averaging as one batch of two against two passes, both deployed."""
    fast = deploy(network).to(memory_format=torch.channels_last)
    image = smooth_image(*network.config.input_size)
    image = image.contiguous(memory_format=torch.channels_last)

    def batch_of_two() -> torch.Tensor:
        straight, other = fast(torch.cat([image, image.flip(-1)])).depth
        return (straight + other.flip(-1)) / 2

    def two_passes() -> torch.Tensor:
        return (fast(image).depth[0] + fast(image.flip(-1)).depth[0].flip(-1)) / 2

    return row('mirrored image in a batch of two', two_passes, batch_of_two, rounds)


def changed(network: AdaBins, rounds: int) -> list[dict[str, Any]]:
    """Time the deployed graph with a rewrite changed against the deployed graph."""
    image = smooth_image(*network.config.input_size)
    image = image.contiguous(memory_format=torch.channels_last)
    forms = [
        deploy(network, rewrites).to(memory_format=torch.channels_last)
        for rewrites in (Rewrites(), *CHANGED.values())
    ]
    return [
        row(name, lambda: forms[0](image).depth, lambda form=form: form(image).depth, rounds)
        for name, form in zip(CHANGED, forms[1:], strict=True)
    ]


@torch.inference_mode()
def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """Give the rows of one model."""
    network = network_with_statistics(name)
    separable = network.config.decoder_convolution == 'separable'
    without = FULL_ONLY if separable else ()
    rows = [
        compare(network, rewrite, deploy(network, rewrites), rounds, channels_last=False)
        for rewrite, rewrites in ALONE.items()
        if not rewrite.startswith(without)
    ]
    rows.append(
        compare(network, 'channels-last memory', deploy(network, AS_WRITTEN), rounds, True)
    )
    rows.append(mirrored(network, rounds))
    rows.append(compare(network, 'deployed: all that pay', deploy(network), rounds, True))
    if not separable:
        rows += changed(network, rounds)
    fast = deploy(network).to(memory_format=torch.channels_last)
    image = smooth_image(*network.config.input_size)
    given = image.contiguous(memory_format=torch.channels_last)
    rows.append(
        row(
            "deployed, against the authors' forward",
            lambda: authors_forward(network, image),
            lambda: fast(given).depth,
            rounds,
        )
    )
    return rows


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--models', nargs='+', default=['adabins-lite', 'adabins-nyu'])
    parser.add_argument('--rounds', type=int, help='by default 5, and 40 for adabins-lite')
    parser.add_argument('--threads', type=int, help="torch's, by default all cores")
    parser.add_argument('--json', type=Path, help='also write the figures here')
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console()
    console.print(f'{machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}')
    figures = {}
    for name in options.models:
        rounds = options.rounds or (40 if name == 'adabins-lite' else 5)
        height, width = PRESETS[name].input_size
        figures[name] = measure(name, rounds)
        table = Table(title=f'{name}, {height}x{width}, {rounds} rounds', title_justify='left')
        for heading in ('rewrite', 'ms', 'faster', 'differs by'):
            table.add_column(heading, no_wrap=True)
        for each in figures[name]:
            low, high = each['speedup_quartiles']
            table.add_row(
                each['rewrite'],
                f'{each["after_ms"]:.1f}',
                f'{each["speedup"]:.2f}x ({low:.2f}-{high:.2f})',
                f'{each["difference_m"]:.0e} m',
            )
        console.print(table)
    if options.json:
        write_figures(options.json, 'rewrites', figures)


if __name__ == '__main__':
    main()

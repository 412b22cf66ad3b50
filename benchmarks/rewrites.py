# SPDX-License-Identifier: Apache-2.0
"""
Time each exact rewrite of the deployed graph alone, and all of them, against the graph as written.

And one changed in the deployed graph, whose layout of memory is another.

`python benchmarks/rewrites.py [--models adabins-lite adabins-nyu] [--rounds N]`

What "authors' forward" is, and which weights there are, says authors_order.py. Ratios are taken
within a round and given with their quartiles, differences are of depth.
"""

from __future__ import annotations

from collections.abc import Callable
import sys
from typing import Any

from adabins_ros.inference.deployment import AS_WRITTEN, deploy, Rewrites
from adabins_ros.model import AdaBins, PRESETS
from authors_order import authors_forward, network_with_statistics
from interleaved import in_turns, median_ms, parser_of, show_table, speedup, write_figures
import torch
from torch.nn import functional

ALONE = {
    'batch norms folded': Rewrites(True, False, None),
    'head, bottleneck and convolution merged': Rewrites(False, True, None),
    'products before up-sampling': Rewrites(False, False, 384),
    'products before up-sampling, all blocks': Rewrites(False, False, 1),
}
# What a network of separable convolutions has none of.
FULL_ONLY = ('head', 'products')


def smooth_image(height: int, width: int) -> torch.Tensor:
    """Make a (1, 3, height, width) image of blobs."""
    coarse = torch.randn(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, (height, width), mode='bicubic')


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


@torch.inference_mode()
def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """Give the rows of one model."""
    network = network_with_statistics(name)
    separable = network.config.decoder_convolution == 'separable'
    image = smooth_image(*network.config.input_size)
    channels_last = image.contiguous(memory_format=torch.channels_last)

    def written() -> torch.Tensor:
        return network(image).depth

    def rewritten(rewrites: Rewrites) -> Callable[[], torch.Tensor]:
        form = deploy(network, rewrites)
        return lambda: form(image).depth

    def fast(rewrites: Rewrites) -> Callable[[], torch.Tensor]:
        form = deploy(network, rewrites).to(memory_format=torch.channels_last)
        return lambda: form(channels_last).depth

    rows = [
        row(rewrite, written, rewritten(rewrites), rounds)
        for rewrite, rewrites in ALONE.items()
        if not (separable and rewrite.startswith(FULL_ONLY))
    ]
    rows.append(row('channels-last memory', written, fast(AS_WRITTEN), rounds))
    rows.append(mirrored(network, rounds))
    deployed = fast(Rewrites())
    rows.append(row('deployed: all that pay', written, deployed, rounds))
    if not separable:
        everywhere = fast(Rewrites(low_resolution_from=1))
        rewrite = 'deployed, products before up-sampling in all blocks'
        rows.append(row(rewrite, deployed, everywhere, rounds))
    authors = "deployed, against the authors' forward"
    rows.append(row(authors, lambda: authors_forward(network, image), deployed, rounds))
    return rows


def main() -> None:
    """Measure and print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument('--models', nargs='+', default=['adabins-lite', 'adabins-nyu'])
    parser.add_argument('--rounds', type=int, help='by default 5, and 40 for adabins-lite')
    parser.add_argument('--threads', type=int, help="torch's, by default all cores")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    figures = {}
    for name in options.models:
        rounds = options.rounds or (40 if name == 'adabins-lite' else 5)
        height, width = PRESETS[name].input_size
        figures[name] = measure(name, rounds)
        show_table(
            f'{name}, {height}x{width}, {rounds} rounds, {torch.get_num_threads()} threads, '
            f'torch {torch.__version__}',
            ('rewrite', 'ms', 'faster', 'differs by'),
            (
                (
                    each['rewrite'],
                    f'{each["after_ms"]:.1f}',
                    (each['speedup'], *each['speedup_quartiles']),
                    f'{each["difference_m"]:.0e} m',
                )
                for each in figures[name]
            ),
        )
    write_figures(options.json, 'rewrites', figures)


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""
Plot how the latency of the network grows with the size of its input, as written and deployed.

`python benchmarks/image_size.py [--models adabins-lite adabins-nyu] [--plot FILE.png]`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adabins_ros.inference.deployment import deploy
from adabins_ros.model import AdaBins, PRESETS
from interleaved import in_turns, machine, median_ms, parser_of, show_table, speedup, write_figures
import matplotlib
import numpy as np
import torch

# Height and width, of 3:4; the token limits of a network leave some of them out.
SIZES = (
    (144, 192),
    (192, 256),
    (240, 320),
    (288, 384),
    (384, 512),
    (480, 640),
    (576, 768),
)


@torch.inference_mode()
def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """Time a network as written and deployed at each legal size, in turns."""
    torch.manual_seed(0)
    network = AdaBins(PRESETS[name]).eval()
    deployed = deploy(network).to(memory_format=torch.channels_last)
    rows = []
    for size in SIZES:
        if not network.config.is_legal_size(*size):
            continue
        image = torch.randn(1, 3, *size)
        channels_last = image.contiguous(memory_format=torch.channels_last)
        seconds = in_turns(
            {
                'as written': lambda image=image: network(image),
                'deployed': lambda image=channels_last: deployed(image),
            },
            rounds,
        )
        middle, low, high = speedup(seconds['as written'], seconds['deployed'])
        rows.append(
            {
                'size': size,
                'as_written_ms': median_ms(seconds['as written']),
                'deployed_ms': median_ms(seconds['deployed']),
                'deployed_quartiles_ms': [
                    1e3 * float(each) for each in np.percentile(seconds['deployed'], [25, 75])
                ],
                'speedup': middle,
                'speedup_quartiles': (low, high),
            }
        )
    return rows


def draw(figures: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw latency against pixels, both on logarithmic axes."""
    matplotlib.use('Agg')
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout='constrained')
    for number, (name, rows) in enumerate(figures.items()):
        pixels = [np.prod(row['size']) / 1e6 for row in rows]
        for key, style in (('as_written_ms', '--'), ('deployed_ms', '-')):
            label = f'{name}, {key.removesuffix("_ms").replace("_", " ")}'
            times = [row[key] for row in rows]
            axes.plot(pixels, times, style, marker='o', color=f'C{number}', label=label)
        low, high = zip(*(row['deployed_quartiles_ms'] for row in rows), strict=True)
        axes.fill_between(pixels, low, high, color=f'C{number}', alpha=0.2)
    axes.set(
        xscale='log',
        yscale='log',
        xlabel='input of the network, pixels (logarithmic)',
        ylabel='median latency, ms',
        title=f'{machine()}, {torch.get_num_threads()} threads',
    )
    axes.title.set_fontsize('small')
    sizes = sorted({row['size'] for rows in figures.values() for row in rows})
    labels = ['{}x{}'.format(*size) for size in sizes]
    axes.set_xticks([np.prod(size) / 1e6 for size in sizes], labels, fontsize='small')
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted(ticker.LogFormatter(minor_thresholds=(2, 0.5)))
    axes.grid(which='both', alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print the table and draw the plot."""
    parser = parser_of(__doc__)
    parser.add_argument('--models', nargs='+', default=['adabins-lite', 'adabins-nyu'])
    parser.add_argument('--rounds', type=int, help='by default 3, and 20 for adabins-lite')
    parser.add_argument('--plot', type=Path, help='default: the JSON file with .png, if given')
    options = parser.parse_args()
    figures = {
        name: measure(name, options.rounds or (20 if name == 'adabins-lite' else 3))
        for name in options.models
    }
    show_table(
        f'{torch.get_num_threads()} threads',
        ('model', 'size', 'as written', 'deployed', 'faster'),
        (
            (
                name,
                '{}x{}'.format(*row['size']),
                f'{row["as_written_ms"]:.1f} ms',
                f'{row["deployed_ms"]:.1f} ms',
                (row['speedup'], *row['speedup_quartiles']),
            )
            for name, rows in figures.items()
            for row in rows
        ),
    )
    plot = options.plot or (options.json and options.json.with_suffix('.png'))
    if plot:
        draw(figures, plot)
    write_figures(options.json, 'image_size', figures)


if __name__ == '__main__':
    main()

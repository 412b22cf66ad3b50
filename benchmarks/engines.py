# SPDX-License-Identifier: Apache-2.0
"""
Time every engine that is installed against the authors' forward pass and their `predict`.

`python benchmarks/engines.py [--models adabins-lite adabins-nyu] [--rounds N] [--device cuda]`

"Network" is the network alone, from pixels to depth at half their size; "predict" is the whole
`DepthPredictor.predict` with mirrored averaging, against two passes in the authors' order. Both
have the same weights for adabins-nyu. adabins-lite is held against its own layers in the authors'
order ("as written") and against the authors' network on 640x480 pixels, which it replaces. On a
GPU the engines compute in float16, what they are held against in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import copy
from typing import Any

from adabins_ros import DepthPredictor
from adabins_ros.inference.checking import sample_pictures
from adabins_ros.inference.choosing import Running
from adabins_ros.inference.engines.engine import Engine, ENGINES, is_installed
from adabins_ros.inference.engines.onnx_engine import cuda_providers
from adabins_ros.inference.finding import of_network
from adabins_ros.model import AdaBins, PRESETS
from authors_order import authors_forward, authors_predict, network_with_statistics
from interleaved import in_turns, median_ms, parser_of, show_table, speedup, write_figures
import torch

LARGE, LITE = 'adabins-nyu', 'adabins-lite'


def tried(device: str) -> list[str]:
    """Name the engines that are installed and can run on a device."""
    on_gpu = ('torch', *(['onnx'] if cuda_providers() else []))
    names = (name for name in ENGINES if name not in ('auto', 'torch_compile'))
    return [name for name in names if is_installed(name) and (device == 'cpu' or name in on_gpu)]


def normalised(network: AdaBins, pixels: torch.Tensor) -> torch.Tensor:
    """Return the image (1, 3, h, w) that a network is to see, of (1, h, w, 3) pixels."""
    mean = torch.tensor(network.config.mean).view(1, 3, 1, 1)
    std = torch.tensor(network.config.std).view(1, 3, 1, 1)
    return ((pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std).contiguous()


def engine(name: str, network: AdaBins, device: str) -> Engine:
    """Open an engine as `DepthPredictor` does."""
    shape = (1, *network.config.input_size)
    return Running(of_network(network), name, device, 'auto', shape).engine


@torch.inference_mode()
def measure(name: str, large: AdaBins, rounds: int, device: str) -> list[dict[str, Any]]:
    """Give the rows of one model; ``large`` is the authors' network."""
    network = large if name == LARGE else network_with_statistics(name)
    pixels = sample_pictures((1, *network.config.input_size))
    image = normalised(network, torch.from_numpy(pixels))
    view = normalised(large, torch.from_numpy(sample_pictures((1, *large.config.input_size))))
    picture = pixels[0]
    # The engines begin from a network on the CPU.
    plain = copy.deepcopy(network).to(device)
    authors = plain if network is large else copy.deepcopy(large).to(device)

    def written(forward: Callable[..., torch.Tensor]) -> dict[str, Callable[[], torch.Tensor]]:
        ways = {'as written': lambda: forward(plain, image.to(device)).cpu()}
        if name != LARGE:
            ways['authors'] = lambda: forward(authors, view.to(device)).cpu()
        return ways

    engines = {each: engine(each, network, device) for each in tried(device)}
    rows = compare(
        name,
        'network',
        written(authors_forward),
        {
            each: lambda run=run: torch.from_numpy(run.run({'image': pixels})['depth'])
            for each, run in engines.items()
        },
        rounds,
    )
    for each in engines.values():
        each.close()

    predictors = {
        each: DepthPredictor(network, engine=each, device=device, flip_average=True)
        for each in tried(device)
    }
    rows += compare(
        name,
        'predict, mirrored average',
        written(authors_predict),
        {
            each: lambda run=run: torch.from_numpy(run.predict(picture).depth)
            for each, run in predictors.items()
        },
        rounds,
    )
    for each in predictors.values():
        each.close()
    return rows


def compare(
    model: str,
    what: str,
    written: Mapping[str, Callable[[], torch.Tensor]],
    engines: Mapping[str, Callable[[], torch.Tensor]],
    rounds: int,
) -> list[dict[str, Any]]:
    """Run all in turns; return a row for each engine."""
    reference = written['as written']()
    differences = {
        name: float((run().reshape(reference.shape) - reference).abs().max())
        for name, run in engines.items()
    }
    seconds = in_turns({**written, **engines}, rounds)
    return [
        {
            'model': model,
            'what': what,
            'engine': name,
            'ms': median_ms(seconds[name]),
            **{f'{base}_ms': median_ms(seconds[base]) for base in written},
            **{f'against {base}': speedup(seconds[base], seconds[name]) for base in written},
            'difference_m': differences[name],
        }
        for name in engines
    ]


def main() -> None:
    """Measure and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument('--models', nargs='+', default=[LITE, LARGE], choices=list(PRESETS))
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    options = parser.parse_args()
    large = network_with_statistics(LARGE)
    rows = [
        row
        for name in options.models
        for row in measure(name, large, options.rounds, options.device)
    ]
    place = f'{torch.get_num_threads()} threads'
    if options.device != 'cpu':
        place = torch.cuda.get_device_name(options.device)
    for title in dict.fromkeys((row['model'], row['what']) for row in rows):
        lines = [
            (
                row['engine'],
                f'{row["ms"]:.1f}',
                row['against as written'],
                row.get('against authors'),
                f'{row["difference_m"]:.0e} m',
            )
            for row in rows
            if (row['model'], row['what']) == title
        ]
        headings = ('engine', 'ms', 'as written', "authors' network", 'differs by')
        show_table(f'{", ".join(title)}; {place}, {options.rounds} rounds', headings, lines)
    write_figures(options.json, 'engines', rows)


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""The table of `adabins benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
import json
import os
from pathlib import Path
import re
from typing import Any

from adabins_ros.benchmarking.measuring import Figures, measure, peak_memory_mb
from adabins_ros.inference.device import find_gpu
from adabins_ros.inference.engines.engine import check_engine, is_installed, Place
from adabins_ros.inference.kept import machine, version
from adabins_ros.inference.predictor import DepthPredictor
from adabins_ros.model.errors import ModelError
from adabins_ros.provenance import environment
from rich.console import Console
from rich.table import Table

_TRIED = ('torch', 'onnx', 'openvino')
_SIZE = re.compile(r'([1-9]\d{0,4})x([1-9]\d{0,4})')


class BenchmarkError(ValueError):
    """What was asked for can't be measured; the text says what to change."""


def run_benchmark(
    console: Console,
    *,
    models: Sequence[str],
    engines: Sequence[str] | None,
    sizes: Sequence[str],
    rounds: int,
    device: str,
    json_file: Path | None,
    untrained: bool = False,
) -> None:
    """
    Measure, print a table for each model, and write all figures as JSON if asked.

    Parameters
    ----------
    console : Console
        Where the tables go.
    models : sequence of str
        As for DepthPredictor.from_pretrained.
    engines : sequence of str, optional
        Those to measure; by default all that are installed, but not torch_compile.
    sizes : sequence of str
        Of camera images, WIDTHxHEIGHT.
    rounds : int
        Timed runs of each.
    device : str
        As for DepthPredictor.from_pretrained.
    json_file : Path, optional
        Replaced if it exists.
    untrained : bool
        As for DepthPredictor.from_pretrained.

    Raises
    ------
    BenchmarkError
        If a size or engine can't be measured.
    ModelError
        If a model can't be loaded.

    """
    image_sizes = [_parsed(size) for size in sizes]
    for name in engines or ():
        check_engine(name)
        if name == 'auto':
            raise BenchmarkError("engine 'auto' is one of the others: name those")
    report: dict[str, Any] = {**environment(), **_machine(), 'models': {}}
    for model in models:
        predictors = _predictors(console, model, engines, device, untrained)
        memory = {
            name: peak_memory_mb(model, name, device, image_sizes[-1], untrained)
            for name in predictors
        }
        figures = [each for size in image_sizes for each in measure(predictors, size, rounds)]
        for predictor in predictors.values():
            predictor.close()
        auto = DepthPredictor.from_pretrained(model, device=device, untrained=untrained)
        console.print(_table(auto.config.name, figures, memory))
        console.print(f'engine auto takes {auto.engine} here', highlight=False)
        report['models'][model] = {
            'figures': [asdict(each) for each in figures],
            'peak_memory_mb': {name: round(value) for name, value in memory.items()},
            'auto': auto.engine,
        }
        auto.close()
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=1) + '\n')


def _predictors(
    console: Console, model: str, engines: Sequence[str] | None, device: str, untrained: bool
) -> dict[str, DepthPredictor]:
    names = list(dict.fromkeys(engines)) if engines else [n for n in _TRIED if is_installed(n)]
    predictors: dict[str, DepthPredictor] = {}
    for name in names:
        with console.status(f'{model}: loading {name}'):
            try:
                predictor = DepthPredictor.from_pretrained(
                    model, engine=name, device=device, untrained=untrained
                )
            except ModelError as error:
                if engines:
                    raise
                console.print(f'{name} is left out: {error}', highlight=False)
                continue
        if predictor.engine == name:
            predictors[name] = predictor
        else:
            console.print(f'{name} is left out: see the warning above', highlight=False)
    if not predictors:
        raise BenchmarkError(f'no engine runs {model}')
    return predictors


def _table(name: str, figures: Sequence[Figures], memory: dict[str, float]) -> Table:
    table = Table(title=f'{name} on {machine()}, {Place().threads} threads')
    table.add_column('camera')
    table.add_column('network saw')
    table.add_column('engine')
    titles = ('p50 ms', 'p90 ms', 'fps', 'times as fast as torch', 'peak MB', 'differs by m')
    for title in titles:
        table.add_column(title, justify='right')
    previous = None
    for each in figures:
        if previous not in (None, each.image_size):
            table.add_section()
        previous = each.image_size
        table.add_row(
            '{1}x{0}'.format(*each.image_size),
            '{1}x{0}'.format(*each.inference_size),
            each.engine,
            f'{each.p50_ms:.1f}',
            f'{each.p90_ms:.1f}',
            f'{each.fps:.1f}',
            '{1:.2f} ({0:.2f} to {2:.2f})'.format(*each.speedup) if each.speedup else '-',
            f'{memory[each.engine]:.0f}',
            '-' if each.difference_m is None else f'{each.difference_m:.1e}',
        )
    return table


def _machine() -> dict[str, Any]:
    return {
        'processor': machine(),
        'processors': len(os.sched_getaffinity(0)),
        'threads': Place().threads,
        'gpu': find_gpu(),
        'engines': {name: version(name) for name in _TRIED if is_installed(name)},
    }


def _parsed(size: str) -> tuple[int, int]:
    """Return height and width of WIDTHxHEIGHT."""
    found = _SIZE.fullmatch(size)
    if not found:
        raise BenchmarkError(f'size {size!r} must be WIDTHxHEIGHT, such as 640x480')
    return int(found[2]), int(found[1])

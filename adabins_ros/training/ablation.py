# SPDX-License-Identifier: Apache-2.0
"""The paper's Table 2 on one's own frames: five kinds of bins, all else alike."""

from __future__ import annotations

from collections.abc import Sequence
import csv
import io
from pathlib import Path
from typing import Any, get_args

from adabins_ros.evaluation.protocols import published
from adabins_ros.model.config import BinStrategy
from adabins_ros.package_files import shell_command
from adabins_ros.training.config import TrainingConfig
from adabins_ros.training.run_directory import (
    FRAMES,
    is_first_process,
    RunDirectory,
    RunError,
    write_json,
    write_whole,
)
from adabins_ros.training.runs import begin, continued_config, go_on
from adabins_ros.training.starting_network import loaded_model
from rich import box
from rich.console import Console
from rich.table import Table

STRATEGIES: tuple[BinStrategy, ...] = get_args(BinStrategy)
_HEADINGS = {
    'd1': 'd1',
    'd2': 'd2',
    'd3': 'd3',
    'abs_rel': 'REL',
    'rms': 'RMS',
    'log10': 'log10',
    'd1_scaled': 'd1 scaled',
}


def begin_ablation(output: Path, config: TrainingConfig) -> None:
    """
    Train all kinds of bins, each in a folder below the output, and print the table.

    Frames, their order and augmentation, seed and settings are the same for all.

    Raises
    ------
    RunError
        The output is not empty, or the configuration leaves nothing to compare.
    RecordingError, ModelError
        The data or the model can't be used.

    """
    if config.network.bin_strategy is not None:
        raise RunError('network.bin_strategy is what --ablation varies: leave it out')
    if config.data.validation_share == 0 and not config.data.validation_bags:
        raise RunError(
            '--ablation compares on frames that are held out: set data.validation_share above 0, '
            'or data.validation_bags'
        )
    if is_first_process():
        RunDirectory.check_new(output)
    frames = config.data.frames or output.absolute() / FRAMES
    data = config.data.model_copy(update={'frames': frames})
    _train_all(output, config.model_copy(update={'data': data}), ())


def go_on_with_ablation(output: Path, overrides: Sequence[str] = ()) -> None:
    """
    Go on with the kinds of bins that were interrupted or not begun, and print the table.

    Raises
    ------
    RunError
        There is no ablation, or an override would change its result.

    """
    first = RunDirectory.reopen(output / STRATEGIES[0])
    _train_all(output, continued_config(first, overrides), overrides)


def read_rows(output: Path) -> list[dict[str, Any]]:
    """
    Return what the runs below a folder have reached; those without an end are left out.

    A row has bins, ending ('finished', 'out of time' or 'interrupted'), steps, the errors of the
    best weights on the frames held out by the names of `DepthErrors`, and of the paper, on NYU
    Depth v2, its name for these bins and its errors as paper_NAME.
    """
    table = next(iter(published('nyu').values()))
    rows = []
    for strategy, (paper, figures) in zip(STRATEGIES, table.items(), strict=True):
        run = RunDirectory(output / strategy)
        ended, best = run.ending(), run.best_metrics()
        if ended:
            keys = {name: f'validation/{name}' for name in _HEADINGS}
            errors = {name: best[key] for name, key in keys.items() if key in best}
            of_paper = {f'paper_{name}': value for name, value in figures.items()}
            rows.append({'bins': strategy, **ended, **errors, 'paper': paper, **of_paper})
    return rows


def _train_all(output: Path, config: TrainingConfig, overrides: Sequence[str]) -> None:
    first = RunDirectory(output / STRATEGIES[0])
    console = Console(quiet=not is_first_process())
    _tell_of_advantage(config, console)
    for number, strategy in enumerate(STRATEGIES, 1):
        run = RunDirectory(output / strategy)
        if run.ending().get('ending') in ('finished', 'out of time'):
            continue
        console.print(f'{number} of {len(STRATEGIES)}: {strategy} bins', style='bold')
        if run.config_file.is_file():
            result = go_on(run.path, overrides)
        else:
            network = config.network.model_copy(update={'bin_strategy': strategy})
            its_own = config.model_copy(update={'network': network})
            result = begin(run.path, its_own, same_data_as=first if number > 1 else None)
        if is_first_process():
            _save(output)
        if result.ending == 'interrupted':
            again = shell_command(f'train --ablation --resume --output {output}')
            console.print(f'Interrupted. To go on: {again}', soft_wrap=True)
            return
    console.print(_table(read_rows(output)))
    console.print(
        f'On the frames held out; RMS in m; scaled: by the median. Weights: {output}/KIND/'
        'best.safetensors',
        soft_wrap=True,
        highlight=False,
    )


def _tell_of_advantage(config: TrainingConfig, console: Console) -> None:
    start = loaded_model(config.network.model).config
    if start.trained and not config.network.from_scratch:
        console.print(
            f'{start.name} was trained with {start.bin_strategy} bins, which keep their weights '
            'and so start ahead of the others; network.from_scratch=true lets all start alike.',
            soft_wrap=True,
        )


def _save(output: Path) -> None:
    rows = read_rows(output)
    write_json(output / 'ablation.json', rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(output / 'ablation.csv', text.getvalue())


def _table(rows: list[dict[str, Any]]) -> Table:
    """Show each kind of bins with the paper's figures below it."""
    table = Table(
        title='Kinds of bins, and the paper (Table 2, NYU Depth v2)',
        title_justify='left',
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column('bins', no_wrap=True)
    for heading in _HEADINGS.values():
        table.add_column(heading, justify='right')
    for row in rows:
        table.add_row(row['bins'], *_figures(row, ''), style='bold')
        table.add_row(f'  {row["paper"]}', *_figures(row, 'paper_'), style='dim')
    return table


def _figures(row: dict[str, Any], prefix: str) -> list[str]:
    keys = [f'{prefix}{name}' for name in _HEADINGS]
    return [f'{row[key]:.3f}' if key in row else '-' for key in keys]

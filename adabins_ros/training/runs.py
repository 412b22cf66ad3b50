# SPDX-License-Identifier: Apache-2.0
"""A run from its configuration or its folder: network and data made, trained, and reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adabins_ros.model import AdaBins
from adabins_ros.training.config import TrainingConfig
from adabins_ros.training.config_loading import load_config, setting
from adabins_ros.training.fit import (
    begin_run,
    check_hardware,
    fit,
    is_first_process,
    TrainingResult,
)
from adabins_ros.training.run_directory import RunDirectory, RunError, write_json
from adabins_ros.training.run_report import note_unusable, print_data, UnusableFrames
from adabins_ros.training.starting_network import starting_network
from adabins_ros.training.training_data import build_data, check_usable, TrainingData
import typer

# What a run may be told anew when it goes on: nothing of this changes its weights.
_FREE_TO_CHANGE = ('trainer.max_minutes', 'trainer.progress', 'data.workers', 'data.cache')


def begin(
    output: Path, config: TrainingConfig, *, same_data_as: RunDirectory | None = None
) -> TrainingResult:
    """
    Train in a new folder.

    Parameters
    ----------
    output : Path
        The folder; a configuration that cannot be trained leaves none.
    config : TrainingConfig
        Of the run.
    same_data_as : RunDirectory, optional
        A run whose split this one must have.

    Raises
    ------
    RunError
        The folder is not empty, this machine can't train so, or the data are others than those
        of the given run.
    RecordingError, ModelError
        The data or the model can't be used.

    """
    if is_first_process():
        RunDirectory.check_new(output)
    check_hardware(config.trainer)
    network, data = network_and_data(config)
    check_usable(data, network.config)
    if same_data_as is not None:
        same_data_as.check_split(data.split)
    return _fit(begin_run(output, config, data.split), config, network, data)


def go_on(output: Path, overrides: Sequence[str] = ()) -> TrainingResult:
    """
    Go on with the run in a folder; one that has finished stays as it is.

    Raises
    ------
    RunError
        There is no run, its data have changed, or an override would change its result.

    """
    run = RunDirectory.reopen(output)
    config = continued_config(run, overrides)
    ended = run.ending()
    if ended.get('ending') == 'finished':
        return TrainingResult(run, ended['steps'], 'finished', run.best_metrics())
    check_hardware(config.trainer)
    network, data = network_and_data(config)
    run.check_split(data.split)
    return _fit(run, config, network, data)


def continued_config(run: RunDirectory, overrides: Sequence[str]) -> TrainingConfig:
    """Return the configuration that a run began with, changed in what is free to change."""
    before = run.config()
    config = load_config(run.config_file, overrides)
    for word in overrides:
        key = word.partition('=')[0]
        if key not in _FREE_TO_CHANGE and setting(config, key) != setting(before, key):
            raise RunError(
                f'{key} is {setting(before, key)!r} in the run {run.path}; a run goes on as it '
                f'began, only {", ".join(_FREE_TO_CHANGE)} may change'
            )
    return config


def network_and_data(config: TrainingConfig) -> tuple[AdaBins, TrainingData]:
    """Make what a run starts from."""
    network = starting_network(config.network, config.data.size, seed=config.seed)
    return network, build_data(config, network.config)


def _fit(
    run: RunDirectory, config: TrainingConfig, network: AdaBins, data: TrainingData
) -> TrainingResult:
    """Train, with what is trained on told before and what of it was unusable after."""
    if is_first_process():
        print_data(data)
    result = fit(run, config, network, data, _source(config), [UnusableFrames(data)])
    if is_first_process():
        write_json(run.ending_file, {'ending': result.ending, 'steps': result.steps})
        for line in note_unusable(data, run):
            typer.echo(line)
    return result


def _source(config: TrainingConfig) -> str:
    """Name the data for the provenance of the weights; what was given twice with its number."""
    data = config.data
    inputs: list[Any] = [*data.bags, *data.folders, data.nyu, data.kitti]
    counts = Counter(Path(one).name for one in inputs if one is not None)
    return ', '.join(f'{name} x{n}' if n > 1 else name for name, n in counts.items())

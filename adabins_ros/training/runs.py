# SPDX-License-Identifier: Apache-2.0
"""A run from its configuration or its folder: network and data made, trained, and reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from adabins_ros.model import AdaBins, load_model
from adabins_ros.package_files import shell_command
from adabins_ros.training.config import load_config, TrainingConfig
from adabins_ros.training.data import (
    build_data,
    check_usable,
    make_frames,
    print_data,
    TrainingData,
)
from adabins_ros.training.fit import check_hardware, errors_of, fit, TrainingResult
from adabins_ros.training.run_directory import (
    begin_run,
    FRAMES,
    is_first_process,
    RunDirectory,
    RunError,
    write_json,
    write_whole,
)
from adabins_ros.training.starting_network import starting_network
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
import typer

# What a run may be told anew when it goes on: nothing of this changes its weights.
_FREE_TO_CHANGE = ('trainer.max_minutes', 'trainer.progress', 'data.workers', 'data.frames')
_MOST_NAMED = 5


def begin(
    output: Path,
    config: TrainingConfig,
    *,
    same_data_as: RunDirectory | None = None,
    measure_start: bool = False,
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
    measure_start : bool
        Whether to note what the weights it starts from reach on what is held out.

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
    network, data = network_and_data(config, config.data.frames or output / FRAMES)
    check_usable(data, network.config)
    if same_data_as is not None:
        same_data_as.check_split(data.split)
    run = begin_run(output, config, data.split, data.folders)
    return _fit(run, config, network, data, measure_start)


def go_on(
    output: Path, overrides: Sequence[str] = (), *, measure_start: bool = False
) -> TrainingResult:
    """
    Go on with the run in a folder; one that has finished stays as it is.

    Its recordings are needed only if the frames that were made of them are gone.

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
    extract_to = config.data.frames or run.path / FRAMES
    network, data = network_and_data(config, extract_to, run.folders())
    run.check_split(data.split)
    return _fit(run, config, network, data, measure_start)


def continued_config(run: RunDirectory, overrides: Sequence[str]) -> TrainingConfig:
    """Return the configuration that a run began with, changed in what is free to change."""
    before = run.config()
    config = load_config(run.config_file, overrides)
    for word in overrides:
        # A section and a name; what follows them lies within the value.
        key = '.'.join(word.partition('=')[0].strip().split('.')[:2])
        value = attrgetter(key)
        if key not in _FREE_TO_CHANGE and value(config) != value(before):
            raise RunError(
                f'{key} is {value(before)!r} in the run {run.path}; a run goes on as it '
                f'began, only {", ".join(_FREE_TO_CHANGE)} may change'
            )
    return config


def network_and_data(
    config: TrainingConfig, extract_to: Path | None = None, folders: Sequence[Path] = ()
) -> tuple[AdaBins, TrainingData]:
    """
    Make what a run starts from.

    Parameters
    ----------
    config : TrainingConfig
        Of the run.
    extract_to : Path, optional
        Where recordings become folders; by default they are looked at as they are.
    folders : sequence of Path
        What they have become before, if so.

    """
    network = starting_network(config.network, config.data.size, seed=config.seed)
    if extract_to is not None and not folders:
        folders = make_frames(config.data, extract_to, quiet=not is_first_process())
    return network, build_data(config, network.config, folders or None)


def _fit(
    run: RunDirectory,
    config: TrainingConfig,
    network: AdaBins,
    data: TrainingData,
    measure_start: bool,
) -> TrainingResult:
    """Train, with what is trained on told before and what of it was unusable after."""
    if is_first_process():
        print_data(data)
        if measure_start and not run.start_file.exists():
            write_json(run.start_file, errors_of(network, config, data))
    result = fit(run, config, network, data, _source(config), [UnusableFrames(data)])
    if is_first_process():
        for line in [*note_unusable(data, run), *write_best_onnx(run)]:
            typer.echo(line)
        # Last, or a run that is killed before would count as finished without them.
        write_json(run.ending_file, {'ending': result.ending, 'steps': result.steps})
    return result


def write_best_onnx(run: RunDirectory) -> list[str]:
    """
    Write the best weights for machines without torch, unless that has been done.

    Returns
    -------
    list of str
        Why that was not possible, for people; the run has its result all the same.

    """
    if run.best_onnx.exists() or not run.best.exists():
        return []
    from adabins_ros.inference.export import write_onnx

    try:
        write_onnx(load_model(run.best), run.best_onnx)
    except Exception as error:
        # Hours of training must not end in a traceback of the exporter.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        again = shell_command(f'export --model {run.best} --output {run.best_onnx}')
        return [f"{run.best_onnx} can't be written: {reason}. To try again: {again}"]
    return []


def _source(config: TrainingConfig) -> str:
    """Name the data for the provenance of the weights; what was given twice with its number."""
    data = config.data
    inputs: list[Any] = [*data.bags, *data.folders, data.nyu, data.kitti]
    counts = Counter(Path(one).name for one in inputs if one is not None)
    return ', '.join(f'{name} x{n}' if n > 1 else name for name, n in counts.items())


def note_unusable(data: TrainingData, run: RunDirectory) -> list[str]:
    """
    Write the frames that could not be used, with the reasons, into the folder of the run.

    A run that goes on adds to what it has noted before.

    Returns
    -------
    list of str
        For people: how many they are, and the first few; empty if there are none.

    """
    found = [*data.train.unusable_frames(), *data.validation.unusable_frames()]
    if not found:
        return []
    noted = run.unusable_file.read_text('utf-8').splitlines() if run.unusable_file.exists() else []
    write_whole(run.unusable_file, '\n'.join(dict.fromkeys([*noted, *found])) + '\n')
    more = len(found) - _MOST_NAMED
    count = '1 frame was' if len(found) == 1 else f'{len(found)} frames were'
    return [
        f'{count} unusable and replaced by the nearest usable ones:',
        *(f'  {text}' for text in found[:_MOST_NAMED]),
        *([f'  and {more} more, see {run.unusable_file}'] if more > 0 else []),
    ]


class UnusableFrames(Callback):
    """Let each process know the frames that any process found unusable in an epoch."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather them; all processes come here together."""
        if trainer.world_size > 1:
            for dataset in (self._data.train, self._data.validation):
                found = dataset.unusable_marks.to(trainer.strategy.root_device, copy=True)
                gathered = trainer.strategy.reduce(found.float(), reduce_op='max')
                dataset.unusable_marks.copy_(gathered > 0)

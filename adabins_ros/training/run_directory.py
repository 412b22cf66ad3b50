# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: what it was told, what it saw, what it found, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
import json
import os
from pathlib import Path
from typing import Any

from adabins_ros.provenance import environment
from adabins_ros.training.config import load_config, save_config, TrainingConfig
from adabins_ros.whole_files import is_unfinished, whole_file

FRAMES = 'frames'
"""Folder of the frames that recordings became, within that of the run unless told otherwise."""


class RunError(ValueError):
    """A run that can't be started or continued; the text is for people."""


class RunDirectory:
    """
    Name the files of a run. Make one with `create` or `reopen`.

    Attributes
    ----------
    path : Path
        The folder.
    config_file, split_file, environment_file : Path
        Resolved configuration; what is trained and validated on; versions and git revision.
    frames_file : Path
        The folders of frames of the recordings.
    metrics_file : Path
        One JSON object a line and validation.
    unusable_file : Path
        Frames that were replaced, with the reasons; only if there are any.
    ending_file : Path
        How the run ended and after how many steps.
    start_file : Path
        What the weights it starts from reach on what is held out; only if that was asked for.
    last, best, best_onnx, best_metrics_file : Path
        Checkpoint to go on from; weights to use, the same for machines without torch, and what
        they reached.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / 'config.yaml'
        self.split_file = path / 'split.json'
        self.environment_file = path / 'environment.json'
        self.frames_file = path / 'frames.json'
        self.metrics_file = path / 'metrics.jsonl'
        self.unusable_file = path / 'unusable.txt'
        self.ending_file = path / 'ending.json'
        self.start_file = path / 'start.json'
        self.last = path / 'last.ckpt'
        self.best = path / 'best.safetensors'
        self.best_onnx = path / 'best.onnx'
        self.best_metrics_file = path / 'best.json'

    @classmethod
    def create(
        cls, path: Path, config: TrainingConfig, split: Any = None, folders: Sequence[Path] = ()
    ) -> RunDirectory:
        """
        Begin a run in a new or empty folder.

        Raises
        ------
        RunError
            If there is something already, or the folder can't be made.

        """
        cls.check_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"run folder {path} can't be made: {error.strerror}") from error
        run = cls(path)
        write_json(run.split_file, split)
        write_json(run.environment_file, environment())
        inside = path.resolve()
        found = [folder.resolve() for folder in folders]
        write_json(
            run.frames_file,
            [x.relative_to(inside) if x.is_relative_to(inside) else x for x in found],
        )
        save_config(config, run.config_file)
        return run

    @staticmethod
    def check_new(path: Path) -> None:
        """Raise RunError if there is something already but frames, or a start that was killed."""
        run = RunDirectory(path)
        # What `create` writes before the configuration, with which a run begins.
        files = (run.split_file, run.environment_file, run.frames_file)
        first = {FRAMES, *(file.name for file in files)}
        names = [one.name for one in path.iterdir()] if path.is_dir() else []
        if not all(name in first or is_unfinished(name) for name in names):
            raise RunError(
                f'run folder {path} is not empty, and runs are never overwritten: choose another '
                'output, or go on with --resume'
            )
        if path.exists() and not path.is_dir():
            raise RunError(f'{path} is a file; choose another output for the run')

    @classmethod
    def reopen(cls, path: Path) -> RunDirectory:
        """
        Find a run that is to go on.

        Raises
        ------
        RunError
            If the folder holds none.

        """
        run = cls(path)
        if not run.config_file.is_file():
            what = 'holds no config.yaml' if path.is_dir() else 'does not exist'
            below = any(path.glob('*/config.yaml'))
            hint = '; with --ablation the runs below it go on' if below else ''
            raise RunError(f'run folder {path} {what}: there is nothing to resume{hint}')
        return run

    def config(self) -> TrainingConfig:
        """Read the configuration that the run began with."""
        return load_config(self.config_file)

    def folders(self) -> list[Path]:
        """Return the folders of frames of the recordings; empty unless all are there."""
        folders = [self.path / name for name in _read_json(self.frames_file)]
        return folders if all(folder.is_dir() for folder in folders) else []

    def check_split(self, split: Any) -> None:
        """Raise RunError if the data are not those that the run began with."""
        try:
            before = json.loads(self.split_file.read_text(encoding='utf-8'))
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"{self.split_file} can't be read: {error}") from error
        if before != json.loads(json.dumps(split, default=str)):
            raise RunError(
                f'the data differ from those of the run (see {self.split_file}): restore them, '
                'or begin a new run from best.safetensors'
            )

    def add_metrics(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Append a line of metrics."""
        line = json.dumps({'step': step, 'epoch': epoch, **values})
        with self.metrics_file.open('a', encoding='utf-8') as file:
            file.write(line + '\n')

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines of steps that will be made again."""
        if not self.metrics_file.is_file():
            return
        lines = self.metrics_file.read_text(encoding='utf-8').splitlines(keepends=True)
        kept = [line for line in lines if _step(line) <= step]
        if kept != lines:
            write_whole(self.metrics_file, ''.join(kept))

    def best_metrics(self) -> dict[str, Any]:
        """Read what the best weights reached; empty if there are none yet."""
        return _read_json(self.best_metrics_file)

    def start_metrics(self) -> dict[str, Any]:
        """Read what the weights it started from reached; empty if that is not known."""
        return _read_json(self.start_file)

    def ending(self) -> dict[str, Any]:
        """Read how the run ended ('ending', 'steps'); empty while it has not."""
        return _read_json(self.ending_file)


def begin_run(
    path: Path, config: TrainingConfig, split: Any, folders: Sequence[Path] = ()
) -> RunDirectory:
    """Make the folder of a run; the further processes of it find the folder made."""
    if is_first_process():
        return RunDirectory.create(path, config, split, folders)
    return RunDirectory(path)


def is_first_process() -> bool:
    """Tell whether this process may write; Lightning starts the others with a LOCAL_RANK."""
    ranks = ('LOCAL_RANK', 'NODE_RANK', 'SLURM_PROCID')
    return all(os.environ.get(rank, '0') == '0' for rank in ranks)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding='utf-8'))
    except (OSError, json.JSONDecodeError):
        return {}


def write_json(file: Path, values: Any) -> None:
    """Write values as JSON, whole or not at all; paths and the like as text."""
    write_whole(file, json.dumps(values, indent=2, default=str) + '\n')


def write_whole(file: Path, text: str) -> None:
    """Write a text file so that it is never seen half."""
    with whole_file(file) as partial:
        partial.write_text(text, encoding='utf-8')


def _step(line: str) -> float:
    try:
        return float(json.loads(line)['step'])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        # A line that a kill cut off.
        return float('inf')

# SPDX-License-Identifier: Apache-2.0
"""What a run is told to train on, and which frames of it turned out unusable, in words."""

from __future__ import annotations

from collections import Counter

from adabins_ros.datasets.samples import SourceReport
from adabins_ros.training.run_directory import RunDirectory, write_whole
from adabins_ros.training.training_data import TrainingData
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console

_MOST_NAMED = 5


def describe_source(report: SourceReport) -> list[str]:
    """Return what was chosen in a source and what is worth knowing of it, line by line."""
    frames = '1 frame' if report.frames == 1 else f'{report.frames} frames'
    pairs = '1 pair' if report.frames == 1 else f'{report.frames} pairs'
    texts = [report.topics or f'{frames} ({report.kind})']
    if report.topics:
        texts[0] += f': {pairs}'
    if report.offset_ms:
        median, largest = report.offset_ms
        texts[0] += f', truth {median:+.1f} ms after colour in the middle ({largest:+.1f} at most)'
    texts += report.remarks
    # Damage names its file already.
    return [x if x.startswith(report.name) else f'{report.name}: {x}' for x in texts]


def describe_split(data: TrainingData) -> str:
    """Return how many frames serve for what, in one line."""
    training, held_out = len(data.train), len(data.validation)
    left_out = sum(len(source) for source in data.train.sources) - training - held_out
    height, width = data.train.size
    frames = '1 frame' if training == 1 else f'{training} frames'
    parts = [f'{frames} to train on', f'{held_out} held out to validate on']
    if left_out:
        parts.append(f'{left_out} between them not used')
    return f'{", ".join(parts)}; at {width}x{height} (split by {data.split["method"]})'


def print_data(data: TrainingData, console: Console | None = None) -> None:
    """Print what was chosen in each source, and the split."""
    console = console or Console()
    lines = Counter(x for one in data.train.sources for x in describe_source(one.report))
    for line, count in lines.items():
        again = f' (given {count} times)' if count > 1 else ''
        console.print(f'{line}{again}', markup=False, highlight=False, soft_wrap=True)
    console.print(describe_split(data), highlight=False, soft_wrap=True)


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

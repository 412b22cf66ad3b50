# SPDX-License-Identifier: Apache-2.0
"""Whole runs on a tiny network: they learn, stop, go on and leave files that the node loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
import json
import os
from pathlib import Path
import signal
from typing import Any

from adabins_ros.model import load_model
from adabins_ros.training.checkpoints import WholeFileCheckpointIO
from adabins_ros.training.config import load_config
from adabins_ros.training.fit import fit, TrainingResult
from adabins_ros.training.run_directory import (
    begin_run,
    is_first_process,
    RunDirectory,
    RunError,
)
from adabins_ros.training.starting_network import starting_network
import numpy as np
import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file
import torch

HEIGHT, WIDTH = 64, 96
TINY = [
    'data.batch_size=2',
    'data.workers=0',
    f'data.size=[{HEIGHT},{WIDTH}]',
    'trainer.accelerator=cpu',
    'trainer.max_epochs=3',
    'trainer.checkpoint_every=4',
    'trainer.progress=false',
    'trainer.log_every=1',
    'trainer.pictures_every=1',
    'optimiser.learning_rate=3e-3',
]

Run = Callable[..., int]


@dataclass
class Frames:
    """Rooms whose brightness is their depth, with noise by epoch and index."""

    frames: int
    first: int = 0
    epoch: int = 0
    stop_at: int | None = None
    number: signal.Signals = signal.SIGKILL
    read: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.frames

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append((self.epoch, index))
        if len(self.read) == self.stop_at:
            os.kill(os.getpid(), self.number)
        generator = np.random.default_rng((7, self.first + index))
        noise = np.random.default_rng((8, self.epoch, index)).normal(0, 0.05, (3, HEIGHT, WIDTH))
        rows = np.linspace(0, 1, HEIGHT)[:, np.newaxis]
        columns = np.linspace(0, 1, WIDTH)
        a, b = generator.uniform(0.2, 2.0, 2)
        depth = (1.0 + a * rows + b * columns).astype(np.float32)
        image = (np.broadcast_to(depth, noise.shape) - 2.5 + noise).astype(np.float32)
        return {
            'image': torch.from_numpy(image),
            'depth': torch.from_numpy(depth)[None],
            'focal_scale': torch.tensor(1.25),
            'name': f'frame {index}',
        }


@dataclass
class Rooms:
    """The data of a run."""

    train: Frames
    validation: Frames
    split: Any = 'rooms'


def rooms(**options: Any) -> Rooms:
    return Rooms(Frames(13, **options), Frames(3, first=100))


def train(
    folder: Path,
    model: Path,
    *overrides: str,
    data: Rooms | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Begin a run in the folder, or go on with the one that is there."""
    data = data or rooms()
    if folder.exists() and is_first_process():
        run = RunDirectory.reopen(folder)
        config = run.config()
        run.check_split(data.split)
    else:
        config = load_config(None, [*TINY, f'network.model={model}', *overrides])
        run = begin_run(folder, config, data.split)
    network = starting_network(config.network, config.data.size)
    return fit(run, config, network, data, 'synthetic rooms', callbacks)


def one_run(folder: Path, model: Path, stop: str, *overrides: str) -> None:
    """Do a run; `stop` is the frame at whose reading a signal comes, 'SIGKILL:37', or '-'."""
    data = rooms()
    if stop != '-':
        number, _, frame = stop.partition(':')
        data.train.number, data.train.stop_at = signal.Signals[number], int(frame)
    result = train(folder, model, *overrides, data=data)
    print(result.ending, result.steps)


@pytest.fixture(scope='session')
def start(apart: Callable[..., Callable[[], int]], tiny_model: Path) -> Run:
    """Return a function that does a run in a process of its own and gives its exit status."""

    def run(folder: Path, stop: str = '-', *overrides: str) -> int:
        said = folder.parent / 'said.txt'
        return apart(one_run, folder, tiny_model, stop, *overrides, said=said)()

    return run


def checkpoint(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / 'last.ckpt', weights_only=True)
    return content


def validations(folder: Path) -> list[dict[str, float]]:
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    return [line for line in map(json.loads, lines) if 'validation/rms' in line]


def tensors_of(content: Any, name: str = '') -> dict[str, torch.Tensor]:
    """Collect all tensors and numbers of a checkpoint under their paths."""
    found = {}
    if isinstance(content, torch.Tensor):
        found[name] = content
    elif isinstance(content, dict):
        for key, value in content.items():
            found.update(tensors_of(value, f'{name}/{key}'))
    elif isinstance(content, (list, tuple)):
        for i, value in enumerate(content):
            found.update(tensors_of(value, f'{name}/{i}'))
    return found


def check_same_end(folder: Path, other: Path) -> None:
    one, two = checkpoint(folder), checkpoint(other)
    assert one['global_step'] == two['global_step']
    averaged = ('state_dict', 'averaging_state')
    for part in (*averaged, 'current_model_state', 'optimizer_states', 'lr_schedulers'):
        expected, actual = tensors_of(one[part]), tensors_of(two[part])
        assert expected.keys() == actual.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(
                actual[name], tensor, rtol=0, atol=1e-6, msg=lambda text, n=name: f'{n}: {text}'
            )
    assert one['lr_schedulers'][0]['last_epoch'] == two['lr_schedulers'][0]['last_epoch']
    expected, actual = (
        load_file(folder / 'best.safetensors'),
        load_file(other / 'best.safetensors'),
    )
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=1e-6)


def test_a_run_learns_and_its_best_file_loads(tmp_path: Path, tiny_model: Path) -> None:
    result = train(tmp_path / 'run', tiny_model, 'trainer.max_epochs=12')
    assert (result.ending, result.steps) == ('finished', 72)
    lines = validations(result.run.path)
    assert [line['epoch'] for line in lines] == list(range(12))
    assert lines[-1]['validation/abs_rel'] < 0.6 * lines[0]['validation/abs_rel']
    assert result.metrics['validation/abs_rel'] == min(
        line['validation/abs_rel'] for line in lines
    )
    best = load_model(result.run.best)
    assert best.config.trained
    assert best.config.name == 'run'
    assert best.config.input_size == (HEIGHT, WIDTH)
    assert best.config.std_factor == pytest.approx(result.metrics['validation/std_factor'])
    for fact in ('synthetic rooms', f'{result.metrics["step"]} steps', 'from tiny', 'torch'):
        assert fact in best.config.provenance
    assert (tmp_path / 'run' / 'config.yaml').is_file()
    assert json.loads((tmp_path / 'run' / 'environment.json').read_text())['versions']['torch']
    assert list((tmp_path / 'run' / 'tensorboard').glob('events*'))


def test_a_run_is_never_overwritten(tmp_path: Path, tiny_model: Path) -> None:
    config = load_config(None, TINY)
    # What a run that was stopped while it read recordings has left is used.
    (tmp_path / 'run' / 'frames').mkdir(parents=True)
    begin_run(tmp_path / 'run', config, None)
    with pytest.raises(RunError, match=r'not empty.*--resume'):
        begin_run(tmp_path / 'run', config, None)
    with pytest.raises(RunError, match='does not exist: there is nothing to resume'):
        RunDirectory.reopen(tmp_path / 'other')
    # A kill while a run was being begun leaves no run: it begins anew.
    (tmp_path / 'run' / 'config.yaml').rename(tmp_path / 'run' / '.config.yaml.unfinished-1')
    begin_run(tmp_path / 'run', config, None)
    assert RunDirectory.reopen(tmp_path / 'run').config() == config


def test_every_frame_is_read_once_in_an_epoch_and_in_another_order(
    tmp_path: Path, tiny_model: Path
) -> None:
    data = rooms()
    train(tmp_path / 'run', tiny_model, 'trainer.max_epochs=2', data=data)
    first = [index for epoch, index in data.train.read if epoch == 0]
    second = [index for epoch, index in data.train.read if epoch == 1]
    assert len(set(first)) == len(set(second)) == 12
    assert first != second


def test_max_steps_ends_the_schedule_and_the_run(tmp_path: Path, tiny_model: Path) -> None:
    result = train(tmp_path / 'run', tiny_model, 'trainer.max_steps=5')
    assert (result.ending, result.steps) == ('finished', 5)
    assert result.metrics['step'] == 5
    schedule = checkpoint(tmp_path / 'run')['lr_schedulers'][0]
    assert schedule['total_steps'] == schedule['last_epoch'] == 5


@pytest.mark.parametrize(
    'words',
    [
        ['trainer.max_steps=5'],
        ['trainer.patience=1', 'optimiser.learning_rate=1e-12', 'network.freeze_batch_norm=true'],
    ],
)
def test_a_run_that_has_made_its_last_step_makes_no_further_one(
    words: list[str], tmp_path: Path, tiny_model: Path
) -> None:
    steps = train(tmp_path / 'run', tiny_model, *words).steps
    assert steps < 18
    before = {path: path.read_bytes() for path in (tmp_path / 'run').glob('[lb]*')}
    assert train(tmp_path / 'run', tiny_model).steps == steps
    assert {path: path.read_bytes() for path in before} == before


def test_the_last_step_is_saved_with_its_validation(tmp_path: Path, tiny_model: Path) -> None:
    # Else a run that is killed while it validates would never choose among its last weights.
    seen = []

    class Saved(WholeFileCheckpointIO):
        """Note which validations were made before."""

        def save_checkpoint(self, checkpoint: dict[str, Any], *more: Any, **named: Any) -> None:
            lines = validations(tmp_path / 'run') if checkpoint['global_step'] > 4 else []
            seen.append((checkpoint['global_step'], [line['step'] for line in lines]))
            super().save_checkpoint(checkpoint, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('adabins_ros.training.fit.WholeFileCheckpointIO', Saved)
        train(tmp_path / 'run', tiny_model, 'trainer.max_steps=8')
    assert seen == [(4, []), (6, [6]), (8, [6, 8])]


def test_out_of_time_a_run_stops_and_goes_on(tmp_path: Path, tiny_model: Path) -> None:
    result = train(tmp_path / 'run', tiny_model, 'trainer.max_minutes=0.00001')
    assert (result.ending, result.steps) == ('out of time', 1)
    assert load_model(result.run.best).config.trained
    assert train(tmp_path / 'run', tiny_model).steps == 2


class Rates(Callback):
    """Note the highest rate of each step, and the weights after it."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.weights: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(max(group['lr'] for group in trainer.optimizers[0].param_groups))

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        self.weights.append(next(module.network.decoder.parameters()).detach().clone())


def test_a_resumed_run_keeps_to_the_rates_of_its_time(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run has half of the time: past the warm-up, so the second only comes down."""
    clock = count(0, 5)
    monkeypatch.setattr('adabins_ros.training.checkpoints.monotonic', lambda: next(clock))
    words = ['trainer.max_epochs=100', 'trainer.ema_decay=0', 'trainer.checkpoint_every=100']
    train(tmp_path / 'run', tiny_model, *words, 'trainer.max_minutes=1')
    config = (tmp_path / 'run' / 'config.yaml').read_text()
    longer = config.replace('max_minutes: 1.0', 'max_minutes: 2')
    (tmp_path / 'run' / 'config.yaml').write_text(longer)
    second = Rates()
    assert train(tmp_path / 'run', tiny_model, callbacks=[second]).ending == 'out of time'
    assert len(second.rates) > 5
    # The first step has the rate that the first run ended with.
    rates = second.rates[1:]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.5 * 3e-3


def test_the_average_follows_the_weights_and_forgets_the_start(
    tmp_path: Path, tiny_model: Path
) -> None:
    seen = Rates()
    words = ['trainer.max_steps=3', 'trainer.ema_decay=0.2']
    train(tmp_path / 'run', tiny_model, *words, callbacks=[seen])
    one, two, three = seen.weights
    # After step n the average keeps n / (n + 9) of itself, and ema_decay at most.
    expected = one.lerp(two, 9 / 11).lerp(three, 0.8)
    content = checkpoint(tmp_path / 'run')
    name = next(name for name in content['state_dict'] if name.startswith('network.decoder.'))
    torch.testing.assert_close(content['state_dict'][name], expected)
    torch.testing.assert_close(content['current_model_state'][name], three)


def test_worker_processes_change_nothing(tmp_path: Path, tiny_model: Path) -> None:
    for workers in (0, 2):
        train(tmp_path / f'{workers}', tiny_model, f'data.workers={workers}')
    check_same_end(tmp_path / '0', tmp_path / '2')


def test_a_run_without_gain_ends_early(tmp_path: Path, tiny_model: Path) -> None:
    still = ['optimiser.learning_rate=1e-12', 'network.freeze_batch_norm=true']
    result = train(tmp_path / 'run', tiny_model, 'trainer.patience=1', *still)
    assert (result.ending, result.steps) == ('finished', 12)


def test_steps_of_accumulated_batches_are_saved_whole(tmp_path: Path, tiny_model: Path) -> None:
    words = ['optimiser.accumulate=4', 'trainer.checkpoint_every=1', 'trainer.max_steps=3']
    result = train(tmp_path / 'run', tiny_model, *words)
    # Six batches an epoch: a step after four of them, and one after the last two.
    assert (result.ending, result.steps) == ('finished', 3)
    place = checkpoint(tmp_path / 'run')['RunData']
    assert (place['epoch'], place['batches_done']) == (1, 4)


@pytest.fixture(scope='module')
def whole(start: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    assert start(folder) == 0, (folder.parent / 'said.txt').read_text()
    return folder


@pytest.mark.slow
# An epoch reads 12 frames: inside the second epoch, and at the start of the third.
@pytest.mark.parametrize(('frame', 'saved'), [(23, 8), (25, 12)])
def test_killed_and_resumed_a_run_ends_as_if_nothing_had_happened(
    frame: int, saved: int, tmp_path: Path, start: Run, whole: Path
) -> None:
    assert start(tmp_path / 'run', f'SIGKILL:{frame}') == -signal.SIGKILL
    assert checkpoint(tmp_path / 'run')['global_step'] == saved
    assert start(tmp_path / 'run') == 0, (tmp_path / 'said.txt').read_text()
    check_same_end(whole, tmp_path / 'run')
    assert validations(tmp_path / 'run') == validations(whole)


@pytest.mark.slow
def test_ctrl_c_saves_and_the_run_goes_on(tmp_path: Path, start: Run, whole: Path) -> None:
    assert start(tmp_path / 'run', 'SIGINT:17') == 0, (tmp_path / 'said.txt').read_text()
    said = (tmp_path / 'said.txt').read_text()
    assert 'interrupted 9' in said
    assert 'Stopping' in said
    assert checkpoint(tmp_path / 'run')['global_step'] == 9
    assert load_model(tmp_path / 'run' / 'best.safetensors').config.trained
    assert start(tmp_path / 'run') == 0
    check_same_end(whole, tmp_path / 'run')

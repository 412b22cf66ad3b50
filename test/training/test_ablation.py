# SPDX-License-Identifier: Apache-2.0
"""The comparison of the five kinds of bins, on a tiny network and tiny frames."""

from __future__ import annotations

from collections.abc import Callable
import csv
import json
from pathlib import Path
import re
import signal
from typing import Any

from adabins_ros.model import load_model
from adabins_ros.training import runs
from adabins_ros.training.ablation import STRATEGIES
from adabins_ros.training.run_directory import RunDirectory
from adabins_ros.training.train_command import main
import pytest
import torch

SETTINGS = [
    'data.batch_size=2',
    'data.workers=0',
    'trainer.accelerator=cpu',
    'trainer.max_epochs=6',
    'trainer.ema_decay=0.5',
    'trainer.pictures_every=0',
    'trainer.validate_every=3',
    'trainer.progress=false',
    'optimiser.learning_rate=1e-2',
]


@pytest.fixture(scope='module')
def given(
    walls: Callable[..., Path], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Return the words for a folder of 10 frames and a tiny network."""
    frames = walls(tmp_path_factory.mktemp('given') / 'frames', 10)
    return ['--model', str(tiny_model), f'data.folders=["{frames}"]', *SETTINGS]


def epochs(run: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / 'metrics.jsonl').read_text().splitlines())
    return [line for line in lines if 'train_epoch/silog' in line]


def test_all_five_kinds_learn_and_stand_in_one_table(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / 'table'
    assert main(['--ablation', *given, '--output', str(output)]) == 0
    said = capsys.readouterr().out
    rows = json.loads((output / 'ablation.json').read_text())
    assert [row['bins'] for row in rows] == list(STRATEGIES)
    for row in rows:
        run = output / row['bins']
        losses = [epoch['train_epoch/silog'] for epoch in epochs(run)]
        assert min(losses[-3:]) < 0.8 * losses[0], row['bins']
        assert (row['ending'], row['steps']) == ('finished', 24)
        assert load_model(run / 'best.safetensors').config.bin_strategy == row['bins']
        best = json.loads((run / 'best.json').read_text())
        figures = [best[f'validation/{n}'] for n in ('d1', 'd2', 'd3', 'abs_rel', 'rms', 'log10')]
        line = ' +'.join([row['bins'], *(re.escape(f'{figure:.3f}') for figure in figures)])
        assert re.search(line, said), line
    splits = {(output / strategy / 'split.json').read_text() for strategy in STRATEGIES}
    assert len(splits) == 1
    assert re.search(r'Base \+ Log-Fix-HR +0.896 +0.981 +0.995 +0.108 +0.379 +- +-', said)
    with (output / 'ablation.csv').open(newline='') as file:
        written = list(csv.DictReader(file))
    assert [float(row['rms']) for row in written] == [row['rms'] for row in rows]
    assert written[-1]['paper'] == 'Base + AdaBins-HR'
    assert float(written[-1]['paper_rms']) == 0.364


def test_all_kinds_see_the_same_frames_changed_alike(given: list[str], tmp_path: Path) -> None:
    seen = []
    for strategy in ('regression', 'adaptive'):
        words = [word for word in given if '=' in word]
        config = runs.load_config(
            None, [*words, f'network.model={given[1]}', f'network.bin_strategy={strategy}']
        )
        network, data = runs.network_and_data(config)
        data.train.set_epoch(3)
        seen.append((network, torch.stack([data.train[i]['image'] for i in range(4)])))
    (one, images), (other, others) = seen
    assert images.equal(others)
    encoder = other.encoder.state_dict()
    assert all(tensor.equal(encoder[name]) for name, tensor in one.encoder.state_dict().items())


def test_interrupted_it_goes_on_where_it_was(
    given: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / 'table'
    words = [*given, 'data.batch_size=4', 'trainer.max_epochs=1', '--output', str(output)]
    begin = runs.begin_run

    def begin_and_interrupt(path: Path, *arguments: Any) -> RunDirectory:
        # As a user presses Ctrl-C while the second kind trains.
        if path.name == 'uniform':
            add = RunDirectory.add_metrics

            def interrupted(*values: Any) -> None:
                signal.raise_signal(signal.SIGINT)
                add(*values)

            monkeypatch.setattr(RunDirectory, 'add_metrics', interrupted)
        return begin(path, *arguments)

    monkeypatch.setattr(runs, 'begin_run', begin_and_interrupt)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(['--ablation', *words]) == 0
    monkeypatch.undo()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    said = capsys.readouterr().out
    assert f'adabins train --ablation --resume --output {output}' in said.replace('\n', '')
    rows = json.loads((output / 'ablation.json').read_text())
    assert [row['ending'] for row in rows] == ['finished', 'interrupted']
    assert not (output / 'log').exists()

    before = (output / 'regression' / 'last.ckpt').read_bytes()
    assert main(['--ablation', '--resume', '--output', str(output)]) == 0
    rows = json.loads((output / 'ablation.json').read_text())
    assert [(row['ending'], row['steps']) for row in rows] == [('finished', 2)] * 5
    assert (output / 'regression' / 'last.ckpt').read_bytes() == before
    assert 'Base + AdaBins-HR' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['network.bin_strategy=log'], 'network.bin_strategy is what --ablation varies'),
        (['data.validation_share=0'], 'set data.validation_share above 0'),
        (['--resume'], 'nothing to resume'),
    ],
)
def test_what_can_not_be_compared_is_told(
    words: list[str],
    said: str,
    given: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(['--ablation', *given, *words, '--output', str(tmp_path / 'table')]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'table').exists()

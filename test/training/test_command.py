# SPDX-License-Identifier: Apache-2.0
"""The command `training` on a recording, from --dry-run to a file that predicts."""

from __future__ import annotations

import json
from pathlib import Path

from adabins_ros import DepthPredictor
from adabins_ros.bags import pack_folder
from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint
from adabins_ros.training.command import main
import cv2
import numpy as np
import pytest
import torch

SETTINGS = [
    'data.batch_size=2',
    'data.workers=0',
    'trainer.accelerator=cpu',
    'trainer.max_epochs=2',
    'trainer.progress=false',
]
CPU = ['trainer.accelerator=cpu']


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of walls that come nearer."""
    folder = tmp_path_factory.mktemp('walls')
    for name in ('rgb', 'depth'):
        (folder / name).mkdir()
    camera = {'fx': 80.0, 'fy': 80.0, 'cx': 47.5, 'cy': 31.5, 'width': 96, 'height': 64}
    (folder / 'camera.json').write_text(json.dumps(camera))
    for i in range(12):
        depth = np.linspace(1000, 3000 - 100 * i, 64 * 96).reshape(64, 96).astype(np.uint16)
        grey = (depth / 16).astype(np.uint8)
        cv2.imwrite(str(folder / 'rgb' / f'{i:03d}.png'), np.dstack([grey] * 3))
        cv2.imwrite(str(folder / 'depth' / f'{i:03d}.png'), depth)
    path = folder / 'walls.mcap'
    pack_folder(folder, path)
    return path


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (Path(__file__).parent / 'tiny_network.json').read_text()
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model') / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(text)), path)
    return path


def test_a_recording_becomes_a_file_that_predicts(
    bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / 'run'
    words = ['--bags', str(bag), '--model', str(model), '--output', str(output), *SETTINGS]
    assert main(['--dry-run', *words]) == 0
    assert (tmp_path / 'run_pairs.png').is_file()
    assert not output.exists()

    assert main([*words, '--ros-args', '-r', '__node:=training']) == 0
    said = capsys.readouterr().out
    assert 'Finished after' in said
    assert 'abs_rel' in said
    predictor = DepthPredictor.from_pretrained(str(output / 'best.safetensors'), device='cpu')
    assert predictor.is_trained
    assert predictor.predict(np.zeros((64, 96, 3), np.uint8)).depth.shape == (64, 96)
    assert json.loads((output / 'split.json').read_text())

    before = {path: path.read_bytes() for path in output.iterdir() if path.is_file()}
    assert main(words) == 1
    assert '--resume' in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in output.iterdir() if path.is_file()}

    assert main(['--resume', '--output', str(output), 'trainer.max_minutes=5']) == 0
    assert 'Finished after' in capsys.readouterr().out
    assert main(['--resume', '--output', str(output), 'data.batch_size=3']) == 1
    assert 'data.batch_size is 2 in the run' in capsys.readouterr().err


def test_a_run_tells_what_it_trains_on_and_what_was_unusable(
    bag: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(bag.read_bytes())
    picture = data.index(b'\x89PNG', len(data) // 4)
    inside = slice(picture + 20, picture + 60)
    data[inside] = bytes(40)
    broken = tmp_path / 'broken.mcap'
    broken.write_bytes(data[: len(data) * 3 // 4])
    output = tmp_path / 'run'
    words = ['--bags', str(broken), '--model', str(model), '--output', str(output), *SETTINGS]
    assert main(words) == 1
    assert '--salvage' in capsys.readouterr().err
    assert main([*words, '--salvage']) == 0
    said = capsys.readouterr().out
    assert '/camera/image_raw/compressed (CompressedImage, ' in said
    assert 'broken at byte' in said
    assert 'frames to train on, ' in said
    assert '1 frame was unusable and replaced' in said
    noted = (output / 'unusable.txt').read_text()
    assert noted.startswith('broken@')
    assert len(noted.splitlines()) == 1


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--bags', 'nothing.bag'], 'nothing.bag does not exist'),
        (['--model', 'adabins-huge', '--bags', 'BAG'], 'adabins-huge'),
        (['optimiser.rate=1'], 'optimiser.rate is not a setting'),
        (['--resume'], 'nothing to resume'),
        (['--bags', 'BAG', 'trainer.strategy=dpd'], 'with trainer.strategy=dpd'),
        (['--bags', 'BAG', 'trainer.devices=0'], 'no training on trainer.devices=0'),
        (['--bags', 'BAG', *CPU, 'trainer.precision=16-mixed'], '16-mixed, which needs a GPU'),
        (['--bags', 'BAG', 'data.size=[32,32]'], 'change data.size'),
        ([], '--bags'),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    words: list[str],
    said: str,
    bag: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(bag) if word == 'BAG' else word for word in words]
    assert main([*words, '--output', str(tmp_path / 'run')]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert 'Traceback' not in error
    assert not (tmp_path / 'run').exists()

# SPDX-License-Identifier: Apache-2.0
"""The command `training` on a recording, from --dry-run to a file that predicts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any

from adabins_ros import DepthPredictor
from adabins_ros.recordings import pack_folder
from adabins_ros.training.train_command import main
import numpy as np
import pytest

SETTINGS = [
    'data.batch_size=2',
    'data.workers=0',
    'trainer.accelerator=cpu',
    'trainer.max_epochs=2',
    'trainer.progress=false',
]
CPU = ['trainer.accelerator=cpu']


@pytest.fixture(scope='module')
def bag(walls: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of walls that come nearer."""
    folder = tmp_path_factory.mktemp('walls')
    pack_folder(walls(folder / 'frames'), folder / 'walls.mcap')
    return folder / 'walls.mcap'


def test_a_recording_becomes_a_file_that_predicts(
    bag: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / 'run'
    words = ['--bags', str(bag), '--model', str(tiny_model), '--output', str(output), *SETTINGS]
    assert main(['--dry-run', *words]) == 0
    assert (tmp_path / 'run_pairs.png').is_file()
    assert not output.exists()
    monkeypatch.chdir(tmp_path)
    assert main(['--dry-run', *words, '--output', '.']) == 0
    assert Path(f'{tmp_path}_pairs.png').is_file()

    assert main([*words, '--ros-args', '-r', '__node:=training']) == 0
    said = capsys.readouterr().out
    assert 'Finished after' in said
    assert 'abs_rel' in said and 'scale_factor: ' in said
    predictor = DepthPredictor.from_pretrained(str(output / 'best.safetensors'), device='cpu')
    assert predictor.is_trained
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    depth = predictor.predict(picture).depth
    assert depth.shape == (64, 96)
    without_torch = DepthPredictor.from_pretrained(str(output / 'best.onnx'), device='cpu')
    np.testing.assert_allclose(without_torch.predict(picture).depth, depth, atol=1e-3)
    assert json.loads((output / 'split.json').read_text())
    assert len(list((output / 'frames' / 'walls' / 'depth').iterdir())) == 12

    before = {path: path.read_bytes() for path in output.iterdir() if path.is_file()}
    assert main(words) == 1
    assert '--resume' in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in output.iterdir() if path.is_file()}

    assert main(['--resume', '--output', str(output), 'trainer.max_minutes=5']) == 0
    assert 'Finished after' in capsys.readouterr().out
    assert main(['--resume', '--output', str(output), 'data.batch_size=3']) == 1
    assert 'data.batch_size is 2 in the run' in capsys.readouterr().err
    # What lies within a setting is the setting's.
    assert main(['--resume', '--output', str(output), 'data.draws.walls=2']) == 1
    assert 'data.draws is {} in the run' in capsys.readouterr().err


def test_a_run_tells_what_it_trains_on_and_what_was_unusable(
    bag: Path,
    walls: Callable[..., Path],
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(bag.read_bytes())
    picture = data.index(b'\x89PNG', len(data) // 4)
    inside = slice(picture + 20, picture + 60)
    data[inside] = bytes(40)
    broken = tmp_path / 'broken.mcap'
    broken.write_bytes(data[: len(data) * 3 // 4])
    folder = walls(tmp_path / 'folder', 8)
    (folder / 'rgb' / '002.png').write_bytes(b'half of it')
    output = tmp_path / 'run'
    words = ['--bags', str(broken), '--model', str(tiny_model), '--output', str(output), *SETTINGS]
    words.append(f'data.folders=["{folder}"]')
    assert main(words) == 1
    assert '--salvage' in capsys.readouterr().err
    assert main([*words, '--salvage']) == 0
    said = capsys.readouterr().out
    assert '/camera/image_raw/compressed (CompressedImage, ' in said
    assert 'broken at byte' in said
    assert 'frames were left out, such as' in said
    assert 'frames to train on, ' in said
    assert '1 frame was unusable and replaced' in said
    noted = (output / 'unusable.txt').read_text()
    assert noted.startswith('folder/002')
    assert len(noted.splitlines()) == 1


def test_recordings_become_frames_once_and_a_run_goes_on_without_them(
    bag: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copy(bag, tmp_path / 'copy.mcap')
    words = ['--bags', str(copy), '--frames', str(tmp_path / 'frames'), '--model', str(tiny_model)]
    words += [*SETTINGS, '--max-minutes', '0.0001']
    made = []
    for run in ('one', 'two'):
        assert main([*words, '--output', str(tmp_path / run)]) == 0
        made.append({x: x.stat().st_mtime_ns for x in (tmp_path / 'frames').rglob('*')})
        assert not (tmp_path / run / 'frames').exists()
    assert made[0] == made[1]
    assert tmp_path / 'frames' / 'copy' / 'frames.csv' in made[0]
    copy.unlink()
    assert main(['--resume', '--output', str(tmp_path / 'two'), '--max-minutes', '5']) == 0
    shutil.rmtree(tmp_path / 'frames')
    assert main(['--resume', '--output', str(tmp_path / 'one'), '--max-minutes', '5']) == 1
    assert 'copy.mcap does not exist' in capsys.readouterr().err


def test_out_of_time_a_run_says_what_goes_on_and_a_failed_export_why(
    bag: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError('no operator for this\nand a long trace')

    output = tmp_path / 'run'
    words = ['--bags', str(bag), '--model', str(tiny_model), '--output', str(output), *SETTINGS]
    with monkeypatch.context() as patch:
        patch.setattr('adabins_ros.inference.export.write_onnx', broken)
        assert main([*words, '--max-minutes', '0.0001']) == 0
    said = capsys.readouterr().out
    assert "best.onnx can't be written: no operator for this. To try again: adabins export" in said
    assert not (output / 'best.onnx').exists()
    (had,) = re.findall(r'--resume .* --max-minutes TOTAL \(it has had (.*); TOTAL counts', said)
    # So many minutes more than it has had, in all: it goes on, to its end.
    total = str(float(had) + 5)
    assert main(['--resume', '--output', str(output), '--max-minutes', total]) == 0
    assert 'Finished after' in capsys.readouterr().out
    assert (output / 'best.onnx').is_file()


def test_a_run_stays_complete_when_the_node_that_should_get_it_is_not_there(
    bag: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    ros_environment: dict[str, str],
) -> None:
    pytest.importorskip('rclpy')
    monkeypatch.setenv('ROS_DOMAIN_ID', ros_environment['ROS_DOMAIN_ID'])
    monkeypatch.setenv('PYTHONPATH', ros_environment['PYTHONPATH'])
    output = tmp_path / 'run'
    words = ['--bags', str(bag), '--model', str(tiny_model), '--output', str(output), *SETTINGS]
    assert main([*words, '--deploy', '/nobody']) == 1
    said = capsys.readouterr()
    assert 'Finished after' in said.out
    assert 'the run is complete, but not deployed: no node /nobody answers' in said.err
    assert f'ros2 param set /nobody model {output / "best.onnx"}' in said.err
    assert json.loads((output / 'start.json').read_text())['validation/abs_rel'] > 0
    (output / 'start.json').unlink()
    assert main(['--resume', '--output', str(output), '--deploy', '/nobody']) == 0
    assert 'Not deployed: no held-out frames tell' in capsys.readouterr().out


def test_without_torch_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_torch(name: str) -> Any:
        return None if name == 'torch' else find_spec(name)

    monkeypatch.setattr('adabins_ros.extras.find_spec', without_torch)
    assert main(['--bags', 'run.bag']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(
        r"adabins train: training needs the extra \[train\]: pip install '.*\[train\]'", line
    )


def test_its_help_needs_no_torch(repository: Path) -> None:
    heavy = ['torch', 'pytorch_lightning', 'timm', 'rclpy', 'cv2']
    program = (
        f'import sys; sys.modules.update(dict.fromkeys({heavy}))\n'
        'from adabins_ros.training.train_command import main; sys.exit(main(["--help"]))'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert '--max-minutes' in done.stdout


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

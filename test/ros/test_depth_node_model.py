# SPDX-License-Identifier: Apache-2.0
"""Another model for a running node: at once refused, loaded beside the old one, or exchanged."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

pytest.importorskip('timm')

HEIGHT, WIDTH = 48, 64
ANSWER_S = 0.5


@pytest.fixture(scope='module')
def image() -> Image:
    """Return an image."""
    pixels = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = pixels.tobytes()
    return Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH, data=data)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Return a small network with random weights, as a checkpoint."""
    from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint

    text = (repository / 'test/training/tiny_network.json').read_text()
    path = tmp_path_factory.mktemp('models') / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(text)), path)
    return path


@pytest.fixture(scope='module')
def tiny_onnx(tiny: Path) -> Path:
    """Return the same as an ONNX file."""
    from adabins_ros.inference.export import write_onnx
    from adabins_ros.model import load_model

    write_onnx(load_model(tiny), tiny.with_suffix('.onnx'))
    return tiny.with_suffix('.onnx')


@pytest.fixture(scope='module')
def depth_node(start_node: Any) -> Any:
    """Return a node with the embedded default."""
    process = start_node('test_depth_node_model', inference_size=[128, 160], engine='onnx')
    yield process
    process.end()


@pytest.fixture
def lite(station: Any) -> Any:
    """Return the station of the node when it runs the embedded default."""
    (result,) = station.set_parameters(model='adabins-lite')
    assert result.successful
    wait_for(station, 'adabins-lite')
    return station


def change(station: Any, model: object) -> tuple[Any, float]:
    """Set the model; return the answer and how long it took, seconds."""
    start = time.monotonic()
    (result,) = station.set_parameters(model=str(model))
    return result, time.monotonic() - start


def wait_for(station: Any, model: object, timeout_s: float = 60.0) -> None:
    """Wait until a model runs and no other is loaded."""

    def runs() -> bool:
        loading = station.get_parameter('model_change').startswith('loading')
        return not loading and station.get_parameter('model_active') == str(model)

    station.spin_until(runs, timeout_s)


def depth_of(station: Any, image: Image) -> np.ndarray:
    """Return the depth that the node publishes for the image, metres."""
    return np.frombuffer(station.exchange(image)['depth/image'].data, '<f4')


def test_a_running_node_changes_to_another_model_and_back(lite, depth_node, image, tiny_onnx):
    before = depth_of(lite, image)
    for _ in range(3):
        result, seconds = change(lite, tiny_onnx)
        assert result.successful
        assert seconds < ANSWER_S
        wait_for(lite, tiny_onnx)
        other = depth_of(lite, image)
        assert np.abs(other - before).max() > 0.01
        change(lite, 'adabins-lite')
        wait_for(lite, 'adabins-lite')
        np.testing.assert_array_equal(depth_of(lite, image), before)
    _, values = lite.diagnostics_until()
    assert values['model active'] == 'adabins-lite'
    assert values['model change'] == 'done'
    assert values['frames bad'] == '0'
    assert 'changed to tiny' in depth_node.log
    assert 'adabins-lite runs on meanwhile' in depth_node.log


def test_every_image_has_its_depth_while_models_change(lite, image, tiny_onnx):
    depth_of(lite, image)
    models = [tiny_onnx, 'adabins-lite'] * 3
    for number in range(30):
        if number % 5 == 0:
            lite.set_parameters(model=str(models[number // 5]))
        stamp = lite.publish(image, None)
        lite.spin_until(lambda stamp=stamp: lite.answer('depth/image', stamp))
    wait_for(lite, 'adabins-lite')


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('missing.onnx', None, "can't be read"),
        ('missing.safetensors', None, 'does not exist'),
        ('foreign.onnx', b'\x08\x09', 'does not carry the configuration'),
        ('pointer.safetensors', b'version https://git-lfs', 'neither safetensors nor'),
        ('cut.safetensors', (1 << 20).to_bytes(8, 'little') + b'{"a":', 'is damaged'),
        ('endless.safetensors', (1 << 62).to_bytes(8, 'little') + b'{', 'is damaged'),
        ('deep.safetensors', (9**6).to_bytes(8, 'little') + b'{"a":' + b'[' * 9**6, 'damaged'),
        ('long.onnx', b'\x72\xff\xff\xff\xff\x7f' + bytes(99), 'damaged or not ONNX'),
        ('parts.onnx', b'\x08\x01' * 10**6, 'more than'),
    ],
)
def test_what_is_no_model_is_refused_at_once_and_the_old_one_runs_on(
    lite, image, tmp_path, name, content, words
):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    result, seconds = change(lite, path)
    assert not result.successful
    assert words in result.reason
    assert name in result.reason
    assert seconds < ANSWER_S
    assert lite.get_parameter('model') == 'adabins-lite'
    depth_of(lite, image)


def test_a_pipe_keeps_nobody_waiting(lite, tmp_path):
    pipe = tmp_path / 'pipe.onnx'
    os.mkfifo(pipe)
    result, seconds = change(lite, pipe)
    assert 'is no file' in result.reason
    assert seconds < ANSWER_S


def test_a_model_that_fails_later_leaves_the_old_one_and_says_why(
    lite, image, tmp_path, tiny_onnx, depth_node
):
    broken = tmp_path / 'broken.onnx'
    data = bytearray(tiny_onnx.read_bytes())
    data = data.replace(b'Conv', b'Cone', 1)
    broken.write_bytes(data)
    before = depth_of(lite, image)
    assert change(lite, broken)[0].successful
    status, values = lite.diagnostics_until(
        lambda _, values: values['model change'].startswith('failed')
    )
    assert status.level == status.WARN
    assert str(broken) in status.message
    assert 'adabins-lite runs on' in status.message
    assert values['model active'] == lite.get_parameter('model_active') == 'adabins-lite'
    assert str(broken) in lite.get_parameter('model_change')
    np.testing.assert_array_equal(depth_of(lite, image), before)
    assert f'{broken} can not be used, adabins-lite runs on: ONNX Runtime' in depth_node.log


def test_of_two_models_the_newest_wins(lite, tmp_path, tiny_onnx):
    copies = [shutil.copy(tiny_onnx, tmp_path / f'{number}.onnx') for number in range(4)]
    for copy in copies:
        assert change(lite, copy)[0].successful
    wait_for(lite, copies[-1])


def test_a_file_that_was_replaced_is_loaded_again_and_the_same_one_is_not(
    lite, image, tmp_path, tiny_onnx, repository, depth_node
):
    path = shutil.copy(tiny_onnx, tmp_path / 'best.onnx')
    change(lite, path)
    wait_for(lite, path)
    depth = depth_of(lite, image)
    logged = depth_node.log.count(f'loading {path}')
    change(lite, path)
    assert lite.get_parameter('model_change') == 'none'
    shutil.copy(repository / 'adabins_ros/weights/adabins-lite.onnx', path)
    change(lite, path)
    wait_for(lite, path)
    assert np.abs(depth_of(lite, image) - depth).max() > 0.01
    assert depth_node.log.count(f'loading {path}') == logged + 1


def test_what_runs_can_be_read_and_not_set(lite):
    for name in ('model_active', 'model_change'):
        (descriptor,) = lite.describe([name])
        assert descriptor.read_only
        (result,) = lite.set_parameters(**{name: 'adabins-nyu'})
        assert not result.successful
        assert 'read-only' in result.reason


def test_an_inactive_node_changes_its_model_too(lite, tiny_onnx, image):
    assert lite.transition('deactivate')
    change(lite, tiny_onnx)
    wait_for(lite, tiny_onnx)
    assert lite.transition('activate')
    depth_of(lite, image)


def test_a_checkpoint_is_built_elsewhere_while_the_old_model_runs_on(
    lite, image, tiny, depth_node
):
    change(lite, tiny)
    assert lite.get_parameter('model_change') == f'loading {tiny}'
    frames = 0
    while lite.get_parameter('model_active') != str(tiny):
        depth_of(lite, image)
        frames += 1
    assert frames > 3
    assert 'libtorch' not in Path(f'/proc/{depth_node.process.pid}/maps').read_text()


def test_a_program_can_set_it_and_hears_why_not(lite, ros_environment, tiny_onnx, tmp_path):
    def deploy(node: str, model: Path) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, '-m', 'adabins_ros.ros.set_model', node, str(model)],
            env=ros_environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        lite.spin_until(lambda: process.poll() is not None, 60)
        return process.returncode, process.stdout.read()

    node = '/test_depth_node_model/depth_node'
    assert deploy(node, tiny_onnx) == (0, f'{node} runs {tiny_onnx}\n')
    assert lite.get_parameter('model_active') == str(tiny_onnx)
    status, said = deploy(node, tmp_path / 'missing.onnx')
    assert status == 1
    assert f'{node} refuses it' in said
    assert deploy('/nobody', tiny_onnx) == (1, 'no node /nobody answers within 10 s\n')


def test_a_run_that_got_better_is_deployed_and_one_that_did_not_is_not(
    lite, tiny_onnx, tmp_path, ros_environment, capsys
):
    pytest.importorskip('pytorch_lightning')
    from adabins_ros.training.config import TrainingConfig
    from adabins_ros.training.deploying import deploy_best
    from adabins_ros.training.run_directory import RunDirectory, RunError, write_json

    run = RunDirectory.create(tmp_path / 'run', TrainingConfig())
    shutil.copy(tiny_onnx, run.best_onnx)
    node = '/test_depth_node_model/depth_node'
    write_json(run.start_file, {'validation/abs_rel': 0.2})
    write_json(run.best_metrics_file, {'validation/abs_rel': 0.3})
    deploy_best(run, node)
    assert 'Not deployed: abs_rel was 0.200 and is 0.300' in capsys.readouterr().out
    assert lite.get_parameter('model') == 'adabins-lite'
    write_json(run.best_metrics_file, {'validation/abs_rel': 0.1})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ros_environment.items():
            patch.setenv(name, value)
        deploy_best(run, node)
        assert 'Deployed, abs_rel 0.200 to 0.100' in capsys.readouterr().out
        assert lite.get_parameter('model_active') == str(run.best_onnx)
        run.best_onnx.write_bytes(b'half')
        with pytest.raises(RunError, match=r'not deployed: .*refuses it: .*damaged or not ONNX'):
            deploy_best(run, node)

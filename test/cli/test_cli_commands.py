# SPDX-License-Identifier: Apache-2.0
"""The `adabins` command as a whole: help, packing, and what it says when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys
import time

from adabins_ros.command_line import arguments_of, settings_among
from adabins_ros.doctor.doctor_command import main as doctor
from adabins_ros.package_files import package_file
from adabins_ros.recordings import find_camera_topics, iterate_frames, open_recording
from adabins_ros.training.train_command import main as train
import cv2
import numpy as np
import pytest


def adabins(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `adabins` in a process of its own."""
    return subprocess.run(
        [sys.executable, '-m', 'adabins_ros.cli', *map(str, arguments)],
        env={**environment, 'COLUMNS': '200'},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return five RGB-D frames, whose depth grows with the frame."""
    folder = tmp_path / 'room'
    for name in ('rgb', 'depth'):
        (folder / name).mkdir(parents=True)
    camera = {'fx': 50, 'fy': 50, 'cx': 31.5, 'cy': 23.5, 'width': 64, 'height': 48, 'fps': 5}
    (folder / 'camera.json').write_text(json.dumps(camera))
    for index in range(5):
        rgb = np.full((48, 64, 3), 40 * index, np.uint8)
        cv2.imwrite(str(folder / 'rgb' / f'{index}.png'), rgb)
        depth = np.full((48, 64), 1000 + 100 * index, np.uint16)
        cv2.imwrite(str(folder / 'depth' / f'{index}.png'), depth)
    return folder


def test_help_lists_the_commands_without_loading_torch_or_ros(ros_environment):
    start = time.monotonic()
    done = adabins(ros_environment, '--help')
    assert done.returncode == 0
    assert time.monotonic() - start < 20
    for command in ('node', 'predict', 'play', 'train', 'evaluate', 'calibrate', 'fetch'):
        assert f' {command} ' in done.stdout
    code = 'import sys, adabins_ros.cli; print(*sys.modules)'
    loaded = subprocess.run(
        [sys.executable, '-c', code], env=ros_environment, capture_output=True, text=True
    )
    assert not {'torch', 'rclpy', 'cv2', 'numpy', 'rosbags'} & set(loaded.stdout.split())


@pytest.mark.parametrize('command', ['node', 'predict', 'play', 'evaluate', 'pack', 'demo'])
def test_every_command_explains_itself(ros_environment, command):
    done = adabins(ros_environment, command, '--help')
    assert done.returncode == 0
    assert f'Usage: python -m adabins_ros.cli {command}' in done.stdout or (
        command in ('play', 'evaluate') and f'Usage: adabins {command}' in done.stdout
    )


def test_no_help_loads_what_only_the_work_needs(ros_environment):
    code = (
        'import sys\n'
        'from adabins_ros.cli import app\n'
        'for command in sys.argv[1:]:\n'
        "    app([command, '--help'], standalone_mode=False)\n"
        "    heavy = {'torch', 'rclpy', 'matplotlib', 'rosbags', 'cv2', 'onnxruntime'}\n"
        '    assert not heavy & set(sys.modules), (command, heavy & set(sys.modules))\n'
    )
    commands = ['node', 'predict', 'play', 'pack', 'extract', 'train', 'evaluate', 'export']
    done = subprocess.run(
        [sys.executable, '-c', code, *commands, 'calibrate', 'fetch', 'benchmark', 'demo'],
        env=ros_environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('Usage: ') == 12


@pytest.mark.parametrize(
    'command',
    [['node'], ['play', package_file('samples/living_room.mcap')], ['record'], ['doctor']],
)
def test_an_argument_that_ros_does_not_take_is_named(ros_environment, command):
    pytest.importorskip('rclpy')
    done = adabins(ros_environment, *command, '--ros-args', '-r', '__ns:=no_slash')
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert 'ROS does not start: ' in said and '__ns:=no_slash' in said
    assert '.c:' not in said


@pytest.mark.parametrize(
    ('main', 'option'),
    [(doctor, '--image-topic'), (doctor, '--camera-info-topic'), (train, '--deploy')],
)
def test_a_name_that_ros_does_not_allow_is_refused_before_anything_begins(main, option, capsys):
    assert main([option, '/my cam/image']) == 1
    assert f"{option} '/my cam/image': ROS 2 allows letters" in capsys.readouterr().err


def test_a_folder_becomes_a_recording(ros_environment, folder, tmp_path):
    output = tmp_path / 'room.mcap'
    done = adabins(ros_environment, 'pack', folder, '--output', output, '--start', 1, '--stop', 4)
    assert done.returncode == 0, done.stderr
    assert '3 frames' in done.stdout
    with open_recording(output) as recording:
        frames = list(iterate_frames(recording, find_camera_topics(recording)))
    assert [float(np.median(frame.depth)) for frame in frames] == pytest.approx([1.1, 1.2, 1.3])
    assert frames[1].stamp_ns - frames[0].stamp_ns == pytest.approx(200e6)


def test_a_folder_can_be_packed_raw_and_at_another_rate(ros_environment, folder, tmp_path):
    output = tmp_path / 'room.mcap'
    done = adabins(ros_environment, 'pack', folder, '--output', output, '--raw', '--rate', 20)
    assert done.returncode == 0, done.stderr
    with open_recording(output) as recording:
        assert recording.topics['/camera/image_raw'].msgtype == 'sensor_msgs/msg/Image'
        assert recording.end_ns - recording.start_ns == pytest.approx(4 * 50e6)


def test_the_home_folder_can_be_written_as_people_do(ros_environment, folder, tmp_path):
    """No shell expands --output=~/x, and launch files expand nothing."""
    environment = {**ros_environment, 'HOME': str(tmp_path)}
    done = adabins(environment, 'pack', '~/room', '--output=~/room.mcap')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'room.mcap').is_file()


def test_a_name_below_the_node_is_no_folder():
    words = ['--remap', '~/a:=b', '--ros-args', '-r', '~/depth:=depth', '--params-file', '~/x']
    assert arguments_of(words) == words


def test_a_setting_may_be_longer_than_a_files_name_and_a_file_may_look_like_one(tmp_path):
    draws = 'data.draws={' + ', '.join(f'kitchen_{number}: 2' for number in range(40)) + '}'
    bag = tmp_path / 'seed=3.mcap'
    bag.touch()
    words = [draws, str(bag), 'seed=3', 'kitchen.mcap']
    assert len(draws) > 255
    assert settings_among(words) == [draws, 'seed=3']


def test_packing_never_overwrites(ros_environment, folder, tmp_path):
    output = tmp_path / 'room.mcap'
    output.write_bytes(b'mine')
    done = adabins(ros_environment, 'pack', folder, '--output', output)
    assert done.returncode == 1
    assert 'exists already' in done.stderr
    assert output.read_bytes() == b'mine'


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        (['pack', 'nix', '--output', 'x.mcap'], 1, 'nix is no folder'),
        (['pack'], 2, 'Missing argument'),
        (['play', 'nix.mcap'], 1, 'nix.mcap does not exist'),
        (['play', 'nix.mcap', '--rate', '0'], 2, 'must be positive'),
        (['play', 'nix.mcap', '--remap', 'a'], 2, 'OLD:=NEW'),
        (['demo', '--bag', 'nix.mcap'], 1, 'nix.mcap does not exist'),
        (['demo', '--output', 'camera.json'], 1, 'camera.json'),
        (['flight'], 2, 'No such command'),
    ],
)
def test_mistakes_get_a_sentence_and_no_traceback(
    ros_environment, folder, monkeypatch, arguments, status, words
):
    if arguments[0] == 'play':
        pytest.importorskip('rclpy')
    monkeypatch.chdir(folder)
    done = adabins(ros_environment, *arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert 'Traceback' not in done.stderr
    assert not list(folder.glob('demo_output'))


def without(package: str, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which a package is not installed."""
    (folder / 'sitecustomize.py').write_text(f'import sys\nsys.modules[{package!r}] = None\n')
    return {**environment, 'PYTHONPATH': f'{folder}:{environment["PYTHONPATH"]}'}


@pytest.mark.parametrize('command', ['node', 'play', 'demo'])
def test_without_rclpy_the_commands_say_how_to_get_it(ros_environment, tmp_path, command):
    environment = without('rclpy', tmp_path, ros_environment)
    arguments = {'demo': ['--output', tmp_path / 'out'], 'node': []}
    done = adabins(environment, command, *arguments.get(command, ['room.mcap']))
    assert done.returncode == 1
    assert 'rclpy' in done.stderr
    assert "pip install '.[ros]'" in done.stderr
    assert done.stderr.startswith(f'adabins {command}: ')


def test_without_torch_a_checkpoint_names_the_extra_that_reads_it(
    ros_environment, repository, tmp_path
):
    environment = without('torch', tmp_path, ros_environment)
    weights = repository / 'adabins_ros' / 'weights' / 'adabins-lite.safetensors'
    picture = tmp_path / 'grey.png'
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    done = adabins(
        environment, 'predict', picture, '--model', weights, '--output', tmp_path / 'out'
    )
    assert done.returncode == 1
    assert "pip install '.[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1

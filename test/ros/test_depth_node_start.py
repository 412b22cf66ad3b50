# SPDX-License-Identifier: Apache-2.0
"""How the node starts: what it is told wrongly, and which camera it finds by itself."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from sensor_msgs.msg import CameraInfo, Image

from .conftest import Station

ENTRY = {
    'depth_node': ('adabins_ros.starting', 'depth_node'),
    'adabins': ('adabins_ros.cli', 'main'),
}
RUN = 'from adabins_ros.starting import depth_node; depth_node([])'


def picture() -> tuple[Image, CameraInfo]:
    """Return an image and its camera_info."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    image = Image(height=48, width=64, encoding='rgb8', step=192, data=pixels.tobytes())
    k = [55.0, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0]
    return image, CameraInfo(height=48, width=64, k=k)


def test_an_unknown_key_of_a_parameter_file_is_named_with_what_may_be_meant(
    start_node, make_station, tmp_path
):
    file = tmp_path / 'robot.yaml'
    file.write_text('/**:\n  ros__parameters:\n    point_strid: 4\n    use_sim_time: false\n')
    process = start_node('unknown_key', parameter_file=file, autostart=False)
    station = make_station('unknown_key')
    station.spin_until(lambda: station.state() == 'unconfigured', 60)
    assert 'there is no parameter point_strid, it is ignored; did you mean point_stride' in (
        process.log
    )
    assert process.log.count('there is no parameter') == 1
    station.destroy()
    process.end()


def test_a_node_that_nobody_watches_ends_with_an_error_where_its_model_is_none(start_node):
    process = start_node('unwatched', model='/no/such.onnx', exit_on_failure=True)
    assert process.process.wait(60) == 1
    assert '/no/such.onnx' in process.log
    assert 'the node ends with status 1' in process.log
    assert 'Traceback' not in process.log


def test_the_one_camera_is_found_listened_to_and_named(start_node, domain):
    # In a domain of its own: cameras of the other tests may be seen for a while after they end.
    elsewhere = {'ROS_DOMAIN_ID': domain}
    process = start_node('finder', None, elsewhere, find_camera=True, inference_size=[128, 160])
    context = Context()
    rclpy.init(context=context, domain_id=int(domain))
    station = Station(context, 'finder')
    station.node.destroy_publisher(station.images)
    station.node.destroy_publisher(station.camera_infos)
    station.wait_until_active()
    status, _ = station.diagnostics_until(
        lambda status, _: 'no camera is chosen' in status.message, timeout_s=60
    )
    assert 'nobody publishes images' in status.message
    left = station.node.create_publisher(Image, '/left/image_raw', 5)
    left_info = station.node.create_publisher(CameraInfo, '/left/camera_info', 5)
    right = station.node.create_publisher(Image, '/right/image_raw', 5)
    right_info = station.node.create_publisher(CameraInfo, '/right/camera_info', 5)
    status, _ = station.diagnostics_until(
        lambda status, _: '2 cameras' in status.message, timeout_s=60
    )
    assert '(/left/image_raw, /right/image_raw): choose one' in status.message
    station.node.destroy_publisher(right)
    station.node.destroy_publisher(right_info)
    station.images, station.camera_infos = left, left_info
    answer = station.exchange(*picture(), 'depth/image', 'points')
    assert answer['points'].width == 32
    assert 'the one camera is /left/image_raw, with /left/camera_info' in process.log
    station.destroy()
    context.try_shutdown()
    process.end()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('after_s', [0.3, 0.6, 1.0])
def test_a_signal_while_it_is_imported_ends_it_without_a_word(ros_environment, number, after_s):
    program = f'import os; os.write(1, b"begun"); {RUN}'
    process = subprocess.Popen(
        [sys.executable, '-c', program],
        env=ros_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout.read(5) == b'begun'
    time.sleep(after_s)
    process.send_signal(number)
    said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, said
    assert 'Traceback' not in said


@pytest.mark.parametrize(
    ('command', 'words'),
    [
        ('depth_node --bad', 'unrecognized arguments: --bad'),
        ('adabins train --bags nowhere.bag', 'nowhere.bag does not exist'),
        ('adabins train trainer.speed=9', 'trainer.speed is not a setting'),
        ('adabins train --model adabins-moon --bags /', "'adabins-moon' is not a preset"),
        ('adabins train --resume --output nowhere', 'there is nothing to resume'),
        ('adabins export --model adabins-moon --output a.onnx', "'adabins-moon' is not a"),
    ],
)
def test_wrong_words_are_told_before_what_takes_seconds_to_import(
    ros_environment, tmp_path: Path, command: str, words: str
) -> None:
    # What must not be imported can't be.
    for name in ('torch', 'rclpy', 'onnxruntime'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text('raise SystemExit("imported too early")\n')
    path = os.pathsep.join([str(tmp_path), ros_environment['PYTHONPATH']])
    name, *arguments = command.split()
    module, function = ENTRY[name]
    done = subprocess.run(
        [sys.executable, '-c', f'from {module} import *; {function}()', *arguments],
        env={**ros_environment, 'PYTHONPATH': path, 'COLUMNS': '200'},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert words in done.stderr
    assert 'imported too early' not in done.stderr
    assert done.returncode

# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and `kill` end the node quickly and in good order, whatever it is doing."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time

from adabins_ros.model import load_model, save_checkpoint
import pytest
from sensor_msgs.msg import Image

IN_TIME_S = 2.0


def assert_ends_in_good_order(process, number: signal.Signals) -> None:
    """Assert that a signal ends the process with status 0, in time and without a traceback."""
    status, seconds = process.end(number)
    assert status == 0, process.log
    assert seconds < IN_TIME_S, process.log
    assert 'Traceback' not in process.log
    assert f'stopping: {number.name}' in process.log


def wait_for_log(process, text: str, timeout_s: float = 60) -> None:
    """Wait until the process has written a text."""
    end = time.monotonic() + timeout_s
    while text not in process.log:
        assert process.process.poll() is None, process.log
        assert time.monotonic() < end, f'{text!r} is not in:\n{process.log}'
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.process.wait(0.05)


@pytest.fixture(scope='module')
def large_model(tmp_path_factory):
    """Return a checkpoint of the authors' network."""
    path = tmp_path_factory.mktemp('model') / 'large.safetensors'
    save_checkpoint(load_model('adabins-nyu', untrained=True), path)
    return path


def test_a_signal_in_the_middle_of_a_frame_ends_the_node(start_node, make_station, large_model):
    # The authors' network takes more than a second a frame on a CPU.
    process = start_node(
        'midframe',
        model=str(large_model),
        device='cpu',
        engine='torch',
        inference_size=[352, 416],
    )
    station = make_station('midframe')
    station.wait_until_active()
    station.listen('depth/image')
    image = Image(height=48, width=64, encoding='mono8', step=64, data=bytes(64 * 48))

    def another_frame_is_in_work() -> bool:
        station.publish(image, None)
        return bool(station.received['depth/image'])

    station.spin_until(another_frame_is_in_work, 60)
    assert_ends_in_good_order(process, signal.SIGINT)
    station.destroy()


def test_a_signal_while_the_model_is_loaded_ends_the_node(start_node):
    process = start_node('loading')
    wait_for_log(process, 'loading adabins-lite')
    assert_ends_in_good_order(process, signal.SIGTERM)


def test_a_signal_ends_a_node_that_nobody_configured(start_node, make_station):
    process = start_node('unconfigured', autostart=False)
    station = make_station('unconfigured')
    station.spin_until(lambda: station.state() == 'unconfigured', 60)
    assert_ends_in_good_order(process, signal.SIGINT)
    station.destroy()


def test_a_second_signal_changes_nothing(start_node, make_station):
    process = start_node('twice', inference_size=[128, 160])
    station = make_station('twice')
    station.wait_until_active()
    process.process.send_signal(signal.SIGINT)
    assert_ends_in_good_order(process, signal.SIGINT)
    station.destroy()


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({'max_depth': 'far'}, "max_depth = 'far'"),
        ({'point_stride': 0}, 'point_stride'),
        ({'min_depth': 4.0, 'max_depth': 2.0}, 'min_depth must be the smaller one'),
        ({'image_transport': 'theora'}, "allowed are 'raw', 'compressed'"),
        ({'inference_size': [128]}, 'inference_size = [128]'),
    ],
)
def test_a_bad_parameter_on_the_command_line_is_refused_in_one_sentence(
    start_node, parameters, reason
):
    process = start_node('bad_parameter', **parameters)
    assert process.process.wait(30) == 1
    assert reason in process.log
    assert 'Traceback' not in process.log

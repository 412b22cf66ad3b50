# SPDX-License-Identifier: Apache-2.0
"""The node as `ros2 lifecycle` drives it, and how it fails and recovers."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from sensor_msgs.msg import Image

GOOD = {'model': 'adabins-lite', 'device': 'auto', 'inference_size': [128, 160]}
MISSING = '/no/such/folder/AdaBins_nyu.pt'
WAY_BACK = {'active': ('deactivate', 'cleanup'), 'inactive': ('cleanup',), 'unconfigured': ()}


# A node that takes its time between finding its sensors of the scale and asking them.
SLOW = """
import sys, time
from adabins_ros.ros import depth_node
from adabins_ros.ros.scale_sources import ScaleSources

def active(self, settings):
    print('asks its sensors', flush=True)
    time.sleep(2)
    return ['scan']

ScaleSources.active = active
sys.exit(depth_node.main(sys.argv[1:]))
"""


@pytest.fixture(scope='module')
def image() -> Image:
    """Return an image."""
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image(height=48, width=64, encoding='rgb8', step=192, data=pixels.tobytes())


@pytest.fixture(scope='module')
def depth_node(start_node):
    """Return a node that leaves its transitions to the tests."""
    process = start_node('test_depth_node_lifecycle', autostart=False, **GOOD)
    yield process
    process.end()


@pytest.fixture(scope='module')
def module_station(make_station, depth_node):
    """Return the station of that node, in the state in which the last test left it."""
    station = make_station('test_depth_node_lifecycle')
    # Services answer reliably once both sides know each other.
    station.diagnostics_until(timeout_s=60)
    yield station
    station.destroy()


@pytest.fixture
def station(module_station):
    """Return the station of the node, which is unconfigured, with parameters that will do."""
    for transition in WAY_BACK[module_station.state()]:
        assert module_station.transition(transition)
    assert all(result.successful for result in module_station.set_parameters(**GOOD))
    return module_station


@pytest.fixture
def active(station):
    """Return the station of the node, which is active."""
    assert station.transition('configure')
    assert station.transition('activate')
    return station


def test_a_missing_model_is_said_once_and_the_process_stays_unconfigured(start_node, make_station):
    process = start_node('missing', model=MISSING)
    station = make_station('missing')
    status, _ = station.diagnostics_until(
        lambda status, _: 'not configured' in status.message, timeout_s=60
    )
    assert status.level == status.ERROR
    assert MISSING in status.message
    assert station.state() == 'unconfigured'
    assert process.process.poll() is None
    assert process.log.count('configuration failed') == 1
    assert MISSING in process.log
    assert 'Traceback' not in process.log
    assert 'ros2 lifecycle set /missing/depth_node configure' in process.log
    station.destroy()
    process.end()


@pytest.mark.parametrize(
    ('values', 'word'),
    [
        ({'model': '/dev/null'}, '/dev/null'),
        ({'model': 'adabins-moon'}, 'adabins-moon'),
        ({'model': 'adabins-nyu'}, 'fetch adabins-nyu`'),
        ({'device': 'cuda:63'}, 'cuda:63'),
        ({'device': 'abacus'}, 'abacus'),
        ({'device': 'cpu', 'inference_size': [32, 32]}, '32x32'),
    ],
)
def test_every_reason_is_told_and_the_node_can_be_configured_again(
    station, depth_node, values, word
):
    assert all(result.successful for result in station.set_parameters(**values))
    assert station.transition('configure') is False
    assert station.state() == 'unconfigured'
    status, _ = station.diagnostics_until(lambda status, _: word in status.message)
    assert status.level == status.ERROR
    assert 'Traceback' not in depth_node.log


def test_a_corrected_parameter_lets_it_run(station, image):
    station.set_parameters(model=MISSING)
    assert station.transition('configure') is False
    station.set_parameters(model='adabins-lite')
    assert station.transition('configure')
    assert station.state() == 'inactive'
    status, values = station.diagnostics_until(lambda status, _: 'inactive' in status.message)
    assert status.level == status.OK
    assert 'adabins-lite' in values['model']
    assert station.transition('activate')
    station.exchange(image)


def test_an_inactive_node_neither_listens_nor_publishes(active, image):
    active.exchange(image)
    assert active.transition('deactivate')
    active.spin_until(lambda: active.images.get_subscription_count() == 0)
    known = len(active.received['depth/image'])
    active.publish(image, None)
    active.diagnostics_until()
    assert len(active.received['depth/image']) == known
    assert active.transition('activate')
    active.exchange(image)


def test_cleaning_up_frees_the_model_and_its_topics(active, depth_node, image):
    assert active.transition('deactivate')
    assert active.transition('cleanup')
    assert active.state() == 'unconfigured'
    active.diagnostics_until(lambda _, values: values['model'] == 'not loaded')
    active.spin_until(lambda: active.node.count_publishers('depth/image') == 0)
    for _ in range(2):
        assert active.transition('configure')
        assert active.transition('activate')
        active.exchange(image)
        assert active.transition('deactivate')
        assert active.transition('cleanup')
    assert 'Traceback' not in depth_node.log


def test_an_impossible_transition_is_refused(station):
    assert station.state() == 'unconfigured'
    assert station.transition('activate') is False
    assert station.state() == 'unconfigured'


def test_an_active_node_can_be_shut_down(start_node, make_station):
    process = start_node('shut_down', **GOOD)
    station = make_station('shut_down')
    station.wait_until_active()
    assert station.transition('shutdown')
    assert station.state() == 'finalized'
    assert process.process.poll() is None
    assert process.end()[0] == 0
    station.destroy()


def test_a_frame_in_work_is_finished_before_the_sensors_are_left(
    ros_environment, make_station, image, tmp_path
):
    log = tmp_path / 'node.log'
    words = ['-r', '__ns:=/slow', '-p', 'scale_source:=scan', '-p', 'horizontal_fov_deg:=70.0']
    with log.open('w') as output:
        process = subprocess.Popen(
            [sys.executable, '-c', SLOW, '--ros-args', *words],
            env=ros_environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    station = make_station('slow')
    try:
        station.wait_until_active()
        station.listen('depth/image')
        for _ in range(100):
            station.publish(image, None)
            if station.spin_for(lambda: 'asks its sensors' in log.read_text(), 0.2):
                break
        assert station.transition('deactivate')
        station.spin_until(lambda: station.received['depth/image'])
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        station.destroy()
    assert 'Traceback' not in log.read_text()

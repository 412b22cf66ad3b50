# SPDX-License-Identifier: Apache-2.0
"""The node as `ros2 lifecycle` drives it, and how it fails and recovers."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import Image

INFERENCE_SIZE = [128, 160]


@pytest.fixture(scope='module')
def image() -> Image:
    """Return an image."""
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image(height=48, width=64, encoding='rgb8', step=192, data=pixels.tobytes())


@pytest.fixture(scope='module')
def depth_node(start_node):
    """Return a node that tries, by itself, to load a model that is not there."""
    process = start_node(
        'test_depth_node_lifecycle',
        model='/no/such/folder/AdaBins_nyu.pt',
        inference_size=INFERENCE_SIZE,
    )
    yield process
    process.end()


@pytest.fixture(scope='module')
def station(make_station, depth_node):
    """Return the station of that node, which has failed once."""
    station = make_station('test_depth_node_lifecycle')
    status, _ = station.diagnostics_until(
        lambda status, _: 'not configured' in status.message, timeout_s=60
    )
    assert status.level == status.ERROR
    assert '/no/such/folder/AdaBins_nyu.pt' in status.message
    yield station
    station.destroy()


def test_a_missing_model_is_said_once_and_the_process_stays_unconfigured(station, depth_node):
    assert station.state() == 'unconfigured'
    assert depth_node.process.poll() is None
    assert depth_node.log.count('configuration failed') == 1
    assert '/no/such/folder/AdaBins_nyu.pt' in depth_node.log
    assert 'Traceback' not in depth_node.log
    assert 'ros2 lifecycle set /test_depth_node_lifecycle/depth_node configure' in depth_node.log


@pytest.mark.parametrize(
    ('values', 'word'),
    [
        ({'model': '/dev/null'}, '/dev/null'),
        ({'model': 'adabins-moon'}, 'adabins-moon'),
        ({'model': 'adabins-lite', 'device': 'cuda:63'}, 'cuda:63'),
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
    station.set_parameters(model='adabins-lite', device='auto', inference_size=INFERENCE_SIZE)
    assert station.transition('configure')
    assert station.state() == 'inactive'
    status, values = station.diagnostics_until()
    assert status.level == status.OK
    assert 'inactive' in status.message
    assert 'adabins-lite' in values['model']
    assert station.transition('activate')
    station.exchange(image)


def test_an_inactive_node_neither_listens_nor_publishes(station, image):
    station.exchange(image)
    assert station.transition('deactivate')
    station.spin_until(lambda: station.images.get_subscription_count() == 0)
    known = len(station.received['depth/image'])
    station.publish(image, None)
    station.diagnostics_until()
    assert len(station.received['depth/image']) == known
    assert station.transition('activate')
    station.exchange(image)


def test_cleaning_up_frees_the_model_and_its_topics(station, depth_node, image):
    assert station.transition('deactivate')
    assert station.transition('cleanup')
    assert station.state() == 'unconfigured'
    _, values = station.diagnostics_until()
    assert values['model'] == 'not loaded'
    station.spin_until(lambda: station.node.count_publishers('depth/image') == 0)
    for _ in range(2):
        assert station.transition('configure')
        assert station.transition('activate')
        station.exchange(image)
        assert station.transition('deactivate')
        assert station.transition('cleanup')
    assert 'Traceback' not in depth_node.log


def test_an_impossible_transition_is_refused(station):
    assert station.state() == 'unconfigured'
    assert station.transition('activate') is False
    assert station.state() == 'unconfigured'


def test_an_active_node_can_be_shut_down(station, depth_node):
    assert station.transition('configure')
    assert station.transition('activate')
    assert station.transition('shutdown')
    assert station.state() == 'finalized'
    assert depth_node.process.poll() is None
    assert depth_node.end()[0] == 0

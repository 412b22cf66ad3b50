# SPDX-License-Identifier: Apache-2.0
"""Nothing is computed for nobody, and a camera that is too fast costs frames, not time."""

from __future__ import annotations

import time

from adabins_ros.messages.fields import stamp_ns
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image


@pytest.fixture(scope='module')
def image() -> Image:
    """Return an image."""
    pixels = np.random.default_rng(4).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image(height=48, width=64, encoding='rgb8', step=192, data=pixels.tobytes())


@pytest.fixture(scope='module')
def camera_info() -> CameraInfo:
    """Return the camera_info of the image."""
    return CameraInfo(height=48, width=64, k=[55.0, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0])


def counts(values: dict[str, str]) -> dict[str, int]:
    """Return the counters of the diagnostics."""
    return {
        key.removeprefix('frames '): int(value)
        for key, value in values.items()
        if key.startswith('frames ')
    }


def accounted(_, values: dict[str, str]) -> bool:
    """Tell whether the counters say of every frame what became of it: none waits or is in work."""
    seen = counts(values)
    return seen['published'] + seen['dropped'] + seen['idle'] == seen['received']


def show_until_received(station, image, camera_info, frames: int) -> dict[str, int]:
    """Publish until the node has received so many frames more and all are done; return counts."""
    before = counts(station.last_values or station.diagnostics_until()[1])

    def enough(_, values: dict[str, str]) -> bool:
        for _ in range(frames):
            station.publish(image, camera_info)
            station.spin_until(lambda: True)
        return counts(values)['received'] - before['received'] >= frames

    station.diagnostics_until(enough)
    _, values = station.diagnostics_until(accounted)
    after = counts(values)
    return {key: after[key] - before[key] for key in after}


def test_without_a_subscriber_the_network_does_not_run(station, image, camera_info):
    station.ignore_all()
    seen = show_until_received(station, image, camera_info, 5)
    assert seen['received'] >= 5
    assert seen['published'] == 0
    assert seen['idle'] + seen['dropped'] == seen['received']
    assert not any(key.startswith('network') for key in station.last_values)


def test_a_subscriber_to_camera_info_alone_gets_it_without_the_network(
    station, image, camera_info
):
    answer = station.exchange(image, camera_info, 'depth/camera_info')['depth/camera_info']
    assert (answer.width, answer.height) == (64, 48)
    _, values = station.diagnostics_until()
    assert counts(values)['published'] == 0
    assert not any(key.startswith('network') for key in values)
    station.ignore_all()


def test_points_alone_do_not_run_the_network_while_there_is_no_camera_info(
    start_node, make_station, image
):
    process = start_node('blind', inference_size=[128, 160])
    station = make_station('blind')
    station.wait_until_active()
    station.listen('points')
    seen = show_until_received(station, image, None, 3)
    assert seen['published'] == 0
    status, values = station.diagnostics_until(
        lambda status, _: 'no camera_info' in status.message
    )
    assert 'horizontal_fov_deg' in status.message
    assert not any(key.startswith('network') for key in values)
    # Depth does not need it, and a field of view stands in for it.
    station.exchange(image, None, 'depth/image')
    station.set_parameters(horizontal_fov_deg=70.0)
    station.exchange(image, None, 'points')
    station.destroy()
    process.end()


def test_only_what_is_subscribed_to_is_made(station, image, camera_info):
    station.exchange(image, camera_info, 'depth/std')
    _, values = station.diagnostics_until(lambda _, values: 'std p50 (ms)' in values)
    assert 'network p50 (ms)' in values
    for product in ('image', 'image_raw', 'color', 'points', 'bin_centers'):
        assert f'{product} p50 (ms)' not in values
    station.ignore_all()
    station.spin_until(lambda: station.node.count_subscribers('depth/std') == 0)


def test_a_camera_twice_as_fast_costs_frames_and_not_age(start_node, make_station, image):
    process = start_node('fast_camera', device='cpu')
    station = make_station('fast_camera')
    station.wait_until_active()
    depth_ages: list[float] = []
    for _ in range(8):
        station.exchange(image, None)
    _, values = station.diagnostics_until(lambda _, values: 'network p50 (ms)' in values)
    inference_s = sum(float(values[f'{s} p50 (ms)']) for s in ('resize', 'network', 'upsample'))
    inference_s /= 1000
    before = counts(values)

    received = station.received['depth/image']
    received.clear()
    sent = 0
    next_s = time.monotonic()
    while sent < 60:
        if time.monotonic() >= next_s:
            station.publish(image, None)
            sent += 1
            next_s += inference_s / 2
        if station.spin_for(lambda: received, max(0.0, next_s - time.monotonic())):
            now_ns = station.node.get_clock().now().nanoseconds
            depth_ages += [(now_ns - stamp_ns(m.header.stamp)) / 1e9 for m in received]
            received.clear()
    _, values = station.diagnostics_until(accounted)
    seen = {key: value - before[key] for key, value in counts(values).items()}
    assert seen['dropped'] > 3
    assert len(depth_ages) > 5
    # This process shares two cores with the network, so the inference time of these frames counts.
    loaded_s = sum(float(values[f'{s} p50 (ms)']) for s in ('resize', 'network', 'upsample')) / 1e3
    assert np.median(depth_ages) < 2 * max(inference_s, loaded_s)
    assert float(values['frame age p50 (ms)']) / 1e3 < 2 * max(inference_s, loaded_s)
    station.destroy()
    process.end()

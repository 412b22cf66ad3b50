# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics tells a user who sees no depth, or strange depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image


@pytest.fixture(scope='module')
def image() -> Image:
    """Return an image."""
    pixels = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image(height=48, width=64, encoding='rgb8', step=192, data=pixels.tobytes())


@pytest.fixture
def untrained(tmp_path: Path, repository: Path) -> Path:
    """Return a model file of random weights."""
    pytest.importorskip('timm')
    from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint

    tiny = (repository / 'test/training/tiny_network.json').read_text()
    save_checkpoint(
        AdaBins(AdaBinsConfig.model_validate_json(tiny)), tmp_path / 'tiny.safetensors'
    )
    return tmp_path / 'tiny.safetensors'


@pytest.fixture(scope='module')
def camera_info() -> CameraInfo:
    """Return the camera_info of the image."""
    return CameraInfo(height=48, width=64, k=[55.0, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0])


def test_it_comes_once_a_second_in_the_name_of_the_node(station):
    status, values = station.diagnostics_until()
    first = station.node.get_clock().now()
    for _ in range(3):
        station.diagnostics_until()
    elapsed_s = (station.node.get_clock().now() - first).nanoseconds / 1e9
    assert 2.0 < elapsed_s < 4.0
    assert status.name == 'test_depth_node_diagnostics/depth_node: depth'
    assert status.hardware_id == values['device']
    assert values['state'] == 'active'


def test_every_stage_has_its_percentiles_and_the_frame_its_age(station, image, camera_info):
    topics = ('depth/image', 'depth/std', 'depth/color', 'points')
    station.exchange(image, camera_info, *topics)
    _, values = station.diagnostics_until(lambda _, values: 'points p99 (ms)' in values)
    stages = ('decode', 'resize', 'network', 'upsample', 'image', 'std', 'color', 'points')
    for stage in (*stages, 'publish', 'camera to publish', 'frame age'):
        median, high = (float(values[f'{stage} {p} (ms)']) for p in ('p50', 'p99'))
        assert 0 <= median <= high < 60_000, stage
    assert values['inference size'] == '160x128'
    assert float(values['focal scale']) == pytest.approx(160 / 64 * 55 / 277.128, abs=1e-4)


def test_the_rates_are_those_of_the_last_second(station, image, camera_info):
    station.exchange(image, camera_info)

    def rates(_, values: dict[str, str]) -> bool:
        station.publish(image, camera_info)
        return float(values['rate in (Hz)']) > 0 and float(values['rate out (Hz)']) > 0

    station.diagnostics_until(rates)


def test_silence_makes_the_status_stale_and_says_what_it_may_be(station, image, camera_info):
    station.exchange(image, camera_info)
    status, _ = station.diagnostics_until(lambda status, _: status.level == status.STALE)
    assert 'no image on /test_depth_node_diagnostics/image_raw for' in status.message
    assert 'FASTDDS_DEFAULT_PROFILES_FILE' in status.message


def test_a_camera_on_another_topic_or_transport_is_found_and_an_untrained_network_called_one(
    start_node, make_station, untrained
):
    process = start_node('lonely', model=str(untrained), remaps={'image_raw': 'elsewhere'})
    station = make_station('lonely')
    status, _ = station.diagnostics_until(
        lambda status, _: 'published are /lonely/image_raw' in status.message, timeout_s=60
    )
    assert 'nothing publishes on /lonely/elsewhere' in status.message
    assert 'remap image_raw' in status.message
    assert 'untrained network: depth is meaningless' in status.message
    publisher = station.node.create_publisher(CompressedImage, 'elsewhere/compressed', 5)
    status, _ = station.diagnostics_until(
        lambda status, _: "image_transport to 'compressed'" in status.message
    )
    assert '/lonely/elsewhere/compressed is published' in status.message
    assert publisher.get_subscription_count() == 0
    station.destroy()
    process.end()


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_a_compressed_topic_in_place_of_its_base_is_told_in_one_step(
    start_node, make_station, transport
):
    name = f'circle_{transport}'
    compressed = f'/{name}/cam/compressed'
    process = start_node(name, remaps={'image_raw': compressed}, image_transport=transport)
    station = make_station(name)
    publisher = station.node.create_publisher(CompressedImage, compressed, 5)
    station.wait_until_active()
    status, _ = station.diagnostics_until(
        lambda status, _: 'base topic' in status.message, timeout_s=60
    )
    assert f'remap image_raw to its base topic, /{name}/cam (' in status.message
    assert "image_transport to 'compressed'" in status.message
    station.node.destroy_publisher(publisher)
    station.destroy()
    process.end()


def test_recorded_stamps_are_not_taken_for_the_age_of_a_frame(station, image, camera_info):
    station.exchange(image, camera_info)

    def told(_, values: dict[str, str]) -> bool:
        station.publish(image, camera_info)
        image.header.stamp.sec = 1_700_000_000
        station.images.publish(image)
        return 'frame age' in values

    _, values = station.diagnostics_until(told)
    assert values['frame age'].startswith("not known: the images' stamps are ")
    assert '--clock and set use_sim_time' in values['frame age']
    assert float(values['frame age p99 (ms)']) < 60_000


def test_reliability_can_be_overridden_and_a_mismatch_is_explained(
    start_node, make_station, image, camera_info
):
    process = start_node(
        'reliable',
        inference_size=[128, 160],
        **{
            'qos_overrides./reliable/image_raw.subscription.reliability': 'reliable',
            'qos_overrides./reliable/depth/image.publisher.reliability': 'best_effort',
        },
    )
    station = make_station('reliable')
    station.wait_until_active()
    # The publisher is found a moment before the node that it belongs to.
    status, _ = station.diagnostics_until(
        lambda status, _: 'QoS' in status.message and '/reliable/station' in status.message
    )
    assert 'qos_overrides./reliable/image_raw.subscription.reliability' in status.message
    station.node.destroy_publisher(station.images)
    station.images = station.node.create_publisher(
        Image, 'image_raw', QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    )
    station.listen('depth/std')
    station.exchange(image, camera_info, 'depth/std')
    (depth,) = station.node.get_publishers_info_by_topic('/reliable/depth/image')
    assert depth.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    (std,) = station.node.get_publishers_info_by_topic('/reliable/depth/std')
    assert std.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    station.destroy()
    process.end()


def test_a_lens_that_can_not_be_rectified_is_never_ok(station, image, camera_info):
    info = CameraInfo(height=48, width=64, k=camera_info.k)
    info.distortion_model, info.d = 'double_sphere', [0.5, -0.2]
    station.set_parameters(rectify=True)

    def refused(status, _: dict[str, str]) -> bool:
        station.publish(image, info)
        return status.level == status.WARN and 'double_sphere' in status.message

    status, _ = station.diagnostics_until(refused)
    assert 'the image is not rectified' in status.message
    station.set_parameters(rectify=False)
    station.exchange(image, camera_info)
    status, _ = station.diagnostics_until(lambda status, _: 'double_sphere' not in status.message)
    assert status.level == status.OK


def test_two_cameras_on_one_camera_info_are_told(station, image, camera_info):
    topic = '/test_depth_node_diagnostics/camera_info'
    other = station.node.create_publisher(CameraInfo, topic, 5)

    def told(status, _: dict[str, str]) -> bool:
        station.publish(image, camera_info)
        return status.level == status.WARN and f'2 nodes publish {topic}' in status.message

    status, _ = station.diagnostics_until(told)
    assert 'remap camera_info' in status.message
    station.node.destroy_publisher(other)
    station.diagnostics_until(lambda status, _: '2 nodes' not in status.message)


def test_smoothing_that_a_model_of_fixed_bins_can_not_do_is_said(
    start_node, make_station, tmp_path, repository
):
    pytest.importorskip('onnx')
    pytest.importorskip('timm')
    from adabins_ros.inference.export import write_onnx
    from adabins_ros.model import AdaBins, AdaBinsConfig

    tiny = AdaBinsConfig.model_validate_json(
        (repository / 'test/training/tiny_network.json').read_text()
    )
    fixed = tiny.model_copy(update={'bin_strategy': 'log'})
    model = write_onnx(AdaBins(fixed), tmp_path / 'fixed.onnx').model.path
    process = start_node('unsmoothed', model=str(model), device='cpu', engine='onnx')
    station = make_station('unsmoothed')
    words = "temporal_smoothing = 2 s can't be had with tiny"
    status, _ = station.diagnostics_until(lambda status, _: words in status.message)
    assert status.level == status.WARN
    assert 'its bins are fixed; set it to 0.0' in process.log
    station.set_parameters(temporal_smoothing=0.0)
    station.diagnostics_until(lambda status, _: 'smoothing' not in status.message)
    station.destroy()
    process.end()

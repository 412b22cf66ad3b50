# SPDX-License-Identifier: Apache-2.0
"""A robot is recorded so that it can be trained on, whatever ends the recording."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
import resource
import signal
import time
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import (
    camera_info_fields,
    cloud_fields,
    compressed_rgb_fields,
    image_fields,
)
from adabins_ros.messages.fields import ros_fields
from adabins_ros.recordings import open_recording, RecordingError, survey
import numpy as np
import pytest

pytest.importorskip('rclpy')

from adabins_ros.camera_topics import find_truth, GraphTopic  # noqa: E402, I100
from adabins_ros.ros.recorder import choose_topics  # noqa: E402
from sensor_msgs.msg import (  # noqa: E402
    CameraInfo,
    CompressedImage,
    Image,
    PointCloud2,
    PointField,
)

WIDTH, HEIGHT = 64, 48
CAMERA = PinholeCamera(WIDTH, HEIGHT, 50.0, 50.0, 31.5, 23.5)


def camera(driver: Any, compressed: bool = False) -> None:
    """Publish the images of a camera, and its camera_info."""
    driver.rate_hz = 20.0
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image = Image(**ros_fields(image_fields(pixels, 'rgb8')))
    driver.publish('/cam/image_raw', image, reliable=False)
    driver.publish('/cam/camera_info', CameraInfo(**ros_fields(camera_info_fields(CAMERA))))
    if compressed:
        fields = ros_fields(compressed_rgb_fields(pixels))
        driver.publish('/cam/image_raw/compressed', CompressedImage(**fields))


def depth(driver: Any) -> None:
    """Publish registered depth images."""
    millimetres = np.full((HEIGHT, WIDTH), 2000, np.uint16)
    image = Image(**ros_fields(image_fields(millimetres, '16UC1')))
    driver.publish('/cam/aligned_depth_to_color/image_raw', image, reliable=False)


@pytest.fixture
def begin(start_module: Any, domain: str, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that starts the recorder of tmp_path/run.mcap."""
    words = ('--output', tmp_path / 'run.mcap')
    return partial(start_module, 'record_command', *words, domain=domain)


def test_a_depth_camera_is_recorded_throttled_and_checked(driver, begin, tmp_path):
    camera(driver, compressed=True)
    depth(driver)
    driver.start()
    process = begin('--rate', 5, '--seconds', 3)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert 'ended: 3 s are over' in said
    assert 'to train on: ' in said
    assert 'depth is known for 100% of the pixels' in said
    assert 'nobody publishes /tf_static' in said
    with open_recording(tmp_path / 'run.mcap') as recording:
        counts = {topic: info.count for topic, info in recording.topics.items() if info.count}
    # Compressed, as it is offered, and not raw as well.
    assert set(counts) == {
        '/cam/image_raw/compressed',
        '/cam/camera_info',
        '/cam/aligned_depth_to_color/image_raw',
    }
    assert 3 <= counts['/cam/image_raw/compressed'] <= 18
    pairs = survey(tmp_path / 'run.mcap')
    # Whole frames: every image that was kept has its depth, but for those at the ends.
    assert len(pairs) >= counts['/cam/image_raw/compressed'] - 2
    assert pairs.report.offset_ms[1] < 1.0
    assert list(tmp_path.iterdir()) == [tmp_path / 'run.mcap']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_lidar_is_recorded_until_a_signal_and_nothing_is_lost(driver, begin, tmp_path, number):
    camera(driver)
    cloud = np.zeros((1, 50), [('x', '<f4'), ('y', '<f4'), ('z', '<f4')])
    cloud['z'] = 2.0
    fields = ros_fields(cloud_fields(cloud))
    fields['fields'] = [
        PointField(name=name, offset=offset, datatype=kind, count=count)
        for name, offset, kind, count in fields['fields']
    ]
    driver.publish('/lidar/points', PointCloud2(**fields))
    driver.start()
    process = begin()
    for line in process.stdout:
        if line.startswith('recording '):
            break
    end = time.monotonic() + 3
    while time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(number)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert f'ended: {number.name}' in said
    with open_recording(tmp_path / 'run.mcap') as recording:
        counts = {topic: info.count for topic, info in recording.topics.items()}
    for topic in ('/cam/image_raw', '/cam/camera_info', '/lidar/points'):
        assert counts[topic] > 5, counts
        assert f'{counts[topic]:8} {topic}' in said


def test_what_a_full_disk_took_can_still_be_read(driver, begin, tmp_path):
    camera(driver)
    depth(driver)
    driver.start()

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    process = begin('--wait', 60, preexec_fn=little_room)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert 'can not be written' in said
    assert 'was not finished: read it with --salvage' in said
    with open_recording(tmp_path / 'run.mcap', salvage=True) as recording:
        count = sum(1 for _ in recording.messages(['/cam/image_raw']))
    assert count > 30


def test_it_ends_by_size(driver, begin, tmp_path):
    camera(driver)
    depth(driver)
    driver.start()
    process = begin('--megabytes', 2)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert 'ended: 2 MB are written' in said
    assert 1.9e6 < (tmp_path / 'run.mcap').stat().st_size < 5e6


def test_without_a_sensor_of_the_truth_it_says_so_and_leaves_nothing(driver, begin, tmp_path):
    camera(driver)
    driver.start()
    process = begin('--wait', 2)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert 'nobody publishes depth images or the clouds of a lidar' in said
    assert '--truth-topic' in said
    assert list(tmp_path.iterdir()) == []


IMAGE, CLOUD = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/PointCloud2'
INFO = 'sensor_msgs/msg/CameraInfo'


def topics(**kinds: str) -> list[GraphTopic]:
    """Return topics of one driver by names with __ for slashes."""
    return [GraphTopic(name.replace('__', '/'), (kind,), ('/d',)) for name, kind in kinds.items()]


def test_registered_depth_is_the_truth_before_other_depth_and_a_lidar():
    depth = topics(__c__depth__image_rect_raw=IMAGE, __c__aligned_depth_to_color__image=IMAGE)
    lidar = topics(__velodyne_points=CLOUD, __c__depth__points=CLOUD, __map_cloud=CLOUD)
    assert find_truth([*depth, *lidar], '/c/color/image') == '/c/aligned_depth_to_color/image'
    assert find_truth(lidar, '/c/color/image') == '/velodyne_points'
    assert find_truth([], '/c/color/image') is None


def test_the_own_camera_info_of_a_depth_camera_is_recorded_too():
    known = topics(
        __c__color__image_raw=IMAGE,
        __c__color__camera_info=INFO,
        __c__depth__image_raw=IMAGE,
        __c__depth__camera_info=INFO,
        __tf_static='tf2_msgs/msg/TFMessage',
        __scan='sensor_msgs/msg/LaserScan',
    )
    wanted = choose_topics(known)
    assert set(wanted.topics) == {topic.name for topic in known} - {'/scan'}
    assert wanted.image == '/c/color/image_raw'
    with pytest.raises(RecordingError, match='nobody publishes /nowhere; published are /c/color'):
        choose_topics(known, truth='/nowhere')
    several = topics(
        __l__image=IMAGE, __l__camera_info=INFO, __r__image=IMAGE, __r__camera_info=INFO
    )
    with pytest.raises(RecordingError, match=r'2 cameras .* --image-topic'):
        choose_topics(several)


def test_a_named_topic_that_holds_something_else_is_refused_before_it_is_recorded():
    known = topics(__c__image=IMAGE, __c__camera_info=INFO, __chatter='std_msgs/msg/String')
    with pytest.raises(RecordingError, match='/chatter is std_msgs/msg/String, not sensor'):
        choose_topics(known, truth='/chatter')
    with pytest.raises(RecordingError, match='CameraInfo, not sensor_msgs/msg/Image or sensor'):
        choose_topics(known, image='/c/camera_info', truth='/c/image')

# SPDX-License-Identifier: Apache-2.0
"""Which topics are taken for the camera's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import (
    camera_info_fields,
    compressed_depth_fields,
    compressed_rgb_fields,
    image_fields,
)
from adabins_ros.recordings import (
    find_camera_topics,
    open_recording,
    RecordingError,
    RecordingWriter,
)
import numpy as np
import pytest

RGB = np.zeros((4, 6, 3), np.uint8)
MILLIMETRES = np.full((4, 6), 1500, np.uint16)
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    'rgb': (IMAGE, image_fields(RGB, 'rgb8')),
    'mono': (IMAGE, image_fields(RGB[..., 0].copy(), 'mono8')),
    'mono16': (IMAGE, image_fields(MILLIMETRES, 'mono16')),
    'jpeg': (COMPRESSED, compressed_rgb_fields(RGB)),
    'mm': (IMAGE, image_fields(MILLIMETRES, '16UC1')),
    'm': (IMAGE, image_fields(MILLIMETRES.astype(np.float32) / 1000, '32FC1')),
    'depth png': (COMPRESSED, compressed_depth_fields(MILLIMETRES)),
    'info': ('sensor_msgs/msg/CameraInfo', camera_info_fields(PinholeCamera(6, 4, 5, 5, 3, 2))),
    'text': ('std_msgs/msg/String', {'data': 'hello'}),
}


def _record(path: Path, topics: dict[str, str]) -> Path:
    with RecordingWriter(path / 'room.mcap') as writer:
        for topic, kind in topics.items():
            writer.write(topic, *FIELDS[kind], log_ns=1_000_000_000)
    return path / 'room.mcap'


REALSENSE = {
    '/camera/camera/infra1/image_rect_raw': 'mono',
    '/camera/camera/infra1/camera_info': 'info',
    '/camera/camera/depth/image_rect_raw': 'mm',
    '/camera/camera/depth/camera_info': 'info',
    '/camera/camera/aligned_depth_to_color/image_raw': 'mm',
    '/camera/camera/aligned_depth_to_color/camera_info': 'info',
    '/camera/camera/color/image_raw': 'rgb',
    '/camera/camera/color/image_raw/compressed': 'jpeg',
    '/camera/camera/color/camera_info': 'info',
}
ZED = {
    '/zed/zed_node/rgb/image_rect_color': 'rgb',
    '/zed/zed_node/rgb/camera_info': 'info',
    '/zed/zed_node/depth/depth_registered': 'm',
    '/zed/zed_node/confidence/confidence_map': 'm',
    '/zed/zed_node/disparity/disparity_image': 'm',
}
OURS = {
    '/image_raw/compressed': 'jpeg',
    '/camera_info': 'info',
    '/depth/image': 'm',
    '/depth/std': 'm',
    '/depth/color': 'rgb',
    '/depth/camera_info': 'info',
}
KINECT = {
    '/camera/rgb/image_color': 'rgb',
    '/camera/rgb/camera_info': 'info',
    '/camera/depth/image/compressedDepth': 'depth png',
    '/camera/ir/image_raw': 'mono16',
}


@pytest.mark.parametrize(
    ('topics', 'image', 'depth', 'info'),
    [
        (
            REALSENSE,
            '/camera/camera/color/image_raw',
            '/camera/camera/aligned_depth_to_color/image_raw',
            '/camera/camera/color/camera_info',
        ),
        (
            ZED,
            '/zed/zed_node/rgb/image_rect_color',
            '/zed/zed_node/depth/depth_registered',
            '/zed/zed_node/rgb/camera_info',
        ),
        (OURS, '/image_raw/compressed', '/depth/image', '/camera_info'),
        (
            KINECT,
            '/camera/rgb/image_color',
            '/camera/depth/image/compressedDepth',
            '/camera/rgb/camera_info',
        ),
        ({'/usb/picture': 'mono'}, '/usb/picture', None, None),
        ({'/a/image': 'rgb', '/b/depth/camera_info': 'info'}, '/a/image', None, None),
        ({'/depth/image': 'mono16', '/image': 'jpeg'}, '/image', '/depth/image', None),
    ],
)
def test_the_topics_of_known_cameras(
    tmp_path: Path, topics: dict[str, str], image: str, depth: str | None, info: str | None
) -> None:
    with open_recording(_record(tmp_path, topics)) as recording:
        found = find_camera_topics(recording)
    assert (found.image, found.depth, found.camera_info) == (image, depth, info)
    for topic, what in ((image, 'colour'), (depth, 'depth'), (info, 'camera_info')):
        assert f'{what} {topic} (' in found.description or f'no {what}' in found.description


def test_a_given_topic_is_taken_also_without_its_transport(tmp_path: Path) -> None:
    with open_recording(_record(tmp_path, {**OURS, '/b/image': 'rgb'})) as recording:
        assert find_camera_topics(recording, image='/b/image').image == '/b/image'
        assert find_camera_topics(recording, image='image_raw').image == '/image_raw/compressed'
        found = find_camera_topics(recording, depth='/depth/std', camera_info='depth/camera_info')
        assert (found.depth, found.camera_info) == ('/depth/std', '/depth/camera_info')


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'image': '/nothing'}, ['no topic /nothing', '/depth/image (sensor_msgs/msg/Image, 1)']),
        ({'depth': '/camera_info'}, ['/camera_info is a sensor_msgs/msg/CameraInfo']),
        ({'camera_info': '/depth/image'}, ['/depth/image is a sensor_msgs/msg/Image']),
    ],
)
def test_a_wrong_topic_is_told_with_those_that_exist(
    tmp_path: Path, given: dict[str, str], words: list[str]
) -> None:
    with (
        open_recording(_record(tmp_path, OURS)) as recording,
        pytest.raises(RecordingError) as caught,
    ):
        find_camera_topics(recording, **given)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize('topics', [{}, {'/chatter': 'text'}, {'/camera/depth': 'mm'}])
def test_a_recording_without_colour_images_says_what_it_has(
    tmp_path: Path, topics: dict[str, str]
) -> None:
    with (
        open_recording(_record(tmp_path, topics)) as recording,
        pytest.raises(RecordingError, match='no colour image') as caught,
    ):
        find_camera_topics(recording)
    assert all(topic in str(caught.value) for topic in topics)

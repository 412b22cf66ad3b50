# SPDX-License-Identifier: Apache-2.0
"""Which camera is meant, by the topics that are there."""

from adabins_ros.camera_topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    find_cameras,
    GraphTopic,
    IMAGE,
    LiveCamera,
)
import pytest


def graph(*names: str) -> list[GraphTopic]:
    """Return topics whose types follow from their names, of one driver."""
    topics = []
    for name in names:
        kind = CAMERA_INFO if name.endswith('camera_info') else IMAGE
        kind = COMPRESSED_IMAGE if name.endswith('ompressed') else kind
        topics.append(GraphTopic(name, (kind,), ('/driver',)))
    return topics


@pytest.mark.parametrize(
    ('names', 'image'),
    [
        (['/camera/image_raw', '/camera/camera_info'], '/camera/image_raw'),
        (['/image_raw', '/camera_info', '/image_raw/compressed'], '/image_raw'),
        (['/c/image_raw', '/c/image_rect', '/c/image_mono', '/c/camera_info'], '/c/image_rect'),
        (['/c/image_rect', '/c/image_rect_color', '/c/camera_info'], '/c/image_rect_color'),
        (['/c/image_mono', '/c/image_color', '/c/camera_info'], '/c/image_color'),
        (['/a/image_raw', '/a/camera_info', '/b/image_raw'], '/a/image_raw'),
        # a RealSense, a ZED beside its own depth, and a thermal camera beside a colour one
        (
            [
                '/camera/camera/color/image_raw',
                '/camera/camera/color/camera_info',
                '/camera/camera/depth/image_rect_raw',
                '/camera/camera/depth/camera_info',
                '/camera/camera/infra1/image_rect_raw',
                '/camera/camera/infra1/camera_info',
                '/camera/camera/aligned_depth_to_color/image_raw',
                '/camera/camera/aligned_depth_to_color/camera_info',
            ],
            '/camera/camera/color/image_raw',
        ),
        (
            [
                '/zed/rgb/image_rect_color',
                '/zed/rgb/camera_info',
                '/zed/depth/depth_registered',
                '/zed/depth/camera_info',
                '/thermal/image_raw',
                '/thermal/camera_info',
            ],
            '/zed/rgb/image_rect_color',
        ),
    ],
)
def test_the_one_camera_is_found_and_named(names: list[str], image: str) -> None:
    choice = find_cameras(graph(*names))
    assert choice.only == LiveCamera(image, f'{image.rpartition("/")[0]}/camera_info')
    assert f'the one camera is {image}' in choice.text
    assert find_cameras(reversed(graph(*names))) == choice


def test_what_a_depth_node_publishes_is_no_camera() -> None:
    node = ('/robot/depth_node',)
    ours = [
        GraphTopic('/robot/color/image', (IMAGE,), node),
        GraphTopic('/robot/color/camera_info', (CAMERA_INFO,), node),
        GraphTopic('/robot/depth/bin_centers', ('std_msgs/msg/Float32MultiArray',), node),
    ]
    assert find_cameras(ours).text == 'nobody publishes images: start the camera'
    only = find_cameras([*ours, *graph('/cam/image_raw', '/cam/camera_info')]).only
    assert only == LiveCamera('/cam/image_raw', '/cam/camera_info')


def test_several_cameras_are_listed_and_none_is_taken() -> None:
    names = [
        f'/{side}/{topic}' for side in ('right', 'left') for topic in ('image', 'camera_info')
    ]
    choice = find_cameras(graph(*names))
    assert choice.only is None
    assert 'there are 2 cameras (/left/image, /right/image): choose one' in choice.text


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        ([], 'start the camera'),
        (['/cam/image_raw'], '/cam/image_raw has no camera_info beside it: calibrate'),
        (['/c/image_raw/compressed', '/c/camera_info'], "to 'compressed'"),
    ],
)
def test_where_there_is_none_the_way_out_is_said(names: list[str], words: str) -> None:
    choice = find_cameras(graph(*names))
    assert choice.only is None
    assert words in choice.text


def test_compressed_images_are_taken_only_when_asked_for() -> None:
    names = [
        '/wifi/image_raw/compressed',
        '/wifi/camera_info',
        '/usb/image_raw',
        '/usb/camera_info',
    ]
    assert find_cameras(graph(*names)).only == LiveCamera('/usb/image_raw', '/usb/camera_info')
    asked = find_cameras(graph(*names), 'compressed').only
    assert asked == LiveCamera('/wifi/image_raw', '/wifi/camera_info')

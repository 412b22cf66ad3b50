# SPDX-License-Identifier: Apache-2.0
"""One node for several cameras: topics, frames and troubles stay apart, the network is shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from adabins_ros.ros.parameters import DepthNodeSettings, ParameterError  # noqa: E402, I100
from sensor_msgs.msg import CameraInfo, Image, LaserScan  # noqa: E402

NAMESPACE = 'test_depth_node_cameras'
CAMERAS = {'left': (64, 48), 'right': (80, 60)}


def picture(camera: str, **changes: Any) -> Image:
    """Return an image of a camera's size, and its own frame."""
    width, height = CAMERAS[camera]
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    image = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    image.data = pixels.tobytes()
    for name, value in changes.items():
        setattr(image, name, value)
    return image


def intrinsics(camera: str) -> CameraInfo:
    width, height = CAMERAS[camera]
    k = [55.0, 0.0, width / 2, 0.0, 55.0, height / 2, 0.0, 0.0, 1.0]
    return CameraInfo(height=height, width=width, k=k)


@pytest.fixture(scope='module')
def stations(start_node: Any, make_station: Any) -> Iterator[dict[str, Any]]:
    """Return a station for each camera of an active node."""
    process = start_node(NAMESPACE, cameras=list(CAMERAS), inference_size=[128, 160])
    whole = make_station(NAMESPACE)
    whole.wait_until_active()
    made = {camera: make_station(f'{NAMESPACE}/{camera}') for camera in CAMERAS}
    yield {**made, 'node': whole}
    for station in (*made.values(), whole):
        station.destroy()
    process.end()


def test_each_camera_gets_its_own_depth_and_points(stations: dict[str, Any]) -> None:
    for camera, (width, height) in CAMERAS.items():
        answers = stations[camera].exchange(
            picture(camera), intrinsics(camera), 'depth/image', 'points', 'depth/camera_info'
        )
        assert (answers['depth/image'].width, answers['depth/image'].height) == (width, height)
        assert answers['points'].width == width // 2
        assert answers['depth/camera_info'].k[0] == 55.0
    assert not stations['node'].node.count_publishers(f'/{NAMESPACE}/points')


def test_each_camera_gets_what_nav2_and_rtabmap_take(stations: dict[str, Any]) -> None:
    stations['node'].set_parameters(camera_height=1.0, scan_min_height=-10.0)
    topics = ('color/image', 'color/camera_info', 'points_clearing', 'depth/scan', 'depth/status')
    for camera, (width, _) in CAMERAS.items():
        answers = stations[camera].exchange(picture(camera), intrinsics(camera), *topics)
        assert answers['color/image'].width == answers['color/camera_info'].width == width
        assert width // 3 < len(answers['depth/scan'].ranges) <= width // 2
        assert 0 < answers['points_clearing'].width <= width // 2 * answers['color/image'].height
        assert answers['depth/scan'].header.frame_id.endswith('_level')
    stations['node'].set_parameters(camera_height=0.0, scan_min_height=0.1)


def test_images_that_come_together_are_all_answered(stations: dict[str, Any]) -> None:
    for camera in CAMERAS:
        stations[camera].listen('depth/image')

    for _ in range(5):  # a best-effort image can be lost
        stamps = {
            camera: stations[camera].publish(picture(camera), intrinsics(camera), f'{camera}_eye')
            for camera in CAMERAS
        }
        answers = [
            stations[camera].spin_for(
                lambda camera=camera, at=at: stations[camera].answer('depth/image', at), 5
            )
            for camera, at in stamps.items()
        ]
        if None not in answers:
            break
    assert [answer.header.frame_id for answer in answers] == ['left_eye', 'right_eye']


def test_a_camera_with_bad_images_does_not_stop_the_other(stations: dict[str, Any]) -> None:
    stations['left'].exchange(picture('left'), intrinsics('left'))
    broken = picture('left', encoding='rgb9')
    for _ in range(3):
        stations['left'].publish(broken, None)
        stations['right'].exchange(picture('right'), intrinsics('right'))
    statuses = stations['node'].received['/diagnostics']
    prefix = f'{NAMESPACE}/depth_node: depth'

    def told() -> dict[str, str]:
        for message in statuses:
            texts = {status.name: status.message for status in message.status}
            if 'rgb9' in texts.get(f'{prefix} left', ''):
                return texts
        return {}

    texts = stations['node'].spin_until(told)
    assert set(texts) == {f'{prefix} left', f'{prefix} right'}
    assert 'rgb9' not in texts[f'{prefix} right']


def test_cameras_can_not_change_while_the_model_is_loaded(stations: dict[str, Any]) -> None:
    (result,) = stations['node'].set_parameters(cameras=['front'])
    assert not result.successful
    assert 'clean up the node' in result.reason


@pytest.mark.parametrize(
    'names', [[], ['left', 'left'], ['left', ''], ['/left'], ['left camera'], ['2nd'], ['a/']]
)
def test_wrong_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ParameterError, match='give different namespaces'):
        DepthNodeSettings().with_values({'cameras': names})


@pytest.mark.parametrize('names', [[''], ['left'], ['left', 'right'], ['rig/left', 'rig/right_2']])
def test_these_names_will_do(names: list[str]) -> None:
    assert DepthNodeSettings().with_values({'cameras': names}).cameras == tuple(names)


def test_one_scan_serves_all_cameras_each_with_its_own_pose(stations: dict[str, Any]) -> None:
    node = stations['node']
    scan = LaserScan(angle_min=-0.4, angle_max=0.4, angle_increment=0.01, ranges=[2.0] * 81)
    scan.range_min, scan.range_max = 0.1, 10.0
    publisher = node.node.create_publisher(LaserScan, 'scale/scan', 5)

    def is_anchored(camera: str) -> bool:
        scan.header.stamp = node.node.get_clock().now().to_msg()
        publisher.publish(scan)
        answers = stations[camera].exchange(
            picture(camera), intrinsics(camera), 'depth/image', 'depth/status'
        )
        values = {each.key: each.value for each in answers['depth/status'].status[0].values}
        return values['anchored'] == 'true'

    for camera in CAMERAS:
        node.spin_until(lambda camera=camera: is_anchored(camera))
    # The scanner looks away from the left camera, and that one forgets what it knew.
    behind = {'left.scale_pose.scan': [0.0, 0.0, 0.0, 0.0, 0.0, 180.0], 'scale_timeout': 0.5}
    assert all(result.successful for result in node.set_parameters(**behind))
    node.spin_until(lambda: not is_anchored('left'))
    assert is_anchored('right')
    (result,) = node.set_parameters(**{'right.scale_pose.scan': [0.0, 1.0]})
    assert result.reason.startswith('right.scale_pose.scan = [0.0, 1.0]: six numbers')
    node.set_parameters(**{'left.scale_pose.scan': [0.0] * 6})
    node.spin_until(lambda: is_anchored('left'))
    node.node.destroy_publisher(publisher)

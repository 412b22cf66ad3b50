# SPDX-License-Identifier: Apache-2.0
"""The node with config/nav2_depth.yaml publishes what that file has Nav2 listen to, over DDS."""

from __future__ import annotations

from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
import numpy as np
from numpy.typing import NDArray
import pytest
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
import yaml

CAMERA = PinholeCamera(96, 72, 82.0, 83.0, 47.5, 35.5)
HEIGHT_M = 1.2
TYPES = {'PointCloud2': PointCloud2, 'pointcloud': PointCloud2, 'LaserScan': LaserScan}
TOPICS = ('depth/image', 'depth/std', 'points', 'points_clearing', 'depth/scan')


@pytest.fixture(scope='module')
def parameters(repository) -> dict[str, Any]:
    """Return what the file says."""
    return yaml.safe_load((repository / 'config' / 'nav2_depth.yaml').read_text())


@pytest.fixture(scope='module')
def depth_node(start_node, repository) -> Any:
    """Return a node that reads the file, in a namespace as on one of many robots."""
    process = start_node(
        'robot_1',
        params_file=repository / 'config' / 'nav2_depth.yaml',
        inference_size=[128, 160],
        edge_ratio=0.0,
        camera_height=HEIGHT_M,
        scale_factor=10.0,
    )
    yield process
    process.end()


@pytest.fixture(scope='module')
def station(make_station, depth_node) -> Any:
    """Return what surrounds the node, once it is active."""
    station = make_station('robot_1')
    station.wait_until_active()
    yield station
    station.destroy()


@pytest.fixture(scope='module')
def scene() -> tuple[Image, CameraInfo]:
    """Return an image that fades from top to bottom, with its camera_info."""
    fade = np.linspace(40, 220, 72)[:, None, None] * np.ones((72, 96, 3))
    pixels = (fade + np.random.default_rng(5).normal(0, 6, fade.shape)).clip(0, 255)
    data = pixels.astype(np.uint8).tobytes()
    k = [CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0]
    image = Image(height=72, width=96, encoding='rgb8', step=288, data=data)
    return image, CameraInfo(height=72, width=96, k=k)


def test_nav2_listens_to_what_the_node_publishes(parameters, station, scene):
    layers = [
        layer
        for costmap in ('local_costmap', 'global_costmap')
        for layer in parameters[costmap][costmap]['ros__parameters'].values()
        if isinstance(layer, dict)
    ]
    sources = [layer[name] for layer in layers for name in layer['observation_sources'].split()]
    monitor = parameters['collision_monitor']['ros__parameters']
    sources += [monitor[name] for name in monitor['observation_sources']]
    answers = station.exchange(*scene, *TOPICS)
    for source in sources:
        topic = source['topic'].removeprefix('/')
        kind = TYPES[source.get('data_type') or source['type']]
        assert isinstance(answers[topic], kind), topic
        # Rays begin where the frame of the message has its origin: at the camera.
        level = '_level' if kind is LaserScan else ''
        assert answers[topic].header.frame_id == f'camera_color_optical_frame{level}'
        assert answers[topic].header.stamp == answers['depth/image'].header.stamp
    for name, value in parameters['/**/depth_node']['ros__parameters'].items():
        assert station.get_parameter(name) == value


def floats(message: PointCloud2) -> dict[str, NDArray[np.float32]]:
    """Return the fields of a cloud of float32 by name, read by hand."""
    assert message.row_step == message.point_step * message.width and not message.is_bigendian
    table = np.frombuffer(message.data, '<f4').reshape(message.height, message.width, -1)
    assert all(field.datatype == 7 and field.count == 1 for field in message.fields)
    return {field.name: table[..., field.offset // 4] for field in message.fields}


def plane(message: Image) -> NDArray[np.float32]:
    """Return every second pixel of a 32FC1 image."""
    return np.frombuffer(message.data, '<f4').reshape(72, 96)[::2, ::2]


@pytest.mark.parametrize('deviations', [0.0, 0.5, 1.0])
def test_rays_are_free_up_to_what_is_sure(station, scene, deviations):
    v, u = np.mgrid[0:72:2, 0:96:2]
    slopes = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy])
    length = np.sqrt(1 + np.square(slopes).sum(0))
    plain = station.exchange(*scene, 'depth/image', 'depth/std')
    depth, std = plane(plain['depth/image']), plane(plain['depth/std'])
    assert np.isfinite(depth).all()
    # Something to cut on each side, by the gate, by the range of the rays, by the height.
    ratio = float(np.median(std / depth))
    reach = float(np.median(((depth - deviations * std) * length)[std < ratio * depth]))
    changes = {'max_std_ratio': ratio, 'clear_range': reach, 'scan_min_height': 0.3}
    results = station.set_parameters(sure_std=deviations, height_field=True, **changes)
    assert all(result.successful for result in results)
    answers = station.exchange(*scene, *TOPICS)
    depth, std = plane(answers['depth/image']), plane(answers['depth/std'])
    safe, sure = depth - deviations * std, std <= np.float32(ratio) * depth
    cleared = floats(answers['points_clearing'])
    assert list(cleared) == ['x', 'y', 'z'] and answers['points_clearing'].height == 1
    assert answers['points_clearing'].is_dense
    ends = np.minimum(safe, reach / length)[sure]
    assert 0 < len(ends) < depth.size and (ends < safe[sure]).any()
    expected = np.stack([ends, *(slopes[:, sure] * ends)])
    found = np.stack([cleared[axis].ravel() for axis in 'zxy'])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # The floor is no point, and the height of the others that of their depth, not of what is safe.
    points, height = floats(answers['points']), HEIGHT_M - slopes[1] * depth
    np.testing.assert_allclose(points['height'], height, atol=1e-5)
    stands = sure & (height >= 0.3)
    assert 0 < stands.sum() < sure.sum()
    np.testing.assert_array_equal(np.isfinite(points['z']), stands)
    np.testing.assert_allclose(points['z'][stands], safe[stands], rtol=1e-4)
    between = stands & (height <= 1.5)
    nearest = (safe * np.hypot(1, slopes[0]))[between].min()
    # The mean of what lies within a few per cent of a beam's nearest point.
    assert 0.999 * nearest <= np.nanmin(answers['depth/scan'].ranges) <= 1.07 * nearest


def test_what_can_not_be_meant_is_refused_by_its_name(station):
    for name, value in (('sure_std', -1.0), ('clear_range', 0.0), ('remove_floor', 'yes')):
        (result,) = station.set_parameters(**{name: value})
        assert not result.successful and name in result.reason

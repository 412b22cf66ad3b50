# SPDX-License-Identifier: Apache-2.0
"""The node's depth takes the scale that other sensors measure, and says when it has none."""

from __future__ import annotations

import time
from typing import Any

from adabins_ros.evaluation import simulated_sensors as simulated
from adabins_ros.frames import RgbdFolder
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages.clouds import read_cloud
from adabins_ros.messages.images import decode_depth, decode_rgb
from adabins_ros.scale import MetricScale
from adabins_ros.scale.sensor_points import at_pixels, optical_from_sensor, scan_points
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, PointField, Range

FACTOR = 1.7
POSE = [0.0, 0.0, 0.12, 0.0, 0.0, 10.0]
CAMERA = PinholeCamera(96, 72, 82.0, 82.0, 47.5, 35.5)
HELD = ('points', 'points_clearing', 'depth/scan')
TOPICS = ('depth/image', 'depth/std', 'depth/status', 'depth/bin_centers', 'points')


@pytest.fixture(scope='module')
def image() -> Image:
    """Return an image that fades from top to bottom."""
    fade = np.linspace(40, 220, 72)[:, None, None] * np.ones((72, 96, 3))
    pixels = (fade + np.random.default_rng(5).normal(0, 6, fade.shape)).clip(0, 255)
    data = pixels.astype(np.uint8).tobytes()
    return Image(height=72, width=96, encoding='rgb8', step=288, data=data)


@pytest.fixture(scope='module')
def info() -> CameraInfo:
    """Return the camera_info of the image."""
    k = [CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0]
    return CameraInfo(height=72, width=96, k=k)


@pytest.fixture(scope='module')
def depth_node(start_node) -> Any:
    """Return a node that a lidar above the camera, turned to the left, helps."""
    parameters = {'inference_size': [128, 160], 'edge_ratio': 0.0, 'scale_timeout': 1.5}
    process = start_node('scale', **parameters, **{'scale_pose.scan': POSE})
    yield process
    process.end()


@pytest.fixture(scope='module')
def station(make_station, depth_node) -> Any:
    """Return what surrounds the node, once it is active."""
    station = make_station('scale')
    station.wait_until_active()
    for topic in TOPICS:
        station.listen(topic)
    yield station
    station.destroy()


@pytest.fixture(autouse=True)
def forgotten(station) -> Any:
    """Let the node forget after each test what was measured."""
    yield
    assert station.transition('deactivate') and station.transition('activate')
    assert all(
        result.successful
        for result in station.set_parameters(
            when_unanchored='publish', scale_factor=1.0, scale_tolerance=0.1
        )
    )


class Sensor:
    """Something that publishes a message a moment before each image."""

    def __init__(self, station: Any, name: str, message: Any) -> None:
        self.message, self._node = message, station.node
        self._publisher = station.node.create_publisher(
            type(message), f'scale/{name}', QoSProfile(depth=5)
        )

    def publish(self) -> None:
        """Publish it with the stamp of now."""
        self.message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self.message)

    def leave(self) -> None:
        """Leave the graph."""
        self._node.destroy_publisher(self._publisher)


def show(station, image, info, *sensors, anchored: bool | None = None, topics=TOPICS) -> Any:
    """Show measurements and an image until there are answers, anchored if that is asked for."""
    end = time.monotonic() + 40
    status: dict[str, str] = {}
    while time.monotonic() < end:
        for sensor in sensors:
            sensor.publish()
        known = len(station.received['depth/bin_centers'])
        stamp = station.publish(image, info)

        def answers(stamp: int = stamp, known: int = known) -> Any:
            found = {topic: station.answer(topic, stamp, known) for topic in topics}
            return None if None in found.values() else found

        found = station.spin_for(answers, 2.0)
        if found:
            status = read(found['depth/status'])
            if anchored is None or status['anchored'] == str(anchored).lower():
                return found, status
    raise AssertionError(f'no such answer; the last status is {status}')


def read(message) -> dict[str, str]:
    """Return the values of the status `scale`."""
    assert message.status[0].name == 'scale'
    return {value.key: value.value for value in message.status[0].values}


def as_it_is(station, image, info) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and std as the network says them."""
    found, status = show(station, image, info, anchored=False)
    assert status['factor'] == '1.00000' and status['reason']
    return decode_depth(found['depth/image']).copy(), decode_depth(found['depth/std']).copy()


def lidar(depth: np.ndarray) -> LaserScan:
    """Return what a lidar at POSE sees of a surface that the camera sees."""
    sensor = np.linalg.inv(optical_from_sensor(tuple(POSE)))
    rows, columns = np.indices(depth.shape)
    x, y = (columns - CAMERA.cx) / CAMERA.fx * depth, (rows - CAMERA.cy) / CAMERA.fy * depth
    points = np.stack([x, y, depth], -1).reshape(-1, 3) @ sensor[:3, :3].T + sensor[:3, 3]
    hit = points[np.abs(points[:, 2]) < 0.02]
    message = LaserScan(
        angle_min=-np.pi / 2, angle_max=np.pi / 2, angle_increment=np.pi / 720,
        range_min=0.05, range_max=30.0,
    )  # fmt: skip
    ranges = np.full(721, np.inf)
    beams = np.rint((np.arctan2(hit[:, 1], hit[:, 0]) + np.pi / 2) / (np.pi / 720)).astype(int)
    np.minimum.at(ranges, beams, np.hypot(hit[:, 0], hit[:, 1]))
    message.ranges = ranges.tolist()
    assert np.isfinite(ranges).sum() > 20
    return message


def test_without_a_source_depth_stays_and_the_reason_is_told(station, image, info):
    depth, std = as_it_is(station, image, info)
    assert np.isfinite(depth).all() and np.isfinite(std).all()
    _, status = show(station, image, info)
    assert status['reason'].startswith('no source: nothing publishes on scale/scan')
    diagnostic, values = station.diagnostics_until(lambda _, values: 'scale reason' in values)
    assert values['scale anchored'] == 'false' and diagnostic.level == diagnostic.OK


@pytest.mark.parametrize('wrong', ['none', 'a third'])
def test_a_lidar_above_the_camera_gives_the_scale(station, image, info, wrong):
    depth, std = as_it_is(station, image, info)
    scan = lidar(FACTOR * depth)
    if wrong == 'a third':
        ranges = np.array(scan.ranges)
        hit = np.flatnonzero(np.isfinite(ranges))
        ranges[np.random.default_rng(0).permutation(hit)[: hit.size // 3]] *= 0.4
        scan.ranges = ranges.tolist()
    sensor = Sensor(station, 'scan', scan)
    found, status = show(station, image, info, sensor, anchored=True)
    sensor.leave()
    points = scan_points(
        np.array(scan.ranges), scan.angle_min, scan.angle_increment, scan.range_min, 30.0
    )
    python = MetricScale()
    seen = at_pixels(points, optical_from_sensor(tuple(POSE)), CAMERA, depth, std, 'scan')
    python.update(*seen, stamp_s=1.0)
    assert float(status['factor']) == pytest.approx(python.at(1.0).factor, rel=0.05)
    assert status['sources'] == 'scan' and status['reason'] == ''
    assert int(status['support']) >= 5 and float(status['age']) == 0
    scaled = decode_depth(found['depth/image'])
    assert np.median(scaled / depth) == pytest.approx(FACTOR, rel=0.06)
    assert (decode_depth(found['depth/std']) > 1.3 * std).mean() > 0.9
    assert np.nanmax(read_cloud(found['points'])['z']) == pytest.approx(scaled.max(), rel=0.1)
    values = station.diagnostics_until(lambda _, values: values['scale anchored'] == 'true')[1]
    assert float(values['scale factor']) == pytest.approx(float(status['factor']), rel=0.1)


def test_other_sensors_give_it_too(station, image, info):
    depth, _ = as_it_is(station, image, info)
    cloud = PointCloud2(height=1, width=depth.size, point_step=12, row_step=12 * depth.size)
    cloud.fields = [
        PointField(name=name, offset=4 * at, datatype=7, count=1) for at, name in enumerate('xyz')
    ]
    rows, columns = np.indices(depth.shape)
    true = FACTOR * depth
    # In the body frame, as the pose of zeros says: x forward, y left, z up.
    left, up = -(columns - CAMERA.cx) / CAMERA.fx * true, -(rows - CAMERA.cy) / CAMERA.fy * true
    cloud.data = np.stack([true, left, up], -1).astype(np.float32).tobytes()
    finder = Range(min_range=0.05, max_range=40.0, range=float(true[36, 48]))
    small = (true[4::9, 6::12]).astype(np.float32)
    chip = Image(height=8, width=8, encoding='32FC1', step=32, data=small.tobytes())
    for name, message in (('cloud', cloud), ('range', finder), ('depth', chip)):
        sensor = Sensor(station, name, message)
        found, status = show(station, image, info, sensor, anchored=True)
        sensor.leave()
        assert status['sources'] == name
        tolerance = 0.15 if name == 'range' else 0.06
        scaled = decode_depth(found['depth/image'])
        assert np.median(scaled / depth) == pytest.approx(FACTOR, rel=tolerance), name
        assert station.transition('deactivate') and station.transition('activate')


def test_a_scan_that_stops_holds_the_points_back_after_the_timeout(
    station, depth_node, image, info
):
    depth, std = as_it_is(station, image, info)
    sensor = Sensor(station, 'scan', lidar(FACTOR * depth))
    assert station.set_parameters(camera_height=1.0)[0].successful
    for topic in HELD:
        station.listen(topic)
    show(station, image, info, sensor, anchored=True, topics=(*TOPICS, *HELD))
    sensor.leave()
    assert station.set_parameters(when_unanchored='hold')[0].successful
    images = [topic for topic in TOPICS if topic != 'points']
    found, status = show(station, image, info, anchored=False, topics=images)
    assert 'time stamps too far apart' in status['reason']
    assert 'scale_timeout 1.5 s' in status['reason'] and float(status['age']) >= 1.5
    stamp = found['depth/image'].header.stamp
    station.spin_for(lambda: False, 0.5)
    for topic in HELD:
        assert not any(message.header.stamp == stamp for message in station.received[topic]), topic
    np.testing.assert_allclose(decode_depth(found['depth/image']), depth, rtol=1e-4)
    status, _ = station.diagnostics_until(lambda status, _: 'no true scale' in status.message)
    assert status.level == status.WARN
    station.spin_until(lambda: 'points and scan are held back' in depth_node.log)
    # Or the cloud is thinned out by its std.
    assert station.set_parameters(when_unanchored='widen')[0].successful
    found, _ = show(station, image, info, anchored=False)
    assert (decode_depth(found['depth/std']) > np.hypot(std, 0.4 * depth)).all()
    # Or all goes on as the network says it.
    assert station.set_parameters(when_unanchored='publish')[0].successful
    found, _ = show(station, image, info, anchored=False)
    np.testing.assert_allclose(decode_depth(found['depth/std']), std, rtol=1e-4)


def test_a_range_finder_is_believed_at_once_where_the_scene_changes(station, image, info):
    depth, _ = as_it_is(station, image, info)
    elsewhere = Image(height=72, width=96, encoding='rgb8', step=288)
    elsewhere.data = np.ascontiguousarray(decode_rgb(image)[::-1]).tobytes()
    finder = Range(min_range=0.05, max_range=40.0)
    sensor = Sensor(station, 'range', finder)

    def measured(picture: Image, metres: float) -> dict[str, str]:
        while True:
            finder.range = metres
            status = show(station, picture, info, sensor)[1]
            if 'time stamps too far apart' not in status['reason']:
                return status
            # The range came after its image; so that the next is no second one of a new scene:
            show(station, image, info)

    # No range counts for another image than its own.
    assert station.set_parameters(scale_tolerance=0.01)[0].successful
    near = finder.range = float(depth[36, 48])
    show(station, image, info, sensor, anchored=True)
    for _ in range(3):
        assert measured(image, near)['reason'] == ''
    # A jump of one point is an outlier while the camera goes on to see the same.
    assert measured(image, 12 * near)['reason'].startswith('outlier: one point of range')
    assert measured(image, near)['reason'] == ''
    status = measured(elsewhere, 12 * near)
    assert status['reason'] == '' and float(status['factor']) > 2
    sensor.leave()


def test_sources_that_contradict_each_other_are_not_believed(station, image, info):
    depth, _ = as_it_is(station, image, info)
    small = (3 * depth[4::9, 6::12]).astype(np.float32)
    chip = Image(height=8, width=8, encoding='32FC1', step=32, data=small.tobytes())
    sensors = [Sensor(station, 'scan', lidar(12 * depth)), Sensor(station, 'depth', chip)]
    found, status = show(station, image, info, *sensors)
    while 'contradict' not in status['reason']:
        found, status = show(station, image, info, *sensors, anchored=False)
    for sensor in sensors:
        sensor.leave()
    np.testing.assert_allclose(decode_depth(found['depth/image']), depth, rtol=1e-4)


def test_the_factor_can_be_set_by_hand(station, image, info):
    depth, std = as_it_is(station, image, info)
    assert station.set_parameters(scale_factor=1.25)[0].successful
    found, status = show(station, image, info)
    assert status['factor'] == '1.25000' and status['anchored'] == 'false'
    np.testing.assert_allclose(decode_depth(found['depth/image']), 1.25 * depth, rtol=1e-4)
    np.testing.assert_allclose(decode_depth(found['depth/std']), 1.25 * std, rtol=1e-4)


def test_what_can_not_be_meant_is_refused(station):
    assert station.transition('deactivate') and station.transition('cleanup')
    results = [
        station.set_parameters(**{name: value})[0]
        for name, value in (
            ('scale_source', 'scan,sonar'),
            ('scale_pose.scan', [0.0, 1.0]),
            ('when_unanchored', 'stop'),
        )
    ]
    assert not any(result.successful for result in results)
    assert 'allowed are auto, none, or some of scan, cloud' in results[0].reason
    assert results[1].reason.startswith('scale_pose.scan = [0.0, 1.0]: six numbers')
    assert station.transition('configure') and station.transition('activate')


def test_the_node_does_not_listen_to_itself(start_node, make_station, image, info):
    process = start_node('echo', {'scale/depth': 'depth/image'}, inference_size=[128, 160])
    station = make_station('echo')
    station.wait_until_active()
    station.spin_until(lambda: 'which this node publishes itself' in process.log)
    for topic in TOPICS:
        station.listen(topic)
    for _ in range(3):
        status = show(station, image, info)[1]
    assert status['anchored'] == 'false' and status['factor'] == '1.00000'
    station.destroy()
    process.end()


def test_the_floor_needs_the_height_of_the_camera(start_node, make_station, image, info):
    process = start_node('floor', inference_size=[128, 160], scale_source='floor')
    station = make_station('floor')
    station.wait_until_active()
    for topic in TOPICS:
        station.listen(topic)
    _, status = show(station, image, info)
    assert 'set the parameters camera_height and camera_pitch' in status['reason']
    assert station.set_parameters(camera_height=30.0)[0].successful
    _, status = show(station, image, info)
    assert status['anchored'] == 'false'
    assert 'no floor: no large level plane is as far below as the ground' in status['reason']
    station.destroy()
    process.end()


@pytest.mark.parametrize('name', ['sequence', 'redkitchen_7scenes', 'rooms2'])
def test_the_scan_of_a_recording_counts_as_in_python(name, shared_data, start_node, make_station):
    """The lidar half a metre above the camera and turned, over DDS, its pose a parameter."""
    folder = RgbdFolder(shared_data(name))
    parameters = {'scale_pose.scan': list(simulated.LIDAR_POSE), 'edge_ratio': 0.0}
    # Depth is compared with that of an earlier image.
    parameters['temporal_smoothing'] = 0.0
    process = start_node(f'scan_of_{name}', **parameters)
    station = make_station(f'scan_of_{name}')
    station.wait_until_active()
    topics = ('depth/image', 'depth/std', 'depth/status', 'depth/bin_centers')
    for topic in topics:
        station.listen(topic)
    for frame in folder.frames[:: len(folder.frames) // 3][:3]:
        camera, pixels = frame.camera, folder.colour(frame)
        height, width = pixels.shape[:2]
        k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
        picture = Image(height=height, width=width, encoding='rgb8', step=3 * width)
        picture.data = pixels.tobytes()
        shown = picture, CameraInfo(height=height, width=width, k=k)
        found, status = show(station, *shown, anchored=False, topics=topics)
        assert status['reason']
        planes = [decode_depth(found[f'depth/{plane}']).copy() for plane in ('image', 'std')]
        view = simulated.View(*planes, folder.depth_m(frame), camera)
        scan = LaserScan(
            angle_min=simulated.FIRST_BEAM,
            angle_max=-simulated.FIRST_BEAM,
            angle_increment=simulated.BEAM_STEP,
            range_min=0.05,
            range_max=simulated.FARTHEST_M,
            ranges=simulated.scan(view).tolist(),
        )
        sensor = Sensor(station, 'scan', scan)
        found, status = show(station, *shown, sensor, anchored=True, topics=topics)
        python = MetricScale()
        assert python.update(*simulated.lidar(view), stamp_s=1.0)
        fit = python.at(1.0)
        assert float(status['factor']) == pytest.approx(fit.factor, rel=0.05)
        ratio = decode_depth(found['depth/image']) / fit.depth(view.depth)
        assert np.nanmedian(ratio) == pytest.approx(1, abs=0.05)
        # Beams that hit nothing: depth as the network says it.
        sensor.message.ranges = [float('inf')] * len(scan.ranges)
        assert station.transition('deactivate') and station.transition('activate')
        found, status = show(station, *shown, sensor, anchored=False, topics=topics)
        assert status['reason'], status
        np.testing.assert_allclose(decode_depth(found['depth/image']), view.depth, rtol=1e-4)
        sensor.leave()
    station.destroy()
    process.end()

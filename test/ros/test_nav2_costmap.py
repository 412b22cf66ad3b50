# SPDX-License-Identifier: Apache-2.0
"""
Obstacles enter a costmap and leave it again, by Nav2's rules and with config/nav2_depth.yaml.

The layers here are models of nav2_costmap_2d's voxel and obstacle layers, for tests alone: heights
are cut per source before anything else, a point marks, a ray clears the cells from the sensor to
its end (Bresenham), in the voxel layer to two cells before it; clearing comes before marking.
"""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages.clouds import read_cloud
import numpy as np
from numpy.typing import NDArray
import pytest
import yaml

pytest.importorskip('rclpy')

from adabins_ros.inference.estimate import DepthEstimate  # noqa: E402, I100
from adabins_ros.model.config import PRESETS  # noqa: E402
from adabins_ros.ros.camera_source import CameraSource  # noqa: E402
from adabins_ros.ros.diagnostics import FrameStatistics  # noqa: E402
from adabins_ros.ros.parameters import DepthNodeSettings  # noqa: E402
from adabins_ros.ros.pipeline import DepthPipeline  # noqa: E402
from adabins_ros.ros.products import PRODUCTS  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2  # noqa: E402

UNKNOWN, FREE, LETHAL = 255, 0, 254
RESOLUTION_M, CELLS = 0.05, 160
CAMERA = PinholeCamera.from_horizontal_fov(320, 240, 70.0)
HEIGHT_M, PITCH_DEG = 0.6, 10.0
BOX = (1.4, 1.7, -0.2, 0.2, 0.5)
"""Where it begins and ends ahead, to the right and left, and its top, m."""
FREED_WITHIN = 10


class Costmap:
    """What both layers have: a grid whose middle is the robot, and sources with their heights."""

    def __init__(self, layer: dict[str, Any]) -> None:
        self.layer = layer
        self.cells = np.full((CELLS, CELLS), UNKNOWN, np.uint8)
        self.origin = np.array([-RESOLUTION_M * CELLS / 2] * 2 + [layer.get('origin_z', 0.0)])
        self.steps = np.array([RESOLUTION_M] * 2 + [layer.get('z_resolution', 1e9)])

    def take(self, messages: dict[str, NDArray[np.float64]], sensor: NDArray[np.float64]) -> None:
        """Clear and mark by points in the map's frame, (N, 3), by topic, m."""
        cut = []
        for name in self.layer['observation_sources'].split():
            source = self.layer[name]
            points = messages.get(source['topic'], np.zeros((0, 3)))
            low, high = source['min_obstacle_height'], source['max_obstacle_height']
            cut.append((source, points[(points[:, 2] >= low) & (points[:, 2] <= high)]))
        for source, points in cut:
            if source['clearing']:
                limits = source['raytrace_min_range'], source['raytrace_max_range']
                least, most = (math.ceil(metres / RESOLUTION_M) for metres in limits)
                self.clear(points, sensor, least, most)
        for source, points in cut:
            if source['marking']:
                far = np.linalg.norm((points - sensor)[:, : self.dimensions], axis=1)
                near = (far >= source['obstacle_min_range']) & (far < source['obstacle_max_range'])
                low, high = self.layer['min_obstacle_height'], self.layer['max_obstacle_height']
                tall = (points[:, 2] >= low) & (points[:, 2] <= high)
                self.mark(self.cell(points[near & tall]))

    def cell(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the cells (N, 3) of those points that are in the grid."""
        cells = np.floor((points - self.origin) / self.steps).astype(int)
        return cells[((cells >= 0) & (cells < self.size)).all(axis=1)]

    def trace(self, start: Any, ends: Any, least: int, most: int) -> NDArray[np.int64]:
        """Return the cells of lines from one place to others, in cells; Bresenham's."""
        far = np.linalg.norm(ends - start, axis=1)
        # Of the rays that end in one cell, one.
        keys = np.trunc(ends).astype(int) @ (CELLS ** np.arange(ends.shape[1]))
        taken = np.unique(keys, return_index=True)[1]
        taken = taken[far[taken] >= max(least, 1e-9)]
        ends, far = ends[taken], far[taken]
        first = np.trunc(start + (ends - start) / far[:, None] * least).astype(int)
        delta = np.trunc(ends).astype(int) - first
        longest = np.abs(delta).max(axis=1, initial=0)
        counts = np.minimum(longest, (np.minimum(1, most / far) * longest).astype(int))
        found = []
        for i in range(counts.max(initial=0) + 1):
            on = counts >= i
            along = np.maximum(longest[on], 1)[:, None]
            moved = (along // 2 + i * np.abs(delta[on])) // along
            found.append(first[on] + np.sign(delta[on]) * np.minimum(moved, i))
        return np.concatenate(found) if found else first

    def count(self, value: int) -> int:
        """Return how many cells have a value."""
        return int((self.cells == value).sum())


class VoxelLayer(Costmap):
    """A column is lethal with a voxel marked, free once none is and one was looked through."""

    dimensions = 3

    def __init__(self, layer: dict[str, Any]) -> None:
        super().__init__(layer)
        assert layer['plugin'] == 'nav2_costmap_2d::VoxelLayer'
        self.size = np.array([CELLS, CELLS, layer['z_voxels']])
        self.marked = np.zeros(self.size, bool)

    def clear(self, points: Any, sensor: Any, least: int, most: int) -> None:
        """Look through voxels, up to two cells before each point or to the end of the grid."""
        ray = points - sensor
        far = np.linalg.norm(ray, axis=1)
        ray *= np.maximum((far - 2 * RESOLUTION_M) / np.maximum(far, 1e-9), 0)[:, None]
        low, high = self.origin, self.origin + self.steps * self.size
        assert ((sensor >= low) & (sensor < high)).all(), 'Nav2 can not trace from outside'
        with np.errstate(divide='ignore', invalid='ignore'):
            room = np.where(ray > 0, (high - 0.01 - sensor) / ray, (low - sensor) / ray)
        ray *= np.nanmin(np.where(ray == 0, np.inf, room), axis=1).clip(0, 1)[:, None]
        at = (sensor - self.origin) / self.steps
        x, y, z = self.trace(at, at + ray / self.steps, least, most).T
        self.marked[x, y, z] = False
        free = ~self.marked[x, y].any(axis=1)
        self.cells[x[free], y[free]] = FREE

    def mark(self, cells: NDArray[np.int64]) -> None:
        """Put obstacles."""
        x, y, z = cells.T
        self.marked[x, y, z] = True
        self.cells[x, y] = LETHAL


class ObstacleLayer(Costmap):
    """One cell for a whole column: the last word counts."""

    dimensions = 2

    def __init__(self, layer: dict[str, Any]) -> None:
        super().__init__(layer)
        assert layer['plugin'] == 'nav2_costmap_2d::ObstacleLayer'
        self.size = np.array([CELLS, CELLS, 1])
        self.origin[2] = -5e8

    def clear(self, points: Any, sensor: Any, least: int, most: int) -> None:
        """Look along lines in the plane, their ends included."""
        at = np.floor((sensor - self.origin) / self.steps)[:2]
        cells = self.cell(points)[:, :2]
        assert len(cells) == len(points), 'the grid holds all that the camera sees'
        x, y = self.trace(at, cells, least, most).T
        self.cells[x, y] = FREE

    def mark(self, cells: NDArray[np.int64]) -> None:
        """Put obstacles."""
        self.cells[cells[:, 0], cells[:, 1]] = LETHAL


class Robot:
    """A camera in a room with a wall four metres ahead, the node behind it, and the costmaps."""

    config = PRESETS['adabins-lite']

    def __init__(self, parameters: dict[str, Any], **changes: Any) -> None:
        depth_node = parameters['/**/depth_node']['ros__parameters']
        local = parameters['local_costmap']['local_costmap']['ros__parameters']
        distant = parameters['global_costmap']['global_costmap']['ros__parameters']
        known = {'camera_height': HEIGHT_M, 'camera_pitch': PITCH_DEG}
        self.settings = DepthNodeSettings().with_values({**depth_node, **known, **changes})
        self.layers = VoxelLayer(local['depth_layer']), ObstacleLayer(distant['depth_scan_layer'])
        pitch = np.radians(PITCH_DEG)
        # Columns: the optical x, y and z in the map: right, down, ahead.
        self.rotation = np.array(
            [
                [0, -np.sin(pitch), np.cos(pitch)],
                [-1, 0, 0],
                [0, -np.cos(pitch), -np.sin(pitch)],
            ]
        )
        self.sensor = np.array([0.0, 0.0, HEIGHT_M])
        self.std_ratio, self.wrong, self.box_is_sure = 0.02, 1.0, True
        self.noise_ratio = 0.01
        self.is_held = False
        self.noise = np.random.default_rng(0)
        cameras = CameraSource('/camera_info', lambda cause, text: None)
        k = [CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0]
        cameras.update(CameraInfo(width=CAMERA.width, height=CAMERA.height, k=k))
        self.pipeline = DepthPipeline(
            self,  # type: ignore[arg-type]
            cameras,
            FrameStatistics(),
            lambda cause, text: None,
            lambda frame: replace(frame, is_held=self.is_held),
        )

    def predict(self, image: Any, focal_length_px: Any = None, **_options: Any) -> Any:
        """Render floor, wall and box, with noise."""
        v, u = np.indices((CAMERA.height, CAMERA.width))
        rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, 1 + 0 * u], -1)
        ahead, left, up = np.moveaxis(rays @ self.rotation.T, -1, 0)
        with np.errstate(divide='ignore', invalid='ignore'):
            floor = np.where(up < 0, -HEIGHT_M / up, np.inf)
            true = np.minimum(floor, 3.8 / ahead)
            if self.has_box:
                true = np.minimum(true, self.box(ahead, left, up))
        depth = true * self.wrong * self.noise.normal(1, self.noise_ratio, true.shape)
        std = depth * self.std_ratio
        if not self.box_is_sure:
            std = np.where(np.isfinite(self.box(ahead, left, up)), 0.6 * depth, std)
        centers = np.linspace(0.1, 10, 8, dtype=np.float32)
        return DepthEstimate(depth.astype(np.float32), std.astype(np.float32), centers, (240, 320))

    def box(self, ahead: Any, left: Any, up: Any) -> Any:
        """Return the depth at which rays enter the box; infinite where they miss it."""
        near, far, right, left_side, top = BOX
        planes = [(ahead, near, far), (left, right, left_side), (up, -HEIGHT_M, top - HEIGHT_M)]
        pairs = [(low / along, high / along) for along, low, high in planes]
        entry = np.max([np.minimum(*pair) for pair in pairs], axis=0)
        exit_ = np.min([np.maximum(*pair) for pair in pairs], axis=0)
        return np.where((entry < exit_) & (entry > 0), entry, np.inf)

    def look(self, frames: int, has_box: bool) -> dict[str, Any]:
        """Show the node so many images and the costmaps what it says of each; return the last."""
        self.has_box = has_box
        size = CAMERA.width * CAMERA.height
        image = Image(height=CAMERA.height, width=CAMERA.width, encoding='mono8')
        image.step, image.data = CAMERA.width, bytes(size)
        wanted = {product.name for product in PRODUCTS if product.can_be_held}
        for _ in range(frames):
            said = {
                f'/{product.topic}': message
                for product, message in self.pipeline.messages(image, wanted, self.settings)
            }
            seen = {topic: self.in_map(message) for topic, message in said.items()}
            for layer in self.layers:
                layer.take(seen, self.sensor)
        return said

    def in_map(self, message: PointCloud2 | LaserScan) -> NDArray[np.float64]:
        """Return the finite points of a message in the map's frame."""
        if isinstance(message, PointCloud2):
            cloud = read_cloud(message).reshape(-1)
            points = np.stack([cloud[axis] for axis in 'xyz'], -1).astype(float)
            return points[np.isfinite(points).all(axis=1)] @ self.rotation.T + self.sensor
        # inf_is_valid: as far as the range goes; what reaches the range is no point.
        ranges = np.array(message.ranges)
        ranges[np.isposinf(ranges)] = message.range_max - 1e-4
        angles = message.angle_min + message.angle_increment * np.arange(len(ranges))
        known = (ranges >= message.range_min) & (ranges < message.range_max)
        flat = np.stack([np.cos(angles), np.sin(angles), 0 * angles], -1) * ranges[:, None]
        return flat[known] + self.sensor


def cells_of_box(margin: int = 0) -> tuple[slice, slice]:
    """Return the cells about the front of the box, a standard deviation and some noise deep."""
    near, _, right, left, _ = BOX
    middle = CELLS // 2
    along = [middle + round(metres / RESOLUTION_M) for metres in (near - 0.15, near + 0.1)]
    across = [middle + round(metres / RESOLUTION_M) for metres in (right, left)]
    return tuple(slice(first - margin, last + margin) for first, last in (along, across))


@pytest.fixture(scope='module')
def parameters(repository) -> dict[str, Any]:
    """Return what config/nav2_depth.yaml says."""
    return yaml.safe_load((repository / 'config' / 'nav2_depth.yaml').read_text())


def test_an_obstacle_marks_and_leaves_within_ten_frames_once_it_is_gone(parameters):
    robot = Robot(parameters)
    robot.look(5, has_box=False)
    for layer in robot.layers:
        assert layer.count(FREE) > 500 and not layer.count(LETHAL), 'the floor is no obstacle'
    robot.look(5, has_box=True)
    for layer in robot.layers:
        box = layer.cells[cells_of_box()]
        assert (box == LETHAL).any(axis=0).all(), 'each column of cells across the box'
        around = layer.cells[cells_of_box(1)]
        assert layer.count(LETHAL) == (around == LETHAL).sum(), 'and nothing else'
    robot.look(FREED_WITHIN, has_box=False)
    for layer in robot.layers:
        assert not layer.count(LETHAL)
        assert (layer.cells[cells_of_box()] == FREE).all()


def test_a_floor_that_is_seen_too_near_is_no_obstacle(parameters):
    robot = Robot(parameters)
    # The floor of smooth networks lies 11 cm high then.
    robot.wrong, robot.noise_ratio = 0.82, 0.001
    robot.look(5, has_box=False)
    for layer in robot.layers:
        assert not layer.count(LETHAL)
    robot.look(5, has_box=True)
    for layer in robot.layers:
        assert layer.count(LETHAL) > 5


def test_nothing_is_freed_behind_an_obstacle(parameters):
    robot = Robot(parameters)
    robot.look(10, has_box=True)
    behind = slice(CELLS // 2 + 40, CELLS), slice(CELLS // 2 - 2, CELLS // 2 + 2)
    assert (robot.layers[1].cells[behind] == UNKNOWN).all()


@pytest.mark.parametrize('why', ['unsure', 'held', 'unknown deviation', 'unknown depth'])
def test_a_depth_that_is_not_trusted_neither_frees_nor_marks(parameters, why):
    robot = Robot(parameters)
    robot.look(3, has_box=True)
    before = [layer.cells.copy() for layer in robot.layers]
    robot.is_held = why == 'held'
    robot.std_ratio = {'unsure': 0.6, 'unknown deviation': np.nan}.get(why, 0.02)
    robot.wrong = np.nan if why == 'unknown depth' else 3.0
    said = robot.look(10, has_box=False)
    assert len(said) == (0 if why == 'held' else 3)
    for layer, cells in zip(robot.layers, before, strict=True):
        np.testing.assert_array_equal(layer.cells, cells)


def test_an_obstacle_that_is_not_sure_any_more_stays(parameters):
    # With less, rays of so sure a depth that graze its top free cells of it.
    robot = Robot(parameters, sure_std=1.0)
    robot.look(2, has_box=True)
    robot.box_is_sure = False
    before = [layer.cells.copy() for layer in robot.layers]
    robot.look(3, has_box=True)
    # But for its sides, which rays graze that pass by.
    along, across = cells_of_box()
    inner = along, slice(across.start + 1, across.stop - 1)
    for layer, cells in zip(robot.layers, before, strict=True):
        np.testing.assert_array_equal(layer.cells[inner] == LETHAL, cells[inner] == LETHAL)


def test_a_costmap_hears_of_silence(parameters):
    for costmap in ('local_costmap', 'global_costmap'):
        settings = parameters[costmap][costmap]['ros__parameters']
        for layer in (settings[name] for name in settings['plugins'] if name.startswith('depth')):
            for source in layer['observation_sources'].split():
                assert 0 < layer[source]['expected_update_rate'] <= 2
    assert 0 < parameters['collision_monitor']['ros__parameters']['source_timeout'] <= 2


def test_what_is_less_sure_is_kept_farther_away_from(parameters):
    fronts = []
    for deviations in (0.0, 1.0, 2.0):
        robot = Robot(parameters, sure_std=deviations)
        robot.std_ratio = 0.1
        robot.look(1, has_box=True)
        lethal = np.argwhere(robot.layers[1].cells == LETHAL)
        ahead = (lethal[:, 0] - CELLS / 2) * RESOLUTION_M
        fronts.append(np.median(ahead[np.abs(lethal[:, 1] - CELLS / 2) < 3]))
        # No floor, although points of the floor stand higher the more they are shifted.
        beside = (np.abs(lethal[:, 1] - CELLS / 2) > 8) & (ahead < 2.5)
        assert not beside.any()
    steps = -np.diff(fronts) / BOX[0]
    np.testing.assert_allclose(steps, 0.1, atol=0.04)

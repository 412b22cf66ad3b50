# SPDX-License-Identifier: Apache-2.0
"""The camera's height above the floor as a measure, and tables that are no floor."""

import contextlib
import math

from adabins_ros import DepthPredictor
from adabins_ros.frames import RgbdFolder
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.scale import MetricScale
from adabins_ros.scale.evidence import EvidenceError
from adabins_ros.scale.floor import down_in_camera, floor_points
import numpy as np
import pytest

CAMERA = PinholeCamera.from_horizontal_fov(160, 120, 69)
HEIGHT = 1.2


def view(levels, pitch_deg=15.0, wall_m=4.0, roll_deg=0.0):
    """
    Return the depth that a camera sees of level rectangles in front of a wall.

    Levels are (metres below the camera, nearest, farthest, half width), m ahead and aside.
    """
    down = down_in_camera(pitch_deg, roll_deg)
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack(
        [(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones(rows.shape)],
        -1,
    )
    ahead = np.array([0, 0, 1.0]) - down[2] * down
    ahead /= np.linalg.norm(ahead)
    aside = np.cross(down, ahead)
    with np.errstate(divide='ignore'):
        depth = wall_m / np.maximum(rays @ ahead, 1e-6)
        for below, nearest, farthest, half_width in levels:
            z = below / (rays @ down)
            points = rays * np.where(np.isfinite(z), z, 0)[..., None]
            hit = (z > 0) & (points @ ahead > nearest) & (points @ ahead < farthest)
            hit &= np.abs(points @ aside) < half_width
            depth = np.where(hit & (z < depth), z, depth)
    return depth.astype(np.float32), down


def as_network(depth, factor, rng, noise=0.05):
    """Return a network's depth: off by a factor, bent, and noisy."""
    bent = (depth / 2.5) ** 0.95 * 2.5
    predicted = bent / factor * np.exp(rng.normal(0, noise, depth.shape))
    return predicted.astype(np.float32), (0.1 * predicted).astype(np.float32)


@pytest.mark.parametrize('factor', [0.75, 1.0, 1.15])
@pytest.mark.parametrize('pitch_deg, roll_deg', [(0, 0), (15, 0), (30, 5)])
def test_the_floor_gives_the_scale(factor, pitch_deg, roll_deg):
    floor, desk = (HEIGHT, 0.0, 9.0, 9.0), (0.5, 1.5, 2.2, 0.5)
    depth, down = view([floor, desk], pitch_deg, roll_deg=roll_deg)
    predicted, std = as_network(depth, factor, np.random.default_rng(0))
    seen, true, spread = floor_points(predicted, std, CAMERA, HEIGHT, down)
    scale = MetricScale()
    scale.update(seen, true, spread, stamp_s=0.0, source='floor')
    fit = scale.at(0.0)
    assert fit.anchored and fit.sources == ('floor',)
    assert np.median(fit.depth(predicted) / depth) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize('top', [0.35, 0.5, 0.75])
def test_a_table_that_fills_the_view_is_no_floor(top):
    depth, down = view([(top, 0.0, 1.8, 5.0)], pitch_deg=25)
    predicted, std = as_network(depth, 1.1, np.random.default_rng(0))
    with pytest.raises(EvidenceError, match='no floor'):
        floor_points(predicted, std, CAMERA, HEIGHT, down)


def test_a_low_table_is_passed_over_for_the_floor_below_it():
    """A seat within the reach of the ground's distance: the lowest large plane counts."""
    depth, down = view([(HEIGHT, 0, 9, 9), (0.9, 1.2, 3.0, 0.7)], pitch_deg=20)
    predicted, std = as_network(depth, 1.0, np.random.default_rng(0), noise=0.02)
    seen, true, _ = floor_points(predicted, std, CAMERA, HEIGHT, down)
    assert np.median(true / seen) == pytest.approx(1, abs=0.08)


def test_a_wall_alone_is_no_floor():
    depth, down = view([], pitch_deg=0, wall_m=1.5)
    with pytest.raises(EvidenceError, match='no floor'):
        floor_points(depth, None, CAMERA, HEIGHT, down)


def test_a_chair_before_a_cupboard_is_no_floor():
    """Both reach down to where the floor would be, the nearer one lower in the image."""
    _, down = view([], pitch_deg=26)
    rows = np.mgrid[: CAMERA.height, : CAMERA.width][0]
    y = (rows - CAMERA.cy) / CAMERA.fy
    ahead = down[1] - y * down[2]
    steep = (down[1] * y + down[2]) / ahead
    depth = np.where(steep < 0.63, 2.2, 1.0) / ahead
    predicted, std = as_network(depth, 1.0, np.random.default_rng(0), noise=0.02)
    with pytest.raises(EvidenceError, match='of it lies level with its neighbours'):
        floor_points(predicted, std, CAMERA, HEIGHT, down)


def test_a_kitchen_s_chair_and_table_edge_are_no_floor(shared_data):
    """Frames 0 to 20 show the floor, 170 to 185 none that is large enough."""
    folder = RgbdFolder(shared_data('redkitchen_7scenes'))
    poses = [np.loadtxt(path).reshape(4, 4) for path in sorted((folder.path / 'pose').iterdir())]
    # Found from the true depth: gravity in its world and how far below the origin the floor is.
    gravity, floor_m = np.array([-0.016, 0.887, 0.461]), 1.59
    predictor = DepthPredictor.from_pretrained('adabins-lite')
    given = []
    for number in (0, 5, 10, 20, *range(174, 182)):
        frame, pose = folder.frames[number], poses[number]
        seen = predictor.predict(folder.colour(frame), frame.camera.fx)
        height_m, down = floor_m - pose[:3, 3] @ gravity, pose[:3, :3].T @ gravity
        with contextlib.suppress(EvidenceError):
            floor_points(seen.depth, seen.std, frame.camera, height_m, down)
            given.append(number)
    assert given == [0, 5, 10, 20]


def test_a_ramp_is_not_level():
    depth, _ = view([(HEIGHT, 0, 9, 9)], pitch_deg=35)
    with pytest.raises(EvidenceError, match='no floor'):
        floor_points(depth, None, CAMERA, HEIGHT * 0.9, down_in_camera(10.0))


def test_where_nothing_is_known_no_floor_is_seen():
    depth = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    with pytest.raises(EvidenceError, match='no floor'):
        floor_points(depth, depth, CAMERA, HEIGHT, down_in_camera(10.0))
    with pytest.raises(ValueError, match='for a camera of 120x160 px'):
        floor_points(depth[:-1], None, CAMERA, HEIGHT, down_in_camera(10.0))


def test_the_floor_of_the_rendered_room(shared_data):
    """True depth made 10 % too small: the poses tell the camera's height and gravity."""
    folder = RgbdFolder(shared_data('sequence'))
    poses = np.loadtxt(folder.path / 'poses.txt').reshape(-1, 4, 4)
    given = 0
    for number in range(0, 60, 6):
        frame, pose = folder.frames[number], poses[number]
        depth = folder.depth_m(frame) * np.float32(0.9)
        down = pose[:3, :3].T @ [0, 0, -1]
        try:
            seen, true, _ = floor_points(depth, None, frame.camera, pose[2, 3], down)
        except EvidenceError:
            continue
        given += 1
        assert np.median(true / seen) == pytest.approx(1 / 0.9, rel=0.08)
    assert given >= 5


def test_pitch_and_roll_turn_as_in_tf():
    """REP 103: a positive pitch looks down, a positive roll lowers the right side."""
    np.testing.assert_allclose(down_in_camera(0), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(down_in_camera(90), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(down_in_camera(0, 90), [1, 0, 0], atol=1e-12)
    tilted = down_in_camera(30, 10)
    assert tilted[2] == pytest.approx(math.sin(math.radians(30))) and tilted[0] > 0

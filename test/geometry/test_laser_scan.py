# SPDX-License-Identifier: Apache-2.0
"""A scan says what stands where, and is silent about what was not seen."""

from __future__ import annotations

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.laser_scan import optical_from_level, Scan, scan_depth
import numpy as np
from numpy.typing import NDArray
import pytest

CAMERA = PinholeCamera.from_horizontal_fov(160, 120, 60.0)
HEIGHT_M = 0.6
LIMITS = (0.1, 8.0)


def down(pitch_deg: float) -> NDArray[np.float64]:
    """Return gravity in the optical frame of a camera that looks down by so much."""
    pitch = np.radians(pitch_deg)
    return np.array([0.0, np.cos(pitch), np.sin(pitch)])


def room(pitch_deg: float, wall_m: float) -> NDArray[np.float32]:
    """Return the depth of a floor and a wall across, wall_m ahead."""
    v, u = np.indices((CAMERA.height, CAMERA.width))
    rays = np.stack(
        [(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(u)], -1
    )
    forward, _, up = np.moveaxis(rays @ optical_from_level(down(pitch_deg)), -1, 0)
    with np.errstate(divide='ignore'):
        floor = np.where(up < 0, -HEIGHT_M / up, np.inf)
    return np.minimum(floor, wall_m / forward).astype(np.float32)


def scan_of(depth: NDArray[np.float32], pitch_deg: float, sure: object = None, **more) -> Scan:
    """Return the scan of a depth that is sure unless it is told which is."""
    sure = np.ones(depth.shape, bool) if sure is None else sure
    heights = {'heights_m': (0.05, 1.0), 'range_m': LIMITS}
    return scan_depth(depth, sure, CAMERA, down(pitch_deg), HEIGHT_M, **heights, **more)


@pytest.mark.parametrize('pitch_deg', [0, 10, 25])
def test_a_wall_stands_where_it_is_and_the_floor_is_no_obstacle(pitch_deg):
    scan = scan_of(room(pitch_deg, 2.0), pitch_deg)
    angles = scan.angle_min + scan.angle_increment * np.arange(len(scan.ranges))
    seen = np.abs(angles) < np.radians(28)
    assert np.degrees(angles[0]) == pytest.approx(-np.degrees(angles[-1]), abs=1)
    np.testing.assert_allclose(scan.ranges[seen] * np.cos(angles[seen]), 2.0, rtol=0.01)


@pytest.mark.parametrize('roll', [0, 1, 2])
def test_a_floor_seen_a_little_too_near_is_none_but_a_low_box_on_it_is(roll):
    # As a network sees it: 10 cm and more above the floor from 1 m ahead on.
    depth, camera, gravity = room(25, 2.0), CAMERA, down(25)
    bent = depth * 0.88
    low = bent.copy()
    v, u = np.indices(depth.shape)
    box = (v > 70) & (v < 90) & (u > 60) & (u < 100)
    low[box] = depth[88, 80] * 0.86
    ranges = {}
    for name, image in (('floor', bent), ('box', low)):
        turned = np.ascontiguousarray(np.rot90(image, roll))
        seen = PinholeCamera.from_horizontal_fov(160, 120, 60.0)
        if roll == 1:
            seen = PinholeCamera(120, 160, camera.fx, camera.fy, camera.cy, camera.cx)
        x, y, z = gravity
        turns = [(x, y, z), (y, -x, z), (-x, -y, z)]
        sure = np.ones(turned.shape, bool)
        limits = {'heights_m': (0.05, 1.0), 'range_m': LIMITS}
        scan = scan_depth(turned, sure, seen, np.array(turns[roll]), HEIGHT_M, **limits)
        ranges[name] = scan.ranges[len(scan.ranges) // 2]
    assert ranges['floor'] == pytest.approx(2.0 * 0.88, rel=0.05)
    assert ranges['box'] < 1.2


def test_noise_does_not_bring_a_wall_nearer():
    noisy = room(0, 3.0) * np.random.default_rng(1).normal(1, 0.03, (120, 160))
    ranges = scan_of(noisy.astype(np.float32), 0).ranges
    assert np.median(ranges[40:-40]) == pytest.approx(3.0, rel=0.05)


def test_the_left_is_positive():
    depth = room(0, 5.0)
    depth[:, :40] = 1.0
    ranges = scan_of(depth, 0).ranges
    assert ranges[-1] < 1.5 < ranges[0]


def test_what_was_not_seen_is_not_free():
    # Only floor in view, nothing known, a far wall that is unsure: none of it is free space.
    steep = scan_of(room(50, 30.0), 50).ranges
    assert np.isnan(steep).all()
    assert np.isnan(scan_of(np.full((120, 160), np.nan, np.float32), 0).ranges).all()
    far = room(0, 20.0)
    assert np.isposinf(scan_of(far, 0).ranges).all()
    assert np.isnan(scan_of(far, 0, np.zeros(far.shape, bool)).ranges).all()


def test_a_doubt_before_the_far_end_is_no_free_space():
    depth, sure = room(0, 20.0), np.ones((120, 160), bool)
    depth[60:70, 75:85], sure[60:70, 75:85] = 3.0, False
    ranges = scan_of(depth, 0, sure).ranges
    middle = len(ranges) // 2
    assert np.isnan(ranges[middle])
    assert np.isposinf(ranges[:40]).all()


def test_nothing_is_said_of_what_a_doubt_stands_before():
    depth, sure = room(0, 3.0), np.ones((120, 160), bool)
    depth[60:70, 75:85], sure[60:70, 75:85] = 1.0, False
    flying = scan_of(depth, 0, sure, trusted=np.ones_like(sure)).ranges
    doubted = scan_of(depth, 0, sure, trusted=sure).ranges
    middle = len(doubted) // 2
    assert flying[middle] == pytest.approx(3.0, rel=0.01)
    assert np.isnan(doubted[middle])
    beside = np.abs(np.arange(len(doubted)) - middle) > 8
    np.testing.assert_array_equal(doubted[beside], flying[beside])


def test_a_camera_that_looks_straight_down_has_no_scan():
    with pytest.raises(ValueError, match='looks down by 90 degrees'):
        scan_of(room(0, 2.0), 90)
    with pytest.raises(ValueError, match='stride'):
        scan_of(np.ones((60, 160), np.float32), 0)

# SPDX-License-Identifier: Apache-2.0
"""A lidar above a camera looks over an obstacle; what it sees behind must not become truth."""

from __future__ import annotations

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.occlusion import nearest_depth, visible
from adabins_ros.geometry.projection import project
import numpy as np
from numpy.typing import NDArray
import pytest

CAMERA = PinholeCamera(640, 480, 500.0, 500.0, 319.5, 239.5)
BOARD_M, WALL_M, UP_M = 2.0, 4.0, 0.5
BOARD = np.array([[-0.5, 0.5], [-0.4, 0.4]])  # left, right; top, bottom: m
FLOOR_M = 1.0


def scan(ring_deg: float, step_deg: float, above_m: float, floor: bool = False) -> NDArray:
    """Return what a lidar above the camera sees of a board before a wall, in its frame, (N, 3)."""
    down, across = np.radians(
        np.meshgrid(np.arange(-30, 31, ring_deg), np.arange(-45, 45, step_deg), indexing='ij')
    )
    x, y = np.tan(across), np.tan(down) / np.cos(across)
    at = [np.stack([x * z, y * z - above_m, np.full_like(x, z)], -1) for z in (BOARD_M, WALL_M)]
    low, high = BOARD[:, 0], BOARD[:, 1]
    on_board = ((at[0][..., :2] > low) & (at[0][..., :2] < high)).all(-1)
    points = np.where(on_board[..., None], at[0], at[1])
    if floor:
        with np.errstate(divide='ignore'):
            z = np.where(y > 0, (FLOOR_M + above_m) / y, np.inf)
        below = (z < points[..., 2])[..., None]
        z = np.where(np.isfinite(z), z, 0)
        points = np.where(below, np.stack([x * z, y * z - above_m, z], -1), points)
    return points.reshape(-1, 3)


def truly_seen(points: NDArray) -> NDArray[np.bool_]:
    """Tell which points the camera sees past the board."""
    crossing = points[:, :2] * (BOARD_M / points[:, 2:])
    covered = ((crossing > BOARD[:, 0]) & (crossing < BOARD[:, 1])).all(-1)
    return ~covered | (points[:, 2] < BOARD_M + 0.01)


@pytest.mark.parametrize(
    ('ring_deg', 'step_deg'), [(0.2, 0.2), (0.4, 0.2), (1.0, 0.2), (2.0, 0.2)]
)
def test_no_wall_shows_through_a_board(ring_deg, step_deg):
    points = scan(ring_deg, step_deg, UP_M)
    pixels, depth, inside = project(points, CAMERA)
    wrong = inside & ~truly_seen(points)
    board = inside & (depth < BOARD_M + 0.01)
    before = wrong.sum() / (wrong | board).sum()
    assert before > 0.15

    kept = visible(pixels, depth, (480, 640))
    after = (kept & wrong).sum() / (kept & (wrong | board)).sum()
    assert after < 0.01
    right = inside & truly_seen(points)
    assert (kept & right).sum() > 0.96 * right.sum()
    assert (kept & board).sum() == board.sum()


@pytest.mark.parametrize('ring_deg', [0.2, 0.4, 1.0, 2.0])
def test_a_floor_at_grazing_angle_hides_nothing_of_itself(ring_deg):
    points = scan(ring_deg, 0.2, 0.0, floor=True)
    points = points[points[:, 1] > FLOOR_M - 1e-6]
    pixels, depth, inside = project(points, CAMERA)
    assert inside.sum() > 500
    kept = visible(pixels, depth, (480, 640))
    assert kept[inside].mean() > 0.97


def test_a_corner_of_a_room_and_a_slanted_wall_stay():
    columns, rows = np.meshgrid(np.arange(640), np.arange(480))
    pixels = np.stack([columns, rows], -1).reshape(-1, 2)
    slope = (columns - CAMERA.cx) / CAMERA.fx
    corner = (4 / (1 + np.abs(slope))).reshape(-1)
    slanted = (1.2 / (0.9 - slope)).reshape(-1)
    for depth in (corner, slanted):
        assert visible(pixels, depth, (480, 640)).all()


def test_the_window_can_be_given_and_points_outside_are_not_seen():
    pixels = np.array(
        [[100, 100], [96, 100], [104, 100], [100, 96], [100, 104], [700, 3], [np.nan, 3]]
    )
    depth = np.array([2.9, 2, 2, 2, 2, 1, 1])
    assert visible(pixels, depth, (480, 640), 5).tolist() == [False] + [True] * 4 + [False] * 2
    assert visible(pixels, depth, (480, 640), 3)[:5].all()
    assert visible(pixels[:0], depth[:0], (480, 640)).shape == (0,)


def test_the_nearest_point_on_a_pixel_counts():
    pixels = np.array([[2.4, 1.0], [1.6, 1.4], [3.5, 0], [-0.6, 0], [np.nan, 0]])
    image = nearest_depth(pixels, np.array([3.0, 2, 5, 1, 1]), (2, 5))
    np.testing.assert_array_equal(image, [[0, 0, 0, 0, 5], [0, 0, 2, 0, 0]])

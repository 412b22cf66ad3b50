# SPDX-License-Identifier: Apache-2.0
"""Points stay on surfaces: what is out of range, uncertain or between surfaces is dropped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.gates import valid_points
import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

SIZES = [(320, 240), (640, 480), (1280, 720), (480, 640)]
EVERYTHING = {'min_depth': 1e-3, 'max_depth': 100.0}
EDGE_RATIO = 0.05


def render_plane(camera: PinholeCamera, normal: tuple[float, ...], distance: float) -> np.ndarray:
    """Return the depth of the plane normal . point = distance, infinite where it is not seen."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(float)
    facing = (
        normal[0] * (u - camera.cx) / camera.fx
        + normal[1] * (v - camera.cy) / camera.fy
        + normal[2]
    )
    depth = np.full(facing.shape, np.inf)
    np.divide(distance, facing, out=depth, where=facing > 1e-9)
    return depth.astype(np.float32)


def smooth_step(size: tuple[int, int], near: float, far: float, between: int) -> np.ndarray:
    """Return a near left and a far right half with so many pixels of a ramp in between."""
    width, height = size
    first, last = width // 2, width // 2 + between
    row = np.full(width, near, np.float32)
    row[first:] = far
    row[first:last] = np.linspace(near, far, between + 2)[1:-1]
    return np.tile(row, (height, 1))


def test_only_depths_inside_the_range_are_points_with_both_ends():
    depth = np.array([[0.05, 0.1, 1, 10, 10.01, np.nan, np.inf, -np.inf, 0, -2]], np.float32)
    valid = valid_points(depth, None, min_depth=0.1, max_depth=10)
    assert valid.dtype == np.bool_
    assert valid.tolist() == [[False, True, True, True] + [False] * 6]


@pytest.mark.parametrize('edge_ratio', [None, EDGE_RATIO])
def test_without_limits_infinity_and_nothing_are_still_no_points(edge_ratio):
    depth = np.array([[np.inf, -np.inf, np.nan, 0, -1, 1e-30, 1e30]], np.float32)
    valid = valid_points(depth, None, min_depth=0, max_depth=np.inf, edge_ratio=edge_ratio)
    assert valid.tolist() == [[False] * 5 + [True] * 2]


def test_uncertain_depths_are_dropped_relative_to_their_distance():
    depth = np.array([[1, 1, 4, 4]], np.float32)
    std = np.array([[0.1, 0.3, 0.3, 1.2]], np.float32)
    valid = valid_points(depth, std, max_std_ratio=0.2, **EVERYTHING)
    assert valid.tolist() == [[True, False, True, False]]


def test_an_unknown_uncertainty_drops_nothing():
    depth = np.full((4, 4), 2, np.float32)
    std = np.full((4, 4), np.nan, np.float32)
    assert valid_points(depth, std, max_std_ratio=0.01, **EVERYTHING).all()
    assert valid_points(depth, None, max_std_ratio=0.01, **EVERYTHING).all()


@pytest.mark.parametrize('off', [0, 0.0, None, float('inf')])
def test_gates_that_are_off_drop_nothing(off):
    depth = smooth_step((320, 240), 1, 3, 4)
    std = depth * 10
    valid = valid_points(depth, std, max_std_ratio=off, edge_ratio=off, **EVERYTHING)
    assert valid.all()


def test_an_uncertainty_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r'\(2, 2\).*\(4, 4\)'):
        valid_points(
            np.ones((4, 4), np.float32),
            np.ones((2, 2), np.float32),
            max_std_ratio=0.1,
            **EVERYTHING,
        )


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('horizontal_fov_deg', [58, 90])
def test_a_floor_seen_from_half_a_metre_above_survives_to_its_last_visible_row(
    size, horizontal_fov_deg
):
    camera = PinholeCamera.from_horizontal_fov(*size, horizontal_fov_deg)
    floor = render_plane(camera, (0, 1, 0), 0.5)
    valid = valid_points(floor, None, min_depth=0.1, max_depth=8, edge_ratio=EDGE_RATIO)
    on_floor = floor <= 8
    assert floor[on_floor].max() > 7
    assert valid[on_floor].all()
    assert not valid[~on_floor].any()


@given(
    size=st.sampled_from([(320, 240), (200, 133), (64, 48)]),
    direction=st.floats(0, 2 * np.pi),
    slant=st.floats(0, 0.95),
    distance=st.floats(0.2, 3),
)
@settings(max_examples=50)
def test_no_plane_that_fills_the_image_has_edges(size, direction, slant, distance):
    camera = PinholeCamera.from_horizontal_fov(*size, 70)
    right, down = size[0] / 2 / camera.fx, size[1] / 2 / camera.fy
    x, y = np.cos(direction), np.sin(direction)
    steepness = slant / (abs(x) * right + abs(y) * down)
    depth = render_plane(camera, (steepness * x, steepness * y, 1), distance)
    assert valid_points(depth, None, edge_ratio=EDGE_RATIO, **EVERYTHING).all()


@pytest.mark.parametrize('transposed', [False, True])
@pytest.mark.parametrize('size', SIZES)
def test_the_pixels_between_two_surfaces_are_lost_and_the_surfaces_are_not(size, transposed):
    # The ramp of a network is as many of its own pixels wide, whatever the camera's size.
    between = 4 * max(1, round(max(size) / 640))
    depth = smooth_step(size, 1, 3, between)
    if transposed:
        depth = np.ascontiguousarray(depth.T)
    valid = valid_points(depth, None, edge_ratio=EDGE_RATIO, **EVERYTHING)
    assert not valid[(depth > 1.2) & (depth < 2.8)].any()
    assert valid[(depth == 1) | (depth == 3)].mean() > 0.99


@pytest.mark.parametrize('size', [(320, 240), (640, 480)])
def test_every_pixel_of_a_four_pixel_ramp_is_lost_and_no_other(size):
    depth = smooth_step(size, 1, 3, 4)
    valid = valid_points(depth, None, edge_ratio=EDGE_RATIO, **EVERYTHING)
    np.testing.assert_array_equal(valid, (depth == 1) | (depth == 3))


def test_a_sharp_step_has_nothing_between_its_surfaces():
    depth = smooth_step((320, 240), 1, 3, 0)
    assert valid_points(depth, None, edge_ratio=EDGE_RATIO, **EVERYTHING).all()


def test_an_edge_against_what_is_beyond_range_is_an_edge_too():
    depth = smooth_step((320, 240), 1, 9, 4)
    depth[depth > 8] = np.inf
    valid = valid_points(depth, None, edge_ratio=EDGE_RATIO, **EVERYTHING)
    np.testing.assert_array_equal(valid, depth == 1)


def test_a_corner_between_floor_and_wall_is_no_edge():
    camera = PinholeCamera.from_horizontal_fov(320, 240, 70)
    floor = render_plane(camera, (0, 1, 0), 0.5)
    depth = np.minimum(floor, np.float32(4))
    assert valid_points(depth, None, edge_ratio=EDGE_RATIO, **EVERYTHING).all()


def test_holes_in_the_depth_do_not_spread():
    camera = PinholeCamera.from_horizontal_fov(320, 240, 70)
    depth = render_plane(camera, (0.5, 1, 0.6), 0.8)
    depth[::20, ::20] = np.nan
    depth[100:140, 100:140] = np.nan
    depth[200:210, 50:60] = 0
    valid = valid_points(depth, None, min_depth=0.1, max_depth=10, edge_ratio=EDGE_RATIO)
    np.testing.assert_array_equal(valid, (depth > 0) & (depth <= 10))


def test_the_smoothed_edges_of_a_real_room_are_mostly_lost_and_the_rest_is_kept(shared_data):
    folder: Path = shared_data('sequence') / 'depth'
    lost, kept, bad_pixels, good_pixels = 0, 0, 0, 0
    for file in sorted(folder.iterdir())[::20]:
        true = cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        true[true == 0] = 20
        as_network = cv2.resize(true, (160, 120), interpolation=cv2.INTER_AREA)
        smooth = cv2.resize(as_network, (640, 480), interpolation=cv2.INTER_LINEAR)
        true = cv2.resize(true, (640, 480), interpolation=cv2.INTER_NEAREST)
        around = np.ones((9, 9), np.uint8)
        near, far = cv2.erode(true, around), cv2.dilate(true, around)
        to_surface = np.minimum(np.abs(smooth - near), np.abs(smooth - far))
        flying = (to_surface > 0.08 * smooth) & (far - near > 0.15 * smooth)
        valid = valid_points(smooth, None, edge_ratio=EDGE_RATIO, **EVERYTHING)
        lost += np.count_nonzero(flying & ~valid)
        kept += np.count_nonzero(~flying & valid)
        bad_pixels += np.count_nonzero(flying)
        good_pixels += np.count_nonzero(~flying)
    assert lost / bad_pixels > 0.85
    assert kept / good_pixels > 0.99


def test_threads_do_not_disturb_each_other():
    depths = [smooth_step((320, 240), 1, far, 4) for far in (2, 3, 4, 5)]

    def count_flying(depth: np.ndarray) -> int:
        valid = valid_points(depth, None, edge_ratio=EDGE_RATIO, **EVERYTHING)
        return int(np.count_nonzero(~valid))

    alone = [count_flying(depth) for depth in depths]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(count_flying, depths * 25))
    assert together == alone * 25


def test_the_depth_is_not_changed():
    depth = smooth_step((320, 240), 1, 3, 4)
    depth[5, 5] = np.nan
    before = depth.copy()
    valid_points(depth, depth, max_std_ratio=0.5, edge_ratio=EDGE_RATIO, **EVERYTHING)
    np.testing.assert_array_equal(depth, before)

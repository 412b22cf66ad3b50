# SPDX-License-Identifier: Apache-2.0
"""A depth image becomes points where the surfaces are."""

from __future__ import annotations

from dataclasses import replace

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.cloud import pack_cloud
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

CAMERA = PinholeCamera(160, 120, 130.0, 128.0, 78.0, 61.5)


def back_project(depth: np.ndarray, camera: PinholeCamera, stride: int = 1) -> np.ndarray:
    """Return the points of a cloud in which every depth counts, (H', W', 3)."""
    rgb, std = np.zeros((*depth.shape, 3), np.uint8), np.zeros_like(depth)
    valid = np.ones(depth[:: max(stride, 1), :: max(stride, 1)].shape, bool)
    cloud = pack_cloud(depth, rgb, std, valid, camera, stride)
    return np.stack([cloud[name] for name in 'xyz'], axis=-1)


def render_plane(camera: PinholeCamera, normal: np.ndarray, distance: float) -> np.ndarray:
    """Return the depth of the plane normal . point = distance, NaN where it is not seen."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(float)
    rays = np.dstack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)])
    facing = rays @ normal
    depth = np.full(facing.shape, np.nan)
    np.divide(distance, facing, out=depth, where=facing > 0.05)
    return depth.astype(np.float32)


def test_a_wall_at_two_metres_comes_back_at_two_metres():
    points = back_project(np.full((120, 160), 2, np.float32), CAMERA)
    assert points.shape == (120, 160, 3)
    assert points.dtype == np.float32
    assert (points[..., 2] == 2).all()
    assert np.ptp(points[..., 0]) == pytest.approx(2 * 159 / 130, rel=1e-5)
    assert points[0, 0] == pytest.approx([-2 * 78 / 130, -2 * 61.5 / 128, 2])


@given(
    tilt=st.floats(-1.2, 1.2),
    turn=st.floats(-1.2, 1.2),
    distance=st.floats(0.1, 50),
    stride=st.integers(1, 7),
    upside_down=st.booleans(),
)
def test_a_tilted_plane_comes_back_as_that_plane(tilt, turn, distance, stride, upside_down):
    camera = replace(CAMERA, fy=-CAMERA.fy) if upside_down else CAMERA
    normal = np.array([np.sin(turn), np.sin(tilt) * np.cos(turn), np.cos(tilt) * np.cos(turn)])
    points = back_project(render_plane(camera, normal, distance), camera, stride).reshape(-1, 3)
    seen = np.isfinite(points).all(axis=1)
    assert seen.any()
    scale = np.abs(points[seen]).max(axis=1)
    assert (np.abs(points[seen] @ normal - distance) <= 1e-5 * scale + 1e-6).all()


@pytest.mark.parametrize('stride', [2, 3, 7, 200])
def test_a_stride_picks_pixels_with_their_own_rays(stride):
    depth = np.random.default_rng(1).uniform(0.5, 9, (120, 160)).astype(np.float32)
    everything = back_project(depth, CAMERA)
    np.testing.assert_array_equal(
        back_project(depth, CAMERA, stride), everything[::stride, ::stride]
    )


@pytest.mark.parametrize('unknown', [np.nan, np.inf, -np.inf])
def test_an_unknown_depth_is_an_unknown_point_and_its_neighbours_are_not(unknown):
    camera = replace(CAMERA, cx=80.0, cy=60.0)
    depth = np.full((120, 160), 2, np.float32)
    depth[60, 80] = depth[3, 5] = unknown
    points = back_project(depth, camera)
    assert np.isnan(points[60, 80]).all()
    assert np.isnan(points[3, 5]).all()
    assert np.isnan(points).sum() == 6
    assert np.isinf(depth[60, 80]) == np.isinf(unknown)


def test_an_upside_down_image_has_its_first_row_at_the_bottom():
    points = back_project(np.full((120, 160), 2, np.float32), replace(CAMERA, fy=-128.0))
    assert (points[0, :, 1] > 0.9).all()
    assert (points[-1, :, 1] < -0.8).all()


def test_a_camera_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r'\(240, 320\).*160x120'):
        back_project(np.ones((240, 320), np.float32), CAMERA)


@pytest.mark.parametrize('stride', [0, -2])
def test_an_impossible_stride_is_named(stride):
    with pytest.raises(ValueError, match=f'stride = {stride}'):
        back_project(np.ones((120, 160), np.float32), CAMERA, stride)

# SPDX-License-Identifier: Apache-2.0
"""A depth image becomes points where the surfaces are, as PointCloud2's readers expect them."""

from __future__ import annotations

from dataclasses import replace
import struct
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.cloud import CLOUD_DTYPE, pack_cloud
from adabins_ros.geometry.projection import rays
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

CAMERA = PinholeCamera(160, 120, 130.0, 128.0, 78.0, 61.5)


def make_fields(height: int, width: int) -> dict[str, Any]:
    """Return random depths, colours, uncertainties and validity, and the camera."""
    random = np.random.default_rng(height * width)
    return {
        'depth': random.uniform(0.1, 5, (height, width)).astype(np.float32),
        'rgb': random.integers(0, 256, (height, width, 3), np.uint8),
        'std': random.uniform(0, 1, (height, width)).astype(np.float32),
        'valid': random.uniform(size=(height, width)) < 0.7,
        'camera': camera_of(height, width),
    }


def camera_of(height: int, width: int) -> PinholeCamera:
    return PinholeCamera(width, height, 40.0, 42.0, width / 2, height / 3)


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


def test_a_point_is_twenty_bytes_of_five_floats():
    assert CLOUD_DTYPE.itemsize == 20
    assert CLOUD_DTYPE.names == ('x', 'y', 'z', 'rgb', 'std')
    assert [CLOUD_DTYPE.fields[name][1] for name in CLOUD_DTYPE.names] == [0, 4, 8, 12, 16]


def test_the_bytes_of_one_point():
    cloud = pack_cloud(
        np.array([[3]], np.float32),
        np.array([[[0x12, 0x34, 0x56]]], np.uint8),
        np.array([[0.25]], np.float32),
        np.array([[True]]),
        PinholeCamera(1, 1, 2.0, 3.0, -1.0, 2.0),
    )
    assert cloud.tobytes() == struct.pack('<fffIf', 1.5, -2, 3, 0x123456, 0.25)


@pytest.mark.parametrize('size', [(1, 1), (3, 5), (64, 8), (65, 7), (130, 40)])
@pytest.mark.parametrize('stride', [1, 2, 5])
def test_every_field_arrives_at_every_point(size, stride):
    fields = make_fields(*size)
    fields['valid'] = valid = fields['valid'][::stride, ::stride]
    cloud = pack_cloud(**fields, stride=stride)
    depth = fields['depth'][::stride, ::stride, None]
    points = np.dstack([rays(fields['camera'])[::stride, ::stride] * depth, depth])
    assert cloud.shape == points.shape[:2]
    assert cloud.dtype == CLOUD_DTYPE
    for axis, name in enumerate('xyz'):
        np.testing.assert_array_equal(cloud[name][valid], points[..., axis][valid])
        assert np.isnan(cloud[name][~valid]).all()
    np.testing.assert_array_equal(cloud['std'], fields['std'][::stride, ::stride])
    wide = fields['rgb'][::stride, ::stride].astype(np.uint32)
    red, green, blue = np.moveaxis(wide, -1, 0)
    np.testing.assert_array_equal(
        np.ascontiguousarray(cloud['rgb']).view(np.uint32), red << 16 | green << 8 | blue
    )


@given(arrays(np.float32, (4, 3), elements=st.floats(width=32)))
def test_no_number_survives_where_a_point_is_not_valid(depth):
    fields = make_fields(4, 3) | {'depth': depth, 'valid': np.zeros((4, 3), bool)}
    cloud = pack_cloud(**fields)
    assert all(np.isnan(cloud[name]).all() for name in 'xyz')


@given(arrays(np.float32, (4, 3), elements=st.floats(width=32)))
def test_what_is_not_finite_is_no_point_whatever_the_gates_say(depth):
    cloud = pack_cloud(**make_fields(4, 3) | {'depth': depth, 'valid': np.ones((4, 3), bool)})
    finite = np.isfinite(depth)
    assert cloud['z'][finite].tobytes() == depth[finite].tobytes()
    assert all(np.isnan(cloud[name][~finite]).all() for name in 'xyz')


@given(arrays(np.float32, (4, 3), elements=st.floats(width=32)))
def test_uncertainties_keep_their_bits(std):
    assert pack_cloud(**make_fields(4, 3) | {'std': std})['std'].tobytes() == std.tobytes()


def test_strided_and_read_only_inputs_are_packed_too():
    fields = make_fields(120, 90)
    names = ('depth', 'rgb', 'std', 'valid')
    for name in names:
        fields[name].flags.writeable = False
    thinned = {name: fields[name][::3, ::2] for name in names} | {'camera': camera_of(40, 45)}
    copied = {name: thinned[name].copy() for name in names} | {'camera': camera_of(40, 45)}
    assert pack_cloud(**thinned).tobytes() == pack_cloud(**copied).tobytes()


def test_memory_of_an_earlier_frame_is_used_again():
    out = np.zeros((70, 40), CLOUD_DTYPE)
    fields = make_fields(70, 40)
    assert pack_cloud(**fields, out=out) is out
    assert out.tobytes() == pack_cloud(**fields).tobytes()


@pytest.mark.parametrize(
    ('name', 'array'),
    [
        ('depth', np.zeros((4, 3), np.float64)),
        ('depth', np.zeros((3, 4), np.float32)),
        ('rgb', np.zeros((8, 6, 3), np.uint8)),
        ('rgb', np.zeros((4, 3, 3), np.float32)),
        ('std', np.zeros((3, 4), np.float32)),
        ('valid', np.zeros((4, 3), np.uint8)),
        ('out', np.zeros((4, 4), CLOUD_DTYPE)),
    ],
)
def test_a_field_of_the_wrong_form_is_named(name, array):
    with pytest.raises(ValueError, match=f'{name} (is|of shape) '):
        pack_cloud(**make_fields(4, 3) | {name: array})


def test_memory_with_gaps_is_refused():
    with pytest.raises(ValueError, match='not C-contiguous'):
        pack_cloud(**make_fields(4, 3), out=np.zeros((4, 6), CLOUD_DTYPE)[:, ::2])

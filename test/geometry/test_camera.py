# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera keeps seeing the same world when its image is resized, cut or binned."""

from __future__ import annotations

from dataclasses import replace

from adabins_ros.geometry.camera import PinholeCamera
import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

CAMERA = PinholeCamera(640, 480, 525.0, 520.0, 319.5, 239.5)

cameras = st.builds(
    PinholeCamera,
    width=st.integers(8, 4000),
    height=st.integers(8, 4000),
    fx=st.floats(50, 4000),
    fy=st.one_of(st.floats(50, 4000), st.floats(-4000, -50)),
    cx=st.floats(-100, 4000),
    cy=st.floats(-100, 4000),
)


def ray(camera: PinholeCamera, u: float, v: float) -> tuple[float, float]:
    """Return x / z and y / z of a pixel."""
    return (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy


@given(cameras, st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1))
def test_a_resized_image_shows_the_same_rays_at_the_same_share_of_its_edges(
    camera, width, height, right, down
):
    small = camera.scaled(width, height)
    before = ray(camera, right * camera.width - 0.5, down * camera.height - 0.5)
    after = ray(small, right * width - 0.5, down * height - 0.5)
    assert after == pytest.approx(before, rel=1e-9, abs=1e-9)
    assert small.horizontal_fov_deg == pytest.approx(camera.horizontal_fov_deg, abs=1e-6)


def test_scaling_agrees_with_what_cv2_resize_does_to_an_image():
    columns = np.tile(np.arange(640, dtype=np.float32), (480, 1))
    half = cv2.resize(columns, (320, 240), interpolation=cv2.INTER_LINEAR)
    small = CAMERA.scaled(320, 240)
    for u in (0, 17, 319):
        assert ray(small, u, 0)[0] == pytest.approx(ray(CAMERA, float(half[0, u]), 0)[0])


def test_scaling_there_and_back_gives_the_same_camera():
    back = CAMERA.scaled(213, 77).scaled(640, 480)
    assert back.matrix == pytest.approx(CAMERA.matrix)
    assert (back.width, back.height) == (640, 480)


@given(cameras, st.data())
def test_a_region_of_interest_keeps_every_pixels_ray(camera, data):
    x = data.draw(st.integers(0, camera.width - 1))
    y = data.draw(st.integers(0, camera.height - 1))
    width = data.draw(st.integers(1, camera.width - x))
    height = data.draw(st.integers(1, camera.height - y))
    part = camera.cropped(x, y, width, height)
    assert (part.width, part.height) == (width, height)
    assert ray(part, 0, 0) == pytest.approx(ray(camera, x, y), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize('region', [(-1, 0, 10, 10), (600, 0, 41, 10), (0, 471, 10, 10)])
def test_a_region_outside_the_image_is_named(region):
    with pytest.raises(ValueError, match=r'leaves the image of 640x480'):
        CAMERA.cropped(*region)


def test_an_empty_region_is_refused():
    with pytest.raises(ValueError, match='height = 0'):
        CAMERA.cropped(0, 0, 10, 0)


def test_a_binned_pixel_looks_along_the_middle_of_its_block():
    binned = CAMERA.binned(2, 4)
    assert (binned.width, binned.height) == (320, 120)
    assert ray(binned, 0, 0) == pytest.approx(ray(CAMERA, 0.5, 1.5))
    assert ray(binned, 7, 9) == pytest.approx(ray(CAMERA, 14.5, 37.5))


def test_binning_loses_the_columns_that_fill_no_block():
    binned = replace(CAMERA, width=641).binned(2, 1)
    assert binned.width == 320
    assert binned.fx == CAMERA.fx / 2


def test_binning_of_zero_means_none_as_in_camera_info():
    assert CAMERA.binned(0, 0) == CAMERA


@pytest.mark.parametrize('factors', [(-1, 1), (641, 1), (1, 481)])
def test_impossible_binning_is_named(factors):
    with pytest.raises(ValueError, match=f'binning {factors[0]}x{factors[1]}'):
        CAMERA.binned(*factors)


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0.5, 179))
def test_a_field_of_view_makes_the_camera_that_has_it(width, height, angle):
    camera = PinholeCamera.from_horizontal_fov(width, height, angle)
    assert camera.horizontal_fov_deg == pytest.approx(angle)
    assert camera.fx == camera.fy
    assert (camera.cx, camera.cy) == ((width - 1) / 2, (height - 1) / 2)


def test_sixty_degrees_over_320_px_is_a_focal_length_of_277_px():
    camera = PinholeCamera.from_horizontal_fov(320, 240, 60)
    assert camera.fx == pytest.approx(277.1281292110204)


@pytest.mark.parametrize('angle', [0, -60, 180, 360, float('nan'), float('inf')])
def test_a_field_of_view_that_no_pinhole_has_is_named(angle):
    with pytest.raises(ValueError, match='horizontal_fov_deg'):
        PinholeCamera.from_horizontal_fov(640, 480, angle)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('width', 0, 'width = 0'),
        ('height', -480, 'height = -480'),
        ('width', 640.5, 'width = 640.5'),
        ('fx', 0.0, 'fx = 0'),
        ('fx', -525.0, 'fx = -525'),
        ('fy', 0.0, 'fy = 0'),
        ('fx', float('nan'), 'fx = nan'),
        ('fy', float('inf'), 'fy = inf'),
        ('cx', float('nan'), 'cx = nan'),
        ('cy', float('-inf'), 'cy = -inf'),
        ('distortion', (0.1, float('nan')), 'coefficient 1 = nan'),
    ],
)
def test_an_unusable_intrinsic_is_named_with_its_value(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(CAMERA, **{field: value})


def test_an_image_stored_upside_down_has_a_negative_fy():
    camera = replace(CAMERA, fy=-480.0).scaled(320, 240)
    assert camera.fy == -240.0
    assert ray(camera, 0, 0)[1] > 0 > ray(camera, 0, 239)[1]


def test_numbers_of_numpy_make_the_same_camera_as_numbers_of_python():
    camera = PinholeCamera(
        np.uint32(640), np.int64(480), np.float64(525), np.float32(520), 319.5, 239.5
    )
    assert camera == CAMERA
    assert hash(camera) == hash(CAMERA)
    with_array = replace(CAMERA, distortion=np.zeros(5))
    assert with_array.distortion == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_the_matrix_is_that_of_camera_info():
    expected = [[525.0, 0, 319.5], [0, 520.0, 239.5], [0, 0, 1]]
    assert CAMERA.matrix.tolist() == expected
    assert CAMERA.matrix.dtype == np.float64


def test_what_counts_as_distorted():
    assert not CAMERA.is_distorted
    assert not replace(CAMERA, distortion_model='plumb_bob', distortion=(0.0,) * 5).is_distorted
    assert replace(CAMERA, distortion_model='plumb_bob', distortion=(0.1, 0, 0, 0)).is_distorted
    assert replace(CAMERA, distortion_model='equidistant', distortion=(0.0,) * 4).is_distorted


def test_a_rectified_camera_keeps_all_but_the_distortion():
    bent = replace(CAMERA, distortion_model='plumb_bob', distortion=(-0.3, 0.1, 0, 0, 0))
    assert bent.rectified() == CAMERA
    assert bent.scaled(320, 240).distortion == bent.distortion

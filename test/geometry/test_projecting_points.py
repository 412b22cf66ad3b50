# SPDX-License-Identifier: Apache-2.0
"""Points reach the pixels that the lens gives them, and pixels their rays."""

from __future__ import annotations

from dataclasses import replace

from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.projection import field_angle, lens, project, rays
from adabins_ros.geometry.rectification import Rectifier
import cv2
import numpy as np
import pytest

CAMERA = PinholeCamera(320, 240, 200.0, 210.0, 155.0, 123.0)
LENSES = {
    'barrel': ('plumb_bob', (-0.25, 0.05, 0.001, -0.002, 0.0)),
    'pincushion': ('plumb_bob', (0.2, 0.02)),
    'wide': ('rational_polynomial', (0.3, 0.1, 0.0005, -0.0003, 0.02, 0.6, 0.2, 0.04)),
    'fisheye': ('equidistant', (0.02, -0.01, 0.003, 0.0)),
    'ideal fisheye': ('equidistant', ()),
}


def bent(name: str) -> PinholeCamera:
    """Return the camera with one of the lenses."""
    model, coefficients = LENSES[name]
    return replace(CAMERA, distortion_model=model, distortion=coefficients)


@pytest.mark.parametrize('name', LENSES)
def test_the_ray_of_a_pixel_comes_back_to_it(name):
    camera = bent(name)
    slopes = rays(camera)
    assert np.isfinite(slopes).mean() > 0.95
    points = np.dstack([slopes, np.ones((240, 320))]).reshape(-1, 3) * 2.5
    pixels, depth, inside = project(points, camera)
    rows, columns = np.mgrid[:240, :320].reshape(2, -1)
    known = np.isfinite(points).all(-1)
    assert inside[known].all()
    assert np.abs(pixels - np.stack([columns, rows], -1))[known].max() < 0.01
    assert (depth[known] == 2.5).all()
    assert np.isnan(pixels[~known]).all()


def test_without_a_lens_the_pinhole_is_left():
    pixels, depth, inside = project(np.array([[0.5, 0.25, 2], [9, 0, 2], [0, 0, -2]]), CAMERA)
    np.testing.assert_allclose(pixels[:2], [[205, 149.25], [1055, 123]])
    assert np.isnan(pixels[2]).all()
    assert inside.tolist() == [True, False, False]
    assert depth.tolist() == [2, 2, -2]
    np.testing.assert_allclose(rays(CAMERA)[149, 205], [0.25, 26 / 210], rtol=1e-6)


def test_no_points_and_points_that_are_no_numbers_are_nowhere():
    assert project(np.zeros((0, 3)), bent('barrel'))[0].shape == (0, 2)
    points = np.array([[np.nan, 0, 1], [0, np.inf, 1], [0, 0, np.inf], [0, 0, 0.01]])
    pixels, _, inside = project(points, bent('fisheye'))
    assert np.isnan(pixels).all()
    assert not inside.any()


@pytest.mark.parametrize(
    ('model', 'coefficients'),
    [
        ('plumb_bob', (-0.35, 0.0)),
        ('plumb_bob', (-0.4, 0.1, 0, 0, -0.01)),
        ('equidistant', (-0.3, 0.0, 0.0, 0.0)),
    ],
)
def test_points_beside_the_camera_do_not_fold_into_its_image(model, coefficients):
    """A polynomial that turns back puts a wall at 70 degrees into a picture of 40."""
    camera = replace(CAMERA, distortion_model=model, distortion=coefficients)
    angles = np.radians(np.arange(1, 89.5, 0.5))
    points = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], -1)
    _, coefficients_of = lens(camera)
    through = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    still = np.zeros(3)
    everywhere = through(points[:, None], still, still, camera.matrix, coefficients_of)[0][:, 0]
    folded = np.degrees(angles) > np.degrees(field_angle(camera)) + 1
    within = (np.abs(everywhere - (160, 120)) < (160, 120)).all(-1)
    assert (within & folded).any()

    pixels, _, inside = project(points, camera)
    assert not inside[folded].any()
    shown = np.isfinite(pixels[:, 0])
    assert shown.sum() > 40
    assert (np.diff(pixels[shown, 0]) > 0).all()


def test_a_wide_lens_sees_what_a_pinhole_image_of_its_size_could_not_show():
    """Barrel distortion brings far more than a third of an image's width into it."""
    wide = replace(bent('wide'), fx=110.0, fy=110.0)
    angle = np.radians(60)
    pixels, _, inside = project(np.array([[np.sin(angle), 0, np.cos(angle)]]), wide)
    assert inside.all()
    assert np.tan(angle) * wide.fx + wide.cx > wide.width * 1.05
    assert pixels[0, 0] < wide.width


@pytest.mark.parametrize(
    ('model', 'given', 'zeros'),
    [
        ('plumb_bob', (0.1, 0.2, 0.3), 1),
        ('rational_polynomial', (0.1,) * 6, 2),
        ('equidistant', (0.1, 0.2), 2),
    ],
)
def test_coefficients_that_a_driver_leaves_out_are_zero(model, given, zeros):
    short = replace(CAMERA, distortion_model=model, distortion=given)
    np.testing.assert_array_equal(lens(short)[1], [*given, *[0] * zeros])
    points = np.array([[0.5, 0.2, 1.0], [-0.3, 0.4, 1.0]])
    whole = replace(short, distortion=(*given, *[0.0] * (8 - len(given))))
    np.testing.assert_array_equal(project(points, short)[0], project(points, whole)[0])
    np.testing.assert_array_equal(rays(short), rays(whole))
    image = np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8)
    np.testing.assert_array_equal(Rectifier(short).rectify(image), Rectifier(whole).rectify(image))


@pytest.mark.parametrize(('model', 'count'), [('equidistant', 5), ('plumb_bob', 15)])
@pytest.mark.parametrize('needs_the_lens', [lens, Rectifier])
def test_more_coefficients_than_a_lens_has_are_refused(needs_the_lens, model, count):
    camera = replace(CAMERA, distortion_model=model, distortion=(0.1,) * count)
    with pytest.raises(CameraError, match=f"{count} distortion coefficients for '{model}'"):
        needs_the_lens(camera)

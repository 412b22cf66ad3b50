# SPDX-License-Identifier: Apache-2.0
"""A lens bends lines, and rectification makes them straight again."""

from __future__ import annotations

from dataclasses import replace

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.rectification import Rectifier
import numpy as np
import pytest

CAMERA = PinholeCamera(320, 240, 200.0, 210.0, 155.0, 123.0)
LENSES = {
    'barrel': ('plumb_bob', (-0.25, 0.05, 0.001, -0.002, 0.0)),
    'barrel, four coefficients': ('plumb_bob', (-0.25, 0.05, 0.001, -0.002)),
    'pincushion': ('plumb_bob', (0.2, 0.02, 0.0, 0.0, 0.0)),
    'wide': ('rational_polynomial', (0.3, 0.1, 0.0005, -0.0003, 0.02, 0.6, 0.2, 0.04)),
    'fisheye': ('equidistant', (0.02, -0.01, 0.003, 0.0)),
    'ideal fisheye': ('equidistant', ()),
    'fisheye, a zero too many': ('equidistant', (0.02, -0.01, 0.003, 0.0, 0.0)),
}


def lens(name: str, camera: PinholeCamera = CAMERA) -> PinholeCamera:
    """Put one of the lenses in front of the camera."""
    model, distortion = LENSES[name]
    return replace(camera, distortion_model=model, distortion=distortion)


def project(camera: PinholeCamera, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel of normalised coordinates by the formulas of the OpenCV manual."""
    k = np.zeros(12)
    k[: len(camera.distortion)] = camera.distortion
    r2 = x * x + y * y
    if camera.distortion_model == 'equidistant':
        r = np.sqrt(r2)
        theta = np.arctan(r)
        bent = theta * (1 + k[0] * theta**2 + k[1] * theta**4 + k[2] * theta**6 + k[3] * theta**8)
        ratio = np.where(r > 0, bent / np.where(r > 0, r, 1), 1)
        x, y = x * ratio, y * ratio
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = k[:8]
        radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    return camera.fx * x + camera.cx, camera.fy * y + camera.cy


def normalised_coordinates(camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """Return x / z and y / z of every pixel of the rectified image."""
    v, u = np.mgrid[: camera.height, : camera.width].astype(float)
    return (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy


@pytest.mark.parametrize('fy', [210.0, -210.0])
@pytest.mark.parametrize('name', LENSES)
def test_every_pixel_comes_from_where_the_projection_formula_says(name, fy):
    camera = lens(name, replace(CAMERA, fy=fy))
    v, u = np.mgrid[:240, :320].astype(np.float32)
    coordinates = Rectifier(camera).rectify(np.dstack([u, v]))
    source_u, source_v = project(camera, *normalised_coordinates(camera))
    seen = (source_u > 1) & (source_u < 318) & (source_v > 1) & (source_v < 238)
    assert seen.mean() > 0.5
    assert np.abs(coordinates[..., 0] - source_u)[seen].max() < 1 / 32
    assert np.abs(coordinates[..., 1] - source_v)[seen].max() < 1 / 32


def row_of_line(image: np.ndarray) -> np.ndarray:
    """Return the brightness-weighted row of the line in every column that shows it."""
    weights = image.astype(float)
    rows = np.arange(len(image))[:, np.newaxis]
    columns = weights.sum(axis=0) > 200
    return (weights * rows).sum(axis=0)[columns] / weights.sum(axis=0)[columns]


def bend(rows: np.ndarray) -> float:
    """Return the largest distance from the best straight line, px."""
    columns = np.arange(len(rows))
    return float(np.abs(rows - np.polyval(np.polyfit(columns, rows, 1), columns)).max())


@pytest.mark.parametrize('name', ['barrel', 'pincushion', 'wide', 'fisheye'])
def test_a_straight_wire_that_the_lens_bends_comes_back_straight(name):
    camera = lens(name)
    x = np.linspace(-3, 3, 200_000)
    u, v = project(camera, x, 0.05 * x + 0.28)
    rows = np.arange(240)[:, np.newaxis]
    inside = (u >= 0) & (u < 320) & (np.abs(x) < 1.2)
    wire_row = np.full(320, np.nan)
    wire_row[np.round(u[inside]).astype(int).clip(0, 319)] = v[inside]
    brightness = np.exp(-(((rows - wire_row) / 1.5) ** 2) / 2)
    bent = np.round(255 * np.nan_to_num(brightness)).astype(np.uint8)

    straight = Rectifier(camera).rectify(bent)
    assert bend(row_of_line(bent)[5:-5]) > 2
    assert bend(row_of_line(straight)[5:-5]) < 0.6


def test_the_camera_that_comes_out_has_the_same_matrix_and_no_distortion():
    assert Rectifier(lens('barrel')).camera == CAMERA


@pytest.mark.parametrize(
    ('model', 'distortion'), [('', ()), ('plumb_bob', (0.0,) * 5), ('plumb_bob', ())]
)
def test_an_undistorted_image_is_handed_through_untouched(model, distortion):
    camera = replace(CAMERA, distortion_model=model, distortion=distortion)
    image = np.zeros((240, 320, 3), np.uint8)
    assert Rectifier(camera).rectify(image) is image


def test_a_read_only_colour_image_is_rectified_without_touching_it():
    image = np.full((240, 320, 3), 90, np.uint8)
    image.flags.writeable = False
    result = Rectifier(lens('barrel')).rectify(image)
    assert result.dtype == np.uint8
    assert result.shape == image.shape
    assert (result[100:140, 100:200] == 90).all()


def test_pixels_that_the_lens_never_saw_are_black():
    result = Rectifier(lens('pincushion')).rectify(np.full((240, 320, 3), 255, np.uint8))
    assert (result[0, 0] == 0).all()
    assert (result[120, 160] == 255).all()


@pytest.mark.parametrize('name', ['pincushion', 'wide', 'fisheye'])
def test_the_pixels_that_the_lens_saw_are_told(name):
    rectifier = Rectifier(lens(name))
    white = rectifier.rectify(np.full((240, 320), 255, np.uint8))
    if rectifier.seen is None:
        assert (white == 255).all()
    else:
        assert (white[rectifier.seen] > 240).all()
        assert (white == 0)[~rectifier.seen].mean() > 0.8
    assert (rectifier.seen is None) == (name != 'pincushion')


def test_a_lens_that_sees_more_than_the_image_leaves_no_pixel_unseen():
    assert Rectifier(lens('barrel')).seen is None
    assert Rectifier(CAMERA).seen is None


def test_what_the_lens_model_folds_back_into_the_image_was_not_seen():
    """Beyond 44 degrees this polynomial turns back: there the picture would be mirrored."""
    camera = replace(
        CAMERA, fx=120.0, fy=120.0, distortion_model='plumb_bob', distortion=(-0.35, 0.0)
    )
    rectifier = Rectifier(camera)
    x, y = normalised_coordinates(camera)
    beyond = np.hypot(x, y) > 0.98
    assert beyond.any()
    assert not rectifier.seen[beyond].any()
    assert rectifier.seen[np.hypot(x, y) < 0.97].all()


def test_an_image_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r'640x480.*320x240'):
        Rectifier(lens('barrel')).rectify(np.zeros((480, 640, 3), np.uint8))

# SPDX-License-Identifier: Apache-2.0
"""Pictures of predictions show what they say they show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from adabins_ros.evaluation.contact_sheet import contact_sheet, SheetRow
from adabins_ros.evaluation.pictures import prediction_picture
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.cloud import pack_cloud
from adabins_ros.geometry.colors import UNKNOWN_COLOR
import cv2
import numpy as np
import pytest

RED = (200, 30, 30)


@dataclass(frozen=True)
class Estimate:
    """Depth and standard deviation, as a predictor returns them."""

    depth: np.ndarray
    std: np.ndarray


def make_row(width: int = 160, height: int = 120) -> SheetRow:
    """Return a red image of a slanted floor with an uncertain right side."""
    camera = PinholeCamera.from_horizontal_fov(width, height, 60)
    down = np.linspace(4, 1, height, dtype=np.float32)[:, np.newaxis]
    depth = np.tile(down, (1, width))
    std = np.tile(np.linspace(0.05, 0.5, width, dtype=np.float32), (height, 1))
    rgb = np.full((height, width, 3), RED, np.uint8)
    return SheetRow(
        title='frame 7',
        rgb=rgb,
        depth=depth,
        std=std,
        bin_centers=np.linspace(0.5, 5, 64, dtype=np.float32),
        truth=depth + 0.2,
        cloud=pack_cloud(depth, rgb, std, np.ones(depth.shape, bool), camera),
    )


def draw(row: SheetRow, **limits: float) -> np.ndarray:
    """Return the row's picture."""
    return prediction_picture(row.rgb, Estimate(row.depth, row.std), **limits)


@pytest.mark.parametrize('size', [(640, 480), (64, 48), (90, 160), (1280, 720), (17, 1)])
def test_a_prediction_becomes_three_panels_of_a_readable_size(size):
    picture = draw(make_row(*size))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    panel = max(size[0] / max(size) * 320, min(size[0], 960))
    assert 3 * panel < picture.shape[1] < 3.6 * panel + 10
    assert (picture == RED).all(axis=-1).mean() > 0.01


def test_the_panels_are_colour_then_depth_then_uncertainty():
    picture = draw(make_row(320, 240), min_depth=1, max_depth=4)
    colour, depth, std = np.array_split(picture[: picture.shape[0] * 4 // 5], 3, axis=1)
    assert np.median(colour.reshape(-1, 3), axis=0).tolist() == list(RED)
    far, near = depth[60, 160].astype(int), depth[-10, 160].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    certain, uncertain = std[100, 40].astype(int), std[100, -40].astype(int)
    assert uncertain.sum() > certain.sum() + 100


def test_the_scale_is_written_under_the_depth_but_not_under_the_colour():
    picture = draw(make_row(640, 480))
    footer = picture[-40:]
    colour, depth, std = np.array_split(footer, 3, axis=1)
    assert colour.max() < 60
    assert depth.max() > 200
    assert std.max() > 200


def test_a_network_without_uncertainty_has_a_grey_panel_without_a_scale():
    row = make_row(320, 240)
    picture = draw(replace(row, std=np.full_like(row.std, np.nan)))
    std = np.array_split(picture, 3, axis=1)[2]
    assert (std == UNKNOWN_COLOR).all(axis=-1).mean() > 0.6
    assert std[-40:].max() < 70


@pytest.mark.parametrize('value', [np.nan, np.inf, 2.0])
def test_a_depth_without_any_range_is_drawn_all_the_same(value):
    row = make_row(320, 240)
    picture = draw(replace(row, depth=np.full_like(row.depth, value)))
    assert np.isfinite(picture).all()


def read(path: Path) -> np.ndarray:
    """Return the written picture, RGB."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture[..., ::-1]


def panels_of(picture: np.ndarray, columns: int) -> list[np.ndarray]:
    """Return the columns of a sheet, without the margins around them."""
    return np.array_split(picture[80:-80], columns, axis=1)


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('with_truth', [True, False])
def test_a_contact_sheet_is_two_thousand_pixels_wide_with_no_empty_panel(
    tmp_path, count, with_truth
):
    row = make_row() if with_truth else replace(make_row(), truth=None)
    contact_sheet(tmp_path / 'sheet.png', [row] * count, headline='untrained network')
    picture = read(tmp_path / 'sheet.png')
    assert picture.shape[1] == 2000
    assert 250 * count < picture.shape[0] < 450 * count + 250
    for panel in panels_of(picture, 6 if with_truth else 5):
        assert len(np.unique(panel.reshape(-1, 3), axis=0)) > 20
    assert (picture == RED).all(axis=-1).mean() > 0.05


def test_the_headline_is_on_the_sheet(tmp_path):
    contact_sheet(tmp_path / 'with.png', [make_row()], headline='untrained network')
    contact_sheet(tmp_path / 'without.png', [make_row()])
    with_headline, without = read(tmp_path / 'with.png'), read(tmp_path / 'without.png')
    assert with_headline.shape[0] > without.shape[0]
    between_the_column_titles = slice(950, 1050)
    assert (with_headline[:40, between_the_column_titles] < 50).any()
    assert not (without[:40, between_the_column_titles] < 50).any()


def test_the_cloud_is_drawn_in_the_colours_of_the_image(tmp_path):
    contact_sheet(tmp_path / 'sheet.png', [make_row()])
    from_above = panels_of(read(tmp_path / 'sheet.png'), 6)[4]
    assert (np.abs(from_above.astype(int) - RED).sum(axis=-1) < 20).mean() > 0.03


def test_the_bin_centres_stand_under_the_histogram(tmp_path):
    row = make_row()
    contact_sheet(tmp_path / 'with.png', [row])
    contact_sheet(tmp_path / 'without.png', [replace(row, bin_centers=np.empty(0, np.float32))])

    def red_pixels(name: str) -> int:
        histogram = panels_of(read(tmp_path / name), 6)[5].astype(int)
        return int(((histogram[..., 0] > 180) & (histogram[..., 1] < 140)).sum())

    assert red_pixels('with.png') > 1000
    assert red_pixels('without.png') == 0


def test_frames_that_lack_something_stand_beside_frames_that_do_not(tmp_path):
    full = make_row()
    nothing = np.full_like(full.depth, np.nan)
    rows = [
        full,
        replace(full, truth=None, cloud=None),
        replace(full, std=nothing, bin_centers=np.empty(0, np.float32)),
        replace(full, depth=nothing, std=nothing, truth=np.zeros_like(nothing), cloud=None),
    ]
    contact_sheet(tmp_path / 'sheet.png', rows)
    assert read(tmp_path / 'sheet.png').shape[1] == 2000


def test_a_sheet_of_nothing_but_unknown_depth_is_drawn(tmp_path):
    full = make_row()
    nothing = np.full_like(full.depth, np.nan)
    row = replace(full, depth=nothing, std=nothing, truth=None, cloud=None)
    contact_sheet(tmp_path / 'sheet.png', [row])
    assert read(tmp_path / 'sheet.png').shape[1] == 2000


def test_a_sheet_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'no frame.*sheet\.png'):
        contact_sheet(tmp_path / 'sheet.png', [])

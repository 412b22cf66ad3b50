# SPDX-License-Identifier: Apache-2.0
"""Colours tell near from far, certain from uncertain, and what is not known."""

from __future__ import annotations

import subprocess
import sys

from adabins_ros.geometry.colors import (
    DEPTH_COLORS,
    depth_colors,
    STD_COLORS,
    std_colors,
    UNKNOWN_COLOR,
)
import numpy as np
import pytest


def entry(color: np.ndarray, table: np.ndarray) -> int:
    """Return where the colour stands in the table."""
    distances = np.abs(table[:, 0].astype(int) - color).sum(axis=1)
    assert distances.min() == 0
    return int(distances.argmin())


def test_depth_runs_once_through_the_colours_from_near_to_far():
    depth = np.linspace(0.1, 10, 1000, dtype=np.float32)[np.newaxis]
    entries = [entry(color, DEPTH_COLORS) for color in depth_colors(depth, 0.1, 10)[0]]
    assert (entries[0], entries[-1]) == (1, 255)
    assert (np.diff(entries) >= 0).all()
    assert len(set(entries)) == 255


def test_near_is_warm_and_far_is_cold():
    near, far = depth_colors(np.array([[1.5, 9.0]]), 0.1, 10)[0].astype(int)
    assert near[0] > near[2] + 100
    assert far[2] > far[0] + 100


def test_uncertainty_gets_brighter():
    std = np.linspace(0, 0.8, 255, dtype=np.float32)[np.newaxis]
    colors = std_colors(std, 0.8)[0]
    brightness = colors @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > -0.5).all()
    assert brightness[-1] > brightness[0] + 150
    assert entry(colors[-1], STD_COLORS) == 255


def test_unknown_is_dark_grey_and_beyond_the_range_is_the_end_of_the_scale():
    depth = np.array([[np.nan, np.inf, 50, 10, -np.inf, 0, 0.1]], np.float32)
    unknown, *others = depth_colors(depth, 0.1, 10)[0]
    assert tuple(unknown) == UNKNOWN_COLOR
    entries = [entry(color, DEPTH_COLORS) for color in others]
    assert entries == [255, 255, 255, 1, 1, 1]
    assert tuple(std_colors(np.full((1, 1), np.nan), 1.0)[0, 0]) == UNKNOWN_COLOR


def test_no_known_value_looks_unknown():
    for table in (DEPTH_COLORS, STD_COLORS):
        distances = np.abs(table[1:, 0].astype(int) - UNKNOWN_COLOR).sum(axis=1)
        assert distances.min() > 20


def test_the_result_is_an_rgb_image_and_the_input_stays():
    depth = np.random.default_rng(0).uniform(0, 12, (48, 64)).astype(np.float32)
    depth.flags.writeable = False
    colors = depth_colors(depth[::2, ::2], 0.1, 10)
    assert colors.shape == (24, 32, 3)
    assert colors.dtype == np.uint8
    assert colors.flags.c_contiguous


@pytest.mark.parametrize('limits', [(10, 0.1), (2, 2), (float('nan'), 1)])
def test_a_scale_without_extent_is_named(limits):
    with pytest.raises(ValueError, match='colour scale'):
        depth_colors(np.ones((2, 2), np.float32), *limits)


@pytest.mark.parametrize('max_std', [0, -1])
def test_a_largest_uncertainty_of_nothing_is_named(max_std):
    with pytest.raises(ValueError, match='colour scale'):
        std_colors(np.ones((2, 2), np.float32), max_std)


def test_a_node_that_colours_depth_does_not_load_matplotlib_or_torch(repository):
    code = (
        'import sys; import adabins_ros.geometry.colors, adabins_ros.geometry.cloud; '
        'print([name for name in ("matplotlib", "torch") if name in sys.modules])'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == '[]'

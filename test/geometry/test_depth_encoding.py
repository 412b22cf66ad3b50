# SPDX-License-Identifier: Apache-2.0
"""What a depth image says of depth that is unknown, too near, too far, or at the model's end."""

from __future__ import annotations

from types import SimpleNamespace

from adabins_ros.geometry.depth_encoding import mark_range, millimetres, range_to_show
from adabins_ros.messages import compressed_depth_fields, decode_compressed_depth
import numpy as np
import pytest


def test_depth_beyond_the_range_is_infinite_and_unknown_depth_stays_nan():
    depth = np.array([[0.1, 0.5, 2.0, 5.0, 9.0, np.nan]], np.float32)
    marked = mark_range(depth, 0.5, 5.0)
    np.testing.assert_array_equal(marked, [[-np.inf, 0.5, 2.0, 5.0, np.inf, np.nan]])
    np.testing.assert_array_equal(mark_range(depth, 0.0, np.inf), depth)


def test_millimetres_are_rounded_and_never_wrap_around():
    depth = [0.0004, 0.0006, 1.2344, 1.2346, 65.5349, 65.6, 80.0, np.inf, -np.inf, np.nan, -1.0]
    expected = [0, 1, 1234, 1235, 65535, 0, 0, 0, 0, 0, 0]
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(millimetres(np.array([depth], dtype))[0], expected)


def test_seventy_metres_are_unknown_to_the_node_and_to_a_bag_alike():
    depth = np.full((2, 3), 70.0, np.float32)
    depth[0, 0] = 1.5
    recorded = decode_compressed_depth(SimpleNamespace(**compressed_depth_fields(depth)))
    published = millimetres(depth)
    np.testing.assert_array_equal(np.isnan(recorded), published == 0)
    assert (recorded[0, 0], published[0, 0]) == (1.5, 1500)


def test_depth_at_the_ends_of_the_model_is_out_of_range():
    """A model of 10 m says 10 m of all that lies beyond: that is no measurement."""
    depth = np.array([[0.1, 0.1005, 0.11, 5.0, 9.85, 9.95, 10.0, np.nan]], np.float32)
    marked = mark_range(depth, *range_to_show(0.0, 0.0, 0.1, 10.0))
    low, high = -np.inf, np.inf
    expected = np.float32([[low, low, 0.11, 5.0, 9.85, high, high, np.nan]])
    np.testing.assert_array_equal(marked, expected)


def test_a_tighter_limit_of_the_user_is_kept_and_a_wider_one_has_no_effect():
    assert range_to_show(0.5, 4.0, 0.1, 10.0) == (0.5, 4.0)
    nearest, farthest = range_to_show(0.05, 50.0, 0.1, 10.0)
    assert (nearest, farthest) == (pytest.approx(0.101), pytest.approx(9.9))

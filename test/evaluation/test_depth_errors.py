# SPDX-License-Identifier: Apache-2.0
"""The figures of a table are those that the papers define."""

from __future__ import annotations

from dataclasses import astuple, fields
import math

from adabins_ros.evaluation.depth_errors import average, depth_errors, DepthErrors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

RANGE = (1e-3, 10.0)


def test_the_figures_of_three_pixels_computed_by_hand():
    truth = np.array([[1.0, 2.0, 4.0]])
    prediction = np.array([[1.1, 2.0, 2.5]])
    errors = depth_errors(prediction, truth, *RANGE)
    log_errors = (math.log(1.1), 0.0, math.log(2.5 / 4))
    mean_log = sum(log_errors) / 3
    assert errors.d1 == pytest.approx(2 / 3)
    assert errors.d2 == pytest.approx(2 / 3)
    assert errors.d3 == pytest.approx(1)
    assert errors.abs_rel == pytest.approx((0.1 + 0 + 1.5 / 4) / 3)
    assert errors.sq_rel == pytest.approx((0.01 + 0 + 2.25 / 4) / 3)
    assert errors.rms == pytest.approx(math.sqrt((0.01 + 0 + 2.25) / 3))
    assert errors.rms_log == pytest.approx(math.sqrt(sum(e * e for e in log_errors) / 3))
    assert errors.log10 == pytest.approx((math.log10(1.1) + math.log10(1.6)) / 3)
    assert errors.silog == pytest.approx(
        100 * math.sqrt(sum(e * e for e in log_errors) / 3 - mean_log**2)
    )
    assert (errors.pixels, errors.images) == (3, 1)


def test_a_perfect_prediction_has_no_error():
    truth = np.random.default_rng(0).uniform(0.5, 9, (12, 16)).astype(np.float32)
    errors = depth_errors(truth, truth, *RANGE)
    assert astuple(errors) == (1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 192, 1)


def test_a_prediction_at_a_wrong_scale_is_right_once_its_median_is():
    truth = np.random.default_rng(0).uniform(0.5, 4, (12, 16))
    errors = depth_errors(2 * truth, truth, *RANGE)
    assert errors.d1 == 0
    assert errors.d1_scaled == 1
    assert errors.silog == pytest.approx(0, abs=1e-6)


depths = arrays(np.float32, (5, 7), elements=st.floats(0.0078125, 20, width=32))


@given(depths, depths)
@settings(max_examples=100)
def test_the_figures_are_those_of_the_authors_evaluation(prediction, truth):
    errors = depth_errors(prediction, truth, *RANGE)
    valid = np.logical_and(truth > RANGE[0], truth < RANGE[1])
    if not valid.any():
        assert errors.images == 0
        return
    # The authors' code, in float64.
    pred = np.array(prediction, np.float64)
    pred[pred < RANGE[0]] = RANGE[0]
    pred[pred > RANGE[1]] = RANGE[1]
    gt, pred = np.array(truth, np.float64)[valid], pred[valid]
    thresh = np.maximum(gt / pred, pred / gt)
    err = np.log(pred) - np.log(gt)
    expected = {
        'd1': (thresh < 1.25).mean(),
        'd2': (thresh < 1.25**2).mean(),
        'd3': (thresh < 1.25**3).mean(),
        'abs_rel': np.mean(np.abs(gt - pred) / gt),
        'sq_rel': np.mean(((gt - pred) ** 2) / gt),
        'rms': np.sqrt(((gt - pred) ** 2).mean()),
        'rms_log': np.sqrt(((np.log(gt) - np.log(pred)) ** 2).mean()),
        'log10': (np.abs(np.log10(gt) - np.log10(pred))).mean(),
        'silog': np.sqrt(max(np.mean(err**2) - np.mean(err) ** 2, 0)) * 100,
    }
    for name, value in expected.items():
        # Their difference of two means of squares loses half of the digits, ours does not.
        tolerance = 1e-4 if name == 'silog' else 1e-9
        assert getattr(errors, name) == pytest.approx(value, rel=1e-9, abs=tolerance), name


def test_only_known_truth_inside_the_range_counts():
    truth = np.array([[2, 2, np.nan, 0, -1, np.inf, 10, 11, 1e-3]], np.float32)
    prediction = np.array([[2, 3, 9, 9, 9, 9, 9, 9, 9]], np.float32)
    errors = depth_errors(prediction, truth, *RANGE)
    assert errors.pixels == 2
    assert errors.abs_rel == pytest.approx(0.25)


@pytest.mark.parametrize(
    ('predicted', 'counts_as'),
    [(np.inf, 10), (25, 10), (-np.inf, 1e-3), (0, 1e-3), (-3, 1e-3), (np.nan, 1e-3)],
)
def test_a_prediction_out_of_range_or_unknown_counts_as_an_end_of_the_range(predicted, counts_as):
    truth = np.array([[2.0, 4.0]])
    errors = depth_errors(np.array([[predicted, 4.0]]), truth, *RANGE)
    assert errors.rms == pytest.approx(abs(counts_as - 2) / math.sqrt(2))
    assert errors.d3 == 0.5


def test_an_image_without_known_truth_gives_no_figures():
    errors = depth_errors(np.ones((2, 2)), np.full((2, 2), np.nan), *RANGE)
    assert (errors.pixels, errors.images) == (0, 0)
    assert math.isnan(errors.d1)


def test_images_count_alike_however_many_pixels_they_know():
    sparse = depth_errors(np.array([[3.0]]), np.array([[2.0]]), *RANGE)
    dense = depth_errors(np.full((10, 10), 2.0), np.full((10, 10), 2.0), *RANGE)
    unknown = depth_errors(np.ones((4, 4)), np.zeros((4, 4)), *RANGE)
    together = average([sparse, unknown, dense])
    assert together.abs_rel == pytest.approx(0.25)
    assert together.d1 == 0.5
    assert (together.pixels, together.images) == (101, 2)
    for field in fields(DepthErrors):
        assert math.isfinite(getattr(together, field.name))


@pytest.mark.parametrize('errors', [[], [DepthErrors()]])
def test_the_average_of_nothing_is_nothing(errors):
    together = average(errors)
    assert (together.pixels, together.images) == (0, 0)
    assert math.isnan(together.abs_rel)


def test_a_prediction_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r'\(2, 2\).*\(4, 4\)'):
        depth_errors(np.ones((2, 2)), np.ones((4, 4)), *RANGE)


@pytest.mark.parametrize('limits', [(0, 10), (10, 1), (2, 2), (float('nan'), 10)])
def test_an_impossible_range_is_named(limits):
    with pytest.raises(ValueError, match='depth range'):
        depth_errors(np.ones((2, 2)), np.ones((2, 2)), *limits)

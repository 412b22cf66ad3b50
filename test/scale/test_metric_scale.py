# SPDX-License-Identifier: Apache-2.0
"""What a robot that measures some distances can rely on."""

import math
import subprocess
import sys

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.scale import EvidenceError, MetricScale, ScaleOptions
from adabins_ros.scale.sensor_points import (
    at_pixels,
    depth_image_points,
    optical_from_sensor,
    scan_points,
)
import numpy as np
import pytest

WRONG = {
    'reflections that come near': lambda true, rng: true * rng.uniform(0.2, 0.6, true.size),
    'glass, seen through': lambda true, rng: true * rng.uniform(1.6, 4, true.size),
    'anything': lambda true, rng: rng.uniform(0.2, 8, true.size),
    'the robot itself': lambda true, rng: np.full(true.size, 0.25),
    'half of it all': lambda true, rng: true / 2,
}


def row(rng, factor=1.6, points=160, exponent=1.0, network_error=0.1, nearest=1.0, farthest=4.0):
    """Return what a network says of a wall that recedes, and the true depth there."""
    predicted = np.geomspace(nearest, farthest, points)
    middle = math.sqrt(nearest * farthest)
    true = factor * middle * (predicted / middle) ** exponent
    return predicted * np.exp(rng.normal(0, network_error, points)), true


def fitted(predicted, measured, **details):
    scale = MetricScale()
    scale.update(predicted, measured, stamp_s=5.0, **details)
    return scale.at(5.0)


def test_a_depth_chip_beside_the_camera_is_seen_from_where_it_sits():
    """It looks at a wall 3 m before it, half a metre ahead of the camera and to its left."""
    camera = PinholeCamera(96, 72, 82.0, 82.0, 47.5, 35.5)
    points = depth_image_points(np.full((8, 8), 3.0, np.float32), camera)
    depth = np.full((72, 96), 2.0, np.float32)
    pose = optical_from_sensor((0.5, 0.2, 0.0, 0.0, 0.0, 0.0))
    predicted, measured, _ = at_pixels(points, pose, camera, depth, depth / 10, 'depth')
    np.testing.assert_allclose(measured, 3.5)
    assert fitted(predicted, measured).factor == pytest.approx(1.75, rel=0.02)


def test_a_scan_line_gives_the_scale():
    predicted, true = row(np.random.default_rng(0))
    fit = fitted(predicted, true)
    assert fit.anchored and fit.reason == '' and fit.sources == ('scan',)
    assert fit.factor == pytest.approx(1.6, rel=0.03)
    assert fit.support > 150 and fit.age_s == 0
    assert np.median(fit.depth(predicted) / true) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize('kind', WRONG)
@pytest.mark.parametrize('seed', range(4))
def test_a_third_of_the_beams_is_wrong(kind, seed):
    rng = np.random.default_rng(seed)
    predicted, true = row(rng)
    wrong = rng.permutation(true.size)[: true.size // 3]
    measured = true.copy()
    measured[wrong] = WRONG[kind](true[wrong], rng)
    fit = fitted(predicted, measured)
    assert fit.anchored
    off = np.abs(np.log(fit.depth(predicted) / true))
    assert np.median(off) < 0.12
    assert (off < math.log(1.25)).mean() > 0.9


def test_another_place_counts_at_once():
    """Frames of two rooms, half a second apart: no lag behind many consistent points."""
    rng, scale = np.random.default_rng(0), MetricScale()
    for number in range(20):
        scale.update(*row(rng, 1.2), stamp_s=0.1 * number)
    scale.update(*row(rng, 2.6), stamp_s=2.4)
    assert scale.at(2.4).factor == pytest.approx(2.6, rel=0.05)


def test_unrelated_places_are_each_scaled_by_their_own_row():
    rng, scale = np.random.default_rng(0), MetricScale()
    for number in range(40):
        factor = math.exp(rng.normal(0.2, 0.4))
        predicted, true = row(rng, factor)
        scale.update(predicted, true, stamp_s=3.0 * number)
        assert scale.at(3.0 * number).factor == pytest.approx(factor, rel=0.08)


def test_frames_that_agree_are_smoothed():
    rng, scale = np.random.default_rng(0), MetricScale()
    own, filtered = [], []
    for number in range(60):
        predicted, true = row(rng, 1.5 * math.exp(rng.normal(0, 0.08)))
        own.append(np.median(np.log(true / predicted)))
        scale.update(predicted, true, stamp_s=number / 15)
        filtered.append(math.log(scale.at(number / 15).factor))
    assert np.std(np.diff(filtered[5:])) < 0.85 * np.std(np.diff(own[5:]))
    assert np.mean(filtered[5:]) == pytest.approx(math.log(1.5), abs=0.04)


def test_one_range_counts_with_a_wide_sigma():
    fit = fitted([2.0], [3.0], source='range')
    assert fit.anchored and fit.support == 1 and fit.exponent == pytest.approx(1)
    assert 1.4 < fit.factor <= 1.5
    many = fitted(*row(np.random.default_rng(0)))
    assert fit.sigma > max(0.18, 1.5 * many.sigma)


def test_a_range_finder_does_not_overrule_a_scan():
    rng, scale = np.random.default_rng(0), MetricScale()
    for number in range(10):
        scale.update(*row(rng), stamp_s=0.1 * number)
        scale.update([2.0], [0.3], stamp_s=0.1 * number, source='range')
        fit = scale.at(0.1 * number)
        assert fit.anchored and fit.factor == pytest.approx(1.6, rel=0.08)
    assert 'scan' in fit.sources


def test_a_single_stray_range_is_an_outlier_but_a_new_place_is_not():
    scale = MetricScale()
    for number in range(30):
        scale.update([2.0], [2.4], stamp_s=0.1 * number, source='range')
    before = scale.at(2.9).factor
    assert not scale.update([2.0], [11.0], stamp_s=3.0, source='range')
    assert scale.at(3.0).factor == before and 'outlier' in scale.at(3.0).reason
    for number in range(6):
        scale.update([2.0], [11.0], stamp_s=3.1 + 0.1 * number, source='range')
    assert scale.at(3.6).factor > 4 and scale.at(3.6).reason == ''


@pytest.mark.parametrize('points', [0, 2, 4])
def test_a_line_of_few_points_is_refused(points):
    fit = fitted(np.full(points, 2.0), np.full(points, 3.0))
    assert not fit.anchored and 'too few points' in fit.reason
    depth = np.full((3, 4), 2.5, np.float32)
    np.testing.assert_array_equal(fit.depth(depth), depth)
    np.testing.assert_array_equal(fit.std(depth, depth / 10), depth / 10)


def test_a_scan_that_looks_elsewhere_is_refused():
    measured = np.full(300, np.nan)
    measured[:3] = 2.0
    fit = fitted(np.full(300, 2.0), measured)
    assert not fit.anchored
    assert fit.reason.startswith('too little overlap: only 3 of 300 points of scan')


def test_measurements_without_any_agreement_are_refused():
    rng = np.random.default_rng(0)
    fit = fitted(rng.uniform(0.5, 6, 300), np.exp(rng.uniform(-2, 3, 300)))
    assert not fit.anchored and fit.reason.startswith('spread too wide')


def test_what_is_no_depth_is_left_out():
    predicted, true = row(np.random.default_rng(0))
    true[:40:4], true[1:40:4], predicted[2:40:4], true[3:40:4] = np.nan, np.inf, 0, -1
    fit = fitted(predicted, true, predicted_std=np.full(160, np.nan), measured_std=0.03)
    assert fit.factor == pytest.approx(1.6, rel=0.03) and fit.support <= 120


def test_nothing_was_measured_yet():
    fit = MetricScale().at(3.0)
    assert not fit.anchored and fit.factor == 1 and fit.exponent == 1 and fit.support == 0
    assert fit.age_s == math.inf and fit.reason == 'nothing was measured yet'
    assert math.isfinite(fit.sigma) and fit.sigma > 0.4


def test_the_last_good_scale_ages_and_ends():
    rng, scale = np.random.default_rng(0), MetricScale()
    predicted, true = row(rng)
    scale.update(predicted, true, stamp_s=100.0)
    fits = [scale.at(100 + age) for age in (0, 0.1, 1, 5, 9.9)]
    assert all(fit.anchored for fit in fits)
    assert all(fit.factor == fits[0].factor for fit in fits)
    assert np.all(np.diff([fit.sigma for fit in fits]) > 0)
    late = scale.at(110.5)
    assert not late.anchored and late.factor == 1 and late.sigma > fits[-1].sigma
    assert late.reason == 'the last good measurement is 10.5 s old (scale_timeout 10 s)'
    scale.update([], [], stamp_s=111.0)
    assert 'since then: too few points' in scale.at(111.0).reason
    assert scale.update(predicted, true, stamp_s=112.0) and scale.at(112.0).anchored


def test_a_refusal_leaves_the_last_good_scale_in_force():
    rng, scale = np.random.default_rng(0), MetricScale()
    scale.update(*row(rng), stamp_s=1.0)
    before = scale.at(1.0)
    scale.update([2.0, 2.0], [9.0, 9.0], stamp_s=1.5)
    after = scale.at(1.5)
    assert after.anchored and after.factor == before.factor and after.age_s == 0.5
    assert 'too few points' in after.reason and after.sigma > before.sigma


def test_the_timeout_is_an_option():
    scale = MetricScale(ScaleOptions(scale_timeout_s=1.0))
    scale.update(*row(np.random.default_rng(0)), stamp_s=0.0)
    assert scale.at(0.9).anchored and not scale.at(1.1).anchored


def test_sources_that_contradict_each_other_give_no_scale():
    rng, scale = np.random.default_rng(0), MetricScale()
    for number in range(5):
        stamp = 0.1 * number
        scale.update(*row(rng, 1.2), stamp_s=stamp, source='scan')
        scale.update(*row(rng, 2.4), stamp_s=stamp, source='cloud')
        fit = scale.at(stamp)
        assert not fit.anchored and fit.factor == 1
        assert 'contradict' in fit.reason and 'scan' in fit.reason and 'cloud' in fit.reason
    for number in range(5):
        scale.update(*row(rng, 1.2), stamp_s=1 + 0.1 * number, source='scan')
    assert scale.at(1.4).anchored and scale.at(1.4).factor == pytest.approx(1.2, rel=0.05)


def test_sources_that_agree_count_together():
    rng, scale = np.random.default_rng(0), MetricScale()
    alone = fitted(*row(np.random.default_rng(0)))
    scale.update(*row(rng), stamp_s=0.0, source='scan')
    scale.update(*row(rng, 1.7, nearest=0.5, farthest=2), stamp_s=0.0, source='cloud')
    fit = scale.at(0.0)
    assert fit.anchored and fit.sources == ('scan', 'cloud')
    assert 1.55 < fit.factor < 1.75 and fit.sigma <= alone.sigma + 1e-6


def test_the_second_parameter_follows_where_the_evidence_spans_depth():
    rng = np.random.default_rng(0)
    predicted, true = row(rng, exponent=0.75, nearest=0.5, farthest=8, points=300)
    fit = fitted(predicted, true)
    assert 0.7 < fit.exponent < 0.9
    single = MetricScale(ScaleOptions(second_parameter=False))
    single.update(predicted, true, stamp_s=5.0)
    assert single.at(5.0).exponent == pytest.approx(1, abs=1e-3)
    errors = [
        np.abs(np.log(each.depth(predicted) / true)).mean() for each in (fit, single.at(5.0))
    ]
    assert errors[0] < 0.7 * errors[1]
    flat = fitted(*row(rng, nearest=1.99, farthest=2.01, network_error=0.03))
    assert flat.exponent == pytest.approx(1, abs=0.05) and flat.sigma_exponent > 0.15


def test_depth_and_std_follow_the_formula():
    rng = np.random.default_rng(0)
    fit = fitted(*row(rng, exponent=0.8, nearest=0.5, farthest=8))
    depth = rng.uniform(0.3, 8, (150, 200)).astype(np.float32)
    depth[:2] = np.nan
    std = 0.1 * depth
    scaled = fit.factor * fit.pivot * (depth / fit.pivot) ** fit.exponent
    sigma = np.hypot(fit.sigma, fit.sigma_exponent * np.log(depth / fit.pivot))
    expected = np.hypot(std * fit.exponent * scaled / depth, scaled * sigma)
    for found, doubt in ((fit.depth(depth), fit.std(depth, std)), fit.scaled(depth, std)):
        assert found.dtype == doubt.dtype == np.float32
        assert np.isnan(found[:2]).all() and np.isnan(doubt[:2]).all()
        np.testing.assert_allclose(found, scaled, rtol=1e-5)
        np.testing.assert_allclose(doubt, expected, rtol=1e-4)


@pytest.mark.parametrize('error', [0.05, 0.15, 0.3])
def test_the_std_covers_what_the_residuals_say(error):
    """A network that is far too sure of itself is not believed."""
    rng = np.random.default_rng(0)
    predicted, true = row(rng, network_error=error, points=400)
    fit = fitted(predicted, true, predicted_std=0.01 * predicted)
    covered = np.abs(fit.depth(predicted) - true) < fit.std(predicted, 0.01 * predicted)
    assert covered.mean() > 0.6


def test_a_recording_that_starts_anew_is_another_place():
    rng, scale = np.random.default_rng(0), MetricScale()
    for stamp in np.arange(100, 130, 0.1):
        scale.update(*row(rng, 1.3), stamp_s=stamp)
    scale.update(*row(rng, 2.0), stamp_s=100.0)
    fit = scale.at(100.0)
    assert fit.anchored and fit.age_s == 0 and fit.factor == pytest.approx(2.0, rel=0.07)


def test_a_cut_can_be_told():
    for told, near in ((True, 1.9), (False, 1.6)):
        scale = MetricScale()
        for number in range(30):
            scale.update([2.0], [2.8], stamp_s=0.05 * number, source='range')
        scale.update([2.0], [4.4], stamp_s=1.5, source='range', scene_changed=told)
        assert (scale.at(1.5).factor > 1.75) is (near > 1.75)


def test_a_cloud_is_thinned_and_says_the_same():
    rng = np.random.default_rng(0)
    fit = fitted(*row(rng, points=30_000), source='cloud')
    assert fit.factor == pytest.approx(1.6, rel=0.03)


def test_mistakes_of_a_caller_are_named():
    scale = MetricScale()
    with pytest.raises(ValueError, match='3 predicted for 2 measured'):
        scale.update([1, 2, 3], [1, 2], stamp_s=0.0)
    with pytest.raises(ValueError, match='is no time'):
        scale.update([1], [2], stamp_s=math.nan)
    with pytest.raises(ValueError, match='2 standard deviations for 6 depths'):
        scale.update([1] * 6, [2] * 6, predicted_std=[0.1, 0.1], stamp_s=0.0)


def test_numpy_alone_is_imported():
    code = (
        'import sys; import adabins_ros.scale; '
        "print([m for m in ('torch', 'rclpy', 'cv2', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == '[]'


@pytest.mark.filterwarnings('error')
def test_what_a_sensor_says_of_nothing_costs_no_word_and_no_scale():
    camera = PinholeCamera(96, 72, 82.0, 82.0, 47.5, 35.5)
    depth, pose = np.full((72, 96), 2.0, np.float32), optical_from_sensor((0.0,) * 6)
    wall = depth_image_points(np.full((8, 8), 3.0, np.float32), camera)
    nothing = [[math.nan, 0, 0], [math.inf, 0, 0], [-math.inf, math.inf, 0], [3e38, 3e38, 3e38]]
    points = np.concatenate([nothing, wall, [[3e38, 0, 0]]]).astype(np.float32)
    _, measured, _ = at_pixels(points, pose, camera, depth, depth / 10, 'cloud')
    assert np.median(measured) == pytest.approx(3)
    assert scan_points([1.0, math.nan, math.inf], 0.0, 0.1, 0.1, 9.0).shape == (1, 3)
    for wrong in ((math.nan, 0.1), (0.0, math.inf)):
        with pytest.raises(EvidenceError, match='fills in the message wrongly'):
            scan_points([1.0], *wrong, 0.1, 9.0)


def test_a_scan_that_hits_one_thing_is_no_range_finder():
    camera = PinholeCamera(96, 72, 82.0, 82.0, 47.5, 35.5)
    depth, pose = np.full((72, 96), 2.0, np.float32), optical_from_sensor((0.0,) * 6)
    hit = np.array([[3.0, 0.0, 0.0]])
    predicted, measured, _ = at_pixels(hit, pose, camera, depth, depth / 10, 'range')
    assert (predicted, measured) == (2.0, 3.0)
    for name in ('scan', 'cloud'):
        with pytest.raises(EvidenceError, match=f'the camera sees 1 of 1 points of {name}'):
            at_pixels(hit, pose, camera, depth, depth / 10, name)


def test_without_a_scale_the_std_can_grow_with_its_age():
    rng, scale = np.random.default_rng(0), MetricScale()
    depth = rng.uniform(1, 4, (6, 8)).astype(np.float32)
    scale.update(*row(rng), stamp_s=0.0)
    widths = []
    for stamp in (0.0, 11.0, 30.0):
        same, wide = scale.at(stamp).scaled(depth, 0.05 * depth, widen=True)
        widths.append(np.median(wide / same))
    assert widths[0] < widths[1] < widths[2] and widths[1] > 0.4
    np.testing.assert_allclose(same, depth, rtol=1e-5)

# SPDX-License-Identifier: Apache-2.0
"""Calibration, sparsification and errors by range on data whose answers are known."""

from __future__ import annotations

import math

from adabins_ros.evaluation.depth_errors import DepthRanges
from adabins_ros.evaluation.uncertainty import Calibration, Sparsification
import numpy as np
import pytest


def _normal_errors(factor: float = 1.0, pixels: int = 200_000):
    """Return predictions whose errors are `factor` times what their std says, truth and std."""
    generator = np.random.default_rng(0)
    std = generator.uniform(0.05, 0.5, pixels)
    truth = generator.uniform(2, 6, pixels)
    return truth + factor * std * generator.standard_normal(pixels), truth, std


def test_errors_that_are_normal_lie_within_one_std_in_68_percent():
    calibration = Calibration()
    of_image = calibration.add(*_normal_errors())
    found = calibration.errors()
    assert found.within_one_std == pytest.approx(0.6827, abs=0.003)
    assert found.within_two_std == pytest.approx(0.9545, abs=0.002)
    assert of_image == (found.within_one_std, found.within_two_std)
    assert found.temperature == pytest.approx(1, abs=0.01)
    for expected, share in found.reliability:
        assert share == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize('factor', [0.2, 2.5])
def test_the_temperature_is_the_factor_that_the_std_lacks(factor):
    prediction, truth, std = _normal_errors(factor)
    calibration = Calibration()
    calibration.add(prediction, truth, std)
    temperature = calibration.errors().temperature
    assert temperature == pytest.approx(factor, rel=0.01)
    corrected = Calibration()
    corrected.add(prediction, truth, temperature * std)
    assert corrected.errors().within_one_std == pytest.approx(0.6827, abs=1e-3)


def test_images_count_alike_beside_the_share_of_all_pixels():
    calibration = Calibration()
    # 1 of 2 pixels within one std and 2 of 2 within two; then 10 of 10.
    assert calibration.add(np.array([2.0, 2.0]), np.array([2.5, 3.5]), np.ones(2)) == (0.5, 1.0)
    calibration.add(np.full(10, 2.0), np.full(10, 2.0), np.ones(10))
    found = calibration.errors()
    assert found.within_one_std == pytest.approx(11 / 12)
    assert found.within_one_std_of_images == pytest.approx(0.75)
    assert (found.within_two_std, found.pixels) == (1.0, 12)


def test_a_std_of_zero_is_right_only_without_an_error():
    calibration = Calibration()
    prediction, truth = np.array([2.0, 2.0]), np.array([2.0, 2.1])
    assert calibration.add(prediction, truth, np.zeros(2)) == (0.5, 0.5)


def test_without_pixels_there_is_nothing_to_say():
    assert Calibration().errors() is None
    assert Sparsification().errors() is None
    assert DepthRanges().errors() == []


def test_a_std_that_is_the_error_orders_as_the_oracle_does():
    generator = np.random.default_rng(1)
    truth = np.full(5000, 4.0)
    prediction = truth + generator.standard_normal(5000)
    found = Sparsification().add(prediction, truth, np.abs(prediction - truth))
    assert found.ause_rms == pytest.approx(0, abs=1e-12)
    assert found.ause_abs_rel == pytest.approx(0, abs=1e-12)
    assert found.gain_rms > 0.3


def test_a_random_std_gains_nothing_and_a_reversed_one_loses():
    generator = np.random.default_rng(2)
    truth = np.full(20_000, 4.0)
    prediction = truth + generator.standard_normal(20_000)
    by_chance = Sparsification().add(prediction, truth, generator.uniform(size=20_000))
    assert by_chance.ause_rms > 0.3
    assert by_chance.gain_rms == pytest.approx(0, abs=0.02)
    assert by_chance.abs_rel == pytest.approx(np.ones(20), abs=0.1)
    reversed_std = 10 - np.abs(prediction - truth)
    assert Sparsification().add(prediction, truth, reversed_std).gain_rms < -0.2


def test_the_curves_of_twenty_pixels_computed_by_hand():
    truth = np.ones(20)
    # Errors 0.01 to 0.2, known in order: 0, 1, ... 19 pixels are left out.
    errors = np.arange(1, 21) / 100
    sparsification = Sparsification()
    sparsification.add(truth + errors, truth, errors)
    sparsification.add(truth + errors[::-1], truth, np.ones(20) * errors[::-1])
    found = sparsification.errors()
    kept = 20 - np.arange(20)
    assert found.abs_rel == pytest.approx((kept + 1) / 21)
    mean_square = (kept + 1) * (2 * kept + 1) / 6
    assert found.rms == pytest.approx(np.sqrt(mean_square / mean_square[0]))


def test_a_perfect_prediction_leaves_nothing_to_order():
    found = Sparsification().add(np.ones(9), np.ones(9), np.arange(9.0))
    assert (found.ause_abs_rel, found.ause_rms, found.gain_rms) == (0, 0, 0)


def test_errors_by_range_computed_by_hand():
    ranges = DepthRanges()
    ranges.add(np.array([0.6, 2.0]), np.array([0.5, 1.0]))
    ranges.add(np.array([1.0, 90.0, 60.0]), np.array([1.5, 100.0, 60.0]))
    near, second, far, beyond = ranges.errors()
    assert [one.label for one in (near, second, far, beyond)] == [
        '0-1 m',
        '1-2 m',
        '40-80 m',
        '> 80 m',
    ]
    assert (second.low, second.high, second.pixels, second.share) == (1, 2, 2, 0.4)
    assert second.abs_rel == pytest.approx((1 + 1 / 3) / 2)
    assert second.rms == pytest.approx(math.sqrt((1 + 0.25) / 2))
    assert second.bias == pytest.approx(0.25)
    assert second.d1 == 0
    assert near.abs_rel == pytest.approx(0.2)
    assert near.d1 == 1
    assert (far.abs_rel, far.rms) == (0, 0)
    assert beyond.bias == pytest.approx(-10)

# SPDX-License-Identifier: Apache-2.0
"""Pairing by time: nearest, each once, within the tolerance."""

from __future__ import annotations

from adabins_ros.recordings import pair_by_time
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

TIMES = st.lists(st.integers(0, 60) | st.integers(0, 10**18), max_size=25)


@settings(deadline=None, max_examples=300)
@given(TIMES, TIMES, st.integers(0, 40))
def test_each_time_is_used_once_within_the_tolerance_and_none_is_left(
    first: list[int], second: list[int], tolerance: int
) -> None:
    pairs = pair_by_time(first, second, tolerance)
    used, others = [i for i, _ in pairs], [j for _, j in pairs]
    assert len(set(used)) == len(used)
    assert len(set(others)) == len(others)
    assert all(abs(first[i] - second[j]) <= tolerance for i, j in pairs)
    left = set(range(len(first))) - set(used)
    right = set(range(len(second))) - set(others)
    assert not any(abs(first[i] - second[j]) <= tolerance for i in left for j in right)
    assert [first[i] for i in used] == sorted(first[i] for i in used)


@settings(deadline=None, max_examples=300)
@given(TIMES, TIMES, st.integers(0, 40))
def test_closer_pairs_are_made_first(first: list[int], second: list[int], tolerance: int) -> None:
    pairs = pair_by_time(first, second, tolerance)
    gap_of_first = {i: abs(first[i] - second[j]) for i, j in pairs}
    gap_of_second = {j: abs(first[i] - second[j]) for i, j in pairs}
    for i, time in enumerate(first):
        for j, other in enumerate(second):
            gap = abs(time - other)
            # Nobody could be paired closer with someone who would be closer, too.
            better = gap < gap_of_first.get(i, tolerance + 1)
            assert not (better and gap < gap_of_second.get(j, tolerance + 1))


@settings(deadline=None, max_examples=300)
@given(TIMES, TIMES, st.integers(0, 40))
def test_exchanging_the_streams_gives_the_same_pairs(
    first: list[int], second: list[int], tolerance: int
) -> None:
    there = pair_by_time(first, second, tolerance)
    back = pair_by_time(second, first, tolerance)
    assert sorted(there) == sorted((i, j) for j, i in back)


@pytest.mark.parametrize(
    ('first', 'second', 'tolerance', 'pairs'),
    [
        ([], [1], 5, []),
        ([10], [], 5, []),
        ([10], [15], 5, [(0, 0)]),
        ([10], [16], 5, []),
        ([10, 20], [14], 10, [(0, 0)]),
        ([10], [8, 12], 5, [(0, 0)]),
        ([20, 10], [11, 19], 5, [(1, 0), (0, 1)]),
        ([0, 33, 66], [16, 49, 82], 20, [(0, 0), (1, 1), (2, 2)]),
        ([0, 10], [9, 14], 20, [(0, 1), (1, 0)]),
    ],
)
def test_pairs_by_hand(
    first: list[int], second: list[int], tolerance: int, pairs: list[tuple[int, int]]
) -> None:
    assert pair_by_time(first, second, tolerance) == pairs


def test_an_hour_of_two_cameras_pairs_at_once() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(108_000) * 33_333_333 + 1_700_000_000 * 10**9
    colour = times + rng.integers(-2_000_000, 2_000_000, times.size)
    depth = times[::2] + rng.integers(-2_000_000, 2_000_000, times[::2].size)
    pairs = pair_by_time(colour, depth, 10_000_000)
    assert pairs == [(2 * index, index) for index in range(depth.size)]

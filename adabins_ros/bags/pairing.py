# SPDX-License-Identifier: Apache-2.0
"""Pairing two streams by time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]


def pair_by_time(
    reference_ns: Sequence[int] | Times, other_ns: Sequence[int] | Times, tolerance_ns: int
) -> list[tuple[int, int]]:
    """
    Pair the nearest times of two streams.

    Two times that are each other's nearest make a pair; this is repeated with those that are left
    until none lie within the tolerance. So every time is used at most once, closer pairs are made
    first, and exchanging the streams gives the same pairs. Of two equally near times the earlier
    one is taken.

    Parameters
    ----------
    reference_ns, other_ns : sequence of int
        Times in ns, in any order.
    tolerance_ns : int
        The largest difference within a pair, ns.

    Returns
    -------
    list of (int, int)
        Indices into the two sequences, in the time order of the first.

    """
    first, second = np.asarray(reference_ns, np.int64), np.asarray(other_ns, np.int64)
    left, right = np.argsort(first, kind='stable'), np.argsort(second, kind='stable')
    pairs: list[tuple[int, int]] = []
    while left.size and right.size:
        times, others = first[left], second[right]
        nearest = _nearest(times, others)
        mutual = _nearest(others, times)[nearest] == np.arange(times.size)
        near = mutual & (np.abs(others[nearest] - times) <= tolerance_ns)
        if not near.any():
            break
        pairs.extend(zip(left[near].tolist(), right[nearest[near]].tolist(), strict=True))
        right = np.delete(right, nearest[near])
        left = left[~near]
    return sorted(pairs, key=lambda pair: (first[pair[0]], pair[0]))


def _nearest(times: Times, others: Times) -> NDArray[np.intp]:
    """Return for each time the index of the nearest of the others; both are sorted."""
    after = np.searchsorted(others, times)
    # Of equal times the first one, so that a tie is broken the same way from both sides.
    before = np.searchsorted(others, others[np.maximum(after - 1, 0)])
    after = np.minimum(after, others.size - 1)
    return np.where(times - others[before] <= np.abs(others[after] - times), before, after)

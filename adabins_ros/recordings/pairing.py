# SPDX-License-Identifier: Apache-2.0
"""Pairing two streams by time, and what their clocks look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adabins_ros.frames.errors import RecordingError
import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]

# Pairs from which a drift can be told, and the drift that is worth telling.
_FEWEST_FOR_DRIFT = 20
_NOTABLE_DRIFT_MS = 1.0


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


@dataclass(frozen=True)
class StreamPairs:
    """
    The pairs of a colour stream and one with the truth.

    Attributes
    ----------
    first, second : (N,) int64
        Numbers of the messages in the two streams, in time order.
    stamps_ns : (N,) int64
        Of the first stream.
    offset_ms : (float, float)
        Median and largest difference, second minus first.
    remarks : list of str
        Duplicate stamps, drift, and how many found no partner.

    """

    first: Times
    second: Times
    stamps_ns: Times
    offset_ms: tuple[float, float]
    remarks: list[str]


def pair_streams(
    first: tuple[str, Times],
    second: tuple[str, Times],
    tolerance_ms: float,
    offset_ms: float = 0,
    recorded: tuple[Times, Times] | None = None,
) -> StreamPairs:
    """
    Pair two streams by their header stamps.

    Parameters
    ----------
    first, second : (str, (N,) int64)
        Topics and stamps, ns.
    tolerance_ms : float
        The largest difference within a pair.
    offset_ms : float
        Added to the second stream's stamps.
    recorded : (times, times), optional
        When the messages of both were recorded, ns: where no pair is found, they tell which
        offset would help.

    Raises
    ------
    RecordingError
        No pair; the text says how far apart the streams are.

    """
    times, others = first[1], second[1] + round(offset_ms * 1e6)
    pairs = pair_by_time(times, others, round(tolerance_ms * 1e6))
    if not pairs:
        text = _apart(first, second, times, others, tolerance_ms)
        raise RecordingError(text + _advice(first[1], second[1], recorded, tolerance_ms))
    chosen = np.asarray(pairs, np.int64).reshape(-1, 2)
    left, right = chosen[:, 0], chosen[:, 1]
    offsets = (others[right] - times[left]) / 1e6
    remarks = _duplicates(*first) + _duplicates(*second)
    for (topic, all_times), used in ((first, left), (second, right)):
        unpaired = all_times.size - used.size
        if unpaired > 0.1 * all_times.size:
            remarks.append(f'{unpaired} of {all_times.size} messages on {topic} have no partner')
    remarks += _drift(times[left], offsets)
    largest = float(offsets[np.argmax(np.abs(offsets))])
    return StreamPairs(left, right, times[left], (float(np.median(offsets)), largest), remarks)


def _duplicates(topic: str, times: Times) -> list[str]:
    count = times.size - np.unique(times).size
    return [f'{count} duplicate stamps on {topic}'] if count else []


def _drift(times: Times, offsets: NDArray[np.float64]) -> list[str]:
    """Tell where the difference of the clocks grows by more than its scatter."""
    minutes = (times - times[0]) / 60e9
    if times.size < _FEWEST_FOR_DRIFT or minutes[-1] <= 0:
        return []
    slope, start = np.polyfit(minutes, offsets, 1)
    change = slope * minutes[-1]
    scatter = float(np.std(offsets - (slope * minutes + start)))
    if abs(change) < max(_NOTABLE_DRIFT_MS, 2 * scatter):
        return []
    return [f'the clocks drift apart by {slope:.2f} ms per minute ({change:.1f} ms in all)']


def _apart(
    first: tuple[str, Times],
    second: tuple[str, Times],
    times: Times,
    others: Times,
    tolerance_ms: float,
) -> str:
    text = (
        f'no message on {second[0]} lies within {tolerance_ms:g} ms of one on {first[0]} '
        f'({others.size} and {times.size} messages)'
    )
    nearest = pair_by_time(times, others, 2**62)
    if not nearest:
        return text
    gaps = [int(others[j] - times[i]) / 1e6 for i, j in nearest]
    closest = min(gaps, key=abs)
    return (
        f'{text}: the nearest are {_span(closest)} apart, in the middle {_span(np.median(gaps))}'
    )


def _advice(
    times: Times, others: Times, recorded: tuple[Times, Times] | None, tolerance_ms: float
) -> str:
    """Tell which offset would make pairs, or else what may help."""
    if recorded is None:
        recorded = times - times[0], others - others[0]
    # How far the clocks of the stamps differ, as those who recorded both at once saw it.
    offset = round(float(np.median(times - recorded[0]) - np.median(others - recorded[1])))
    near = pair_by_time(times, others + offset, 2**62)
    offset -= round(float(np.median([others[j] + offset - times[i] for i, j in near])))
    pairs = len(pair_by_time(times, others + offset, round(tolerance_ms * 1e6)))
    if 2 * pairs < min(times.size, others.size):
        return (
            '; choose a larger data.tolerance_ms, or shift the truth by data.time_offset_ms where '
            'the clocks differ'
        )
    return (
        f'; where the clocks differ, set data.time_offset_ms={offset / 1e6:.0f}, which makes '
        f'{pairs} pairs, and else a larger data.tolerance_ms'
    )


def _span(milliseconds: float) -> str:
    if abs(milliseconds) < 1e4:
        return f'{milliseconds:.1f} ms'
    return f'{milliseconds / 1e3:.1f} s'

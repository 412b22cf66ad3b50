# SPDX-License-Identifier: Apache-2.0
"""
The RVL depth codec (A. D. Wilson, Fast Lossless Depth Image Compression, ISS 2017).

Zero runs and runs of values alternate; values are differences to the previous non-zero one, in a
zigzag code. Every number is written as groups of three bits with a continuation bit, eight such
nibbles to a little-endian 32-bit word, the first in the highest bits: as image_transport_plugins'
compressedDepth does, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .fields import MessageError

# Eleven nibbles hold 33 bits; longer groups do not occur in an image.
_MAX_NIBBLES = 11


def encode_rvl(depth: NDArray[np.uint16]) -> bytes:
    """
    Compress depth losslessly.

    Parameters
    ----------
    depth : uint16 of any shape
        Read in row-major order.

    """
    values = np.ascontiguousarray(depth, np.uint16).reshape(-1)
    if not values.size:
        return b''
    return _write_nibbles(_to_numbers(values))


def decode_rvl(data: bytes | NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    """
    Return the `count` values of an RVL stream.

    Raises
    ------
    MessageError
        Cause 'corrupt': the stream ends early, or its runs do not fill `count` values exactly.

    """
    if count <= 0:
        return np.zeros(0, np.uint16)
    numbers = _read_nibbles(np.frombuffer(data, np.uint8))
    run_starts, run_lengths, used = _value_runs(numbers, count)
    result = np.zeros(count, np.uint16)
    total = int(run_lengths.sum())
    if not total:
        return result
    within = np.arange(total) - np.repeat(np.cumsum(run_lengths) - run_lengths, run_lengths)
    codes = numbers[np.repeat(used, run_lengths) + within]
    deltas = (codes >> 1) ^ -(codes & 1)
    result[np.repeat(run_starts, run_lengths) + within] = np.cumsum(deltas).astype(np.uint16)
    return result


def _to_numbers(values: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return the stream of numbers: zeros, values, differences ..., zeros, values, ..."""
    filled = values != 0
    edges = np.flatnonzero(np.diff(filled, prepend=False, append=False))
    # Lengths of zeros, values, zeros, values ...: each two stand before the codes of the values.
    runs = np.diff(edges, prepend=0)
    deltas = np.diff(values[filled].astype(np.int64), prepend=0)
    codes = (deltas << 1) ^ (deltas >> 63)
    places = np.cumsum(runs[1::2]) - runs[1::2]
    numbers = np.insert(codes, np.repeat(places, 2), runs)
    tail = values.size - (int(edges[-1]) if edges.size else 0)
    return np.append(numbers, (tail, 0)) if tail else numbers


def _write_nibbles(numbers: NDArray[np.int64]) -> bytes:
    counts = np.ones(numbers.size, np.int64)
    for group in range(1, _MAX_NIBBLES):
        longer = numbers >> (3 * group) > 0
        if not longer.any():
            break
        counts += longer
    ends = np.cumsum(counts)
    nibbles = np.zeros(-(-int(ends[-1]) // 8) * 8, np.uint8)
    starts = ends - counts
    for group in range(int(counts.max())):
        chosen = counts > group
        bits = (numbers[chosen] >> (3 * group)) & 7
        nibbles[starts[chosen] + group] = bits | np.where(counts[chosen] > group + 1, 8, 0)
    high_low = nibbles.reshape(-1, 4, 2)
    words = (high_low[..., 0] << 4) | high_low[..., 1]
    return words[:, ::-1].tobytes()


def _read_nibbles(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    words = data[: data.size // 4 * 4].reshape(-1, 4)[:, ::-1].reshape(-1)
    nibbles = np.empty(2 * words.size, np.uint8)
    nibbles[0::2] = words >> 4
    nibbles[1::2] = words & 15
    ends = np.flatnonzero(nibbles < 8)
    if not ends.size:
        raise MessageError('corrupt', f'RVL depth of {data.size} bytes holds no number')
    starts = np.concatenate(([0], ends[:-1] + 1))
    if int((ends - starts).max()) >= _MAX_NIBBLES:
        raise MessageError('corrupt', 'RVL depth holds a number of more than 33 bits')
    nibbles = nibbles[: ends[-1] + 1]
    numbers = (nibbles[starts] & 7).astype(np.int64)
    longer = np.flatnonzero(ends > starts)
    group = 1
    while longer.size:
        numbers[longer] |= (nibbles[starts[longer] + group] & 7).astype(np.int64) << (3 * group)
        longer = longer[ends[longer] - starts[longer] > group]
        group += 1
    return numbers


def _value_runs(
    numbers: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return of each run of values: its start in the image, its length, its place in numbers."""
    view = numbers.data
    available = len(view)
    starts, lengths, places = [], [], []
    pixel = place = 0
    while pixel < count:
        if place + 2 > available:
            raise MessageError('corrupt', f'RVL depth ends at pixel {pixel} of {count}')
        pixel += view[place]
        length = view[place + 1]
        place += 2
        if pixel + length > count:
            raise MessageError('corrupt', f'RVL depth holds more than its {count} pixels')
        if place + length > available:
            raise MessageError('corrupt', f'RVL depth ends within pixel {pixel} of {count}')
        starts.append(pixel)
        lengths.append(length)
        places.append(place)
        pixel += length
        place += length
    return np.array(starts, np.int64), np.array(lengths, np.int64), np.array(places, np.int64)

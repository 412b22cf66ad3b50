# SPDX-License-Identifier: Apache-2.0
"""What is trained on and what is held out: blocks of time or whole recordings, never frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from adabins_ros.frames import FrameSource, RecordingError
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.int64]

# A gap never costs more than this share of the block that it lies in.
_LARGEST_GAP_SHARE = 0.1


@dataclass(frozen=True)
class Split:
    """
    Which frames serve for what.

    Attributes
    ----------
    training, validation : (N, 2) int64
        Number of the source, number of its frame; in time order.
    description : dict
        The same in words and ranges, for a JSON file beside the run.

    """

    training: Frames
    validation: Frames
    description: dict[str, Any]


def split_frames(
    sources: Sequence[FrameSource],
    share: float,
    *,
    method: Literal['time', 'bag'] = 'time',
    blocks: int = 1,
    gap_s: float = 1.0,
    held_out: Sequence[int] = (),
    seed: int = 0,
) -> Split:
    """
    Divide the frames of all sources.

    Parameters
    ----------
    sources : sequence of FrameSource
        At least one, each in time order.
    share : float
        Share of the frames to hold out; 0: none.
    method : str
        'time': the end of each of `blocks` equal parts of every source; 'bag': whole sources.
    blocks : int
        Parts of a source.
    gap_s : float
        Training frames nearer in time than this to a held out one are left out, s; at most a
        tenth of a block.
    held_out : sequence of int
        Sources to hold out as a whole; then nothing of the others is.
    seed : int
        For the choice of whole sources.

    Raises
    ------
    RecordingError
        Nothing is left for training, or there is only one source to split by bag.

    """
    chosen = set(held_out)
    if not chosen and method == 'bag' and share > 0:
        chosen = _whole_sources(sources, share, seed)
    training: list[Frames] = []
    validation: list[Frames] = []
    described = []
    for number, source in enumerate(sources):
        count = len(source)
        held = np.zeros(count, bool)
        dropped = np.zeros(count, bool)
        if chosen or method == 'bag':
            held[:] = number in chosen
        elif share > 0:
            held = _block_ends(count, share, blocks)
            dropped = _near(source.stamps_ns, held, gap_s, blocks)
        used = ~held & ~dropped
        training.append(_pairs(number, used))
        validation.append(_pairs(number, held))
        described.append(
            {
                'source': source.report.name,
                'training': _ranges(used),
                'validation': _ranges(held),
                'gap': _ranges(dropped),
            }
        )
    result = Split(
        np.concatenate(training),
        np.concatenate(validation),
        {'method': method, 'share': share, 'gap_s': gap_s, 'seed': seed, 'sources': described},
    )
    if not len(result.training):
        raise RecordingError(
            f'no frame is left for training: {len(result.validation)} are held out '
            f'(data.validation_share {share:g}, data.split_gap_s {gap_s:g})'
        )
    return result


def _whole_sources(sources: Sequence[FrameSource], share: float, seed: int) -> set[int]:
    if len(sources) < 2:
        raise RecordingError(
            'a split by bag needs two recordings at least; give more, or set data.split to time'
        )
    order = np.random.default_rng(seed).permutation(len(sources)).tolist()
    wanted = share * sum(len(source) for source in sources)
    chosen: set[int] = set()
    held = 0
    for number in order[:-1]:
        if held >= wanted:
            break
        chosen.add(number)
        held += len(sources[number])
    return chosen


def _block_ends(count: int, share: float, blocks: int) -> NDArray[np.bool_]:
    """Mark the last part of each block."""
    held = np.zeros(count, bool)
    edges = np.linspace(0, count, blocks + 1).round().astype(int)
    for start, stop in pairwise(edges.tolist()):
        size = stop - start
        last = min(max(round(size * share), 1), size - 1) if size > 1 else 0
        first = stop - last
        held[first:stop] = True
    return held


def _near(
    stamps_ns: NDArray[np.int64], held: NDArray[np.bool_], gap_s: float, blocks: int
) -> NDArray[np.bool_]:
    """Mark the frames that are not held out but within the gap of one that is."""
    if not held.any() or gap_s <= 0:
        return np.zeros(held.size, bool)
    duration = int(stamps_ns.max() - stamps_ns.min())
    gap = min(round(gap_s * 1e9), round(duration / blocks * _LARGEST_GAP_SHARE))
    times = np.sort(stamps_ns[held])
    after = np.searchsorted(times, stamps_ns)
    following = times[np.minimum(after, times.size - 1)]
    preceding = times[np.maximum(after - 1, 0)]
    distance = np.minimum(np.abs(following - stamps_ns), np.abs(stamps_ns - preceding))
    near: NDArray[np.bool_] = ~held & (distance < gap)
    return near


def _pairs(source: int, chosen: NDArray[np.bool_]) -> Frames:
    frames = np.flatnonzero(chosen)
    return np.stack([np.full(frames.size, source), frames], -1).astype(np.int64)


def _ranges(chosen: NDArray[np.bool_]) -> list[list[int]]:
    """Return [first, last] of each run of marked frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return [[int(start), int(stop) - 1] for start, stop in edges.reshape(-1, 2)]

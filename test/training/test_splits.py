# SPDX-License-Identifier: Apache-2.0
"""No frame that is validated on has a neighbour that was trained on."""

from __future__ import annotations

import json
from typing import Any

from adabins_ros.frames import RecordingError, SourceReport
from adabins_ros.training.splits import split_frames
import numpy as np
import pytest


class Times:
    """A source of which only the times matter."""

    def __init__(self, count: int, rate_hz: float = 10, name: str = 'bag') -> None:
        self.stamps_ns = (np.arange(count) * 1e9 / rate_hz).astype(np.int64)
        self.name, self.report = name, SourceReport(name, 'bag', frames=count)

    def __len__(self) -> int:
        return self.stamps_ns.size

    def __getitem__(self, index: int) -> Any:
        raise IndexError(index)

    def frame_name(self, index: int) -> str:
        return str(index)


def test_the_end_of_a_recording_is_held_out_behind_a_gap() -> None:
    split = split_frames([Times(250)], 0.2)
    assert split.validation[:, 1].tolist() == list(range(200, 250))
    assert split.training[:, 1].tolist() == list(range(191))
    (described,) = split.description['sources']
    assert described['training'] == [[0, 190]]
    assert described['gap'] == [[191, 199]]
    assert json.loads(json.dumps(split.description)) == split.description
    assert len(split_frames([Times(250)], 0.2, gap_s=0).training) == 200


def test_blocks_are_spread_over_every_recording() -> None:
    sources = [Times(600, 30), Times(90, 10)]
    split = split_frames(sources, 0.25, blocks=3, gap_s=0.5)
    for number, source in enumerate(sources):
        training = split.training[split.training[:, 0] == number, 1]
        validation = split.validation[split.validation[:, 0] == number, 1]
        assert validation.size == pytest.approx(len(source) / 4, abs=2)
        assert (np.diff(validation) > 1).sum() == 2
        distance = np.abs(source.stamps_ns[training][:, None] - source.stamps_ns[validation])
        assert distance.min() >= 0.3e9
        assert len(split.description['sources'][number]['validation']) == 3


def test_a_long_gap_leaves_short_recordings_their_frames() -> None:
    split = split_frames([Times(8, 5)], 0.2, gap_s=5)
    assert (len(split.training), len(split.validation)) == (6, 2)


def test_whole_recordings_are_held_out() -> None:
    sources = [Times(100, name=str(number)) for number in range(5)]
    split = split_frames(sources, 0.4, method='bag', seed=3)
    held = set(split.validation[:, 0].tolist())
    assert len(held) == 2
    assert held.isdisjoint(split.training[:, 0].tolist())
    again = split_frames(sources, 0.4, method='bag', seed=3)
    np.testing.assert_array_equal(split.validation, again.validation)
    named = split_frames(sources, 0.2, held_out=[4])
    assert set(named.validation[:, 0].tolist()) == {4}
    assert len(named.training) == 400
    with pytest.raises(RecordingError, match='two recordings at least'):
        split_frames(sources[:1], 0.4, method='bag')


def test_nothing_may_be_held_out_but_something_must_be_trained_on() -> None:
    split = split_frames([Times(5)], 0)
    assert (len(split.training), len(split.validation)) == (5, 0)
    with pytest.raises(RecordingError, match='no frame is left for training'):
        split_frames([Times(3)], 0.2, held_out=[0])

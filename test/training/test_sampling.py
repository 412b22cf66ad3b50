# SPDX-License-Identifier: Apache-2.0
"""Which process reads which frame, in whole epochs and in continued ones."""

from typing import Any

from adabins_ros.training.loaders import EpochDataset, EpochSampler, ValidationSampler
import numpy as np
import pytest
import torch


def epoch(number: int, **options: Any) -> list[tuple[int, int]]:
    sampler = EpochSampler(23, 4, seed=5, **options)
    sampler.set_epoch(number)
    return list(sampler)


def test_an_epoch_is_another_permutation_each_time_and_the_same_for_a_seed() -> None:
    first, second = epoch(0), epoch(1)
    assert epoch(1) == second
    assert [number for number, _ in second] == [1] * 20
    assert len({index for _, index in first}) == 20
    assert [index for _, index in first] != [index for _, index in second]


def batched(draws: list[tuple[int, int]], size: int) -> list[list[tuple[int, int]]]:
    return [list(batch) for batch in zip(*[iter(draws)] * size, strict=True)]


@pytest.mark.parametrize('done', [0, 1, 4, 5])
def test_a_continued_epoch_is_the_rest_of_it_and_the_next_one_is_whole(done: int) -> None:
    sampler = EpochSampler(23, 4, seed=5)
    sampler.go_on(3, done)
    sampler.set_epoch(3)
    frames_done = 4 * done
    assert list(sampler) == epoch(3)[frames_done:]
    assert len(sampler) == 20
    sampler.set_epoch(4)
    assert list(sampler) == epoch(4)


def test_two_processes_share_the_batches_of_one() -> None:
    whole = EpochSampler(23, 4, seed=5)
    shares = [list(EpochSampler(23, 2, seed=5, process=i, processes=2)) for i in range(2)]
    halves = (batched(share, 2) for share in shares)
    together = [one + two for one, two in zip(*halves, strict=True)]
    assert together == batched(list(whole), 4)


def test_fewer_frames_than_a_batch_are_repeated() -> None:
    sampler = EpochSampler(3, 4, seed=0)
    assert sampler.batches == 1
    assert sorted({index for _, index in sampler}) == [0, 1, 2]
    assert len(list(sampler)) == len(sampler) == 4


def test_frames_are_drawn_as_often_as_it_is_asked_for() -> None:
    draws = np.array([2.0] * 5 + [0.25] * 40 + [0.0] * 3)
    sampler = EpochSampler(draws, 4, seed=1)
    seen = np.zeros(48)
    for number in range(8):
        sampler.set_epoch(number)
        drawn = np.bincount([index for _, index in sampler], minlength=48)
        assert drawn[:5].tolist() == [2] * 5
        assert drawn[5:45].max() == 1
        seen += drawn
    assert sampler.batches == 5
    assert seen[45:].tolist() == [0] * 3
    assert seen[5:45].sum() == 80
    assert (seen[5:45] > 0).sum() > 30


def test_every_validation_frame_counts_once() -> None:
    shares = [list(ValidationSampler(7, process=i, processes=3)) for i in range(3)]
    assert {len(share) for share in shares} == {3}
    drawn = [index for share in shares for _, index in share]
    assert sorted(index for index in drawn if index >= 0) == list(range(7))


def test_a_frame_that_fills_up_has_no_truth() -> None:
    frames = [{'depth': torch.full((1, 2, 2), 3.0), 'name': 'a'}]
    dataset = EpochDataset(frames)
    assert dataset[(0, 0)]['depth'].max() == 3.0
    assert dataset[(0, -1)]['depth'].max() == 0.0
    assert dataset[(0, -1)]['name'] == 'a'
    assert frames[0]['depth'].max() == 3.0  # type: ignore[attr-defined]

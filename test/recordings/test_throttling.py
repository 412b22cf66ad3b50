# SPDX-License-Identifier: Apache-2.0
"""A throttled recording keeps whole frames: the image, and what is nearest to it in time."""

from __future__ import annotations

from adabins_ros.recordings.throttling import Throttle
import numpy as np
import pytest

MS = 1_000_000


def run(rate_hz: float | None, images: list[int], **others: list[int]) -> dict[str, list[int]]:
    """Return the stamps that go through, ms, of messages that come in their order."""
    written: dict[str, list[int]] = {'image': [], **{name: [] for name in others}}
    throttle: Throttle[int] = Throttle(
        rate_hz, 'image', others, lambda topic, stamp: written[topic].append(stamp)
    )
    messages = [('image', at) for at in images]
    messages += [(name, at) for name, stamps in others.items() for at in stamps]
    for topic, at in sorted(messages, key=lambda message: message[1]):
        throttle.put(topic, at * MS, at)
    throttle.finish()
    return written


def test_each_image_that_is_kept_has_its_own_companions() -> None:
    images = list(range(1000, 4000, 33))
    written = run(5.0, images, info=images, depth=[at - 4 for at in images], lidar=images[::3])
    assert written['info'] == written['image']
    assert written['depth'] == [at - 4 for at in written['image']]
    assert len(written['image']) == pytest.approx(15, abs=2)
    assert min(np.diff(written['image'])) >= 180
    for at in written['image']:
        nearest = min(images[::3], key=lambda stamp: abs(stamp - at))
        assert nearest in written['lidar']
    assert len(set(written['lidar'])) == len(written['lidar'])


def test_companions_that_come_much_later_or_not_at_all_hold_nothing_up() -> None:
    images = list(range(0, 3000, 100))
    written = run(2.0, images, late=[at + 90 for at in images], silent=[])
    assert written['image'] == list(range(0, 3000, 500))
    assert written['late'] == [90, *(at - 10 for at in written['image'][1:])]
    assert written['silent'] == []


def test_without_a_rate_everything_goes_through() -> None:
    stamps = list(range(0, 500, 10))
    assert run(None, stamps, depth=stamps[::2]) == {'image': stamps, 'depth': stamps[::2]}


def test_a_clock_that_is_set_back_does_not_end_the_recording() -> None:
    written: list[int] = []
    throttle: Throttle[int] = Throttle(1.0, 'image', [], lambda _, stamp: written.append(stamp))
    for at in (90_000, 90_500, 91_000, 10, 500, 1010):
        throttle.put('image', at * MS, at)
    assert written == [90_000, 91_000, 10, 1010]

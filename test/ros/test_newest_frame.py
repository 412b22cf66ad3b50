# SPDX-License-Identifier: Apache-2.0
"""The slot of size one between the camera and the network."""

from __future__ import annotations

import threading

from adabins_ros.ros.newest_frame import NewestFrame


def test_the_taker_gets_the_newest_frame_and_older_ones_are_reported_as_dropped():
    slot: NewestFrame[int] = NewestFrame()
    assert [slot.put(number) for number in range(4)] == [False, True, True, True]
    assert slot.take() == 3


def test_a_frame_is_taken_once():
    slot: NewestFrame[int] = NewestFrame()
    slot.put(1)
    assert slot.take() == 1
    assert slot.take(timeout_s=0.01) is None
    assert slot.put(2) is False


def test_a_waiting_taker_is_woken_by_a_frame():
    slot: NewestFrame[str] = NewestFrame()
    taken: list[str | None] = []
    taker = threading.Thread(target=lambda: taken.append(slot.take()))
    taker.start()
    slot.put('frame')
    taker.join(5)
    assert taken == ['frame']


def test_closing_wakes_the_taker_and_forgets_the_frame_that_waits():
    slot: NewestFrame[str] = NewestFrame()
    slot.put('frame')
    slot.close()
    assert slot.closed
    assert slot.take() is None
    assert slot.put('late') is False
    assert slot.take() is None


def test_no_frame_is_lost_or_taken_twice_between_two_threads():
    slot: NewestFrame[int] = NewestFrame()
    taken: list[int] = []

    def take_all() -> None:
        while (number := slot.take()) is not None:
            taken.append(number)

    taker = threading.Thread(target=take_all)
    taker.start()
    dropped = sum(slot.put(number) for number in range(5000))
    while taken[-1:] != [4999]:
        taker.join(0.001)
    slot.close()
    taker.join(5)
    assert taken == sorted(set(taken))
    assert len(taken) + dropped == 5000

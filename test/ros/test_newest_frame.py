# SPDX-License-Identifier: Apache-2.0
"""The slots of size one between the cameras and the network."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace

from adabins_ros.ros.frame_worker import FrameWorker, NewestFrames
import pytest


def test_the_taker_gets_the_newest_frame_and_older_ones_are_reported_as_dropped():
    slots: NewestFrames[int] = NewestFrames()
    assert [slots.put('', number) for number in range(4)] == [False, True, True, True]
    assert slots.take() == 3


def test_the_taker_gets_all_cameras_that_have_a_frame_and_none_displaces_another():
    slots: NewestFrames[str] = NewestFrames()
    puts = [('left', 'l1'), ('right', 'r1'), ('left', 'l2'), ('rear', 'b1')]
    assert [slots.put(*each) for each in puts] == [False, False, True, False]
    assert [slots.take() for _ in range(3)] == ['l2', 'r1', 'b1']
    slots.put('right', 'r2')
    assert slots.take() == 'r2'


def test_cameras_take_turns_and_each_gives_its_newest_frame_then():
    slots: NewestFrames[str] = NewestFrames()
    slots.put('left', 'l1')
    slots.put('right', 'r1')
    assert slots.take() == 'l1'
    slots.put('left', 'l2')
    assert slots.put('right', 'r2') is True
    assert [slots.take(), slots.take()] == ['r2', 'l2']


def test_a_frame_is_taken_once():
    slots: NewestFrames[int] = NewestFrames()
    slots.put('', 1)
    assert slots.take() == 1
    assert slots.take(timeout_s=0.01) is None
    assert slots.put('', 2) is False


def test_a_waiting_taker_is_woken_by_a_frame():
    slots: NewestFrames[str] = NewestFrames()
    taken: list[str] = []
    taker = threading.Thread(target=lambda: taken.append(slots.take()))
    taker.start()
    slots.put('', 'frame')
    taker.join(5)
    assert taken == ['frame']


def test_closing_wakes_the_taker_and_forgets_the_frames_that_wait():
    slots: NewestFrames[str] = NewestFrames()
    slots.put('', 'frame')
    slots.close()
    assert slots.closed
    assert slots.take() is None
    assert slots.put('', 'late') is False
    assert slots.take() is None


def test_no_frame_is_lost_or_taken_twice_between_two_threads():
    slots: NewestFrames[int] = NewestFrames()
    taken: list[int] = []

    def take_all() -> None:
        while (number := slots.take()) is not None:
            taken.append(number)

    taker = threading.Thread(target=take_all)
    taker.start()
    dropped = sum(slots.put('', number) for number in range(5000))
    while taken[-1:] != [4999]:
        taker.join(0.001)
    slots.close()
    taker.join(5)
    assert taken == sorted(set(taken))
    assert len(taken) + dropped == 5000


def test_a_slow_subscriber_of_pictures_holds_no_frame_and_gets_the_newest():
    pytest.importorskip('rclpy')
    from adabins_ros.ros.diagnostics import FrameStatistics
    from adabins_ros.ros.slow_output import SlowOutput

    began, may_go_on, came = threading.Event(), threading.Event(), queue.SimpleQueue()
    publisher = SimpleNamespace(publish=came.put)
    worker, statistics = FrameWorker(), FrameStatistics()
    worker.start()
    output = SlowOutput('left/std', publisher, worker, statistics, lambda *said: came.put(said))

    def first() -> str:
        began.set()
        assert may_go_on.wait(10)
        return 'first'

    # None of these waits for the one that is being made.
    for make in (first, lambda: 'displaced', lambda: 1 / 0):
        output.publish(make)
        assert began.wait(10)
    may_go_on.set()
    assert came.get(timeout=10) == 'first'
    cause, text = came.get(timeout=10)
    assert cause == 'left/std: internal: ZeroDivisionError' and 'the node goes on' in text
    output.publish(lambda: 'last')
    assert came.get(timeout=10) == 'last'
    assert worker.stop(10) and came.empty()
    assert set(statistics.report().latency_s) == {'std, beside'}

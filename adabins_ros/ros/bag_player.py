# SPDX-License-Identifier: Apache-2.0
"""Publish what a recording holds, byte for byte, at the pace at which it was recorded."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
import contextlib
from importlib import import_module
from importlib.util import find_spec
import itertools
from pathlib import Path
import re
import threading
import time
from typing import Any

from adabins_ros.camera_topics import COMPRESSED_IMAGE, IMAGE
from adabins_ros.messages.fields import NANOSECONDS, stamp_from_ns
from adabins_ros.recordings import RecordedMessage, Recording, RecordingError
from adabins_ros.ros.graph import node_name
from adabins_ros.ros.topic_names import legal_topics, RULE
import numpy as np
from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock

CLOCK_RATE_HZ = 40.0
"""As often as `ros2 bag play --clock` publishes."""
SETTLED_S = 0.3
"""No further subscriber for so long: those that were starting are there, seconds."""
POLL_S = 0.02
ACKNOWLEDGE_S = 2.0
"""How long the end waits until reliable subscribers have the last messages, seconds."""
MOST_LATCHED = 100
LATENESS_WINDOW = 100_000
_MESSAGE_TYPE = re.compile(r'(?P<package>[a-z][a-z0-9_]*)/msg/(?P<name>[A-Z][A-Za-z0-9]*)')


class BagPlayer:
    """
    Replay a recording through a node's publishers.

    Publishers are reliable with a depth of 10, and transient-local where the recorded ones were.
    Messages leave at absolute times of the steady clock, so that errors do not add up.

    Parameters
    ----------
    node : Node
        Need not be spun.
    recording : Recording
        Stays open while it plays.
    rate : float
        2 plays twice as fast.
    start_s : float
        Where to begin, seconds of the recording. Latched messages from before are published first.
    clock : bool
        Publish the time of the recording on /clock.
    topics : collection of str, optional
        Only these; all by default.
    remaps : mapping of str to str, optional
        Recorded topic to published topic.

    Attributes
    ----------
    published : Counter
        Messages by recorded topic.
    renamed : dict of str to str
        Topics whose recorded name ROS 2 does not allow, and what they are published as.
    skipped : dict of str to str
        Topics that can't be published, and why.

    Raises
    ------
    RecordingError
        A topic that the recording does not have, a new name that ROS 2 does not allow, nothing to
        publish, or a start behind the end.

    """

    def __init__(
        self,
        node: Node,
        recording: Recording,
        *,
        rate: float = 1.0,
        start_s: float = 0.0,
        clock: bool = False,
        topics: Collection[str] | None = None,
        remaps: Mapping[str, str] | None = None,
    ) -> None:
        self.published: Counter[str] = Counter()
        self.renamed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._node = node
        self._recording = recording
        self._rate = rate
        self._start_ns = recording.start_ns + round(start_s * NANOSECONDS)
        if self._start_ns > recording.end_ns:
            duration_s = (recording.end_ns - recording.start_ns) / NANOSECONDS
            raise RecordingError(
                f'{recording.path} lasts {duration_s:.1f} s; it can not start at {start_s:g} s'
            )
        self._lateness_s: deque[float] = deque(maxlen=LATENESS_WINDOW)
        self._publishers: dict[str, Publisher] = {}
        self._make_publishers(topics, remaps or {})
        self._clock: Publisher | None = None
        if clock:
            self._clock = node.create_publisher(Clock, '/clock', QoSProfile(depth=1))
        self._origin_s = self._tick_s = 0.0

    @property
    def topics(self) -> list[str]:
        """Return the recorded topics that are played."""
        return list(self._publishers)

    def lateness_p99_s(self) -> float:
        """Return how late messages left, 99th percentile, seconds."""
        return float(np.percentile(self._lateness_s, 99)) if self._lateness_s else 0.0

    def wait_for_subscribers(
        self, stop: threading.Event, timeout_s: float, each_topic: int = 0
    ) -> bool:
        """
        Wait until the subscribers are there, and no further one appears.

        Parameters
        ----------
        stop : Event
            Ends the waiting.
        timeout_s : float
            So does this, seconds.
        each_topic : int
            How many every topic must have; 0: one on any topic is enough.

        Returns
        -------
        bool
            Whether they are there.

        """
        end = time.monotonic() + timeout_s
        known, changed, enough = [0], time.monotonic(), False
        while not stop.is_set():
            now = time.monotonic()
            counts = [each.get_subscription_count() for each in self._publishers.values()]
            enough = min(counts) >= each_topic if each_topic else max(counts) > 0
            if counts != known:
                known, changed = counts, now
            if (enough and now - changed >= SETTLED_S) or now >= end:
                break
            stop.wait(POLL_S)
        return enough

    def wait_for_node(self, stop: threading.Event, timeout_s: float, name: str) -> None:
        """
        Wait until a node has subscribed to an image, or to what else is played, and is matched.

        Parameters
        ----------
        stop : Event
            Ends the waiting.
        timeout_s : float
            Longest wait, seconds.
        name : str
            Of the node, with its namespace: '/depth_node'.

        Raises
        ------
        RecordingError
            It has not subscribed in time.

        """
        known = self._recording.topics
        images = [
            each
            for topic, each in self._publishers.items()
            if known[topic].msgtype in (IMAGE, COMPRESSED_IMAGE)
        ]
        awaited = {each.topic_name: each for each in images or self._publishers.values()}
        end = time.monotonic() + timeout_s
        while not stop.wait(POLL_S):
            for topic, publisher in awaited.items():
                listeners = map(node_name, self._node.get_subscriptions_info_by_topic(topic))
                if name in listeners and publisher.get_subscription_count():
                    stop.wait(SETTLED_S)
                    return
            if time.monotonic() > end:
                raise RecordingError(
                    f'{name} does not listen to {", ".join(awaited)} after {timeout_s:g} s: is it '
                    'active? ros2 lifecycle get tells'
                )

    def play(self, stop: threading.Event, loop: bool = False) -> None:
        """
        Publish everything, once or until it is stopped.

        Parameters
        ----------
        stop : Event
            Ends it between two messages.
        loop : bool
            Begin again at the end, after one period of the busiest topic.

        Raises
        ------
        RecordingError
            The recording is damaged.

        """
        self._prepare()
        self._publish_latched()
        self._origin_s = self._tick_s = time.monotonic()
        while self._play_once(stop) and loop:
            self._origin_s += self._loop_s()
            if not self._wait_until(self._origin_s, stop):
                return

    def finish(self) -> None:
        """Wait, for a limited time, until reliable subscribers have everything."""
        for publisher in self._publishers.values():
            # Not every middleware can tell.
            with contextlib.suppress(RuntimeError):
                publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))

    def _make_publishers(self, topics: Collection[str] | None, remaps: Mapping[str, str]) -> None:
        known = self._recording.topics
        for topic in {*(topics or ()), *remaps}:
            if topic not in known:
                raise RecordingError(
                    f'{self._recording.path} has no topic {topic}; it has '
                    f'{self._recording.describe_topics()}'
                )
        names = {**legal_topics(known), **remaps}
        for topic, info in known.items():
            if topics is not None and topic not in topics:
                continue
            try:
                kind = message_class(info.msgtype)
            except (ImportError, AttributeError, ValueError):
                self.skipped[topic] = f'the message type {info.msgtype} is not installed'
                continue
            try:
                self._publishers[topic] = self._node.create_publisher(
                    kind, names[topic], _quality(info.latched, info.count)
                )
            except InvalidTopicNameException:
                raise RecordingError(
                    f'{topic} can not be played as {names[topic]}: {RULE}'
                ) from None
            if names[topic] != topic and topic not in remaps:
                self.renamed[topic] = names[topic]
        if not self._publishers:
            reasons = '; '.join(f'{topic}: {why}' for topic, why in self.skipped.items())
            raise RecordingError(
                f'{self._recording.path} holds nothing to play: {reasons or "it has no topics"}'
            )

    def _prepare(self) -> None:
        """Parse the message definitions of a ROS 1 bag, which would delay the first messages."""
        for topic in self._publishers:
            for message in itertools.islice(self._recording.messages([topic]), 1):
                with contextlib.suppress(RecordingError):
                    message.cdr()

    def _publish_latched(self) -> None:
        known = self._recording.topics
        latched = [topic for topic in self._publishers if known[topic].latched]
        if self._start_ns == self._recording.start_ns or not latched:
            return
        for message in self._recording.messages(latched):
            if message.log_ns >= self._start_ns:
                return
            self._publish(message)

    def _play_once(self, stop: threading.Event) -> bool:
        """Publish from the start to the end; tell whether that was not stopped."""
        for message in self._recording.messages(self._publishers, self._start_ns):
            ahead_s = (message.log_ns - self._start_ns) / NANOSECONDS / self._rate
            due_s = self._origin_s + ahead_s
            if not self._wait_until(due_s, stop):
                return False
            self._publish(message)
            self._lateness_s.append(time.monotonic() - due_s)
        return True

    def _publish(self, message: RecordedMessage) -> None:
        try:
            data = message.cdr()
        except RecordingError as error:
            self.skipped.setdefault(message.topic, f'not all of it: {error}')
            return
        self._publishers[message.topic].publish(data)
        self.published[message.topic] += 1

    def _wait_until(self, due_s: float, stop: threading.Event) -> bool:
        """Wait, publishing the time meanwhile; tell whether that was not stopped."""
        while self._clock is not None and self._tick_s <= due_s:
            if stop.wait(self._tick_s - time.monotonic()):
                return False
            elapsed_s = (self._tick_s - self._origin_s) * self._rate
            now_ns = self._start_ns + round(max(elapsed_s, 0) * NANOSECONDS)
            seconds, nanoseconds = stamp_from_ns(now_ns)
            message = Clock()
            message.clock.sec, message.clock.nanosec = seconds, nanoseconds
            self._clock.publish(message)
            self._tick_s += 1 / CLOCK_RATE_HZ
        return not stop.wait(due_s - time.monotonic())

    def _loop_s(self) -> float:
        """Return how long one round takes, with the pause that keeps the busiest topic's rate."""
        duration_s = (self._recording.end_ns - self._start_ns) / NANOSECONDS
        busiest = max(self._recording.topics[topic].count for topic in self._publishers)
        pause_s = duration_s / (busiest - 1) if busiest > 1 else 1.0
        return max(duration_s + pause_s, 1e-3) / self._rate


def message_class(msgtype: str) -> Any:
    """
    Return the class of 'sensor_msgs/msg/Image'.

    A recording is a stranger's file: only what ROS's generator wrote is imported for it, not
    whatever package it happens to name.

    Raises
    ------
    ImportError
        No such message is installed.

    """
    found = _MESSAGE_TYPE.fullmatch(msgtype)
    spec = find_spec(found['package']) if found else None
    folders = spec.submodule_search_locations if spec else None
    if found is None or not folders:
        raise ImportError(msgtype)
    words = re.sub('([a-z0-9])([A-Z])', r'\1_\2', found['name'])
    module = re.sub('([A-Z]+)([A-Z][a-z])', r'\1_\2', words).lower()
    if not any(_is_generated(Path(folder, 'msg', f'_{module}.py')) for folder in folders):
        raise ImportError(msgtype)
    return getattr(import_module(f'{found["package"]}.msg'), found['name'])


def _is_generated(file: Path) -> bool:
    try:
        with file.open(encoding='utf-8') as lines:
            return 'generated from rosidl_generator_py' in lines.readline()
    except (OSError, UnicodeDecodeError):
        return False


def _quality(latched: bool, count: int) -> QoSProfile:
    if not latched:
        return QoSProfile(depth=10)
    # One publisher stands for all that were recorded: each may have latched a message.
    depth = min(max(count, 1), MOST_LATCHED)
    return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# SPDX-License-Identifier: Apache-2.0
"""Records what training needs of a running robot, as the bytes that arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import contextlib
from dataclasses import dataclass
import shutil
import time

from adabins_ros.camera_topics import (
    camera_of,
    find_cameras,
    find_truth,
    GraphTopic,
    PICTURES,
    POINT_CLOUD,
)
from adabins_ros.messages.fields import header_stamp_ns
from adabins_ros.recordings import RecordingError, RecordingWriter
from adabins_ros.recordings.throttling import Throttle
from adabins_ros.ros.bag_player import message_class
from adabins_ros.ros.graph import settled_topics
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

QUEUE = 20
LEAST_FREE_BYTES = 64 * 2**20
"""Recording ends before the disk has less room than this, so that it can be finished."""
LATCHED = '/tf_static'


@dataclass(frozen=True)
class Wanted:
    """
    What is recorded.

    Attributes
    ----------
    topics : dict of str to str
        Topics and their types.
    image : str
        The one of them that holds the images.
    remarks : tuple of str
        What is missing of what training could use.

    """

    topics: dict[str, str]
    image: str
    remarks: tuple[str, ...] = ()


def choose_topics(
    known: list[GraphTopic], image: str | None = None, truth: str | None = None
) -> Wanted:
    """
    Choose what training needs: images (compressed where offered), camera_info, truth, tf_static.

    Parameters
    ----------
    known : list of GraphTopic
        All that are published.
    image, truth : str, optional
        Topics that were named: images, and depth images or a lidar's cloud.

    Raises
    ------
    RecordingError
        If there is no camera or no truth, or several cameras, or a topic that was named holds
        something else; the text says the way out.

    """
    types = {topic.name: topic.types[0] for topic in known}
    if image is None:
        choices = [find_cameras(known, way) for way in ('raw', 'compressed')]
        only = next((choice.only for choice in choices if choice.only), None)
        if only is None:
            text = max(choices, key=lambda choice: len(choice.cameras)).text
            raise RecordingError(text.replace('image_topic:=', '--image-topic'))
        image = only.image
    base = image.removesuffix('/compressed')
    compressed = f'{base}/compressed'
    image = compressed if compressed in types else base
    truth = truth or find_truth(known, base)
    if truth is None:
        raise RecordingError(
            'nobody publishes depth images or the clouds of a lidar, and training needs one of '
            'them; start the sensor, or name its topic with --truth-topic'
        )
    chosen = [image, f'{camera_of(base)}/camera_info', truth, LATCHED]
    if 'Image' in types.get(truth, ''):
        chosen.append(f'{camera_of(truth)}/camera_info')
    missing = [topic for topic in dict.fromkeys(chosen) if topic not in types]
    for topic, kinds in ((image, PICTURES), (truth, (*PICTURES, POINT_CLOUD))):
        if topic in missing:
            raise RecordingError(f'nobody publishes {topic}; published are {", ".join(types)}')
        if types[topic] not in kinds:
            raise RecordingError(f'{topic} is {types[topic]}, not {" or ".join(kinds)}')
    return Wanted(
        {topic: types[topic] for topic in chosen if topic in types},
        image,
        tuple(f'nobody publishes {topic}: it is not recorded' for topic in missing),
    )


class Recorder:
    """
    Write topics into a recording until a limit is reached.

    Parameters
    ----------
    node : Node
        Is spun by somebody else; nothing else of it calls back.
    wanted : Wanted
        What is recorded.
    writer : RecordingWriter
        Of the new recording.
    rate_hz : float or None
        Frames a second; None: all.
    ended : callable
        Called when a limit is reached or writing has failed.
    seconds, megabytes : float or None
        The limits.

    Attributes
    ----------
    topics : list of str
        Those that are recorded, as their types are installed.
    counts : Counter
        Messages written, by topic.
    reason : str
        Why it has ended.
    error : RecordingError or None
        Why writing failed.

    """

    def __init__(
        self,
        node: Node,
        wanted: Wanted,
        writer: RecordingWriter,
        rate_hz: float | None,
        ended: Callable[[], object],
        seconds: float | None = None,
        megabytes: float | None = None,
    ) -> None:
        self.topics: list[str] = []
        self.counts: Counter[str] = Counter()
        self.reason = ''
        self.error: RecordingError | None = None
        self.remarks = list(wanted.remarks)
        self._writer, self._ended = writer, ended
        self._seconds, self._megabytes = seconds, megabytes
        self._types = dict(wanted.topics)
        self._began_s: float | None = None
        stamped = [x for x in self._types if x not in (LATCHED, wanted.image)]
        self._throttle: Throttle[bytes] = Throttle(rate_hz, wanted.image, stamped, self._write)
        for topic, kind in wanted.topics.items():
            self._listen(node, topic, kind)
        node.create_timer(0.2, self._look_at_limits)

    def finish(self) -> None:
        """Write what still waited for a companion; after the last callback."""
        self._throttle.finish()

    def _listen(self, node: Node, topic: str, kind: str) -> None:
        try:
            message = message_class(kind)
        except (ImportError, AttributeError):
            self.remarks.append(f'{topic} is not recorded: the type {kind} is not installed')
            return

        def on_message(data: bytes) -> None:
            if self.reason:
                return
            self._began_s = self._began_s or time.monotonic()
            if topic == LATCHED:
                self._write(topic, data)
            else:
                self._throttle.put(topic, header_stamp_ns(data), data)

        quality = matched(node, topic)
        self._writer.add_topic(topic, kind)
        self.topics.append(topic)
        node.create_subscription(message, topic, on_message, quality, raw=True)

    def _write(self, topic: str, data: bytes) -> None:
        if self.error is not None:
            return
        try:
            self._writer.write(topic, self._types[topic], data, log_ns=time.time_ns())
        except RecordingError as error:
            self.error = error
            self._end(str(error))
            return
        self.counts[topic] += 1

    def _look_at_limits(self) -> None:
        if self._seconds and self._began_s and time.monotonic() - self._began_s >= self._seconds:
            self._end(f'{self._seconds:g} s are over')
        if self._megabytes and self._writer.size_bytes >= self._megabytes * 1e6:
            self._end(f'{self._megabytes:g} MB are written')
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self._writer.path.parent).free < LEAST_FREE_BYTES:
                self._end(f'the disk has less than {LEAST_FREE_BYTES >> 20} MiB left')

    def _end(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            self._ended()


def matched(node: Node, topic: str) -> QoSProfile:
    """Return the strictest QoS with which every publisher of a topic can be heard."""
    offered = [x.qos_profile for x in node.get_publishers_info_by_topic(topic)]
    reliable = all(x.reliability == ReliabilityPolicy.RELIABLE for x in offered)
    latched = offered and all(x.durability == DurabilityPolicy.TRANSIENT_LOCAL for x in offered)
    return QoSProfile(
        depth=QUEUE,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def wait_for_topics(
    node: Node, choose: Callable[[list[GraphTopic]], Wanted], timeout_s: float
) -> Wanted:
    """
    Choose topics once the graph has stopped to change.

    Raises
    ------
    RecordingError
        What `choose` still says when the time is over.

    """
    known: list[GraphTopic] = []
    for known in settled_topics(node, timeout_s):
        with contextlib.suppress(RecordingError):
            return choose(known)
    return choose(known)

# SPDX-License-Identifier: Apache-2.0
"""What keeps images from arriving, read off the ROS graph and said in plain language."""

from __future__ import annotations

from collections.abc import Iterator
import time

from adabins_ros.camera_topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.graph import node_name, published_topics
from rclpy.node import Node
from rclpy.qos import qos_check_compatible, QoSCompatibility
from rclpy.subscription import Subscription

IMAGE_TYPES = {'raw': IMAGE, 'compressed': COMPRESSED_IMAGE}
SILENT_S = 3.0
"""Longest time without an image before that is worth a word, seconds."""
CALLS_BEFORE_LOG = 5
"""How often a hint is repeated in diagnostics before it is logged, once."""


def image_topic(base: str, image_transport: str) -> str:
    """Return the topic of a transport, as image_transport names it."""
    return base if image_transport == 'raw' else f'{base}/{image_transport}'


class StreamHints:
    """
    Say why images, or their intrinsics, do not arrive; in the log too when it lasts.

    Parameters
    ----------
    node
        Asks the graph, and logs.
    cameras
        Knows what is wrong with the camera_info that arrives.
    images, camera_info
        The subscriptions to look after.
    image_transport
        Of the images.

    """

    def __init__(
        self,
        node: Node,
        cameras: CameraSource,
        images: Subscription,
        camera_info: Subscription,
        image_transport: str,
    ) -> None:
        self._node = node
        self._cameras = cameras
        self._images, self._camera_info = images, camera_info
        self._image_transport = image_transport
        self._watched_s = time.monotonic()
        self._seen: dict[str, int] = {}

    def hints(self, horizontal_fov_deg: float, received_s: float | None) -> list[str]:
        """
        Return one sentence per obstacle, each with its way out; call it regularly.

        Parameters
        ----------
        horizontal_fov_deg
            The parameter; above 0 nobody needs camera_info.
        received_s
            When the last image arrived, `time.monotonic` seconds, or None.

        """
        silent_s = time.monotonic() - max(received_s or 0.0, self._watched_s)
        hints = self._image_hints(silent_s)
        if not horizontal_fov_deg:
            hints += self._camera_info_hints(silent_s)
        self._seen = {hint: self._seen.get(hint, 0) + 1 for hint in hints}
        for hint, count in self._seen.items():
            if count == CALLS_BEFORE_LOG:
                self._node.get_logger().warning(hint)
        return hints

    def _image_hints(self, silent_s: float) -> list[str]:
        """Say why no image arrives."""
        topic, transport = self._images.topic_name, self._image_transport
        if self._node.count_publishers(topic):
            mismatches = list(self._mismatches(self._images, IMAGE_TYPES[transport]))
            if not mismatches and silent_s > SILENT_S:
                return [
                    f'{topic} has a publisher, but no image arrives: is the camera running? Fast '
                    'DDS loses large images at its default settings: set '
                    'FASTDDS_DEFAULT_PROFILES_FILE to the fastdds.xml of this package for all '
                    'processes'
                ]
            return mismatches
        base = topic.removesuffix('/compressed').removesuffix('/compressed')
        if transport == 'compressed' and self._node.count_publishers(f'{base}/compressed'):
            return [_base_topic(f'{base}/compressed', base)]
        other = 'compressed' if transport == 'raw' else 'raw'
        other_topic = image_topic(topic.removesuffix('/compressed'), other)
        if other_topic != topic and self._node.count_publishers(other_topic):
            return [
                f'nothing publishes on {topic}, but {other_topic} is published: set the parameter '
                f"image_transport to '{other}'"
            ]
        elsewhere = self._elsewhere(IMAGE_TYPES[transport])
        return [f'nothing publishes on {topic}: start the camera or remap image_raw{elsewhere}']

    def _camera_info_hints(self, silent_s: float) -> list[str]:
        """Say why intrinsics are missing."""
        topic = self._camera_info.topic_name
        if publishers := self._node.count_publishers(topic):
            hints = list(self._mismatches(self._camera_info, CAMERA_INFO))
            problem = self._cameras.problem
            if not hints and problem and silent_s < SILENT_S:
                hints = [problem]
            if publishers > 1:
                hints.append(
                    f'{publishers} nodes publish {topic}, and whichever spoke last is believed: '
                    'stop all but the camera of these images, or remap camera_info'
                )
            return hints
        return [
            f'no camera_info: nothing publishes on {topic}, so there are no points and depth is '
            "not corrected for this camera's focal length; remap camera_info, or set the "
            f'parameter horizontal_fov_deg{self._elsewhere(CAMERA_INFO)}'
        ]

    def _mismatches(self, subscription: Subscription, wanted_type: str) -> Iterator[str]:
        """Say which publishers of a topic can't be heard: another type, or incompatible QoS."""
        topic = subscription.topic_name
        for publisher in self._node.get_publishers_info_by_topic(topic):
            name = node_name(publisher)
            if publisher.topic_type != wanted_type:
                base = topic.removesuffix('/compressed')
                if publisher.topic_type == IMAGE_TYPES['compressed'] and base != topic:
                    yield _base_topic(topic, base)
                    continue
                yield (
                    f'{name} publishes {publisher.topic_type} on {topic}, {wanted_type} is '
                    'expected: remap to another topic'
                )
                continue
            compatibility, reason = qos_check_compatible(
                publisher.qos_profile, subscription.qos_profile
            )
            if compatibility == QoSCompatibility.ERROR:
                yield (
                    f'{name} publishes {topic} with a QoS that does not match '
                    f'({reason.strip(" ;")}): start this node with the parameter '
                    f'qos_overrides.{topic}.subscription.reliability at best_effort, or change '
                    'the publisher'
                )

    def _elsewhere(self, type_name: str) -> str:
        """Name up to three topics of a type that others publish, the nearest namespace first."""
        topics = [
            topic.name
            for topic in published_topics(self._node)
            if type_name in topic.types and 'depth' not in topic.name
        ]
        here = self._node.get_namespace()
        nearest = sorted(topics, key=lambda topic: (not topic.startswith(here), topic))
        return f' (published are {", ".join(nearest[:3])})' if nearest else ''


def _base_topic(compressed: str, base: str) -> str:
    """Say how to listen to a compressed topic."""
    return (
        f'{compressed} carries compressed images: remap image_raw to its base topic, {base} '
        f'(image_topic:={base} of the launch file), and set the parameter image_transport to '
        "'compressed'"
    )

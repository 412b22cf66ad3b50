# SPDX-License-Identifier: Apache-2.0
"""What `doctor` sees of a robot: listens for a while, and publishes nothing."""

from __future__ import annotations

from collections.abc import Iterator
import time
from typing import Any

from adabins_ros.camera_topics import camera_of, find_cameras, GraphTopic
from adabins_ros.doctor.checks import Observation, Stream
from adabins_ros.messages.fields import stamp_ns
from adabins_ros.ros.graph import node_name, settled_topics
from adabins_ros.ros.process import init_ros
from adabins_ros.ros.stream_hints import image_topic as topic_of_transport
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    qos_check_compatible,
    qos_profile_sensor_data,
    QoSCompatibility,
    QoSProfile,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

NAME = 'doctor'
DISCOVERY_S = 5.0
"""Longest time for the graph to show, seconds."""
_EVERYBODYS = ('/rosout', '/parameter_events')


def observe(
    ros_arguments: list[str],
    image_topic: str | None,
    camera_info_topic: str | None,
    transport: str,
    seconds: float,
) -> Observation:
    """
    Look at the ROS graph, and listen to a camera.

    Parameters
    ----------
    ros_arguments : list of str
        From --ros-args on.
    image_topic, camera_info_topic : str or None
        The base of the images' transports, and their intrinsics; by default the one camera there
        is, and camera_info beside its images.
    transport : str
        'raw' or 'compressed'.
    seconds : float
        How long to listen.

    """
    context = Context()
    init_ros(ros_arguments, context)
    node = rclpy.create_node(NAME, context=context, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        topics = next(filter(None, settled_topics(node, DISCOVERY_S)), [])
        observer = _Observer(node, topics, image_topic, camera_info_topic, transport)
        return observer.listen(executor, seconds)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


class _Observer:
    """Listens for `observe`."""

    def __init__(
        self,
        node: Node,
        topics: list[GraphTopic],
        image: str | None,
        camera_info: str | None,
        transport: str,
    ) -> None:
        self._node = node
        self._now_s: float | None = None
        choice = find_cameras(topics, transport)
        if image is None:
            self._seen = Observation(0.0, choice.text)
            if choice.only is None:
                return
            image, camera_info = choice.only.image, camera_info or choice.only.camera_info
        else:
            self._seen = Observation(0.0, f'{image}, as was asked for', choice.text)
        camera_info = camera_info or f'{camera_of(image)}/camera_info'
        kind = Image if transport == 'raw' else CompressedImage
        self._seen.image = self._follow(kind, topic_of_transport(image, transport))
        self._seen.camera_info = self._follow(CameraInfo, camera_info)

    def listen(self, executor: SingleThreadedExecutor, seconds: float) -> Observation:
        """Listen for so long, seconds; return what was seen."""
        seen, node = self._seen, self._node
        seen.seconds = seconds
        seen.simulated = node.count_publishers('/clock') > 0
        if seen.simulated:
            node.create_subscription(Clock, '/clock', self._on_clock, qos_profile_sensor_data)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._follow_transforms()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
        for stream in filter(None, (seen.image, seen.camera_info)):
            found = node.get_publishers_info_by_topic(stream.topic)
            stream.publishers = [node_name(publisher) for publisher in found]
        seen.mismatches = list(self._mismatches())
        seen.tf_publishers = sum(map(node.count_publishers, ('/tf', '/tf_static')))
        return seen

    def _follow(self, kind: type, topic: str) -> Stream:
        stream = Stream(topic)

        def on_message(message: Any) -> None:
            stream.stamps_s.append(stamp_ns(message.header.stamp) / 1e9)
            stream.arrivals_s.append(time.time() if self._now_s is None else self._now_s)
            stream.last = message

        self._node.create_subscription(kind, topic, on_message, qos_profile_sensor_data)
        return stream

    def _follow_transforms(self) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return
        found: set[tuple[str, str]] = set()

        def on_transforms(message: Any) -> None:
            found.update((x.header.frame_id, x.child_frame_id) for x in message.transforms)

        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node.create_subscription(TFMessage, '/tf_static', on_transforms, latched)
        self._node.create_subscription(TFMessage, '/tf', on_transforms, qos_profile_sensor_data)
        self._seen.transforms = found

    def _on_clock(self, message: Clock) -> None:
        self._now_s = stamp_ns(message.clock) / 1e9

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if 'depth_node: depth' not in status.name:
                continue
            self._seen.troubles.pop(status.name, None)
            idle = status.message.startswith(('unconfigured', 'inactive'))
            if idle or status.level != DiagnosticStatus.OK:
                self._seen.troubles[status.name] = status.message

    def _mismatches(self) -> Iterator[str]:
        """Say which subscriptions can not hear which publishers."""
        own = f'{self._node.get_namespace().rstrip("/")}/{self._node.get_name()}'
        for topic, _ in self._node.get_topic_names_and_types():
            if topic in _EVERYBODYS:
                continue
            listeners = self._node.get_subscriptions_info_by_topic(topic)
            for publisher in self._node.get_publishers_info_by_topic(topic):
                if topic == '/tf_static' and (
                    publisher.qos_profile.durability != DurabilityPolicy.TRANSIENT_LOCAL
                ):
                    yield f'{node_name(publisher)} publishes {topic} without transient local'
                for listener in listeners:
                    way, reason = qos_check_compatible(publisher.qos_profile, listener.qos_profile)
                    if publisher.topic_type != listener.topic_type:
                        yield (
                            f'{node_name(listener)} expects {listener.topic_type} on {topic}, '
                            f'{node_name(publisher)} publishes {publisher.topic_type}'
                        )
                    elif way == QoSCompatibility.ERROR and node_name(listener) != own:
                        yield (
                            f'{node_name(listener)} can not hear {node_name(publisher)} on '
                            f'{topic}: {reason.strip(" ;")}'
                        )

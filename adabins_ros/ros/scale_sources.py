# SPDX-License-Identifier: Apache-2.0
"""What else the robot measures: its topics, and where its sensors sit."""

from __future__ import annotations

from collections import deque
import importlib
import threading
from typing import Any

from adabins_ros.messages.fields import stamp_ns
from adabins_ros.messages.matrices import quaternion, transform_matrix
from adabins_ros.ros.graph import subscribe
from adabins_ros.ros.parameters import DepthNodeSettings
from adabins_ros.scale import EvidenceError
from adabins_ros.scale.sensor_points import optical_from_sensor
from geometry_msgs.msg import Quaternion, TransformStamped
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image, LaserScan, PointCloud2, Range
from std_msgs.msg import Header

TOPICS = {'scan': LaserScan, 'cloud': PointCloud2, 'range': Range, 'depth': Image}
"""Types of the topics scale/NAME."""
_KEPT = 20


class ScaleSources:
    """
    Keep the latest messages of the topics scale/scan, scale/cloud, scale/range and scale/depth.

    They are shared by all cameras. Messages come in the executor's thread and are asked for in
    the one that computes.

    Parameters
    ----------
    node
        Whose topics they are.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._messages: dict[str, deque[tuple[float, Any]]] = {}
        self._subscriptions: list[Any] = []
        self.topics: dict[str, str] = {}
        self.transforms = Transforms(node)

    def listen(self, settings: DepthNodeSettings, own_topics: set[str]) -> None:
        """
        Subscribe to what the parameter scale_source names.

        Parameters
        ----------
        settings
            The node's parameters.
        own_topics
            What the node publishes, which says nothing about the scale: it never listens to it.

        Raises
        ------
        RuntimeError
            If a qos_overrides parameter is unusable.

        """
        for name in settings.scale_sources:
            if name not in TOPICS:
                continue
            topic = self._node.resolve_topic_name(f'scale/{name}')
            if topic in own_topics:
                self._node.get_logger().error(
                    f'scale/{name} is remapped to {topic}, which this node publishes itself: '
                    'it is not listened to'
                )
                continue
            # As many as are needed to find the one nearest to an image that was taken earlier.
            kept: deque[tuple[float, Any]] = deque(maxlen=_KEPT)
            self._messages[name] = kept
            self.topics[name] = topic

            def on_message(message: Any, kept: deque[tuple[float, Any]] = kept) -> None:
                with self._lock:
                    kept.append((stamp_ns(message.header.stamp) / 1e9, message))

            self._subscriptions.append(subscribe(self._node, TOPICS[name], topic, on_message))
        self.transforms.listen()

    def stop_listening(self) -> None:
        """Undo `listen`."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions, self._messages, self.topics = [], {}, {}

    def active(self, settings: DepthNodeSettings) -> list[str]:
        """Return the sources that count; of those found by themselves, which have a publisher."""
        names = [name for name in settings.scale_sources if name in self.topics or name == 'floor']
        if settings.scale_source != 'auto':
            return names
        # A sensor that fell silent for good has been there: its loss must be told.
        return [
            name
            for name in names
            if self._messages[name] or self._node.count_publishers(self.topics[name])
        ]

    def nearest(self, name: str, stamp_s: float, tolerance_s: float) -> Any:
        """
        Return the message that was measured nearest to a time.

        Raises
        ------
        EvidenceError
            There is none, or none near enough.

        """
        with self._lock:
            kept = list(self._messages[name])
        if not kept:
            raise EvidenceError(f'no message on {self.topics[name]} yet')
        stamp, message = min(kept, key=lambda pair: abs(pair[0] - stamp_s))
        if abs(stamp - stamp_s) > tolerance_s:
            later = 'before' if stamp < stamp_s else 'after'
            raise EvidenceError(
                f'time stamps too far apart: the nearest message on {self.topics[name]} is '
                f'{abs(stamp - stamp_s):.2f} s {later} the image (scale_tolerance '
                f'{tolerance_s:g} s)'
            )
        return message


class Transforms:
    """Where sensors sit: by parameter, or by TF where tf2_ros is installed (any ROS install)."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None
        self._broadcaster: Any = None
        self._told: set[tuple[str, str]] = set()

    def listen(self) -> None:
        """Begin to listen to TF, where that is possible."""
        if self._buffer is not None:
            return
        try:
            tf2_ros = importlib.import_module('tf2_ros')
        except ImportError:
            return
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, self._node)

    def optical_from(
        self, name: str, frame_id: str, optical_frame_id: str, pose: tuple[float, ...]
    ) -> NDArray[np.float64]:
        """
        Return what turns the points of a source into the camera's optical frame, (4, 4).

        The pose of the parameter counts if it is not all zero; then TF, where it is installed;
        without it the sensor sits at the camera and looks along it.

        Raises
        ------
        EvidenceError
            TF is installed and knows no transform.

        """
        if any(pose):
            return optical_from_sensor(pose)
        if frame_id and frame_id == optical_frame_id:
            return np.eye(4)
        if self._buffer is None:
            return optical_from_sensor(pose)
        found = self.looked_up(optical_frame_id, frame_id)
        if found is None:
            raise EvidenceError(
                f'no transform: TF does not know where {frame_id!r} is in {optical_frame_id!r}; '
                f'publish it, or set the parameter scale_pose.{name}'
            )
        return found

    def tell(self, header: Header, child: str, rotation: NDArray[np.float64]) -> None:
        """
        Broadcast a frame at the origin of another, or say once what to publish without tf2_ros.

        Parameters
        ----------
        header
            Of the message that is in the child's frame; its frame_id is the parent.
        child
            Name of the frame.
        rotation : (3, 3) float64
            Turns directions of the child into those of the parent.

        """
        turn = quaternion(rotation)
        if self._buffer is None:
            if (header.frame_id, child) not in self._told:
                self._told.add((header.frame_id, child))
                self._node.get_logger().warning(
                    f'the frame {child!r} is not broadcast, as tf2_ros is not installed; publish '
                    'it with: ros2 run tf2_ros static_transform_publisher '
                    f'--frame-id {header.frame_id} --child-frame-id {child} '
                    + ' '.join(f'--q{axis} {value:.6f}' for axis, value in turn.items())
                )
            return
        if self._broadcaster is None:
            self._broadcaster = importlib.import_module('tf2_ros').TransformBroadcaster(self._node)
        message = TransformStamped(header=header, child_frame_id=child)
        message.transform.rotation = Quaternion(**turn)
        self._broadcaster.sendTransform(message)

    def looked_up(self, target: str, source: str) -> NDArray[np.float64] | None:
        """Return what turns points of a frame into another, (4, 4); None if TF can't tell."""
        if self._buffer is None:
            return None
        try:
            transform = self._buffer.lookup_transform(target, source, Time()).transform
        except Exception:  # tf2's are of several kinds, and of other modules in some releases
            return None
        return transform_matrix(transform)

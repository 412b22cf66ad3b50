# SPDX-License-Identifier: Apache-2.0
"""One camera of the depth node: its topics, its intrinsics, and how its frames fare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import time
from typing import Any, TYPE_CHECKING

from adabins_ros.messages.stamps import stamp_ns
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.diagnostics import DepthDiagnostics, NodeCondition
from adabins_ros.ros.frame_statistics import FrameStatistics
from adabins_ros.ros.parameters import DepthNodeSettings
from adabins_ros.ros.pipeline import DepthPipeline, PreparedFrame
from adabins_ros.ros.stream_hints import image_topic, StreamHints
from adabins_ros.ros.throttled_warnings import ThrottledWarnings
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Float32MultiArray

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor

TOPICS = {
    'image': (Image, 'depth/image'),
    'image_raw': (Image, 'depth/image_raw'),
    'camera_info': (CameraInfo, 'depth/camera_info'),
    'std': (Image, 'depth/std'),
    'color': (Image, 'depth/color'),
    'points': (PointCloud2, 'points'),
    'bin_centers': (Float32MultiArray, 'depth/bin_centers'),
}
CAMERA_INFO_GRACE_S = 0.5
"""How long the first image waits for the first camera_info, seconds."""


class CameraStream:
    """
    Listen to one camera and publish what is computed from its images.

    Parameters
    ----------
    node
        Owns the topics.
    name
        Namespace of the camera's topics below the node's; '' for none.
    warnings
        Of the node.

    """

    def __init__(self, node: LifecycleNode, name: str, warnings: ThrottledWarnings) -> None:
        self.name = name
        self.statistics = FrameStatistics()
        self._pipeline: DepthPipeline | None = None
        self._node = node
        self._warnings = warnings
        self._prefix = f'{name}/' if name else ''
        self._outputs: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._awaits_camera_info = False
        camera_info = node.resolve_topic_name(f'{self._prefix}camera_info')
        self._cameras = CameraSource(camera_info, self.warn)
        self._hints = StreamHints(node, self._cameras)
        self._diagnostics = DepthDiagnostics(node.get_fully_qualified_name(), name)

    @property
    def topic(self) -> str:
        """Return where images are expected; 'none' before it listens."""
        return self._inputs[0].topic_name if self._inputs else 'none'

    def warn(self, cause: str, text: str) -> None:
        """Warn of a cause, at once and then now and again."""
        of_whom = f'{self.name}: ' if self.name else ''
        self._warnings.warn(of_whom + cause, of_whom + text)

    def give_up(self, cause: str, text: str) -> None:
        """Count and report a frame that led to nothing."""
        self.statistics.count_bad(cause, text.splitlines()[0])
        self.warn(f'image: {cause}', text)

    def announce(self, predictor: DepthPredictor) -> None:
        """Make the publishers, and a pipeline with the loaded model."""
        for name, (kind, topic) in TOPICS.items():
            self._outputs[name] = self._node.create_lifecycle_publisher(
                kind,
                self._prefix + topic,
                QoSProfile(depth=5),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        self._pipeline = DepthPipeline(predictor, self._cameras, self.statistics, self.warn)

    def withdraw(self) -> None:
        """Undo `announce`."""
        for output in self._outputs.values():
            self._node.destroy_lifecycle_publisher(output)
        self._outputs = {}
        self._pipeline = None

    def listen(self, transport: str, take_image: Callable[[Any], None]) -> None:
        """
        Subscribe to images and camera_info.

        Raises
        ------
        RuntimeError
            If a qos_overrides parameter is unusable.

        """
        base = self._node.resolve_topic_name(f'{self._prefix}image_raw')
        kind = Image if transport == 'raw' else CompressedImage
        camera_info = f'{self._prefix}camera_info'
        self._inputs.append(self._subscribe(kind, image_topic(base, transport), take_image))
        self._inputs.append(self._subscribe(CameraInfo, camera_info, self._cameras.update))
        self._hints.watch(self._inputs[0], self._inputs[1], transport)
        self._awaits_camera_info = True

    def stop_listening(self) -> None:
        """Undo `listen`."""
        self._hints.forget()
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._inputs = []

    def begin(self, message: Any, settings: DepthNodeSettings) -> PreparedFrame | None:
        """
        Prepare an image message for the network, and publish what does not need it.

        Returns
        -------
        PreparedFrame or None
            None if nobody subscribes to what needs the network.

        Raises
        ------
        MessageError
            If the image can't be used.

        """
        wanted = frozenset(
            name
            for name, output in self._outputs.items()
            if settings.publishes(name) and output.get_subscription_count()
        )
        if wanted and self._pipeline is not None:
            if self._awaits_camera_info and not settings.horizontal_fov_deg:
                self._cameras.wait(CAMERA_INFO_GRACE_S)
            self._awaits_camera_info = False
            frame = self._pipeline.prepare(message, wanted, settings)
            self._publish(self._pipeline.camera_info(frame))
            if frame.needs_network:
                return frame
        self.statistics.count_idle()
        return None

    def finish(self, frame: PreparedFrame, arrived_s: float) -> None:
        """Estimate a frame's depth and publish what it gives; the image came at `arrived_s`."""
        assert self._pipeline is not None
        estimate = self._pipeline.estimate(frame)
        record, now = self.statistics.record, self._node.get_clock().now
        record('publish', self._publish(self._pipeline.products(frame, estimate)))
        record('camera to publish', time.perf_counter() - arrived_s)
        stamp = stamp_ns(frame.header.stamp)
        age_s = (now().nanoseconds - stamp) / 1e9
        # A stamp of zero tells no age, and neither does one ahead of the clock (a bag that loops).
        if stamp and age_s >= 0:
            record('frame age', age_s)
        self.statistics.count_published()

    def status(
        self,
        state: str,
        problem: str | None,
        predictor: DepthPredictor | None,
        settings: DepthNodeSettings,
    ) -> DiagnosticStatus:
        """Return how this camera fares, for /diagnostics; `NodeCondition` says from what."""
        report, pipeline = self.statistics.report(), self._pipeline
        return self._diagnostics.status(
            NodeCondition(
                state=state,
                problem=problem,
                predictor=predictor,
                topic=self.topic,
                report=report,
                hints=self._hints.hints(settings.horizontal_fov_deg, report.received_s),
                focal_scale=pipeline.focal_scale if pipeline else 1.0,
                inference_size=pipeline.inference_size if pipeline else None,
            )
        )

    def _publish(self, messages: Iterable[tuple[str, Any]]) -> float:
        """Publish messages by the names of their products; return how long it took, seconds."""
        publish_s = 0.0
        for name, message in messages:
            start = time.perf_counter()
            self._outputs[name].publish(message)
            publish_s += time.perf_counter() - start
        return publish_s

    def _subscribe(self, kind: type, topic: str, callback: Any) -> Any:
        """Subscribe with the QoS for sensor data; the profile is fresh as overrides change it."""
        return self._node.create_subscription(
            kind,
            topic,
            callback,
            QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

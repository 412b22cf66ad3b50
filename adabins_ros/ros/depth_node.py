# SPDX-License-Identifier: Apache-2.0
"""The managed node that turns a camera's images into metric depth, its uncertainty and points."""

from __future__ import annotations

import argparse
from itertools import takewhile
import sys
import time
import traceback
from typing import Any, TYPE_CHECKING

from adabins_ros.messages.stamps import stamp_ns
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.diagnostics import DepthDiagnostics, NodeCondition
from adabins_ros.ros.frame_statistics import FrameStatistics
from adabins_ros.ros.frame_worker import FrameWorker, ReceivedFrame
from adabins_ros.ros.model_loading import ConfigurationError, free_cached_memory, load_predictor
from adabins_ros.ros.parameters import DepthNodeParameters
from adabins_ros.ros.pipeline import DepthPipeline
from adabins_ros.ros.process import run_node
from adabins_ros.ros.stream_hints import image_topic, StreamHints
from adabins_ros.ros.throttled_warnings import ThrottledWarnings
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
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


class DepthNode(LifecycleNode):
    """
    Estimate depth from a camera's newest image, for whatever is subscribed to.

    Parameters
    ----------
    model, device, precision, engine, flip_average, inference_size, pixel_budget, depth_range,
    image_transport
        What is loaded and listened to; can be set while the node is unconfigured.
    autostart
        Configure and activate at the start.
    rectify, focal_correction, horizontal_fov_deg, min_depth, max_depth, point_stride,
    max_std_ratio, edge_ratio, color_max_depth, publish_image, publish_image_raw, publish_std,
    publish_color, publish_points, publish_bin_centers
        Apply from the next frame on. `DepthNodeSettings` describes each.

    Subscribers
    -----------
    image_raw : sensor_msgs/Image
        Any common encoding; with image_transport 'compressed' instead image_raw/compressed,
        sensor_msgs/CompressedImage.
    camera_info : sensor_msgs/CameraInfo
        Intrinsics of these images; the latest one counts.

    Publishers
    ----------
    depth/image : sensor_msgs/Image
        32FC1, metres; NaN unknown, +Inf beyond and -Inf below the range (REP 117, 118).
    depth/image_raw : sensor_msgs/Image
        16UC1, millimetres; 0 invalid.
    depth/camera_info : sensor_msgs/CameraInfo
        Intrinsics of the published depth.
    depth/std : sensor_msgs/Image
        32FC1, one standard deviation, metres.
    depth/color : sensor_msgs/Image
        rgb8, for people.
    points : sensor_msgs/PointCloud2
        Organised, x y z rgb std in the camera's optical frame (REP 103); NaN where gated out.
    depth/bin_centers : std_msgs/Float32MultiArray
        The depth bins of this frame, metres.
    /diagnostics : diagnostic_msgs/DiagnosticArray
        Once a second, in every state.

    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('depth_node', **kwargs)
        self._predictor: DepthPredictor | None = None
        self._pipeline: DepthPipeline | None = None
        self._worker: FrameWorker | None = None
        self._problem: str | None = None
        self._awaits_camera_info = False
        self._outputs: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._statistics = FrameStatistics()
        self._warnings = ThrottledWarnings(self.get_logger())
        self._current = DepthNodeParameters(self, lambda: self._predictor is not None)
        self._cameras = CameraSource(self.resolve_topic_name('camera_info'), self._warnings.warn)
        self._hints = StreamHints(self, self._cameras)
        self._diagnostics = DepthDiagnostics(self.get_fully_qualified_name())
        self._diagnostics_output = self.create_publisher(
            DiagnosticArray,
            '/diagnostics',
            QoSProfile(depth=5),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        # Steady, not ROS time: simulated time stands still until somebody publishes /clock.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        if self._current.settings.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and announce the topics; fail, and stay alive, if that is impossible."""
        settings = self._current.settings
        self.get_logger().info(
            f'loading {settings.model} (device {settings.device}); services answer after that'
        )
        start = time.perf_counter()
        try:
            self._predictor = load_predictor(settings)
            for name, (kind, topic) in TOPICS.items():
                self._outputs[name] = self.create_lifecycle_publisher(
                    kind,
                    topic,
                    QoSProfile(depth=5),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
        except Exception as error:  # whatever it is, the node can be configured again
            self._problem = str(error)
            if not isinstance(error, ConfigurationError):
                self._problem = f'{type(error).__name__}: {error}'
                self.get_logger().error(traceback.format_exc())
            self.get_logger().error(
                f'configuration failed: {self._problem}\nCorrect it with ros2 param set, then: '
                f'ros2 lifecycle set {self.get_fully_qualified_name()} configure'
            )
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._problem = None
        self._pipeline = DepthPipeline(
            self._predictor,
            self._cameras,
            self._statistics,
            self._warnings.warn,
            on_device=self._predictor.on_gpu,
        )
        self.get_logger().info(
            f'{self._predictor.description}, loaded in {time.perf_counter() - start:.1f} s'
        )
        if not self._predictor.is_trained:
            self.get_logger().warning('untrained network: depth is meaningless')
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the camera and begin to compute."""
        transport = self._current.settings.image_transport
        topic = image_topic(self.resolve_topic_name('image_raw'), transport)
        kind = Image if transport == 'raw' else CompressedImage
        self._worker = FrameWorker(self._process, self._statistics, self._warnings.warn)
        try:
            self._inputs.append(self._subscribe(kind, topic, self._worker.put))
            self._inputs.append(self._subscribe(CameraInfo, 'camera_info', self._cameras.update))
        except RuntimeError as error:  # an unusable qos_overrides parameter
            self.get_logger().error(f'activation failed: {error}')
            self._stop_listening()
            return TransitionCallbackReturn.FAILURE
        self._hints.watch(self._inputs[0], self._inputs[1], transport)
        self._awaits_camera_info = True
        self._worker.start()
        self.get_logger().info(f'listening to {self._inputs[0].topic_name}')
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the frame in work, then neither listen nor compute."""
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and the device's memory."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after a transition that raised."""
        self.get_logger().error('a transition failed; the node is unconfigured now')
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def stop_work(self, timeout_s: float) -> bool:
        """Take no further frame; tell whether the one in work was finished in time."""
        return self._worker is None or self._worker.stop(timeout_s)

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _subscribe(self, kind: type, topic: str, callback: Any) -> Any:
        """Subscribe with the QoS for sensor data; the profile is fresh as overrides change it."""
        return self.create_subscription(
            kind,
            topic,
            callback,
            QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _stop_listening(self) -> None:
        self._hints.forget()
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _release(self) -> None:
        """Return to what the node was before it was configured."""
        self._stop_listening()
        for output in self._outputs.values():
            self.destroy_lifecycle_publisher(output)
        self._outputs = {}
        self._pipeline = None
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = None
        free_cached_memory()

    def _process(self, frame: ReceivedFrame) -> None:
        """Compute and publish what somebody subscribes to; runs in the worker's thread."""
        settings, pipeline = self._current.settings, self._pipeline
        wanted = frozenset(
            name
            for name, output in self._outputs.items()
            if settings.publishes(name) and output.get_subscription_count()
        )
        if not wanted or pipeline is None:
            self._statistics.count_idle()
            return
        if self._awaits_camera_info and not settings.horizontal_fov_deg:
            self._cameras.wait(CAMERA_INFO_GRACE_S)
        self._awaits_camera_info = False
        publish_s, computed = 0.0, False
        for name, message in pipeline.messages(frame.message, wanted, settings):
            start = time.perf_counter()
            self._outputs[name].publish(message)
            publish_s += time.perf_counter() - start
            computed |= name != 'camera_info'
        if not computed:
            self._statistics.count_idle()
            return
        self._statistics.record('publish', publish_s)
        self._statistics.record('camera to publish', time.perf_counter() - frame.arrived_s)
        age_s = (self.get_clock().now().nanoseconds - stamp_ns(frame.message.header.stamp)) / 1e9
        # A stamp of zero tells no age, and neither does one ahead of the clock (a bag that loops).
        if stamp_ns(frame.message.header.stamp) and age_s >= 0:
            self._statistics.record('frame age', age_s)
        self._statistics.count_published()

    def _publish_diagnostics(self) -> None:
        report, pipeline = self._statistics.report(), self._pipeline
        status = self._diagnostics.status(
            NodeCondition(
                state='unconfigured'
                if self._predictor is None
                else 'inactive'
                if self._worker is None
                else 'active',
                problem=self._problem,
                predictor=self._predictor,
                topic=self._inputs[0].topic_name if self._inputs else 'none',
                report=report,
                hints=self._hints.hints(
                    self._current.settings.horizontal_fov_deg, report.received_s
                ),
                focal_scale=pipeline.focal_scale if pipeline else 1.0,
                inference_size=pipeline.inference_size if pipeline else None,
            )
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_output.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the depth node until SIGINT or SIGTERM; return the process's exit status."""
    parser = argparse.ArgumentParser(
        prog='depth_node',
        usage='depth_node [--ros-args -p PARAMETER:=VALUE -r TOPIC:=OTHER ...]',
        description='Metric depth, its standard deviation and points from a camera. '
        'Parameters: config/depth.yaml, or ros2 param describe on the running node.',
    )
    command_line = sys.argv[1:] if args is None else args
    parser.parse_args(list(takewhile(lambda word: word != '--ros-args', command_line)))
    return run_node(DepthNode, args)


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""One camera of the depth node: its topics, its intrinsics, and how its frames fare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import Any, TYPE_CHECKING

from adabins_ros.camera_topics import find_cameras
from adabins_ros.messages.fields import stamp_ns
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.diagnostics import (
    DepthDiagnostics,
    FrameStatistics,
    NodeCondition,
    ThrottledWarnings,
)
from adabins_ros.ros.frame_scale import FrameScale
from adabins_ros.ros.frame_worker import FrameWorker
from adabins_ros.ros.graph import published_topics, subscribe
from adabins_ros.ros.model_loading import FAILED
from adabins_ros.ros.parameters import DepthNodeSettings
from adabins_ros.ros.pipeline import DepthPipeline
from adabins_ros.ros.products import PRODUCTS
from adabins_ros.ros.scale_sources import ScaleSources
from adabins_ros.ros.slow_output import SlowOutput
from adabins_ros.ros.stream_hints import image_topic, StreamHints
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor

CAMERA_INFO_GRACE_S = 0.5
"""How long the first image waits for the first camera_info, seconds."""
LOOK_S, LOOKS = 0.5, 3
"""How often a camera is looked for, seconds; so often it must be the only one, in a row."""
LONGEST_AGE_S = 60.0
"""What is older by its stamp has a clock of its own, seconds."""


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
    settings
        Returns the node's parameters of now.
    sources
        Of the true scale; the node's.

    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        warnings: ThrottledWarnings,
        settings: Callable[[], DepthNodeSettings],
        sources: ScaleSources,
    ) -> None:
        self.name = name
        self._node = node
        self._warnings = warnings
        self._settings = settings
        self._prefix = f'{name}/' if name else ''
        self._outputs: dict[str, Any] = {}
        self._slow_outputs: dict[str, SlowOutput] = {}
        self._inputs: list[Any] = []
        self._pipeline: DepthPipeline | None = None
        self._awaits_camera_info = False
        self._other_clock = ''
        self._search: Any = None
        self._choices: list[str] = []
        camera_info = node.resolve_topic_name(f'{self._prefix}camera_info')
        self._cameras = CameraSource(camera_info, self.warn)
        self._hints: StreamHints | None = None
        self._statistics = FrameStatistics()
        self._sources = sources
        self._scale = FrameScale(sources)
        self._diagnostics = DepthDiagnostics(
            node.get_fully_qualified_name(), name, self._statistics
        )

    @property
    def topic(self) -> str:
        """Return where images are expected; 'none' before it listens."""
        return self._inputs[0].topic_name if self._inputs else 'none'

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Return height and width of the last image, px."""
        return self._pipeline.image_size if self._pipeline else None

    @property
    def output_topics(self) -> set[str]:
        """Return the names of what is announced."""
        return {output.topic_name for output in self._outputs.values()}

    def warn(self, cause: str, text: str) -> None:
        """Warn of a cause, at once and then now and again."""
        of_whom = f'{self.name}: ' if self.name else ''
        self._warnings.warn(of_whom + cause, of_whom + text)

    def give_up(self, cause: str, text: str) -> None:
        """Count and report a frame that led to nothing."""
        self._statistics.count_bad(cause, text.splitlines()[0])
        self.warn(f'image: {cause}', text)

    def announce(self, predictor: DepthPredictor, beside: FrameWorker) -> None:
        """
        Make the publishers, and a pipeline with the loaded model.

        Parameters
        ----------
        predictor
            The model.
        beside
            Makes the messages that take long, in its thread.

        """
        for product in PRODUCTS:
            self._outputs[product.name] = self._node.create_lifecycle_publisher(
                product.kind,
                self._prefix + product.topic,
                QoSProfile(depth=5),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            if product.takes_long:
                self._slow_outputs[product.name] = SlowOutput(
                    f'{self.name}/{product.name}',
                    self._outputs[product.name],
                    beside,
                    self._statistics,
                    self.warn,
                )
        self._pipeline = DepthPipeline(
            predictor, self._cameras, self._statistics, self.warn, self._scale.apply
        )
        problem = unsmoothed(predictor, self._settings())
        if problem:
            self.warn('temporal_smoothing', problem)

    def change_model(self, predictor: DepthPredictor) -> None:
        """Compute from the next frame on with another model, whose scale is not known yet."""
        if self._pipeline is not None:
            scale = FrameScale(self._sources)
            self._pipeline = self._pipeline.with_model(predictor, scale.apply)
            self._scale = scale

    def withdraw(self) -> None:
        """Undo `announce`."""
        for output in self._outputs.values():
            self._node.destroy_lifecycle_publisher(output)
        self._outputs, self._slow_outputs = {}, {}
        self._pipeline = None

    def listen(self, worker: FrameWorker) -> None:
        """
        Subscribe to images, which the worker gets, and camera_info; or look for a camera first.

        Raises
        ------
        RuntimeError
            If a qos_overrides parameter is unusable.

        """
        self._scale.reset()
        base = self._node.resolve_topic_name(f'{self._prefix}image_raw')
        camera_info = self._node.resolve_topic_name(f'{self._prefix}camera_info')
        unnamed = base == self._node.get_namespace().rstrip('/') + '/image_raw'
        if self._settings().find_camera and unnamed:
            self._choices = []
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._search = self._node.create_timer(
                LOOK_S, partial(self._look_for_camera, worker), clock=steady
            )
        else:
            self._listen_to(base, camera_info, worker)

    def _look_for_camera(self, worker: FrameWorker) -> None:
        """Listen to the one camera that is there, once it has been the only one for a while."""
        found = find_cameras(published_topics(self._node), self._settings().image_transport)
        self._choices.append(found.text)
        if self._choices[-LOOKS:] != [found.text] * LOOKS:
            return
        if found.only is not None:
            self._stop_search()
            self._node.get_logger().info(found.text)
            self._listen_to(found.only.image, found.only.camera_info, worker)
        elif len(self._choices) == LOOKS or self._choices[-LOOKS - 1] != found.text:
            self._node.get_logger().warning(f'no camera is chosen: {found.text}')

    def _stop_search(self) -> None:
        if self._search is not None:
            self._node.destroy_timer(self._search)
        self._search, self._choices = None, []

    def _listen_to(self, base: str, camera_info: str, worker: FrameWorker) -> None:
        def on_image(message: Any) -> None:
            self._statistics.count('received')
            if worker.put(self, message):
                self._statistics.count('dropped')

        transport = self._settings().image_transport
        kind = Image if transport == 'raw' else CompressedImage
        images = subscribe(self._node, kind, image_topic(base, transport), on_image)
        self._inputs.append(images)
        self._cameras.image_topic = self.topic
        self._cameras.topic = camera_info
        camera_infos = subscribe(self._node, CameraInfo, camera_info, self._cameras.update)
        self._inputs.append(camera_infos)
        self._hints = StreamHints(self._node, self._cameras, images, camera_infos, transport)
        self._awaits_camera_info = True

    def stop_listening(self) -> None:
        """Undo `listen`."""
        self._stop_search()
        self._hints = None
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._inputs = []

    def process(self, message: Any, arrived_s: float) -> None:
        """
        Compute and publish what somebody subscribes to; runs in the worker's thread.

        Parameters
        ----------
        message
            Of the camera's image.
        arrived_s
            When it came, `time.perf_counter` seconds.

        Raises
        ------
        MessageError
            If the image can't be used.

        """
        settings = self._settings()
        wanted = [
            name
            for name, output in self._outputs.items()
            if settings.publishes(name) and output.get_subscription_count()
        ]
        if self._pipeline is None or not wanted:
            self._statistics.count('idle')
            return
        if self._awaits_camera_info and not settings.horizontal_fov_deg:
            self._cameras.wait(CAMERA_INFO_GRACE_S)
        self._awaits_camera_info = False
        network_ran, publish_s = False, 0.0
        for product, made in self._pipeline.messages(message, wanted, settings):
            start = time.perf_counter()
            output = self._slow_outputs.get(product.name, self._outputs[product.name])
            output.publish(made)
            publish_s += time.perf_counter() - start
            network_ran |= product.needs_network
        if not network_ran:
            self._statistics.count('idle')
            return
        if self._scale.is_missing:
            way = settings.when_unanchored
            held = '; points and scan are held back' if way == 'hold' else ''
            self.warn(f'scale: {way}', f'{self._scale.problem}{held}')
        self._statistics.record('publish', publish_s)
        self._statistics.record('camera to publish', time.perf_counter() - arrived_s)
        self._record_age(message.header.stamp)
        self._statistics.count('published')

    def _record_age(self, stamp: Any) -> None:
        """Record how old a frame is by its stamp, unless that is of another clock."""
        self._other_clock = ''
        if not stamp_ns(stamp):
            return
        age_s = (self._node.get_clock().now().nanoseconds - stamp_ns(stamp)) / 1e9
        if age_s > LONGEST_AGE_S:
            self._other_clock = (
                f"the images' stamps are {age_s:.0f} s behind the clock: play a recording with "
                '--clock and set use_sim_time, or set the clock of the camera'
            )
        elif age_s >= 0:  # ahead of the clock is a bag that loops
            self._statistics.record('frame age', age_s)

    def status(self, condition: NodeCondition) -> DiagnosticStatus:
        """Return how this camera fares, for /diagnostics."""
        settings, model, predictor = self._settings(), condition.model, condition.predictor
        hints = []
        if self._hints is not None:
            received_s = self._statistics.received_s
            hints = self._hints.hints(settings.horizontal_fov_deg, received_s)
        if self._choices:
            hints.append(f'no camera is chosen: {self._choices[-1]}')
        if model.change.startswith(FAILED):
            hints.append(f'{model.change}; {model.active} runs on')
        if predictor is not None:
            hints += filter(None, [predictor.notice, unsmoothed(predictor, settings)])
        if self._scale.is_missing:
            hints.append(self._scale.problem)
        pipeline = self._pipeline
        return self._diagnostics.status(
            condition,
            topic=self.topic,
            hints=hints,
            camera_info=self._cameras.choice,
            focal_scale=pipeline.focal_scale if pipeline else 1.0,
            inference_size=pipeline.inference_size if pipeline else None,
            scale=self._scale.fit,
            other_clock=self._other_clock,
        )


def unsmoothed(predictor: DepthPredictor, settings: DepthNodeSettings) -> str | None:
    """Say that, and why, the network can't smooth although the parameter asks for it."""
    if not settings.temporal_smoothing or predictor.can_smooth:
        return None
    way_out = 'its bins are fixed; set it to 0.0'
    if predictor.config.bin_strategy == 'adaptive':
        way_out = 'the file was exported without; export it again, or set it to 0.0'
    return (
        f"temporal_smoothing = {settings.temporal_smoothing:g} s can't be had with "
        f'{predictor.config.name}: {way_out}'
    )

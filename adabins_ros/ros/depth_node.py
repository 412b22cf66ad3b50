# SPDX-License-Identifier: Apache-2.0
"""The managed node that turns a camera's images into metric depth, its uncertainty and points."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
import sys
import time
import traceback
from typing import Any, TYPE_CHECKING

from adabins_ros.freed_memory import loading_apart, return_freed_memory
from adabins_ros.ros.camera_stream import CameraStream
from adabins_ros.ros.declared_parameters import DepthNodeParameters
from adabins_ros.ros.diagnostics import NodeCondition, ThrottledWarnings
from adabins_ros.ros.frame_worker import FrameWorker
from adabins_ros.ros.manager_bond import ManagerBond
from adabins_ros.ros.model_loading import (
    FAILED,
    file_state,
    free_cached_memory,
    in_words,
    load_predictor,
    LOADING,
    ModelChange,
    ModelChanges,
    ModelStatus,
)
from adabins_ros.ros.process import run_node
from adabins_ros.ros.scale_sources import ScaleSources
from adabins_ros.starting import check_node_words
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor


class DepthNode(LifecycleNode):
    """
    Estimate depth from a camera's newest image, for whatever is subscribed to.

    Parameters
    ----------
    model
        What is loaded; on a running node it is loaded beside the old one and exchanged between
        two frames. What runs stands in the read-only model_active.
    device, precision, engine, flip_average, inference_size, pixel_budget, depth_range,
    image_transport, cameras
        What is loaded and listened to; can be set while the node is unconfigured.
    autostart
        Configure and activate at the start.
    exit_on_failure
        End with status 1 where that fails.
    find_camera
        Listen to the one camera that is there.
    rectify, rectified_input, temporal_smoothing, focal_correction, horizontal_fov_deg, min_depth,
    max_depth, point_stride, max_std_ratio, edge_ratio, sure_std, clear_range, remove_floor,
    height_field, color_max_depth, publish_NAME
        Apply from the next frame on. `DepthNodeSettings` describes each; NAME is a product's.

    Subscribers
    -----------
    image_raw : sensor_msgs/Image
        Any common encoding; with image_transport 'compressed' instead image_raw/compressed,
        sensor_msgs/CompressedImage.
    camera_info : sensor_msgs/CameraInfo
        Intrinsics of these images: those of the same stamp, else the latest.

    Publishers
    ----------
    depth/..., points, points_clearing
        The rows of `products.PRODUCTS`: topic, type and meaning of each, as --help lists them.
    /diagnostics : diagnostic_msgs/DiagnosticArray
        Once a second, in every state.

    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('depth_node', **kwargs)
        self.failed = False
        self._predictor: DepthPredictor | None = None
        self._worker: FrameWorker | None = None
        self._beside: FrameWorker | None = None
        self._problem: str | None = None
        self._notice: str | None = None
        self._warnings = ThrottledWarnings(self.get_logger().warning)
        self._current = DepthNodeParameters(
            self, lambda: self._predictor is not None, self._begin_change
        )
        self._model = ModelStatus()
        self._model_state: tuple[int, ...] = ()
        self._changes = ModelChanges(self._when_loaded)
        self._scale_sources = ScaleSources(self)
        self._bond = ManagerBond(self)
        self._streams: list[CameraStream] = []
        self._make_streams()
        for text in self._current.unknown():
            self.get_logger().warning(text)
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
        self._model_state = file_state(settings.model)
        try:
            with loading_apart():
                self._predictor = load_predictor(settings)
            self._make_streams()
            self._beside = FrameWorker(name='beside')
            self._beside.start()
            for stream in self._streams:
                stream.announce(self._predictor, self._beside)
        except Exception as error:  # whatever it is, the node can be configured again
            self._problem = in_words(error, settings.model)
            if self._problem is None:
                self._problem = f'{type(error).__name__}: {error}'
                self.get_logger().error(traceback.format_exc())
            self.get_logger().error(
                f'configuration failed: {self._problem}\nCorrect it with ros2 param set, then: '
                f'ros2 lifecycle set {self.get_fully_qualified_name()} configure'
            )
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._problem = None
        self._tell_model(ModelStatus(settings.model))
        taken_s = time.perf_counter() - start
        self._introduce(
            self._predictor, f'{self._predictor.description}, loaded in {taken_s:.1f} s'
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the camera and begin to compute."""
        self._worker = FrameWorker(self._take_over_engine)
        try:
            own = {topic for stream in self._streams for topic in stream.output_topics}
            self._scale_sources.listen(self._current.settings, own)
            for stream in self._streams:
                stream.listen(self._worker)
        except RuntimeError as error:  # an unusable qos_overrides parameter
            self.get_logger().error(f'activation failed: {error}')
            self._stop_listening()
            return TransitionCallbackReturn.FAILURE
        self._worker.start()
        topics = ', '.join(stream.topic for stream in self._streams)
        what = f'listening to {topics}' if topics != 'none' else 'looking for a camera'
        self.get_logger().info(what)
        if not self._current.settings.autostart:
            self._bond.form()
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
        """Begin nothing more; tell whether what was in work was finished in time."""
        loaded = self._changes.stop(timeout_s)
        workers = filter(None, (self._worker, self._beside))
        stopped = [worker.stop(timeout_s) for worker in workers]
        return all(stopped) and loaded

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        done = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        done = done and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        if not done and self._current.settings.exit_on_failure:
            self.failed = True
            self.get_logger().error('exit_on_failure is set: the node ends with status 1')
            self.context.try_shutdown()

    def _make_streams(self) -> None:
        """Have a stream for each camera; those that are there keep their statistics."""
        names = self._current.settings.cameras
        self._current.declare_poses(names)
        if tuple(stream.name for stream in self._streams) != names:
            self._streams = [
                CameraStream(
                    self,
                    name,
                    self._warnings,
                    partial(self._current.settings_of, name),
                    self._scale_sources,
                )
                for name in names
            ]

    def _stop_listening(self) -> None:
        self._bond.end()
        # First: a frame in work still asks what else the robot has measured.
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        self._scale_sources.stop_listening()
        for stream in self._streams:
            stream.stop_listening()

    def _release(self) -> None:
        """Return to what the node was before it was configured."""
        self._changes.give_up()
        self._stop_listening()
        if self._beside is not None:
            self._beside.stop()
            self._beside = None
        for stream in self._streams:
            stream.withdraw()
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = None
        self._tell_model(ModelStatus())
        free_cached_memory()
        return_freed_memory()

    def _begin_change(self) -> None:
        """Load the model that was asked for, unless it is the one that runs."""
        settings = self._current.settings
        state = file_state(settings.model)
        if self._predictor is None:
            return
        if (settings.model, state) == (self._model.active, self._model_state):
            self._changes.give_up()
            self._tell_model(ModelStatus(settings.model))
            return
        sizes = [stream.image_size for stream in self._streams if stream.image_size]
        self._changes.begin(ModelChange(settings, sizes))
        self._tell_model(replace(self._model, change=f'{LOADING} {settings.model}'))
        self.get_logger().info(f'loading {settings.model}; {self._model.active} runs on meanwhile')

    def _when_loaded(self, change: ModelChange) -> None:
        """Go on in the thread of the node's callbacks."""
        if self.executor is not None:
            self.executor.create_task(self._end_change, change)

    def _end_change(self, change: ModelChange) -> None:
        """Take over a model that was loaded, from the next frame on; or say why there is none."""
        new, old, name = change.predictor, self._predictor, change.settings.model
        if not self._changes.is_wanted(change) or old is None:
            if new is not None:
                self._changes.retire(new, lambda: None)
            return
        if new is None:
            why = change.problem
            self.get_logger().error(f'{name} can not be used, {self._model.active} runs on: {why}')
            self._tell_model(replace(self._model, change=f'{FAILED} {name}: {why}'))
            return
        self._predictor = new
        for stream in self._streams:
            stream.change_model(new)
        worker = self._worker
        self._changes.retire(old, worker.wait_for_frame if worker else lambda: None)
        self._model_state = change.file_state
        self._tell_model(ModelStatus(name, 'done'))
        self._introduce(new, f'changed to {new.description}')

    def _tell_model(self, model: ModelStatus) -> None:
        self._model = model
        self._current.tell_model(model)

    def _take_over_engine(self) -> None:
        """Change to a faster engine once it is built; between two frames, in their thread."""
        predictor = self._predictor
        if predictor is None:
            return
        if predictor.settle():
            self.get_logger().info(f'changed over to {predictor.description}')
        self._say_notice(predictor)

    def _introduce(self, predictor: DepthPredictor, text: str) -> None:
        """Say of a model that was loaded what there is to say."""
        self.get_logger().info(text)
        if not predictor.is_trained:
            self.get_logger().warning('untrained network: depth is meaningless')
        self._say_notice(predictor)

    def _say_notice(self, predictor: DepthPredictor) -> None:
        """Warn of what the predictor has to say, once."""
        if predictor.notice and predictor.notice != self._notice:
            self.get_logger().warning(predictor.notice)
        self._notice = predictor.notice

    def _publish_diagnostics(self) -> None:
        state = 'inactive' if self._worker is None else 'active'
        if self._predictor is None:
            state = 'unconfigured'
        condition = NodeCondition(state, self._problem, self._predictor, self._model)
        message = DiagnosticArray(status=[stream.status(condition) for stream in self._streams])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_output.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the depth node until SIGINT or SIGTERM; return the process's exit status."""
    check_node_words(args)
    return run_node(DepthNode, args)


if __name__ == '__main__':
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""
The process that records what the depth node publishes, for the demo.

It prints `ready` when the node is active and its topics are there, or `failed: <reason>`. SIGINT
lets it wait for the frames that the node still works on; SIGTERM ends it at once.
"""

from __future__ import annotations

import json
from pathlib import Path
import sys
import threading
import time
from typing import Annotated, Any

from adabins_ros.freed_memory import keep_freed_memory
from adabins_ros.messages import compressed_rgb_fields, decode_rgb, MessageError
from adabins_ros.messages.fields import header_stamp_ns
from adabins_ros.recordings import (
    CameraTopics,
    find_camera_topics,
    open_recording,
    Recording,
    RecordingError,
    RecordingWriter,
)
from adabins_ros.ros.process import init_ros, SpinningThread, StopSignals
from adabins_ros.ros.products import PRODUCTS
from adabins_ros.ros.topic_names import legal_topics
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
import typer

OUTPUTS = {product.topic: product.kind for product in PRODUCTS if not product.other_form_of}
DEPTH, BIN_CENTERS = 'depth/image', 'depth/bin_centers'
READY, FAILED = 'ready', 'failed: '
"""What the first line of the process's output says."""
QUEUE = 50
STATUS_NAME = 'depth_node: depth'
POLL_S = 0.1
DRAIN_S = 30.0
"""Longest wait for the frames in work after SIGINT, seconds."""


class Collector(Node):
    """
    Write the depth node's outputs, and the images that they were made from, as they come.

    Messages are recorded at their stamps, which are those of the camera.

    Parameters
    ----------
    writer : RecordingWriter
        Of the new recording.
    recording : Recording
        What is played into the node: its latched messages (/tf_static) are copied.
    topics : CameraTopics
        What of it the node sees.
    stop_signals : StopSignals
        Is told when everything has arrived, or when writing fails.

    Attributes
    ----------
    error : Exception or None
        Why writing failed.

    """

    def __init__(
        self,
        writer: RecordingWriter,
        recording: Recording,
        topics: CameraTopics,
        stop_signals: StopSignals,
    ) -> None:
        super().__init__('collector', start_parameter_services=False)
        self.error: Exception | None = None
        self._writer = writer
        self._recording = recording
        self._stop_signals = stop_signals
        self._counts: dict[str, int] = {}
        self._arrivals_s: list[float] = []
        self._depth_stamps_ns: list[int] = []
        self._bin_centers: list[bytes] = []
        self._status: dict[str, str] = {}
        self._told = self._finishing = self._latched_copied = False
        self._idle_reports = 0
        names = legal_topics(recording.topics)
        if recording.topics[topics.image].msgtype.endswith('CompressedImage'):
            self._listen(CompressedImage, names[topics.image])
        else:
            self._listen(Image, names[topics.image], self._write_compressed)
        if topics.camera_info:
            self._listen(CameraInfo, names[topics.camera_info])
        for topic, kind in OUTPUTS.items():
            self._listen(kind, topic)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._timer = self.create_timer(POLL_S, self._tell_when_ready)

    def finish(self) -> None:
        """End when the node has finished every frame that it has received."""
        self._finishing = True

    def write_bin_centers(self) -> None:
        """
        Write the bin centres, which have no stamps, at those of the depth images.

        They come in the same order, one for one; only at the beginning can one be missing, when
        one of the two topics was heard a little earlier than the other.
        """
        name, msgtype = self.resolve_topic_name(BIN_CENTERS), 'std_msgs/msg/Float32MultiArray'
        count = min(len(self._bin_centers), len(self._depth_stamps_ns))
        first, first_stamp = len(self._bin_centers) - count, len(self._depth_stamps_ns) - count
        stamps_ns = self._depth_stamps_ns[first_stamp:]
        for data, stamp_ns in zip(self._bin_centers[first:], stamps_ns, strict=True):
            self._writer.write(name, msgtype, data, log_ns=stamp_ns)

    def report(self) -> dict[str, Any]:
        """Return counts by topic, the depth images' rate and the node's last diagnostics."""
        arrivals = self._arrivals_s
        span_s = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else 0.0
        return {
            'messages': self._counts,
            'rate_hz': (len(arrivals) - 1) / span_s if span_s else None,
            'diagnostics': self._status,
        }

    def _listen(self, kind: type, topic: str, write: Any = None) -> None:
        """Record a topic reliably, as the bytes that arrive."""
        name = self.resolve_topic_name(topic)
        msgtype = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'

        def on_message(data: bytes) -> None:
            self._counts[name] = self._counts.get(name, 0) + 1
            if topic == BIN_CENTERS:
                self._bin_centers.append(data)
                return
            stamp_ns = header_stamp_ns(data) or time.time_ns()
            if not self._latched_copied:
                self._latched_copied = True
                self._copy_latched(stamp_ns)
            if topic == DEPTH:
                self._depth_stamps_ns.append(stamp_ns)
                self._arrivals_s.append(time.monotonic())
            try:
                if write is None:
                    self._writer.write(name, msgtype, data, log_ns=stamp_ns)
                else:
                    write(name, data, stamp_ns)
            except RecordingError as error:
                self._fail(error)

        self.create_subscription(kind, name, on_message, QoSProfile(depth=QUEUE), raw=True)

    def _write_compressed(self, name: str, data: bytes, stamp_ns: int) -> None:
        """Record a raw image as JPEG: that is a twentieth of the bytes."""
        message = deserialize_message(data, Image)
        try:
            fields = compressed_rgb_fields(decode_rgb(message))
        except MessageError as error:
            self.get_logger().warning(f'an image of {name} is not recorded: {error}')
            return
        self._writer.write(
            f'{name}/compressed',
            'sensor_msgs/msg/CompressedImage',
            fields,
            log_ns=stamp_ns,
            frame_id=message.header.frame_id,
        )

    def _copy_latched(self, stamp_ns: int) -> None:
        """Copy /tf_static and the like, whose types need not be installed."""
        latched = [info.name for info in self._recording.topics.values() if info.latched]
        if not latched:
            return
        for message in self._recording.messages(latched):
            try:
                self._writer.write(message.topic, message.msgtype, message.cdr(), log_ns=stamp_ns)
            except RecordingError as error:
                self.get_logger().warning(str(error))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name != STATUS_NAME:
                continue
            self._status = {value.key: value.value for value in status.values}
            if status.level == DiagnosticStatus.ERROR and self._status['state'] == 'unconfigured':
                self._tell(FAILED + status.message)
        counts = {
            key: int(self._status.get(f'frames {key}', 0))
            for key in ('received', 'published', 'dropped', 'idle', 'bad')
        }
        if self._finishing and 2 * counts['received'] == sum(counts.values()):
            self._idle_reports += 1
            # The second one: by then what was on its way from the node has been recorded.
            if self._idle_reports > 1:
                self._stop_signals.put()

    def _tell_when_ready(self) -> None:
        if self._told:
            self._timer.cancel()
        elif self._status.get('state') == 'active' and all(
            self.count_publishers(topic) for topic in OUTPUTS
        ):
            self._tell(READY)

    def _tell(self, text: str) -> None:
        if not self._told:
            print(text, flush=True)
        self._told = True

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
            self._stop_signals.put()


def collect(
    output: Annotated[Path, typer.Argument(help='The .mcap to write.')],
    recording: Annotated[Path, typer.Option(help='What is played into the node.')],
    report: Annotated[Path, typer.Option(help='Where counts and diagnostics go, as JSON.')],
) -> None:
    """Record what the depth node publishes until SIGINT or SIGTERM."""
    keep_freed_memory()
    init_ros([])
    stop_signals = StopSignals()
    try:
        with open_recording(recording) as source, RecordingWriter(output) as writer:
            collector = Collector(writer, source, find_camera_topics(source), stop_signals)
            spinning = SpinningThread(collector, stop_signals)
            spinning.start()
            if stop_signals.wait() == 'SIGINT' and collector.error is None:
                collector.finish()
                timer = threading.Timer(DRAIN_S, stop_signals.put)
                timer.daemon = True
                timer.start()
                stop_signals.wait()
            spinning.stop(DRAIN_S)
            if collector.error is not None:
                raise collector.error
            collector.write_bin_centers()
        report.write_text(json.dumps(collector.report(), indent=2) + '\n', encoding='utf-8')
        collector.destroy_node()
    except (RecordingError, OSError) as error:
        print(f'collector: {error}', file=sys.stderr)
        raise typer.Exit(1) from None
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    typer.run(collect)

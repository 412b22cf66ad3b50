# SPDX-License-Identifier: Apache-2.0
"""What the demo compares published depth with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from adabins_ros.demo.demo_results import read_results
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, image_fields
from adabins_ros.recordings import find_camera_topics, open_recording, RecordingWriter
import numpy as np
import pytest

COLOUR = PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5)
# Sees less, in another number of pixels.
DEPTH = PinholeCamera(48, 32, 60.0, 60.0, 23.5, 15.5)


def wall(camera: PinholeCamera) -> np.ndarray:
    """Return the depth of a wall that runs away to the right, m."""
    columns = np.arange(camera.width)
    depth = 2 / (1 - 0.8 * (columns - camera.cx) / camera.fx)
    return np.tile(depth, (camera.height, 1)).astype(np.float32)


@pytest.fixture
def bag(record: Callable[..., Path]) -> Path:
    """Return a recording of a colour camera with a depth camera at the same place."""

    def truth(frame: int) -> list[Any]:
        stamp = 1_700_000_000_000_000_000 + frame * 100_000_000
        depth = image_fields((1000 * wall(DEPTH)).astype(np.uint16), '16UC1')
        info = camera_info_fields(DEPTH)
        return [
            ('/camera/depth/image_raw', 'sensor_msgs/msg/Image', depth, 'depth', stamp),
            ('/camera/depth/camera_info', 'sensor_msgs/msg/CameraInfo', info, 'depth', stamp),
        ]

    return record(truth, frames=6, transforms=(('optical', 'depth', (0.0, 0.0, 0.0)),))


def publish(path: Path, bag: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Write what a node would publish that knows the wall."""
    with open_recording(bag) as recording, RecordingWriter(path) as writer:
        for message in recording.messages(['/camera/image_raw']):
            stamp = message.decode().header.stamp
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
            fields = image_fields(change(wall(COLOUR)), '32FC1')
            kind = 'sensor_msgs/msg/Image'
            writer.write('/depth/image', kind, fields, log_ns=stamp_ns, frame_id='optical')
    return path


def read(outputs: Path, bag: Path) -> Any:
    with open_recording(bag) as recording:
        topics = find_camera_topics(recording)
    return read_results(outputs, bag, topics)


def test_depth_of_another_camera_is_compared_where_its_points_are_seen(bag, tmp_path):
    found = read(publish(tmp_path / 'outputs.mcap', bag, lambda depth: depth), bag)
    assert found.no_truth == ''
    assert found.errors.images == 6
    assert found.errors.abs_rel < 0.02
    assert found.rows[0].truth.shape == (48, 64)


def test_out_of_range_counts_as_the_end_of_the_range(bag, tmp_path):
    """REP 117 says +Inf beyond what the network can say, which is no infinite error."""

    def ends(depth: np.ndarray) -> np.ndarray:
        return np.where(depth > 3, np.inf, np.where(depth < 1.5, -np.inf, depth)).astype('f4')

    found = read(publish(tmp_path / 'outputs.mcap', bag, ends), bag)
    assert found.errors.d1 == 1

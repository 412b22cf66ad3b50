# SPDX-License-Identifier: Apache-2.0
"""Colour, depth and camera that belong together; and the sample recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, compressed_rgb_fields, image_fields
from adabins_ros.recordings import (
    CameraTopics,
    find_camera_topics,
    iterate_frames,
    open_recording,
    RecordingError,
    RecordingWriter,
    RgbdFrame,
)
import cv2
import numpy as np
import pytest

IMAGE = 'sensor_msgs/msg/Image'
MS = 1_000_000
START = 1_700_000_000_000 * MS
TOPICS = CameraTopics('/image', '/depth', '/camera_info', '')


def _colour(value: int) -> dict[str, Any]:
    return image_fields(np.full((4, 6, 3), value, np.uint8), 'rgb8')


def _depth(value: float) -> dict[str, Any]:
    return image_fields(np.full((4, 6), value, np.float32), '32FC1')


def _record(path: Path, messages: list[tuple[str, dict[str, Any], int, int]]) -> Path:
    """Write (topic, fields, stamp in ms, delay of the recording in ms)."""
    kinds = {'/camera_info': 'sensor_msgs/msg/CameraInfo'}
    with RecordingWriter(path / 'room.mcap') as writer:
        for topic, fields, stamp, delay in messages:
            kind = 'sensor_msgs/msg/CompressedImage' if 'format' in fields else IMAGE
            writer.write(
                topic,
                kinds.get(topic, kind),
                fields,
                log_ns=START + (stamp + delay) * MS,
                stamp_ns=START + stamp * MS if stamp >= 0 else 0,
            )
    return path / 'room.mcap'


def _frames(path: Path, topics: CameraTopics = TOPICS, **options: Any) -> list[RgbdFrame]:
    with open_recording(path) as recording:
        return list(iterate_frames(recording, topics, **options))


def _values(frames: list[RgbdFrame]) -> list[tuple[int, float | None]]:
    return [
        (int(x.rgb[0, 0, 0]), None if x.depth is None else float(x.depth[0, 0])) for x in frames
    ]


CAMERA = PinholeCamera(6, 4, 5, 5, 2.5, 1.5)


def test_header_stamps_pair_and_recording_times_do_not(tmp_path: Path) -> None:
    # Depth arrives 70 ms late, after the next colour images.
    messages = [('/camera_info', camera_info_fields(CAMERA), 0, 0)]
    for index in range(5):
        messages.append(('/image', _colour(index), 33 * index, 5))
        messages.append(('/depth', _depth(index + 1), 33 * index + 4, 70))
    frames = _frames(_record(tmp_path, messages))
    assert _values(frames) == [(index, index + 1.0) for index in range(5)]
    assert [frame.stamp_ns for frame in frames] == [START + 33 * MS * i for i in range(5)]
    assert {frame.camera for frame in frames} == {CAMERA}


def test_frames_come_in_time_order_and_each_depth_once(tmp_path: Path) -> None:
    messages = [('/camera_info', camera_info_fields(CAMERA), 0, 0)]
    messages += [('/image', _colour(index), 10 * index, 100 - 20 * index) for index in range(5)]
    messages += [('/depth', _depth(1), 1, 300), ('/depth', _depth(4), 41, 200)]
    assert _values(_frames(_record(tmp_path, messages))) == [(0, 1.0), (4, 4.0)]
    with pytest.raises(RecordingError, match=r'within 0\.5 ms .* nearest are 1\.0 ms'):
        _frames(tmp_path / 'room.mcap', tolerance_ns=500_000)


def test_without_depth_every_colour_image_is_a_frame(tmp_path: Path) -> None:
    path = _record(tmp_path, [('/image', _colour(i), 10 * i, 0) for i in range(3)])
    frames = _frames(path, CameraTopics('/image', None, None, ''))
    assert _values(frames) == [(0, None), (1, None), (2, None)]
    assert frames[0].camera is None


def test_a_stamp_of_zero_is_replaced_by_the_recording_time(tmp_path: Path) -> None:
    path = _record(tmp_path, [('/image', _colour(1), -1, 8)])
    (frame,) = _frames(path, CameraTopics('/image', None, None, ''))
    assert frame.stamp_ns == START + 7 * MS


def test_the_camera_is_scaled_to_the_image_and_may_be_uncalibrated(tmp_path: Path) -> None:
    large = camera_info_fields(CAMERA.scaled(12, 8))
    topics = CameraTopics('/image', None, '/camera_info', '')
    path = _record(tmp_path, [('/image', _colour(1), 0, 0), ('/camera_info', large, 0, 0)])
    (frame,) = _frames(path, topics)
    assert frame.camera == CAMERA
    nothing = {**camera_info_fields(CAMERA), 'k': np.zeros(9)}
    (tmp_path / 'b').mkdir()
    path = _record(tmp_path / 'b', [('/image', _colour(1), 0, 0), ('/camera_info', nothing, 0, 0)])
    assert _frames(path, topics)[0].camera is None


def test_a_frame_that_can_not_be_decoded_is_told_or_left_out(tmp_path: Path) -> None:
    broken = compressed_rgb_fields(np.zeros((4, 6, 3), np.uint8))
    broken['data'] = broken['data'][:-40]
    messages = [('/image', compressed_rgb_fields(np.full((4, 6, 3), 9, np.uint8)), 0, 0)]
    messages += [('/image', broken, 10, 0), ('/image', messages[0][1], 20, 0)]
    path = _record(tmp_path, messages)
    topics = CameraTopics('/image', None, None, '')
    with pytest.raises(RecordingError, match='cut off'):
        _frames(path, topics)
    told: list[str] = []
    frames = _frames(path, topics, on_bad_frame=told.append)
    assert [frame.stamp_ns for frame in frames] == [START, START + 20 * MS]
    assert len(told) == 1
    assert str(START + 10 * MS) in told[0]


def test_the_sample_recording(repository: Path) -> None:
    path = repository / 'adabins_ros' / 'samples' / 'living_room.mcap'
    assert path.stat().st_size <= 3_000_000
    with open_recording(path) as recording:
        topics = find_camera_topics(recording)
        frames = list(iterate_frames(recording, topics))
    assert topics == CameraTopics(
        '/camera/image_raw/compressed',
        '/camera/depth/image_raw/compressedDepth',
        '/camera/camera_info',
        topics.description,
    )
    assert len(frames) == 60
    for frame in frames:
        assert frame.rgb.shape == (240, 320, 3)
        assert frame.depth is not None
        assert frame.camera is not None
        assert frame.camera.horizontal_fov_deg == pytest.approx(60, abs=0.1)
        assert 0.3 < np.nanmin(frame.depth) < np.nanmax(frame.depth) < 15
    rates = 1e9 / np.diff([frame.stamp_ns for frame in frames])
    assert rates == pytest.approx(15, abs=0.01)


def test_the_sample_is_the_shared_sequence(repository: Path, shared_data: Any) -> None:
    folder = shared_data('sequence')
    with open_recording(repository / 'adabins_ros' / 'samples' / 'living_room.mcap') as recording:
        frames = list(iterate_frames(recording, find_camera_topics(recording)))
    for index in (0, 31, 59):
        depth = cv2.imread(str(folder / 'depth' / f'{index:06}.png'), cv2.IMREAD_UNCHANGED)
        ours = np.rint(np.nan_to_num(frames[index].depth) * 1000)
        np.testing.assert_array_equal(ours, depth)
        bgr = cv2.imread(str(folder / 'rgb' / f'{index:06}.jpg'))
        np.testing.assert_array_equal(frames[index].rgb, bgr[..., ::-1])

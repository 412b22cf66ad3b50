# SPDX-License-Identifier: Apache-2.0
"""
Pictures, messages, recordings and models with any bytes changed: read, or one short error.

By hand, an hour of one of them: `FUZZ_EXAMPLES=10000000 timeout 3600 pytest FILE -k recording`, or
guided by what the code does with them, where atheris installs:
`python FILE test_a_changed_recording_is_read_or_one_error -max_total_time=3600`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
import os
from pathlib import Path
import sys
import tempfile
from types import SimpleNamespace
from typing import Any

from adabins_ros.frames.errors import RecordingError
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.inference.finding import find
from adabins_ros.messages import (
    camera_info_fields,
    decode_compressed_depth,
    decode_compressed_rgb,
    decode_rgb,
    image_fields,
    MessageError,
)
from adabins_ros.messages.compressed import compressed_rgb_fields
from adabins_ros.messages.compressed_depth import compressed_depth_fields
from adabins_ros.messages.still_pictures import decode_picture, encode_picture, exif_orientation
from adabins_ros.model.errors import ModelError
from adabins_ros.recordings import open_recording, RecordingWriter
import cv2
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest

EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', '0'))
BGR = np.random.default_rng(3).integers(0, 255, (12, 16, 3), np.uint8)
DEPTH = np.linspace(0.5, 4, 12 * 16, dtype=np.float32).reshape(12, 16)
PICTURES = ('.jpg', 'progressive', '.png', '.tiff', '.bmp', '.webp', '.ppm')
CAMERA = PinholeCamera(16, 12, 14.0, 14.0, 7.5, 5.5)
WEIGHTS = Path(__file__).resolve().parents[2] / 'adabins_ros' / 'weights'
changes = st.tuples(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.integers(0, 1 << 16)),
    st.binary(max_size=8),
)
Changes = tuple[list[tuple[int, int]], int | None, bytes]
# Removed when the program ends.
folder = tempfile.TemporaryDirectory()


def bounded(examples: int) -> settings:
    """Return how many examples are tried, the same in each run unless asked for by hand."""
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def changed(content: bytes, change: Changes) -> bytes:
    """Return bytes with some of them replaced, cut off somewhere, and others put behind."""
    bytes_, cut, behind = change
    data = bytearray(content)
    for position, value in bytes_:
        data[position % len(data)] = value
    return bytes(data if cut is None else data[: cut % len(data)]) + behind


@cache
def recordings() -> dict[str, bytes]:
    """Return two frames of a camera with depth as recordings, by the suffix of each kind."""
    from rosbags.rosbag1 import Writer as Ros1Writer
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import get_typestore, Stores

    mcap = Path(folder.name) / 'sound.mcap'
    with RecordingWriter(mcap) as writer:
        for number in range(2):
            for topic, kind, fields in (
                ('/camera/image_raw', 'Image', image_fields(BGR, 'bgr8')),
                ('/camera/image_raw/compressed', 'CompressedImage', compressed_rgb_fields(BGR)),
                ('/camera/depth', 'CompressedImage', compressed_depth_fields(DEPTH, 'rvl')),
                ('/camera/camera_info', 'CameraInfo', camera_info_fields(CAMERA)),
            ):
                kind, stamp = f'sensor_msgs/msg/{kind}', (number + 1) * 10**9
                writer.write(topic, kind, fields, log_ns=stamp, frame_id='eye', stamp_ns=stamp)
    db3, bag = Path(folder.name) / 'sqlite', Path(folder.name) / 'sound.bag'
    types = get_typestore(Stores.ROS2_HUMBLE)
    noetic = get_typestore(Stores.ROS1_NOETIC)
    text = 'std_msgs/msg/String'
    said = types.types[text]('hello')
    with (
        open_recording(mcap) as recording,
        Writer(db3, version=8, storage_plugin=StoragePlugin.SQLITE3) as sqlite,
        Ros1Writer(bag) as ros1,
    ):
        known: dict[str, Any] = {}
        for message in recording.messages():
            if message.topic not in known:
                known[message.topic] = sqlite.add_connection(
                    message.topic, message.msgtype, typestore=types
                )
            sqlite.write(known[message.topic], message.log_ns, message.cdr())
        chatter = ros1.add_connection('/chatter', text, typestore=noetic)
        for number in range(3):
            ros1.write(chatter, number + 1, noetic.serialize_ros1(said, text))
    (database,) = db3.glob('*.db3')
    return {'.mcap': mcap.read_bytes(), '.db3': database.read_bytes(), '.bag': bag.read_bytes()}


@cache
def messages() -> list[Any]:
    """Return a message of each topic."""
    path = Path(folder.name) / 'messages.mcap'
    path.write_bytes(recordings()['.mcap'])
    with open_recording(path) as recording:
        return list({message.topic: message for message in recording.messages()}.values())


@cache
def weights() -> dict[str, bytes]:
    """Return the shipped weights in both forms, by suffix."""
    return {
        suffix: (WEIGHTS / f'adabins-lite{suffix}').read_bytes()
        for suffix in ('.onnx', '.safetensors')
    }


@bounded(400)
@given(suffix=st.sampled_from(PICTURES), change=changes)
def test_a_changed_picture_is_a_picture_or_one_error(suffix: str, change: Changes) -> None:
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if suffix == 'progressive' else ()
    whole = encode_picture(BGR, '.jpg' if options else suffix, *options)
    data = np.frombuffer(changed(whole.tobytes(), change), np.uint8)
    assert exif_orientation(data) >= 0
    try:
        assert decode_picture(data).size
    except MessageError as error:
        assert error.cause and len(str(error)) < 500
    assert decode_picture(whole).shape == BGR.shape


@bounded(120)
@given(codec=st.sampled_from(('png', 'rvl')), change=changes)
def test_a_changed_compressed_depth_is_depth_or_one_error(codec: str, change: Changes) -> None:
    fields = compressed_depth_fields(DEPTH, codec)
    data = np.frombuffer(changed(fields['data'].tobytes(), change), np.uint8)
    try:
        depth = decode_compressed_depth(SimpleNamespace(format=fields['format'], data=data))
        assert depth.dtype == np.float32
    except MessageError as error:
        assert error.cause
    good = decode_compressed_depth(SimpleNamespace(**fields))
    np.testing.assert_allclose(good, DEPTH, atol=1e-3)


@bounded(60)
@given(text=st.text(max_size=40), data=st.binary(max_size=200))
def test_any_bytes_under_any_format_are_one_error(text: str, data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_compressed_rgb(SimpleNamespace(format=text, data=data))


@bounded(150)
@given(suffix=st.sampled_from(('.mcap', '.db3', '.bag')), change=changes)
def test_a_changed_recording_is_read_or_one_error(suffix: str, change: Changes) -> None:
    path = Path(folder.name) / f'changed{suffix}'
    path.write_bytes(changed(recordings()[suffix], change))
    try:
        with open_recording(path) as recording:
            for message in recording.messages():
                message.decode()
    except RecordingError as error:
        assert path.name in str(error) and len(str(error)) < 800


@bounded(200)
@given(number=st.integers(0, 3), change=changes)
def test_a_changed_message_is_read_or_one_error(number: int, change: Changes) -> None:
    message = messages()[number]
    try:
        fields = replace(message, raw=changed(message.raw, change)).decode()
        if message.topic.endswith('image_raw'):
            decode_rgb(fields)
        elif message.topic.endswith('compressed'):
            decode_compressed_rgb(fields)
        elif message.topic.endswith('depth'):
            decode_compressed_depth(fields)
    except (RecordingError, MessageError) as error:
        assert str(error) and len(str(error)) < 800


@bounded(60)
@given(suffix=st.sampled_from(('.onnx', '.safetensors')), change=changes)
def test_a_changed_model_says_what_it_is_or_one_error(suffix: str, change: Changes) -> None:
    path = Path(folder.name) / f'changed{suffix}'
    path.write_bytes(changed(weights()[suffix], change))
    try:
        assert find(path, engine='onnx').config.name
    except ModelError as error:
        assert path.name in str(error) and len(str(error)) < 800


if __name__ == '__main__':
    import runpy

    import atheris

    _, name, *options = sys.argv
    for imported in [each for each in sys.modules if each.startswith('adabins_ros')]:
        del sys.modules[imported]
    with atheris.instrument_imports(include=['adabins_ros']):
        tests = runpy.run_path(__file__)
    atheris.Setup([name, *options], tests[name].hypothesis.fuzz_one_input)
    atheris.Fuzz()

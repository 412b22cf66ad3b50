# SPDX-License-Identifier: Apache-2.0
"""Whatever a message holds, decoding gives a result or a MessageError, never anything else."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from adabins_ros.geometry.camera import CameraError
from adabins_ros.geometry.camera_for import camera_for
from adabins_ros.messages import (
    decode_compressed_depth,
    decode_compressed_rgb,
    decode_depth,
    decode_rgb,
    encode_rvl,
    MessageError,
    read_cloud,
    RGB_ENCODINGS,
)
import cv2
from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np

SIZES = st.integers(0, 9) | st.integers(0, 2**32 - 1)
ENCODINGS = st.sampled_from([*RGB_ENCODINGS, '16UC1', '32FC1', '64FC1']) | st.text(max_size=12)
FORMATS = st.sampled_from(
    ['jpeg', 'png', '', 'bgr8; jpeg compressed bgr8', 'bayer_rggb8; png compressed ']
    + ['16UC1; compressedDepth png', '16UC1; compressedDepth rvl', '32FC1; compressedDepth rvl']
) | st.text(max_size=20)
PICTURE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 65535, (20, 24)).astype(np.uint16), (0, 0), 2
)
FILES = [
    cv2.imencode('.jpg', (PICTURE >> 8).astype(np.uint8))[1].tobytes(),
    cv2.imencode('.png', PICTURE)[1].tobytes(),
    bytes(12) + cv2.imencode('.png', PICTURE)[1].tobytes(),
    bytes(12) + np.array([24, 20], '<u4').tobytes() + encode_rvl(PICTURE),
]


def _either(decode: Callable[[Any], Any], message: Any) -> Any:
    try:
        return decode(message)
    except (MessageError, CameraError) as error:
        assert error.cause
        assert str(error)
        return None


@settings(deadline=None, max_examples=300)
@given(ENCODINGS, SIZES, SIZES, SIZES, st.integers(0, 255), st.binary(max_size=400))
def test_any_image(
    encoding: str, width: int, height: int, step: int, big: int, data: bytes
) -> None:
    message = SimpleNamespace(
        encoding=encoding, width=width, height=height, step=step, is_bigendian=big, data=data
    )
    rgb, depth = _either(decode_rgb, message), _either(decode_depth, message)
    assert rgb is None or (rgb.shape == (height, width, 3) and rgb.dtype == np.uint8)
    assert depth is None or (depth.shape == (height, width) and depth.dtype == np.float32)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(RGB_ENCODINGS), st.integers(1, 12), st.integers(1, 12), st.data())
def test_any_image_of_the_right_length(
    encoding: str, width: int, height: int, data: st.DataObject
) -> None:
    # OpenCV 4.5 takes no array of one pixel.
    assume(width * height > 1 or not cv2.__version__.startswith('4.5'))
    step = width * data.draw(st.integers(1, 9))
    length = step * height * (3 if encoding.startswith('nv') else 2) // 2
    message = SimpleNamespace(encoding=encoding, width=width, height=height, step=step)
    message.is_bigendian = data.draw(st.booleans())
    message.data = np.resize(np.arange(256, dtype=np.uint8), length)
    rgb = _either(decode_rgb, message)
    assert rgb is None or rgb.shape == (height, width, 3)


@settings(deadline=None, max_examples=200)
@given(FORMATS, st.binary(max_size=200))
def test_any_compressed_image(text: str, data: bytes) -> None:
    message = SimpleNamespace(format=text, data=data)
    _either(decode_compressed_rgb, message)
    _either(decode_compressed_depth, message)


@settings(deadline=None, max_examples=400)
@given(
    FORMATS,
    st.sampled_from(FILES),
    st.integers(0, 2000),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
)
def test_any_damage_to_a_compressed_image(
    text: str, file: bytes, cut: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(file)
    for position, value in changes:
        data[position % len(data)] = value
    message = SimpleNamespace(format=text, data=bytes(data[: len(data) - cut]))
    _either(decode_compressed_rgb, message)
    _either(decode_compressed_depth, message)


FIELDS = st.lists(
    st.builds(
        SimpleNamespace,
        name=st.sampled_from(['x', 'y', 'z', 'rgb', '']) | st.text(max_size=3),
        offset=st.integers(0, 40) | st.integers(0, 2**32 - 1),
        datatype=st.integers(0, 255),
        count=st.integers(0, 3) | st.integers(0, 2**32 - 1),
    ),
    max_size=5,
)


@settings(deadline=None, max_examples=200)
@given(FIELDS, SIZES, SIZES, SIZES, SIZES, st.booleans(), st.binary(max_size=300))
def test_any_cloud(
    fields: Any, width: int, height: int, point_step: int, row_step: int, big: bool, data: bytes
) -> None:
    message = SimpleNamespace(
        fields=fields,
        width=width,
        height=height,
        point_step=point_step,
        row_step=row_step,
        is_bigendian=big,
        data=data,
    )
    cloud = _either(read_cloud, message)
    assert cloud is None or cloud.shape == (height, width)


NUMBERS = st.floats() | st.floats(1, 1000)


@settings(deadline=None, max_examples=200)
@given(
    SIZES,
    SIZES,
    st.lists(NUMBERS, min_size=9, max_size=9),
    st.lists(NUMBERS, max_size=5),
    st.tuples(SIZES, SIZES, SIZES, SIZES),
    st.integers(0, 20),
)
def test_any_camera_info(
    width: int, height: int, k: Any, d: Any, region: tuple[int, int, int, int], binning: int
) -> None:
    names = ('x_offset', 'y_offset', 'width', 'height')
    message = SimpleNamespace(
        width=width,
        height=height,
        k=k,
        d=d,
        p=[*k, 0.0, 0.0, 0.0],
        distortion_model='plumb_bob',
        binning_x=binning,
        binning_y=1,
        roi=SimpleNamespace(**dict(zip(names, region, strict=True))),
    )
    for topic in ('image_raw', 'image_rect'):
        camera = _either(lambda info, topic=topic: camera_for(info, (48, 64), topic), message)
        assert camera is None or (camera.height, camera.width) == (48, 64)

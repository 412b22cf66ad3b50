# SPDX-License-Identifier: Apache-2.0
"""Compressed depth against bytes and formulas written out by hand, and the RVL codec."""

from __future__ import annotations

from pathlib import Path
import struct
from typing import Any
import zlib

from adabins_ros import DepthPredictor
from adabins_ros.messages import (
    compressed_depth_fields,
    decode_compressed_depth,
    decode_rvl,
    depth_png,
    encode_rvl,
    MessageError,
)
from adabins_ros.recordings import find_camera_topics, iterate_frames, open_recording
import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

MILLIMETRES = np.array([[0, 0, 500, 501, 499], [0, 65535, 1, 0, 2000]], np.uint16)


def _message(make: Any, text: str, data: bytes) -> Any:
    return make('sensor_msgs/CompressedImage', format=text, data=data)


def _png(values: Any) -> bytes:
    return cv2.imencode('.png', values)[1].tobytes()


@pytest.mark.parametrize(
    'text', ['16UC1; compressedDepth png', '16UC1; compressedDepth', 'mono16; compressedDepth png']
)
def test_millimetres_in_a_png(make: Any, text: str) -> None:
    data = struct.pack('<iff', 0, 0, 0) + _png(MILLIMETRES)
    depth = decode_compressed_depth(_message(make, text, data))
    expected = np.where(MILLIMETRES, MILLIMETRES / 1000, np.nan)
    np.testing.assert_allclose(depth, expected, rtol=1e-6)


def test_a_plain_sixteen_bit_png_is_depth_too(make: Any) -> None:
    for text in ('16UC1; png compressed ', 'png'):
        depth = decode_compressed_depth(_message(make, text, _png(MILLIMETRES)))
        assert depth[0, 2] == pytest.approx(0.5)
        assert np.isnan(depth[0, 0])


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_metres_are_stored_as_inverse_depth(make: Any, codec: str) -> None:
    # depth = A / (value - B) with A = 100 * 101 and B = 1 - A / 10: the publisher's defaults.
    quant_a, quant_b = 10100.0, -1009.0
    values = np.array([[0, 1, 1000], [10100, 500, 65535]], np.uint16)
    payload = _png(values) if codec == 'png' else struct.pack('<II', 3, 2) + encode_rvl(values)
    data = struct.pack('<iff', 0, quant_a, quant_b) + payload
    depth = decode_compressed_depth(_message(make, f'32FC1; compressedDepth {codec}', data))
    assert np.isnan(depth[0, 0])
    known = values > 0
    np.testing.assert_allclose(depth[known], quant_a / (values[known] - quant_b), rtol=1e-6)
    assert depth[0, 1] == pytest.approx(10.0)


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_the_bytes_written_are_the_publishers(codec: str) -> None:
    depth = np.array([[np.nan, 1.0, 2.5], [10.0, 0.1, 9.99]], np.float32)
    fields = compressed_depth_fields(depth, codec, '32FC1')
    assert fields['format'] == f'32FC1; compressedDepth {codec}'
    data = fields['data'].tobytes()
    assert struct.unpack('<iff', data[:12]) == (0, 10100.0, -1009.0)
    # The publisher truncates; NaN and whatever is not below the greatest depth become 0. What
    # is too near for 16 bits (undefined there) is the nearest that fits.
    expected = np.array([[0, 10100 - 1009, 4040 - 1009], [0, 65535, 2]], np.uint16)
    if codec == 'png':
        values = cv2.imdecode(np.frombuffer(data[12:], np.uint8), cv2.IMREAD_UNCHANGED)
    else:
        assert struct.unpack('<II', data[12:20]) == (3, 2)
        values = decode_rvl(data[20:], 6).reshape(2, 3)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize('codec', ['png', 'rvl'])
@settings(max_examples=30, deadline=None)
@given(
    depth=hnp.arrays(
        np.uint16,
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
        elements=st.integers(0, 65535),
    )
)
def test_millimetres_survive_any_codec(make_recorded: Any, codec: str, depth: Any) -> None:
    fields = compressed_depth_fields(depth, codec)
    back = decode_compressed_depth(make_recorded('sensor_msgs/CompressedImage', **fields))
    np.testing.assert_array_equal(np.rint(np.nan_to_num(back) * 1000).astype(np.uint16), depth)
    assert np.array_equal(np.isnan(back), depth == 0)


@pytest.mark.parametrize('codec', ['png', 'rvl'])
@settings(max_examples=30, deadline=None)
@given(
    depth=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.floats(0.25, 9.5, width=32) | st.just(float('nan')),
    )
)
def test_metres_survive_within_the_quantisation(
    make_recorded: Any, codec: str, depth: Any
) -> None:
    fields = compressed_depth_fields(depth, codec, '32FC1')
    back = decode_compressed_depth(make_recorded('sensor_msgs/CompressedImage', **fields))
    assert np.array_equal(np.isnan(back), np.isnan(depth))
    # One step of value = A / depth + B is depth ** 2 / A; float32 adds a little.
    error = np.abs(back - depth)
    assert not (error > depth**2 / 10100 * 1.02 + 1e-4).any()


@pytest.fixture(scope='module')
def room(repository: Path) -> list[np.ndarray]:
    """Return what the network sees in some pictures of the sample, 640x480, mm."""
    pytest.importorskip('onnxruntime')
    with open_recording(repository / 'adabins_ros' / 'samples' / 'living_room.mcap') as recording:
        frames = list(iterate_frames(recording, find_camera_topics(recording)))[::12]
    predictor = DepthPredictor.from_pretrained('adabins-lite', device='cpu', engine='onnx')
    seen = [predictor.predict(cv2.resize(frame.rgb, (640, 480))).depth for frame in frames]
    predictor.close()
    return [np.rint(depth * 1000).astype(np.uint16) for depth in seen]


@pytest.mark.parametrize('compress', ['libdeflate', 'zlib'])
def test_depth_of_a_room_takes_a_quarter_of_its_raw_bytes(
    room: list[np.ndarray], compress: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compress == 'zlib':
        monkeypatch.setattr(depth_png, '_compress', zlib.compress)
    else:
        pytest.importorskip('deflate')
    pictures = [compressed_depth_fields(depth)['data'] for depth in room]
    assert sum(data.nbytes for data in pictures) <= sum(depth.nbytes for depth in room) / 4
    for data, depth in zip(pictures, room, strict=True):
        values = cv2.imdecode(data[12:], cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(values, depth)


def test_what_millimetres_can_not_hold_becomes_unknown(make_recorded: Any) -> None:
    depth = np.array([[np.nan, np.inf, -np.inf, -1, 0, 70.0, 65.535, 0.0014]], np.float32)
    fields = compressed_depth_fields(depth)
    back = decode_compressed_depth(make_recorded('sensor_msgs/CompressedImage', **fields))
    np.testing.assert_allclose(back, [[np.nan] * 6 + [65.535, 0.001]], rtol=1e-6)


@pytest.mark.parametrize(
    ('text', 'data', 'cause'),
    [
        ('jpeg', b'\xff\xd8\xff\xe0' + bytes(30), 'format'),
        ('rgb8; compressedDepth png', bytes(30), 'format'),
        ('16UC1; compressedDepth zstd', bytes(30), 'format'),
        ('16UC1; compressedDepth png', b'', 'short data'),
        ('16UC1; compressedDepth png', bytes(12), 'short data'),
        ('16UC1; compressedDepth png', bytes(40), 'corrupt'),
        ('16UC1; compressedDepth png', bytes(12) + _png(MILLIMETRES)[:-20], 'corrupt'),
        ('16UC1; compressedDepth png', bytes(12) + _png(MILLIMETRES.astype(np.uint8)), 'corrupt'),
        ('16UC1; compressedDepth rvl', bytes(14), 'short data'),
        ('16UC1; compressedDepth rvl', bytes(20), 'zero size'),
        ('16UC1; compressedDepth rvl', bytes(12) + b'\xff' * 12, 'absurd size'),
        ('16UC1; compressedDepth rvl', bytes(12) + struct.pack('<II', 9, 9), 'corrupt'),
        (
            '16UC1; compressedDepth rvl',
            bytes(12) + struct.pack('<II', 2, 2) + encode_rvl(MILLIMETRES),
            'corrupt',
        ),
        (
            '16UC1; compressedDepth rvl',
            bytes(12) + struct.pack('<II', 50, 50) + encode_rvl(MILLIMETRES),
            'corrupt',
        ),
        ('png', _png(np.zeros((4, 4, 3), np.uint8)), 'format'),
    ],
)
def test_damaged_depth_says_what_is_wrong(make: Any, text: str, data: bytes, cause: str) -> None:
    with pytest.raises(MessageError) as caught:
        decode_compressed_depth(_message(make, text, data))
    assert caught.value.cause == cause


def test_unknown_codecs_and_encodings_are_not_written() -> None:
    for codec, encoding in (('zstd', '16UC1'), ('png', '64FC1')):
        with pytest.raises(MessageError):
            compressed_depth_fields(MILLIMETRES, codec, encoding)
    with pytest.raises(MessageError):
        compressed_depth_fields(np.zeros((2, 2, 3), np.uint16))


def _rvl_by_hand(values: list[int]) -> bytes:
    """Write the stream number by number, nibble by nibble, as the paper describes it."""
    nibbles: list[int] = []

    def number(value: int) -> None:
        while value > 7:
            nibbles.append(8 | (value & 7))
            value >>= 3
        nibbles.append(value)

    position = previous = 0
    while position < len(values):
        start = position
        while position < len(values) and values[position] == 0:
            position += 1
        number(position - start)
        start = position
        while position < len(values) and values[position]:
            position += 1
        number(position - start)
        for value in values[start:position]:
            difference = value - previous
            number(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.reshape(nibbles, (-1, 8)).tolist()
    return b''.join(
        sum(nibble << (28 - 4 * place) for place, nibble in enumerate(word)).to_bytes(4, 'little')
        for word in words
    )


def test_rvl_of_one_pixel_by_hand() -> None:
    # 0 zeros, 1 value, difference 5 -> 10 = 0b1_010: nibbles 0, 1, 8|2, 1.
    assert encode_rvl(np.array([5], np.uint16)) == bytes.fromhex('0000a101')
    assert decode_rvl(bytes.fromhex('0000a101'), 1).tolist() == [5]


DEPTHS = st.lists(
    st.one_of(st.just(0), st.integers(500, 520), st.integers(0, 65535)), min_size=1, max_size=200
)


@settings(deadline=None)
@given(DEPTHS)
def test_rvl_is_the_papers_stream_and_comes_back(values: list[int]) -> None:
    data = encode_rvl(np.array(values, np.uint16))
    assert data == _rvl_by_hand(values)
    assert decode_rvl(data, len(values)).tolist() == values
    assert decode_rvl(data + b'\x00' * 8, len(values)).tolist() == values


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 5000))
def test_rvl_of_anything_is_depth_or_a_message_error(data: bytes, count: int) -> None:
    try:
        assert decode_rvl(data, count).shape == (count,)
    except MessageError as error:
        assert error.cause == 'corrupt'


def test_rvl_of_a_real_depth_image(shared_data: Any) -> None:
    file = shared_data('redkitchen_7scenes') / 'depth' / '000188.png'
    depth = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    data = encode_rvl(depth)
    assert data == _rvl_by_hand(depth.reshape(-1).tolist())
    np.testing.assert_array_equal(decode_rvl(data, depth.size).reshape(depth.shape), depth)

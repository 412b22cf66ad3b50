# SPDX-License-Identifier: Apache-2.0
"""Every image encoding against bytes made by hand."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

from adabins_ros.messages import (
    decode_depth,
    decode_rgb,
    image_fields,
    MessageError,
    RGB_ENCODINGS,
)
import numpy as np
import pytest

RED, GREY = (255, 0, 0), (128, 128, 128)
# Two rows of two pixels: red, green / blue, (10, 20, 30).
COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], np.uint8)


def _packed(order: str) -> bytes:
    channels = [{'r': 0, 'g': 1, 'b': 2}.get(letter) for letter in order]
    return bytes(
        77 if channel is None else int(pixel[channel])
        for pixel in COLOURS.reshape(-1, 3)
        for channel in channels
    )


def _image(make: Any, encoding: str, width: int, height: int, step: int, data: bytes, **more: Any):
    return make(
        'sensor_msgs/Image',
        encoding=encoding,
        width=width,
        height=height,
        step=step,
        data=data,
        **more,
    )


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [
        ('rgb8', 'rgb'),
        ('bgr8', 'bgr'),
        ('8UC3', 'bgr'),
        ('rgba8', 'rgba'),
        ('bgra8', 'bgra'),
        ('8UC4', 'bgra'),
    ],
)
def test_colours_come_out_in_rgb_order(make: Any, encoding: str, order: str) -> None:
    message = _image(make, encoding, 2, 2, 2 * len(order), _packed(order))
    np.testing.assert_array_equal(decode_rgb(message), COLOURS)


@pytest.mark.parametrize(
    ('encoding', 'order'), [('rgb16', 'rgb'), ('bgr16', 'bgr'), ('rgba16', 'rgba')]
)
@pytest.mark.parametrize('big', [0, 1])
def test_sixteen_bit_colours_are_scaled_in_both_byte_orders(
    make: Any, encoding: str, order: str, big: int
) -> None:
    words = np.frombuffer(_packed(order), np.uint8).astype(np.uint32) * 257
    data = words.astype('>u2' if big else '<u2').tobytes()
    message = _image(make, encoding, 2, 2, 4 * len(order), data, is_bigendian=big)
    np.testing.assert_array_equal(decode_rgb(message), COLOURS)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_fills_all_three_channels(make: Any, encoding: str) -> None:
    rgb = decode_rgb(_image(make, encoding, 3, 1, 3, b'\x00\x80\xff'))
    np.testing.assert_array_equal(rgb, [[[0] * 3, [128] * 3, [255] * 3]])


@pytest.mark.parametrize(('big', 'order'), [(0, '<'), (1, '>')])
def test_mono16_is_rounded_as_cv_bridge_rounds(make: Any, big: int, order: str) -> None:
    # 255 / 65535 = 1 / 257: 128 is just below a half, 129 just above.
    words = np.array([0, 128, 129, 257, 0x8080, 65535], order + 'u2')
    rgb = decode_rgb(_image(make, 'mono16', 6, 1, 12, words.tobytes(), is_bigendian=big))
    np.testing.assert_array_equal(rgb[0, :, 0], [0, 0, 1, 1, 128, 255])


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_a_bayer_name_reads_the_first_four_pixels(make: Any, pattern: str, bits: int) -> None:
    colour = {'r': 200, 'g': 100, 'b': 50}
    cell = np.array([colour[letter] for letter in pattern]).reshape(2, 2)
    mosaic = np.tile(cell, (4, 4)).astype('u1') if bits == 8 else np.tile(cell * 257, (4, 4))
    data = mosaic.astype('u1' if bits == 8 else '<u2').tobytes()
    rgb = decode_rgb(_image(make, f'bayer_{pattern}{bits}', 8, 8, bits, data))
    np.testing.assert_array_equal(rgb[2:-2, 2:-2], np.broadcast_to([200, 100, 50], (4, 4, 3)))


# BT.601 with limited range: red is Y 81, U 90, V 240.
@pytest.mark.parametrize(
    ('encoding', 'data'),
    [
        ('yuv422', [90, 81, 240, 81] * 2),
        ('uyvy', [90, 81, 240, 81] * 2),
        ('yuv422_yuy2', [81, 90, 81, 240] * 2),
        ('yuyv', [81, 90, 81, 240] * 2),
    ],
)
def test_yuv_422_red_is_red(make: Any, encoding: str, data: list[int]) -> None:
    rgb = decode_rgb(_image(make, encoding, 2, 2, 4, bytes(data)))
    np.testing.assert_allclose(rgb, np.broadcast_to(RED, (2, 2, 3)), atol=2)


@pytest.mark.parametrize(('encoding', 'chroma'), [('nv12', [90, 240]), ('nv21', [240, 90])])
def test_yuv_420_red_is_red_with_and_without_padding(
    make: Any, encoding: str, chroma: list[int]
) -> None:
    plain = bytes([81] * 8 + chroma * 2)
    rgb = decode_rgb(_image(make, encoding, 4, 2, 4, plain))
    np.testing.assert_allclose(rgb, np.broadcast_to(RED, (2, 4, 3)), atol=2)
    rows = (plain[:4], plain[4:8], plain[8:])
    padded = b''.join(row + b'\x07\x07' for row in rows)
    np.testing.assert_array_equal(decode_rgb(_image(make, encoding, 4, 2, 6, padded)), rgb)


@pytest.mark.parametrize('encoding', [name for name in RGB_ENCODINGS if 'nv' not in name])
@pytest.mark.parametrize('padding', [1, 2, 5])
def test_padding_at_the_end_of_rows_is_not_seen(
    make_recorded: Any, encoding: str, padding: int
) -> None:
    rng = np.random.default_rng(0)
    item = 2 if encoding.endswith('16') else 1
    channels = {'rgb': 3, 'bgr': 3, '8UC3': 3, 'rgba': 4, 'bgra': 4, '8UC4': 4, 'yuv': 2}
    channels |= {'uyvy': 2, 'yuyv': 2}
    found = [count for name, count in channels.items() if encoding.startswith(name)]
    row = 8 * item * max(found, default=1)
    rows = rng.integers(0, 256, (6, row), dtype=np.uint8)
    padded = np.hstack([rows, np.full((6, padding), 99, np.uint8)])
    plain = decode_rgb(_image(make_recorded, encoding, 8, 6, row, rows.tobytes()))
    assert plain.shape == (6, 8, 3)
    assert plain.dtype == np.uint8
    other = decode_rgb(_image(make_recorded, encoding, 8, 6, row + padding, padded.tobytes()))
    np.testing.assert_array_equal(other, plain)


def test_rgb8_is_a_view_that_nobody_can_write_to() -> None:
    data = np.zeros(640 * 480 * 3, np.uint8)
    message = SimpleNamespace(**image_fields(data.reshape(480, 640, 3), 'rgb8'))
    rgb = decode_rgb(message)
    assert np.shares_memory(rgb, data)
    with pytest.raises(ValueError, match='read-only'):
        rgb[0, 0, 0] = 1


@pytest.mark.parametrize(
    'kind', [bytes, bytearray, memoryview, list, tuple, lambda b: array.array('B', b), np.array]
)
def test_data_may_be_of_any_kind(kind: Any) -> None:
    source: Any = _packed('rgb')
    data = kind(list(source) if kind is np.array else source)
    if isinstance(data, np.ndarray):
        data = data.astype(np.uint8)
    message = SimpleNamespace(
        encoding='rgb8', width=2, height=2, step=6, is_bigendian=0, data=data
    )
    np.testing.assert_array_equal(decode_rgb(message), COLOURS)


@pytest.mark.parametrize(
    ('cause', 'changes', 'words'),
    [
        ('encoding', {'encoding': 'yuv444p'}, ['yuv444p', 'rgb8', 'bayer_rggb8', 'nv21']),
        ('encoding', {'encoding': ''}, ["''", 'mono8']),
        ('encoding', {'encoding': '16UC1'}, ['16UC1', 'depth', 'colour topic']),
        ('zero size', {'width': 0}, ['0x2']),
        ('zero size', {'height': 0}, ['2x0']),
        ('absurd size', {'width': 4_000_000_000, 'step': 4_000_000_000}, ['4000000000x2']),
        ('absurd size', {'height': 40_000}, ['40000']),
        ('step', {'step': 5}, ['5 bytes', '6']),
        ('step', {'step': 0}, ['0 bytes', '6']),
        ('short data', {'data': b'\x00' * 11}, ['12 bytes', '11', 'step 6']),
        ('short data', {'data': b''}, ['12 bytes', '0 were given']),
        ('long data', {'data': b'\x00' * 48}, ['12 bytes', '48']),
        ('odd size', {'encoding': 'yuv422', 'width': 3}, ['3x2']),
        ('odd size', {'encoding': 'yuyv', 'width': 1}, ['1x2']),
        ('odd size', {'encoding': 'nv12', 'height': 3}, ['2x3']),
        ('absurd size', {'encoding': 'bayer_rggb8'}, ['2x2', '3x3']),
    ],
)
def test_a_malformed_image_says_what_is_wrong(
    make: Any, cause: str, changes: dict[str, Any], words: list[str]
) -> None:
    fields = {'encoding': 'rgb8', 'width': 2, 'height': 2, 'step': 6, 'data': _packed('rgb')}
    message = make('sensor_msgs/Image', **{**fields, **changes})
    with pytest.raises(MessageError) as caught:
        decode_rgb(message)
    assert caught.value.cause == cause
    for word in words:
        assert word in str(caught.value)


def test_data_that_is_no_data_is_refused() -> None:
    for data in (None, 'text', [300, 1], [-1], object(), 5.0):
        message = SimpleNamespace(
            encoding='mono8', width=2, height=1, step=2, is_bigendian=0, data=data
        )
        with pytest.raises(MessageError) as caught:
            decode_rgb(message)
        assert caught.value.cause in ('data', 'short data')


@pytest.mark.parametrize(('big', 'order'), [(0, '<'), (1, '>')])
@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@pytest.mark.parametrize('padding', [0, 3])
def test_millimetres_become_metres(
    make: Any, big: int, order: str, encoding: str, padding: int
) -> None:
    rows = np.array([[0, 1, 1500], [65535, 256, 0]], order + 'u2')
    data = b''.join(row.tobytes() + b'\x01' * padding for row in rows)
    depth = decode_depth(_image(make, encoding, 3, 2, 6 + padding, data, is_bigendian=big))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[np.nan, 0.001, 1.5], [65.535, 0.256, np.nan]], rtol=1e-6)


@pytest.mark.parametrize(('big', 'order'), [(0, '<'), (1, '>')])
def test_metres_keep_what_rep_117_says(make: Any, big: int, order: str) -> None:
    values = np.array([[1.25, np.nan, np.inf], [-np.inf, 0, -3]], order + 'f4')
    depth = decode_depth(_image(make, '32FC1', 3, 2, 12, values.tobytes(), is_bigendian=big))
    expected = [[1.25, np.nan, np.inf], [-np.inf, np.nan, np.nan]]
    np.testing.assert_array_equal(depth, np.array(expected, np.float32))


def test_a_colour_image_is_no_depth(make: Any) -> None:
    with pytest.raises(MessageError, match='depth topic') as caught:
        decode_depth(_image(make, 'rgb8', 2, 2, 6, _packed('rgb')))
    assert caught.value.cause == 'encoding'


@pytest.mark.parametrize(
    ('encoding', 'array_'),
    [
        ('rgb8', COLOURS),
        ('bgr8', COLOURS[..., ::-1]),
        ('mono8', COLOURS[..., 0]),
        ('rgb8', COLOURS[:, ::-1]),
    ],
)
def test_a_written_image_reads_as_it_was(make: Any, encoding: str, array_: Any) -> None:
    message = make('sensor_msgs/Image', **image_fields(array_, encoding))
    expected = {'rgb8': array_, 'bgr8': COLOURS, 'mono8': np.stack([array_] * 3, -1)}
    np.testing.assert_array_equal(decode_rgb(message), expected[encoding])


@pytest.mark.parametrize(('encoding', 'dtype'), [('16UC1', np.uint16), ('32FC1', np.float32)])
def test_a_written_depth_reads_as_it_was(make: Any, encoding: str, dtype: Any) -> None:
    depth = (np.arange(1, 13).reshape(3, 4) * 100).astype(dtype)
    message = make('sensor_msgs/Image', **image_fields(depth, encoding))
    np.testing.assert_allclose(
        decode_depth(message), depth * (0.001 if dtype == np.uint16 else 1), rtol=1e-6
    )


@pytest.mark.parametrize(
    ('encoding', 'shape', 'dtype'),
    [
        ('rgb8', (4, 4), 'u1'),
        ('rgb8', (4, 4, 3), 'f4'),
        ('mono8', (4, 4, 3), 'u1'),
        ('32FC1', (4, 4), 'f8'),
        ('nv12', (4, 4), 'u1'),
        ('nonsense', (4, 4), 'u1'),
    ],
)
def test_an_array_that_does_not_fit_the_encoding_is_not_written(
    encoding: str, shape: tuple[int, ...], dtype: str
) -> None:
    with pytest.raises(MessageError) as caught:
        image_fields(np.zeros(shape, dtype), encoding)
    assert caught.value.cause == 'encoding'

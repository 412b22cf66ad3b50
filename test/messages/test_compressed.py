# SPDX-License-Identifier: Apache-2.0
"""Compressed colour images: colour order by the format string, and damage of every kind."""

from __future__ import annotations

import struct
from time import process_time
from typing import Any
import zlib

from adabins_ros.messages import (
    compressed_rgb_fields,
    decode_compressed_rgb,
    image_fields,
    MessageError,
)
import cv2
import numpy as np
import pytest

ORANGE = np.broadcast_to(np.array([250, 120, 10], np.uint8), (24, 32, 3))
BLUISH = ORANGE[..., ::-1]


def _file(image: Any, suffix: str, *options: int) -> bytes:
    """Return a file that viewers show as the RGB image."""
    bgr = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    return cv2.imencode(suffix, bgr, list(options))[1].tobytes()


def _message(make: Any, text: str, data: bytes) -> Any:
    return make('sensor_msgs/CompressedImage', format=text, data=data)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.tiff', '.webp'])
@pytest.mark.parametrize('text', ['jpeg', 'png', '', 'rgb8; jpeg compressed bgr8', 'bgr8; png'])
def test_a_picture_keeps_the_colours_that_viewers_show(make: Any, suffix: str, text: str) -> None:
    rgb = decode_compressed_rgb(_message(make, text, _file(ORANGE, suffix)))
    np.testing.assert_allclose(rgb, ORANGE, atol=4)


@pytest.mark.parametrize(
    'text',
    [
        'rgb8; jpeg compressed bgr8',
        'bgr8; jpeg compressed bgr8',
        'rgba8; jpeg compressed bgr8',
        'bayer_rggb8; jpeg compressed bgr8',
        'nv21; jpeg compressed bgr8',
    ],
)
def test_bgr_in_the_format_means_an_ordinary_picture(make: Any, text: str) -> None:
    np.testing.assert_allclose(
        decode_compressed_rgb(_message(make, text, _file(ORANGE, '.jpg'))), ORANGE, atol=4
    )


@pytest.mark.parametrize('text', ['bgr8; jpeg compressed rgb8', 'rgb8; jpeg compressed rgb8'])
def test_rgb_in_the_format_means_red_and_blue_are_exchanged(make: Any, text: str) -> None:
    np.testing.assert_allclose(
        decode_compressed_rgb(_message(make, text, _file(BLUISH, '.jpg'))), ORANGE, atol=4
    )


def test_grey_and_transparent_pictures(make: Any) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    rgb = decode_compressed_rgb(_message(make, 'mono8; png compressed ', _file(grey, '.png')))
    np.testing.assert_array_equal(rgb, np.stack([grey] * 3, -1))
    bgra = np.dstack([BLUISH, np.full(ORANGE.shape[:2], 9, np.uint8)])
    data = cv2.imencode('.png', bgra)[1].tobytes()
    rgb = decode_compressed_rgb(_message(make, 'bgra8; png compressed bgr8', data))
    np.testing.assert_array_equal(rgb, ORANGE)


def test_sixteen_bit_png_is_scaled(make: Any) -> None:
    grey = np.array([[0, 128, 129, 0x8080, 65535]], np.uint16)
    rgb = decode_compressed_rgb(_message(make, 'mono16; png compressed ', _file(grey, '.png')))
    np.testing.assert_array_equal(rgb[0, :, 1], [0, 0, 1, 128, 255])
    colour = ORANGE.astype(np.uint16) * 257
    text = 'rgb16; png compressed bgr16'
    np.testing.assert_array_equal(
        decode_compressed_rgb(_message(make, text, _file(colour, '.png'))), ORANGE
    )


def test_a_raw_bayer_pattern_in_a_png_is_coloured(make: Any) -> None:
    mosaic = np.tile(np.array([[250, 120], [120, 10]], np.uint8), (6, 6))
    data = _file(mosaic, '.png')
    rgb = decode_compressed_rgb(_message(make, 'bayer_rggb8; png compressed ', data))
    np.testing.assert_array_equal(rgb[3:-3, 3:-3], ORANGE[:6, :6])
    grey = decode_compressed_rgb(_message(make, 'bayer_rggb8; jpeg compressed mono8', data))
    np.testing.assert_array_equal(grey[..., 0], mosaic)


@pytest.mark.parametrize('codec', ['jpeg', 'png'])
def test_what_is_written_reads_back(make: Any, codec: str) -> None:
    fields = compressed_rgb_fields(ORANGE, codec)
    assert fields['format'] == f'rgb8; {codec} compressed bgr8'
    rgb = decode_compressed_rgb(make('sensor_msgs/CompressedImage', **fields))
    np.testing.assert_allclose(rgb, ORANGE, atol=0 if codec == 'png' else 4)


def _noise() -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


@pytest.mark.parametrize('options', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_jpeg_cut_off_anywhere_is_never_half_a_picture(
    make_recorded: Any, options: tuple[int, ...]
) -> None:
    data = _file(_noise(), '.jpg', *options)
    for length in range(1, len(data) - 1, 7):
        with pytest.raises(MessageError) as caught:
            decode_compressed_rgb(_message(make_recorded, 'jpeg', data[:length]))
        assert caught.value.cause == 'corrupt'
    with pytest.raises(MessageError, match='cut off'):
        decode_compressed_rgb(_message(make_recorded, 'jpeg', data[:-1]))


def test_a_preview_inside_a_cut_off_jpeg_does_not_pass_for_its_end(make_recorded: Any) -> None:
    preview = _file(_noise()[:8, :8], '.jpg')
    exif = b'\xff\xe1' + struct.pack('>H', len(preview) + 2) + preview
    data = _file(_noise(), '.jpg')
    whole = data[:2] + exif + data[2:]
    assert decode_compressed_rgb(_message(make_recorded, 'jpeg', whole)).shape == (40, 60, 3)
    with pytest.raises(MessageError, match='cut off'):
        decode_compressed_rgb(_message(make_recorded, 'jpeg', whole[: len(whole) * 2 // 3]))


def test_bytes_behind_the_end_of_a_jpeg_are_harmless(make_recorded: Any) -> None:
    data = _file(_noise(), '.jpg')
    rgb = decode_compressed_rgb(_message(make_recorded, 'jpeg', data + bytes(500)))
    np.testing.assert_array_equal(
        rgb, decode_compressed_rgb(_message(make_recorded, 'jpeg', data))
    )


def test_a_jpeg_with_foreign_bytes_in_its_middle_is_refused(make_recorded: Any) -> None:
    data = bytearray(_file(_noise(), '.jpg'))
    middle = len(data) * 3 // 4
    data[middle:-80] = b'\xff\x10\xff\x42'
    with pytest.raises(MessageError, match='damaged at byte'):
        decode_compressed_rgb(_message(make_recorded, 'jpeg', bytes(data)))


def test_a_jpeg_that_ends_in_erased_flash_takes_time_with_its_size_and_no_more(
    make_recorded: Any,
) -> None:
    """75 kB of 0xff stopped a node for 33 s."""
    data = _file(_noise(), '.jpg')

    def seconds(erased: int) -> float:
        message = _message(make_recorded, 'jpeg', data[:-200] + erased * b'\xff')
        least = float('inf')
        for _ in range(3):
            start = process_time()
            with pytest.raises(MessageError, match='cut off'):
                decode_compressed_rgb(message)
            least = min(least, process_time() - start)
        return least

    assert seconds(16_000) < 24 * seconds(2_000)


def test_any_changed_byte_of_a_png_is_found(make_recorded: Any) -> None:
    data = _file(_noise(), '.png')
    for position in range(8, len(data), max(1, len(data) // 97)):
        changed = bytearray(data)
        changed[position] ^= 0x55
        with pytest.raises(MessageError):
            decode_compressed_rgb(_message(make_recorded, 'png', bytes(changed)))
    for length in range(1, len(data), 101):
        with pytest.raises(MessageError):
            decode_compressed_rgb(_message(make_recorded, 'png', data[:length]))


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def test_a_small_file_that_claims_a_huge_picture_is_refused_unseen(make_recorded: Any) -> None:
    header = _png_chunk(b'IHDR', struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0))
    png = b'\x89PNG\r\n\x1a\n' + header + _png_chunk(b'IDAT', b'') + _png_chunk(b'IEND', b'')
    jpeg = bytearray(_file(_noise(), '.jpg'))
    frame = jpeg.index(b'\xff\xc0')
    size = slice(frame + 5, frame + 9)
    jpeg[size] = b'\xff\xff\xff\xff'
    for data in (png, bytes(jpeg)):
        with pytest.raises(MessageError) as caught:
            decode_compressed_rgb(_message(make_recorded, 'png', data))
        assert caught.value.cause == 'absurd size'


@pytest.mark.parametrize(
    ('text', 'data', 'cause', 'words'),
    [
        ('h264', b'\x00\x00\x00\x01gB\x00', 'format', ['h264', 'republish']),
        ('', b'nothing known', 'format', ['neither JPEG nor PNG']),
        ('jpeg', b'nothing known', 'corrupt', ['13 bytes']),
        ('jpeg', b'', 'short data', ['no data']),
        ('16UC1; compressedDepth png', b'\x00' * 20, 'format', ['depth', 'colour topic']),
    ],
)
def test_what_is_no_picture_says_so(
    make: Any, text: str, data: bytes, cause: str, words: list[str]
) -> None:
    with pytest.raises(MessageError) as caught:
        decode_compressed_rgb(_message(make, text, data))
    assert caught.value.cause == cause
    for word in words:
        assert word in str(caught.value)


def test_only_rgb_pictures_and_known_formats_are_written() -> None:
    for image, codec in ((ORANGE[..., 0], 'jpeg'), (ORANGE / 2, 'jpeg'), (ORANGE, 'avif')):
        with pytest.raises(MessageError):
            compressed_rgb_fields(image, codec)
    with pytest.raises(MessageError):
        image_fields(np.zeros((0, 4), np.uint8), 'mono8')

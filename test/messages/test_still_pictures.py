# SPDX-License-Identifier: Apache-2.0
"""The gate before the picture decoders: what it costs, what it refuses, what it lets through."""

from __future__ import annotations

import struct
from time import process_time
import zlib

from adabins_ros.messages import MessageError
from adabins_ros.messages.still_pictures import decode_picture, exif_orientation
import cv2
import numpy as np
import pytest

BGR = np.repeat(np.repeat(np.arange(0, 250, 10, np.uint8).reshape(1, 25, 1), 16, 0), 3, 2)


def _data(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)


def _file(suffix: str, image: np.ndarray = BGR, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def _flat(width: int, height: int) -> bytes:
    """Return rows of zeros as zlib packs them, a thousandth of their size."""
    return zlib.compress(bytes((width + 1) * height), 9)


def _png(width: int, height: int) -> bytes:
    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    pixels = _chunk(b'IDAT', _flat(width, height))
    return b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', header) + pixels + _chunk(b'IEND', b'')


def _tiff(*fields: tuple[int, int], order: str = '<', pixels: bytes = b'') -> bytes:
    """Return a TIFF of these tags, all LONG."""
    head = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(f'{order}I', 8 + len(pixels))
    entries = b''.join(struct.pack(f'{order}HHII', tag, 4, 1, value) for tag, value in fields)
    return head + pixels + struct.pack(f'{order}H', len(fields)) + entries + bytes(4)


def _webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    return (
        b'RIFF'
        + struct.pack('<I', 30)
        + b'WEBPVP8X'
        + struct.pack('<II', 10, 0)
        + size
        + b'\0' * 8
    )


def _bmp(width: int, height: int) -> bytes:
    return b'BM' + struct.pack('<IIIIiiHH', 54, 0, 54, 40, width, height, 1, 24) + bytes(24)


@pytest.mark.parametrize(
    'content',
    [
        _tiff((256, 30_000), (257, 30_000)),
        _tiff((256, 30_000), (257, 30_000), order='>'),
        _tiff((256, 8), (257, 8), (322, 30_000), (323, 30_000)),
        _bmp(30_000, -30_000),
        _webp(16_383, 16_383),
        b'P6 # of a scanner\n30000 30000\n255\n',
        _png(5_000, 5_000),
        _tiff((256, 5_000), (257, 5_000), pixels=_flat(5_000, 5_000)),
    ],
    ids=['tiff', 'big-endian', 'tile', 'bmp', 'webp', 'pnm', 'png-ratio', 'tiff-ratio'],
)
def test_what_a_header_claims_is_believed_only_as_far_as_its_bytes_go(content: bytes) -> None:
    """Nothing is allocated for a small file that claims 900 MP."""
    start = process_time()
    with pytest.raises(MessageError, match='claims') as caught:
        decode_picture(_data(content))
    assert caught.value.cause == 'absurd size'
    assert process_time() - start < 0.1


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Each scan costs the decoder as much as the whole picture."""
    content = _file('.jpg', np.zeros((64, 64, 3), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    start = content.rindex(b'\xff\xda')
    scan = content[start:-2]
    with pytest.raises(MessageError, match='more than 100 scans'):
        decode_picture(_data(content[:-2] + 1000 * scan + content[-2:]))
    assert decode_picture(_data(content)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ('name', 'head'), [(b'zTXt', b'k\0\0'), (b'iTXt', b'k\0\1\0\0\0'), (b'iCCP', b'k\0\0')]
)
def test_texts_of_a_png_are_not_inflated(name: bytes, head: bytes) -> None:
    # libpng makes 8 MB of each: 0.04 s.
    plain = _file('.png')
    texts = 300 * _chunk(name, head + zlib.compress(bytes(7_900_000)))
    for at in (33, len(plain) - 12):
        start = process_time()
        picture = decode_picture(_data(plain[:at] + texts + plain[at:]))
        assert process_time() - start < 0.5
        np.testing.assert_array_equal(picture, BGR)


def test_the_header_of_a_netpbm_picture_is_not_searched_for_in_all_of_it() -> None:
    for filler in (b' ', b'#\n'):
        start = process_time()
        with pytest.raises(MessageError, match='has no size'):
            decode_picture(_data(b'P6\n' + 2_000_000 * filler + b'4 4 255\n'))
        assert process_time() - start < 0.5


def test_a_black_picture_of_a_covered_lens_is_a_picture() -> None:
    for suffix in ('.jpg', '.png'):
        black = np.zeros((2160, 3840, 3), np.uint8)
        assert not decode_picture(_data(_file(suffix, black))).any()


@pytest.mark.parametrize('stray', [b'\0', b'\0\0\0', b'\xff\xff', b'\xff\xd0 \xff\x00'])
def test_stray_bytes_between_the_segments_of_a_jpeg_are_skipped(stray: bytes) -> None:
    content = _file('.jpg')
    behind_jfif = 4 + struct.unpack_from('>H', content, 4)[0]
    found = decode_picture(_data(content[:behind_jfif] + stray + content[behind_jfif:]))
    np.testing.assert_array_equal(found, decode_picture(_data(content)))


@pytest.mark.parametrize('image', [BGR, BGR[..., 0]], ids=['ppm', 'pgm'])
def test_netpbm_is_read(image: np.ndarray) -> None:
    suffix = '.ppm' if image.ndim == 3 else '.pgm'
    np.testing.assert_array_equal(decode_picture(_data(_file(suffix, image))), image)


def test_a_transparent_tiff_keeps_its_colours() -> None:
    """The library of TIFF multiplies them with alpha, which makes them nearly black."""
    bgra = np.dstack([BGR, np.full(BGR.shape[:2], 20, np.uint8)])
    rows = np.ascontiguousarray(bgra[..., [2, 1, 0, 3]]).tobytes()
    height, width = BGR.shape[:2]
    sizes = 8 + len(rows) + 2 + 12 * 11 + 4
    fields = (
        *((256, width), (257, height), (258, sizes), (259, 1), (262, 2), (273, 8), (277, 4)),
        *((278, height), (279, len(rows)), (284, 1), (338, 2)),
    )
    content = bytearray(_tiff(*fields, pixels=rows) + struct.pack('<4H', 8, 8, 8, 8))
    bits = 8 + len(rows) + 2 + 12 * 2
    struct.pack_into('<HHI', content, bits, 258, 3, 4)
    struct.pack_into('<HHIHH', content, sizes - 16, 338, 3, 1, 2, 0)
    np.testing.assert_array_equal(decode_picture(_data(bytes(content))), bgra)


@pytest.mark.parametrize(
    ('content', 'name'),
    [
        (b'\0\0\0\x18ftypheic' + bytes(40), 'HEIC'),
        (b'\0\0\0\x20ftypavif' + bytes(40), 'AVIF'),
        (b'GIF89a' + bytes(20), 'GIF'),
        (b'II+\0' + bytes(20), 'BigTIFF'),
        (b'\n<!DOCTYPE html><html>', 'a web page'),
    ],
    ids=['heic', 'avif', 'gif', 'bigtiff', 'html'],
)
def test_what_is_whole_but_not_read_is_not_called_damaged(content: bytes, name: str) -> None:
    with pytest.raises(MessageError, match=f'it is {name}, .* convert it to JPEG') as caught:
        decode_picture(_data(content))
    assert caught.value.cause == 'format'


def test_pictures_that_are_cut_off_say_so() -> None:
    for suffix in ('.jpg', '.png', '.webp', '.ppm', '.bmp', '.tiff'):
        content = _file(suffix)
        for length in range(16, len(content) - 1, max(1, len(content) // 40)):
            with pytest.raises(MessageError) as caught:
                decode_picture(_data(content[:length]))
            assert caught.value.cause == 'corrupt'


def test_the_orientation_of_a_jpeg_is_its_own_and_not_that_of_one_behind_it() -> None:
    exif = b'Exif\0\0' + _tiff((274, 6), order='>')
    turned = b'\xff\xd8\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + _file('.jpg')[2:]
    assert exif_orientation(_data(turned)) == 6
    assert exif_orientation(_data(_file('.jpg') + turned)) == 1

# SPDX-License-Identifier: Apache-2.0
"""
Still pictures: the one gate before the decoders.

OpenCV decodes a cut-off JPEG into a half-grey picture with a line on stderr, and believes any size
in a header. What is checked here it never gets to see. Each check takes time with the bytes that
there are, and memory for none of the pixels that they claim.
"""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import re
import struct
from typing import Any
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from .fields import check_size, MessageError

_PNG = b'\x89PNG\r\n\x1a\n'
_SIGNATURES = {
    'jpeg': rb'\xff\xd8\xff',
    'png': re.escape(_PNG),
    'tiff': rb'II\*\0|MM\0\*',
    'bmp': rb'BM',
    'webp': rb'RIFF....WEBP',
    'pnm': rb'P[1-6]\s',
}
_FOREIGN = {
    'HEIC': rb'....ftyp(?:hei|hev|mif1|msf1)',
    'AVIF': rb'....ftypavi',
    'JPEG XL': rb'\xff\x0a|\0\0\0\x0cJXL ',
    'JPEG 2000': rb'\0\0\0\x0cjP  |\xff\x4f\xff\x51',
    'GIF': rb'GIF8',
    'BigTIFF': rb'II\+\0|MM\0\+',
    'PDF': rb'%PDF',
    'a web page': rb'(?i)\s*<(?:!doctype|html)',
}
# Within picture data 0xff is followed by 0 or a restart marker (0xd0 to 0xd7) and nothing else.
# Any number of 0xff, and what viewers skip as stray bytes, may stand before a marker.
_MARKER = re.compile(rb'\xff[\x02-\xcf\xd8-\xfe]')
_SCAN_END = re.compile(rb'\xff[\x01-\xcf\xd8-\xfe]')
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BETWEEN_SCANS = frozenset((0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_MOST_SCANS, _FEW_SCANS, _SCANNED_PIXELS = 100, 20, 1 << 26
"""Of a progressive JPEG; usual are ten. Each one costs as much time as the whole picture."""
_INFLATED = (b'zTXt', b'iTXt', b'iCCP')
_FEW_PARTS, _BYTES_PER_PART = 1000, 256
"""A file of many small segments or chunks takes longer to walk through than to decode."""
_EXIF = re.compile(
    rb'(?:\xff\xe1..Exif\0\0|eXIf|EXIF....(?:Exif\0\0)?)(?=II\*\0|MM\0\*)', re.DOTALL
)
_WIDTH, _LENGTH, _ORIENTATION, _TILE_WIDTH, _TILE_LENGTH, _EXTRA = 256, 257, 274, 322, 323, 338
_FIELD_TYPES = {3: 'H', 4: 'I'}
_PNM_SIZE = re.compile(rb'P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s')
_LONGEST_PNM_HEADER = 1 << 16
_SMALL, _PIXELS_PER_BYTE = 1 << 24, 256
"""What is larger, and holds more pixels in each byte, is no picture that a camera took."""


def picture_kind(data: NDArray[np.uint8]) -> str | None:
    """Return 'jpeg', 'png', 'tiff', 'bmp', 'webp' or 'pnm' by the first bytes, or None."""
    return _kind(data, _SIGNATURES)


def _kind(data: NDArray[np.uint8], signatures: dict[str, bytes]) -> str | None:
    head = data[:64].tobytes()
    found = (kind for kind, first in signatures.items() if re.match(first, head, re.DOTALL))
    return next(found, None)


def decode_picture(data: NDArray[np.uint8]) -> NDArray[Any]:
    """
    Return a still picture as OpenCV reads it unchanged.

    Parameters
    ----------
    data : (N,) uint8
        JPEG, PNG, TIFF, BMP, WebP or PNM.

    Returns
    -------
    (H, W) or (H, W, 3) BGR or (H, W, 4) BGRA; uint8, uint16 or float32

    Raises
    ------
    MessageError
        Causes 'format', 'corrupt', 'zero size', 'absurd size'.

    """
    kind = picture_kind(data)
    if kind is None:
        raise _no_picture(data)
    content = data.tobytes()
    _CHECKS[kind](content)
    if kind == 'tiff':
        data = _without_premultiplication(data, content)
    elif kind == 'png':
        data = _without_texts(data, content)
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError) as error:
        raise MessageError('corrupt', f'{kind.upper()} can not be decoded: {error}') from None
    if picture is None:
        raise MessageError('corrupt', f'{kind.upper()} of {data.size} bytes can not be decoded')
    return picture


def encode_picture(image: NDArray[Any], suffix: str, *options: int) -> NDArray[np.uint8]:
    """Return an image (BGR, BGRA or one channel) as the bytes of a '.jpg' or '.png' file."""
    _, data = cv2.imencode(suffix, image, list(options))
    return data.reshape(-1)


def exif_orientation(data: NDArray[np.uint8]) -> int:
    """Return how the camera was held when it took a picture, 1 to 8; 1, upright, if unknown."""
    kind, content = picture_kind(data), data.tobytes()
    if kind != 'tiff':
        # A JPEG may hold others: a preview within its EXIF, or what phones put behind its end.
        other = content.find(b'\xff\xd8\xff', 2) if kind == 'jpeg' else -1
        found = _EXIF.search(content, 0, len(content) if other < 0 else other)
        content = content[slice(found.end(), None)] if found else b''
    return _tiff_fields(content).get(_ORIENTATION, (1, 0))[0]


def _no_picture(data: NDArray[np.uint8]) -> MessageError:
    foreign = _kind(data, _FOREIGN)
    if foreign is not None:
        return MessageError('format', f'it is {foreign}, which is not read: convert it to JPEG')
    return MessageError(
        'corrupt', f'{data.size} bytes are no JPEG, PNG, TIFF, BMP, WebP or PNM picture'
    )


def _check_claim(width: int, height: int, data: bytes, what: str) -> None:
    """Refuse a size before somebody allocates it."""
    check_size(width, height, what)
    if width * height > max(_SMALL, _PIXELS_PER_BYTE * len(data)):
        raise MessageError(
            'absurd size',
            f'{what} claims {width}x{height} pixels in {len(data)} bytes: it is no photo',
        )


def _check_parts(count: int, data: bytes, what: str) -> None:
    """Refuse a file in more pieces than anybody needs."""
    if count > _FEW_PARTS + len(data) // _BYTES_PER_PART:
        raise MessageError(
            'corrupt', f'{what} of {len(data)} bytes has more than {count - 1} segments'
        )


def _check_jpeg(data: bytes) -> None:
    """
    Walk through the segments and the picture data to the end-of-image marker.

    JPEG has no checksum: damage within the picture data shows only where it makes a marker that
    can't be there.
    """
    position, scans, most_scans = 2, 0, _MOST_SCANS
    for count in itertools.count():
        found = (_SCAN_END if scans else _MARKER).search(data, position)
        if found is None:
            break
        _check_parts(count, data, 'JPEG')
        marker = data[found.end() - 1]
        if marker == _END_OF_IMAGE and scans:
            return
        if scans and marker not in _BETWEEN_SCANS:
            raise MessageError(
                'corrupt', f'JPEG is damaged at byte {found.start()}: marker {marker:#x}'
            )
        position = found.end()
        if position + 2 > len(data):
            break
        (length,) = struct.unpack_from('>H', data, position)
        if marker in _FRAME_HEADERS and position + 7 <= len(data):
            height, width = struct.unpack_from('>HH', data, position + 3)
            _check_claim(width, height, data, 'JPEG')
            most_scans = min(_MOST_SCANS, _FEW_SCANS + _SCANNED_PIXELS // (width * height))
        position += length
        scans += marker == _START_OF_SCAN
        if scans > most_scans:
            raise MessageError('corrupt', f'JPEG has more than {most_scans} scans')
    raise MessageError(
        'corrupt', f'JPEG of {len(data)} bytes is cut off: it has no end-of-image marker'
    )


def _check_png(data: bytes) -> None:
    """Walk through the chunks: each whole, its checksum right, the last one IEND."""
    end, view = len(_PNG), memoryview(data)
    for count, (name, start, end) in enumerate(_png_chunks(data)):
        _check_parts(count, data, 'PNG')
        named, summed = start + 4, end - 4
        (checksum,) = struct.unpack_from('>I', data, summed)
        if zlib.crc32(view[named:summed]) != checksum:
            raise MessageError('corrupt', f'PNG has a wrong checksum at byte {start}')
        if not count:
            if name != b'IHDR' or end - start < 20:
                raise MessageError('corrupt', 'PNG does not start with its header chunk')
            width, height = struct.unpack_from('>II', data, start + 8)
            _check_claim(width, height, data, 'PNG')
        if name == b'IEND':
            return
    raise MessageError('corrupt', f'PNG of {len(data)} bytes is cut off at byte {end}')


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and end of each whole chunk."""
    start = len(_PNG)
    while start + 12 <= len(data):
        length, name = struct.unpack_from('>I4s', data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield name, start, end
        start = end


def _without_texts(data: NDArray[np.uint8], content: bytes) -> NDArray[np.uint8]:
    """Leave out of a PNG what libpng would inflate: 8 MB of text from each 8 kB."""
    if not any(name in content for name in _INFLATED):
        return data
    kept = [data[: len(_PNG)]]
    kept += [data[start:end] for name, start, end in _png_chunks(content) if name not in _INFLATED]
    return np.concatenate(kept)


def _check_tiff(data: bytes) -> None:
    """Look at the sizes of the first picture and of its tiles."""
    fields = _tiff_fields(data)
    if _WIDTH not in fields or _LENGTH not in fields:
        raise MessageError('corrupt', f'TIFF of {len(data)} bytes has no size: it is cut off')
    _check_claim(fields[_WIDTH][0], fields[_LENGTH][0], data, 'TIFF')
    if _TILE_WIDTH in fields and _TILE_LENGTH in fields:
        tile = fields[_TILE_WIDTH][0], fields[_TILE_LENGTH][0]
        _check_claim(*tile, data, 'a tile of the TIFF')


def _tiff_fields(data: bytes) -> dict[int, tuple[int, int]]:
    """Return single numbers of the first directory by tag, and at which byte each stands."""
    order = '<' if data[:1] == b'I' else '>'
    fields: dict[int, tuple[int, int]] = {}
    try:
        (directory,) = struct.unpack_from(f'{order}I', data, 4)
        (entries,) = struct.unpack_from(f'{order}H', data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f'{order}HHI', data, entry)
            if kind in _FIELD_TYPES and count == 1:
                (value,) = struct.unpack_from(order + _FIELD_TYPES[kind], data, entry + 8)
                fields.setdefault(tag, (value, entry + 8))
    except struct.error:  # the directory is cut off
        pass
    return fields


def _without_premultiplication(data: NDArray[np.uint8], content: bytes) -> NDArray[np.uint8]:
    """Call a TIFF's alpha premultiplied, for libtiff darkens the colours of any other."""
    kind, position = _tiff_fields(content).get(_EXTRA, (0, 0))
    if kind != 2:
        return data
    data = data.copy()
    data[position + (content[:1] == b'M')] = 1
    return data


def _check_bmp(data: bytes) -> None:
    if len(data) < 26:
        raise MessageError('corrupt', f'BMP of {len(data)} bytes is cut off within its header')
    (header,) = struct.unpack_from('<I', data, 14)
    width, height = struct.unpack_from('<HH' if header == 12 else '<ii', data, 18)
    _check_claim(width, abs(height), data, 'BMP')


def _check_webp(data: bytes) -> None:
    """Look at the size, and whether everything is there."""
    (length,) = struct.unpack_from('<I', data, 4)
    if length + 8 > len(data) or len(data) < 30:
        raise MessageError('corrupt', f'WebP is cut off: {len(data)} of {length + 8} bytes')
    first = data[12:16]
    if first == b'VP8X':
        width, height = (1 + int.from_bytes(data[slice(at, at + 3)], 'little') for at in (24, 27))
    elif first == b'VP8L':
        (bits,) = struct.unpack_from('<I', data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (size & 0x3FFF for size in struct.unpack_from('<HH', data, 26))
    _check_claim(width, height, data, 'WebP')


def _check_pnm(data: bytes) -> None:
    found = _PNM_SIZE.match(data, 0, _LONGEST_PNM_HEADER)
    if found is None:
        raise MessageError('corrupt', f'PNM of {len(data)} bytes has no size')
    _check_claim(int(found[1]), int(found[2]), data, 'PNM')


_CHECKS = {
    'jpeg': _check_jpeg,
    'png': _check_png,
    'tiff': _check_tiff,
    'bmp': _check_bmp,
    'webp': _check_webp,
    'pnm': _check_pnm,
}

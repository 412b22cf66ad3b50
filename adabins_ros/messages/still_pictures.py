# SPDX-License-Identifier: Apache-2.0
"""
JPEG, PNG and the like as cv2 reads them, checked first.

OpenCV decodes a cut-off JPEG into a half-grey picture with a line on stderr, and believes any size
in a header. What is checked here it never gets to see.
"""

from __future__ import annotations

import re
import struct
from typing import Any
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from .buffers import check_size
from .errors import MessageError

_PNG = b'\x89PNG\r\n\x1a\n'
# Within picture data 0xff is followed by 0 or a restart marker (0xd0 to 0xd7) and nothing else.
# Any number of 0xff may stand before a marker. Searching with \xff+ would try each run of them
# once from every byte of it: erased flash, all 0xff, would take time with the square of its size.
_MARKER = re.compile(rb'\xff+[\x01-\xfe]')
_SCAN_END = re.compile(rb'\xff[\x01-\xcf\xd8-\xfe]')
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BETWEEN_SCANS = frozenset((0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_SIGNATURES = {
    'jpeg': (b'\xff\xd8\xff',),
    'png': (_PNG,),
    'tiff': (b'II*\x00', b'MM\x00*'),
    'bmp': (b'BM',),
    'webp': (b'RIFF',),
}


def picture_kind(data: NDArray[np.uint8]) -> str | None:
    """Return 'jpeg', 'png', 'tiff', 'bmp' or 'webp' by the first bytes, or None."""
    head = data[:8].tobytes()
    for kind, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return kind
    return None


def decode_picture(data: NDArray[np.uint8]) -> NDArray[Any]:
    """
    Return a still picture as OpenCV reads it unchanged.

    Parameters
    ----------
    data : (N,) uint8
        JPEG, PNG, TIFF, BMP or WebP.

    Returns
    -------
    (H, W) or (H, W, 3) BGR or (H, W, 4) BGRA; uint8, uint16 or float32

    Raises
    ------
    MessageError
        Causes 'corrupt', 'zero size', 'absurd size'.

    """
    kind = picture_kind(data)
    if kind == 'jpeg':
        _check_jpeg(data.tobytes())
    elif kind == 'png':
        _check_png(data.tobytes())
    elif kind is None:
        raise MessageError('corrupt', f'{data.size} bytes are no JPEG, PNG, TIFF, BMP or WebP')
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


def _check_jpeg(data: bytes) -> None:
    """
    Walk through the segments and the picture data to the end-of-image marker.

    JPEG has no checksum: damage within the picture data shows only where it makes a marker that
    can't be there.
    """
    position, in_picture = 2, False
    while True:
        found = _SCAN_END.search(data, position) if in_picture else _MARKER.match(data, position)
        if found is None and (in_picture or position + 2 > len(data)):
            break
        if found is None:
            raise MessageError('corrupt', f'JPEG has no marker at byte {position} of {len(data)}')
        marker = data[found.end() - 1]
        if marker == _END_OF_IMAGE and in_picture:
            return
        if in_picture and marker not in _BETWEEN_SCANS:
            raise MessageError(
                'corrupt', f'JPEG is damaged at byte {found.start()}: marker {marker:#x}'
            )
        position = found.end()
        if position + 2 > len(data):
            break
        (length,) = struct.unpack_from('>H', data, position)
        if marker in _FRAME_HEADERS and position + 7 <= len(data):
            height, width = struct.unpack_from('>HH', data, position + 3)
            check_size(width, height, 'JPEG')
        position += length
        in_picture = in_picture or marker == _START_OF_SCAN
    raise MessageError(
        'corrupt', f'JPEG of {len(data)} bytes is cut off: it has no end-of-image marker'
    )


def _check_png(data: bytes) -> None:
    """Walk through the chunks: each whole, its checksum right, the last one IEND."""
    position = len(_PNG)
    view = memoryview(data)
    while position + 12 <= len(data):
        length, name = struct.unpack_from('>I4s', data, position)
        end = position + 12 + length
        if end > len(data):
            break
        named, summed = position + 4, end - 4
        (checksum,) = struct.unpack_from('>I', data, summed)
        if zlib.crc32(view[named:summed]) != checksum:
            raise MessageError('corrupt', f'PNG has a wrong checksum at byte {position}')
        if position == len(_PNG):
            if name != b'IHDR' or length < 8:
                raise MessageError('corrupt', 'PNG does not start with its header chunk')
            width, height = struct.unpack_from('>II', data, position + 8)
            check_size(width, height, 'PNG')
        if name == b'IEND':
            return
        position = end
    raise MessageError('corrupt', f'PNG of {len(data)} bytes is cut off at byte {position}')

# SPDX-License-Identifier: Apache-2.0
"""
Still pictures, and sensor_msgs/CompressedImage of colour cameras, which holds one.

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

from .fields import check_size, data_bytes, MessageError
from .images import RGB_ENCODINGS, to_rgb

_PICTURE_FORMATS = ('jpeg', 'jpg', 'png', 'tif', 'bmp', 'webp')
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


def decode_compressed_rgb(message: Any) -> NDArray[np.uint8]:
    """
    Return the RGB picture of a sensor_msgs/CompressedImage.

    The codec is told by the data itself; `format` tells the colour order. A plain 'jpeg' or 'png'
    and '<encoding>; jpeg compressed bgr8' hold a picture that any viewer shows rightly.
    '<encoding>; jpeg compressed rgb8' holds one with red and blue exchanged. 'bayer_*; png
    compressed' holds the raw pattern. Pictures are not turned by their EXIF orientation.

    Parameters
    ----------
    message : sensor_msgs.msg.CompressedImage
        Of rclpy or of rosbags.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    MessageError
        Causes 'format', 'corrupt', 'short data', 'zero size', 'absurd size', 'data'.

    """
    text = str(message.format)
    if 'compressedDepth' in text:
        raise MessageError(
            'format', f'format {text!r} is a depth image; choose the colour topic of the camera'
        )
    data = data_bytes(message.data)
    if not data.size:
        raise MessageError('short data', f'compressed image of format {text!r} has no data')
    if picture_kind(data) is None and not any(name in text.lower() for name in _PICTURE_FORMATS):
        raise MessageError(
            'format',
            f'compressed image of format {text!r} is neither JPEG nor PNG; a video stream needs '
            '`ros2 run image_transport republish` in front',
        )
    return _picture_to_rgb(decode_picture(data), text)


def _picture_to_rgb(picture: NDArray[Any], text: str) -> NDArray[np.uint8]:
    encoding, _, compression = text.partition(';')
    encoding = encoding.strip()
    bits = '16' if picture.dtype == np.uint16 else '8'
    if picture.dtype not in (np.uint8, np.uint16):
        raise MessageError('format', f'format {text!r} holds {picture.dtype} values, no colours')
    if picture.ndim == 2 or picture.shape[2] == 1:
        if (
            encoding.startswith('bayer_')
            and encoding in RGB_ENCODINGS
            and 'compressed mono' not in compression
        ):
            return to_rgb(picture, encoding.rstrip('168') + bits)
        return to_rgb(picture, 'mono' + bits)
    channels = ('rgb' if 'compressed rgb' in compression else 'bgr') + (
        'a' if picture.shape[2] == 4 else ''
    )
    return to_rgb(picture, channels + bits)


def compressed_rgb_fields(
    rgb: NDArray[np.uint8],
    format: str = 'jpeg',  # noqa: A002
    quality: int = 95,
) -> dict[str, Any]:
    """
    Return the fields of a sensor_msgs/CompressedImage, without its header.

    Parameters
    ----------
    rgb : numpy.ndarray
        (H, W, 3) uint8.
    format : str
        'jpeg' or 'png'.
    quality : int
        Of the JPEG, 1 to 100; for 'png' the compression level is OpenCV's own.

    Returns
    -------
    dict
        format (as image_transport writes it) and data (flat uint8).

    Raises
    ------
    MessageError
        Cause 'encoding' or 'format'.

    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise MessageError(
            'encoding', f'needs an (H, W, 3) uint8 picture, not {rgb.shape} {rgb.dtype}'
        )
    check_size(rgb.shape[1], rgb.shape[0], 'picture')
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    if format == 'jpeg':
        data = encode_picture(bgr, '.jpg', cv2.IMWRITE_JPEG_QUALITY, quality)
    elif format == 'png':
        data = encode_picture(bgr, '.png')
    else:
        raise MessageError('format', f"format {format!r} is neither 'jpeg' nor 'png'")
    return {'format': f'rgb8; {format} compressed bgr8', 'data': data}


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

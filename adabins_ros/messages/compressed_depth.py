# SPDX-License-Identifier: Apache-2.0
"""
sensor_msgs/CompressedImage of depth cameras, as image_transport's `compressedDepth` writes it.

Twelve bytes (an int32 and the two floats A and B) precede a PNG, or for RVL the width, the height
(uint32) and the stream. 16UC1 holds millimetres. 32FC1 holds inverse depth, A / depth + B in
uint16, 0 unknown.
"""

from __future__ import annotations

import struct
from typing import Any

from adabins_ros.geometry.depth_encoding import FARTHEST_MM, millimetres
import numpy as np
from numpy.typing import NDArray

from .depth_png import encode_depth_png
from .fields import check_size, data_bytes, MessageError
from .images import metres
from .rvl import decode_rvl, encode_rvl
from .still_pictures import decode_picture, picture_kind

_CONFIG = struct.Struct('<iff')
_CONFIG_BYTES = _CONFIG.size
_RVL_SIZE = struct.Struct('<II')
_RVL_SIZE_BYTES = _RVL_SIZE.size
# Of 32FC1, as the publisher has them: farther depth (m) becomes unknown.
_MAX_DEPTH, _QUANTIZATION = 10.0, 100.0


def decode_compressed_depth(message: Any) -> NDArray[np.float32]:
    """
    Return the depth of a compressed depth image in metres.

    Parameters
    ----------
    message : sensor_msgs.msg.CompressedImage
        '16UC1; compressedDepth png', '... rvl', the same with 32FC1 or mono16, the older
        '16UC1; compressedDepth', or a plain 16-bit PNG ('16UC1; png compressed ').

    Returns
    -------
    (H, W) float32
        NaN unknown.

    Raises
    ------
    MessageError
        Causes 'format', 'short data', 'corrupt', 'zero size', 'absurd size', 'data'.

    """
    text = str(message.format)
    encoding, _, compression = text.partition(';')
    encoding = encoding.strip()
    data = data_bytes(message.data)
    if 'compressedDepth' not in compression and picture_kind(data) in ('png', 'tiff'):
        return _plain_depth(data, text)
    if encoding not in ('16UC1', 'mono16', '32FC1'):
        raise MessageError(
            'format',
            f'compressed depth of format {text!r}; expected 16UC1 or 32FC1 and compressedDepth, '
            "for example '16UC1; compressedDepth png': choose the depth topic of the camera",
        )
    codec = compression.partition('compressedDepth')[2].strip() or 'png'
    if codec not in ('png', 'rvl'):
        raise MessageError('format', f'compressed depth of format {text!r} is neither png nor rvl')
    if data.size <= _CONFIG_BYTES:
        raise MessageError(
            'short data',
            f'compressed depth of format {text!r} needs more than {_CONFIG_BYTES} bytes, '
            f'{data.size} were given',
        )
    _, quant_a, quant_b = _CONFIG.unpack_from(data.data)
    payload = data[_CONFIG_BYTES:]
    values = _read_rvl(payload) if codec == 'rvl' else _read_png(payload, text)
    if encoding == '32FC1':
        return _from_inverse(values, quant_a, quant_b)
    return metres(values)


def compressed_depth_fields(
    depth: NDArray[Any],
    codec: str = 'png',
    encoding: str = '16UC1',
    *,
    png_level: int = 4,
) -> dict[str, Any]:
    """
    Return the fields of a compressed depth image, without its header.

    Parameters
    ----------
    depth : numpy.ndarray
        (H, W) float32 metres (NaN, infinite, zero and negative: unknown) or uint16 millimetres
        (0 unknown).
    codec : str
        'png' or 'rvl'.
    encoding : str
        '16UC1' is exact to a millimetre and ends at 65.535 m; '32FC1' loses with distance and
        ends at 10 m.
    png_level : int
        1 (fast) to 9 (small).

    Returns
    -------
    dict
        format and data (flat uint8).

    Raises
    ------
    MessageError
        Cause 'encoding' or 'format'.

    """
    if depth.ndim != 2:
        raise MessageError('encoding', f'depth must be (H, W), not {depth.shape}')
    height, width = depth.shape
    check_size(width, height, 'depth')
    in_millimetres = depth.dtype == np.uint16
    quant_a = quant_b = 0.0
    if encoding == '32FC1':
        quant_a = _QUANTIZATION * (_QUANTIZATION + 1)
        quant_b = 1 - quant_a / _MAX_DEPTH
        known = metres(depth if in_millimetres else depth.astype(np.float32, copy=False))
        values = _to_inverse(known, quant_a, quant_b)
    elif encoding == '16UC1':
        values = depth if in_millimetres else millimetres(depth)
    else:
        raise MessageError('encoding', f'compressed depth is 16UC1 or 32FC1, not {encoding!r}')
    config = _CONFIG.pack(0, quant_a, quant_b)
    if codec == 'png':
        payload = encode_depth_png(values, png_level)
    elif codec == 'rvl':
        payload = _RVL_SIZE.pack(width, height) + encode_rvl(values)
    else:
        raise MessageError('format', f"codec {codec!r} is neither 'png' nor 'rvl'")
    return {
        'format': f'{encoding}; compressedDepth {codec}',
        'data': np.frombuffer(config + payload, np.uint8),
    }


def _plain_depth(data: NDArray[np.uint8], text: str) -> NDArray[np.float32]:
    picture = decode_picture(data)
    if picture.ndim != 2 or picture.dtype not in (np.uint16, np.float32):
        raise MessageError(
            'format', f'compressed depth of format {text!r} holds {picture.dtype}{picture.shape}'
        )
    return metres(picture)


def _read_png(payload: NDArray[np.uint8], text: str) -> NDArray[np.uint16]:
    if picture_kind(payload) != 'png':
        raise MessageError('corrupt', f'compressed depth of format {text!r} holds no PNG')
    picture = decode_picture(payload)
    if picture.ndim != 2 or picture.dtype != np.uint16:
        raise MessageError(
            'corrupt',
            f'compressed depth holds a PNG of {picture.dtype}{picture.shape}, not uint16',
        )
    return picture


def _read_rvl(payload: NDArray[np.uint8]) -> NDArray[np.uint16]:
    if payload.size < _RVL_SIZE_BYTES:
        raise MessageError('short data', f'RVL depth of {payload.size} bytes has no size')
    width, height = _RVL_SIZE.unpack_from(payload.data)
    check_size(width, height, 'RVL depth')
    return decode_rvl(payload[_RVL_SIZE_BYTES:], width * height).reshape(height, width)


def _from_inverse(
    values: NDArray[np.uint16], quant_a: float, quant_b: float
) -> NDArray[np.float32]:
    inverse = values.astype(np.float32) - np.float32(quant_b)
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        depth = np.float32(quant_a) / inverse
    depth[(values == 0) | ~(depth > 0)] = np.nan
    return depth


def _to_inverse(depth: NDArray[np.float32], quant_a: float, quant_b: float) -> NDArray[np.uint16]:
    known = (depth > 0) & (depth < np.float32(_MAX_DEPTH))
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        inverse = np.float32(quant_a) / depth + np.float32(quant_b)
    return np.where(known, np.clip(inverse, 0, FARTHEST_MM), 0).astype(np.uint16)

# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image to numpy and back, with the meaning that cv_bridge gives to each encoding."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .fields import check_size, data_bytes, MessageError


class _Encoding(NamedTuple):
    """How pixels lie in memory, and OpenCV's conversion to RGB (None: RGB already)."""

    channels: int
    dtype: str
    to_rgb: int | None
    layout: str = 'packed'


# OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first
# row's first two: ROS's RGGB is OpenCV's BayerBG. 'yuv422' is UYVY. 8UC3 has no colour order by
# definition; what publishes it is OpenCV, so it is BGR.
_RGB_ENCODINGS: dict[str, _Encoding] = {
    'rgb8': _Encoding(3, 'u1', None),
    'bgr8': _Encoding(3, 'u1', cv2.COLOR_BGR2RGB),
    'rgba8': _Encoding(4, 'u1', cv2.COLOR_RGBA2RGB),
    'bgra8': _Encoding(4, 'u1', cv2.COLOR_BGRA2RGB),
    'mono8': _Encoding(1, 'u1', cv2.COLOR_GRAY2RGB),
    'mono16': _Encoding(1, 'u2', cv2.COLOR_GRAY2RGB),
    'rgb16': _Encoding(3, 'u2', None),
    'bgr16': _Encoding(3, 'u2', cv2.COLOR_BGR2RGB),
    'rgba16': _Encoding(4, 'u2', cv2.COLOR_RGBA2RGB),
    'bgra16': _Encoding(4, 'u2', cv2.COLOR_BGRA2RGB),
    '8UC1': _Encoding(1, 'u1', cv2.COLOR_GRAY2RGB),
    '8UC3': _Encoding(3, 'u1', cv2.COLOR_BGR2RGB),
    '8UC4': _Encoding(4, 'u1', cv2.COLOR_BGRA2RGB),
    'bayer_rggb8': _Encoding(1, 'u1', cv2.COLOR_BayerBG2RGB, 'bayer'),
    'bayer_bggr8': _Encoding(1, 'u1', cv2.COLOR_BayerRG2RGB, 'bayer'),
    'bayer_gbrg8': _Encoding(1, 'u1', cv2.COLOR_BayerGR2RGB, 'bayer'),
    'bayer_grbg8': _Encoding(1, 'u1', cv2.COLOR_BayerGB2RGB, 'bayer'),
    'bayer_rggb16': _Encoding(1, 'u2', cv2.COLOR_BayerBG2RGB, 'bayer'),
    'bayer_bggr16': _Encoding(1, 'u2', cv2.COLOR_BayerRG2RGB, 'bayer'),
    'bayer_gbrg16': _Encoding(1, 'u2', cv2.COLOR_BayerGR2RGB, 'bayer'),
    'bayer_grbg16': _Encoding(1, 'u2', cv2.COLOR_BayerGB2RGB, 'bayer'),
    'yuv422': _Encoding(2, 'u1', cv2.COLOR_YUV2RGB_UYVY, '422'),
    'uyvy': _Encoding(2, 'u1', cv2.COLOR_YUV2RGB_UYVY, '422'),
    'yuv422_yuy2': _Encoding(2, 'u1', cv2.COLOR_YUV2RGB_YUY2, '422'),
    'yuyv': _Encoding(2, 'u1', cv2.COLOR_YUV2RGB_YUY2, '422'),
    'nv12': _Encoding(1, 'u1', cv2.COLOR_YUV2RGB_NV12, '420'),
    'nv21': _Encoding(1, 'u1', cv2.COLOR_YUV2RGB_NV21, '420'),
}
_DEPTH_ENCODINGS = {
    '16UC1': _Encoding(1, 'u2', None),
    'mono16': _Encoding(1, 'u2', None),
    '32FC1': _Encoding(1, 'f4', None),
}
RGB_ENCODINGS: tuple[str, ...] = tuple(_RGB_ENCODINGS)
DEPTH_ENCODINGS: tuple[str, ...] = tuple(_DEPTH_ENCODINGS)


def decode_rgb(message: Any) -> NDArray[np.uint8]:
    """
    Return the RGB picture of a sensor_msgs/Image.

    16-bit channels become 8-bit ones by 255/65535, rounded, as cv_bridge scales them.

    Parameters
    ----------
    message : sensor_msgs.msg.Image
        Of rclpy or of rosbags: anything with its fields. `step` and `is_bigendian` are honoured.

    Returns
    -------
    (H, W, 3) uint8
        For 'rgb8' a read-only view of the message's data.

    Raises
    ------
    MessageError
        Causes 'encoding', 'zero size', 'absurd size', 'step', 'short data', 'long data',
        'odd size', 'data'.

    """
    name = str(message.encoding)
    encoding = _RGB_ENCODINGS.get(name)
    if encoding is None:
        text = f'unknown image encoding {name!r}; known are {", ".join(RGB_ENCODINGS)}'
        if name in _DEPTH_ENCODINGS:
            text = f'encoding {name!r} is a depth image; choose the colour topic of the camera'
        raise MessageError('encoding', text)
    return to_rgb(_pixels(message, encoding), name)


def to_rgb(pixels: NDArray[Any], encoding: str) -> NDArray[np.uint8]:
    """Convert pixels of one of RGB_ENCODINGS, (H, W) or (H, W, C), to (H, W, 3) uint8 RGB."""
    code = _RGB_ENCODINGS[encoding].to_rgb
    rgb = pixels if code is None else cv2.cvtColor(pixels, code)
    if rgb.dtype == np.uint16:
        rgb = cv2.convertScaleAbs(rgb, alpha=255 / 65535)
    return rgb  # type: ignore[return-value]


def decode_depth(message: Any) -> NDArray[np.float32]:
    """
    Return the depth of a sensor_msgs/Image in metres (REP 118).

    Parameters
    ----------
    message : sensor_msgs.msg.Image
        '16UC1' or 'mono16' in millimetres, 0 unknown; '32FC1' in metres, NaN (or 0) unknown.

    Returns
    -------
    (H, W) float32
        NaN unknown; the infinities of REP 117 stay.

    Raises
    ------
    MessageError
        As decode_rgb.

    """
    name = str(message.encoding)
    encoding = _DEPTH_ENCODINGS.get(name)
    if encoding is None:
        raise MessageError(
            'encoding',
            f'depth image with encoding {name!r}; known are {", ".join(DEPTH_ENCODINGS)}: '
            'choose the depth topic of the camera',
        )
    return metres(_pixels(message, encoding))


def metres(depth: NDArray[Any]) -> NDArray[np.float32]:
    """Return uint16 millimetres or float32 metres as float32 metres with NaN for unknown."""
    if depth.dtype == np.uint16:
        result = depth.astype(np.float32)
        result[depth == 0] = np.nan
        result /= np.float32(1000)
        return result
    unknown = (depth <= 0) & np.isfinite(depth)
    if unknown.any():
        depth = np.where(unknown, np.float32(np.nan), depth)
    return depth


def image_fields(image: NDArray[Any], encoding: str) -> dict[str, Any]:
    """
    Return the fields of a sensor_msgs/Image, without its header.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        dtype and channels as the encoding says.
    encoding : str
        One of RGB_ENCODINGS (but the 4:2:0 ones) or DEPTH_ENCODINGS.

    Returns
    -------
    dict
        height, width, encoding, is_bigendian, step and data (flat uint8, a view of a contiguous
        image). For rclpy pass it through `ros_fields`.

    Raises
    ------
    MessageError
        Cause 'encoding': the array is not what the encoding says.

    """
    layout = _RGB_ENCODINGS.get(encoding) or _DEPTH_ENCODINGS.get(encoding)
    if layout is None or layout.layout == '420':
        raise MessageError('encoding', f'images can not be written with encoding {encoding!r}')
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.ndim not in (2, 3) or channels != layout.channels or image.dtype != layout.dtype:
        raise MessageError(
            'encoding',
            f'encoding {encoding!r} needs {layout.channels} channel(s) of '
            f'{np.dtype(layout.dtype)}; the array is {image.shape} {image.dtype}',
        )
    height, width = image.shape[:2]
    check_size(width, height, 'image')
    return {
        'height': height,
        'width': width,
        'encoding': encoding,
        'is_bigendian': int(sys.byteorder == 'big'),
        'step': width * channels * image.dtype.itemsize,
        'data': data_bytes(image),
    }


def _pixels(message: Any, encoding: _Encoding) -> NDArray[Any]:
    """View the pixels: (H, W), (H, W, C) or for 4:2:0 (3 H / 2, W); native byte order."""
    width, height, step = int(message.width), int(message.height), int(message.step)
    what = f'image of encoding {message.encoding!r}'
    check_size(width, height, what)
    if (width % 2 and encoding.layout in ('422', '420')) or (
        height % 2 and encoding.layout == '420'
    ):
        raise MessageError(
            'odd size',
            f'{what} is {width}x{height}: two pixels share their colour, so the size must be even',
        )
    if encoding.layout == 'bayer' and min(width, height) < 3:
        raise MessageError(
            'absurd size', f'{what} is {width}x{height}: a Bayer pattern needs 3x3 pixels at least'
        )
    dtype = np.dtype(('>' if message.is_bigendian else '<') + encoding.dtype)
    item = dtype.itemsize
    row = width * encoding.channels * item
    if step < row:
        raise MessageError(
            'step',
            f'{what} {width} pixels wide has a step of {step} bytes, but a row needs {row}: '
            'the driver fills in the message wrongly',
        )
    rows = height * 3 // 2 if encoding.layout == '420' else height
    data = data_bytes(message.data)
    needed = rows * step
    sizes = f'{width}x{height} with step {step} needs {needed} bytes, {data.size} were given'
    if data.size < needed:
        raise MessageError('short data', f'{what} {sizes}: the message was cut off')
    if data.size > needed:
        raise MessageError('long data', f'{what} {sizes}: its size and its data do not match')
    shape, strides = (rows, width, encoding.channels), (step, encoding.channels * item, item)
    pixels: NDArray[Any] = np.ndarray(shape, dtype, data, strides=strides)
    if encoding.channels == 1:
        pixels = pixels[..., 0]
    if not dtype.isnative or step % item:
        pixels = pixels.astype(dtype.newbyteorder('='))
    pixels.flags.writeable = False
    return pixels

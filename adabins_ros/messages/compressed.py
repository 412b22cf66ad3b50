# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CompressedImage of colour cameras, which holds a still picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .fields import check_size, data_bytes, MessageError
from .images import RGB_ENCODINGS, to_rgb
from .still_pictures import decode_picture, encode_picture, picture_kind

_PICTURE_FORMATS = ('jpeg', 'jpg', 'png', 'tif', 'bmp', 'webp')


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
    picture = decode_picture(data)
    if picture.dtype not in (np.uint8, np.uint16):
        raise MessageError('format', f'format {text!r} holds {picture.dtype} values, no colours')
    return to_rgb(picture, _channels(picture, text) + str(8 * picture.dtype.itemsize))


def _channels(picture: NDArray[Any], text: str) -> str:
    """Return an encoding of RGB_ENCODINGS but for its bits."""
    encoding, _, compression = text.partition(';')
    encoding = encoding.strip()
    if picture.ndim == 2:
        is_bayer = encoding.startswith('bayer_') and encoding in RGB_ENCODINGS
        is_raw = is_bayer and 'compressed mono' not in compression
        return encoding.rstrip('168') if is_raw else 'mono'
    order = 'rgb' if 'compressed rgb' in compression else 'bgr'
    return order + 'a' if picture.shape[2] == 4 else order


def compressed_rgb_fields(
    rgb: NDArray[np.uint8],
    format: str = 'jpeg',  # noqa: A002
) -> dict[str, Any]:
    """
    Return the fields of a sensor_msgs/CompressedImage, without its header.

    Parameters
    ----------
    rgb : numpy.ndarray
        (H, W, 3) uint8.
    format : str
        'jpeg' or 'png', with OpenCV's own quality (95) or level.

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
    if format not in ('jpeg', 'png'):
        raise MessageError('format', f"format {format!r} is neither 'jpeg' nor 'png'")
    data = encode_picture(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), f'.{format}')
    return {'format': f'rgb8; {format} compressed bgr8', 'data': data}

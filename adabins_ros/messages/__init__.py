# SPDX-License-Identifier: Apache-2.0
"""
Message-shaped bytes to numpy and back: images, compressed images and depth, camera_info, clouds.

Everything here works on rclpy's and on rosbags' messages alike (by their fields) and imports
neither. Anything unusable raises MessageError.
"""

from .clouds import cloud_fields, read_cloud
from .compressed import compressed_rgb_fields, decode_compressed_rgb
from .compressed_depth import compressed_depth_fields, decode_compressed_depth
from .fields import (
    camera_info_fields,
    MessageError,
    ros_fields,
    stamp_from_ns,
    stamp_ns,
)
from .images import decode_depth, decode_rgb, DEPTH_ENCODINGS, image_fields, RGB_ENCODINGS
from .rvl import decode_rvl, encode_rvl

__all__ = [
    'DEPTH_ENCODINGS',
    'RGB_ENCODINGS',
    'MessageError',
    'camera_info_fields',
    'cloud_fields',
    'compressed_depth_fields',
    'compressed_rgb_fields',
    'decode_compressed_depth',
    'decode_compressed_rgb',
    'decode_depth',
    'decode_rgb',
    'decode_rvl',
    'encode_rvl',
    'image_fields',
    'read_cloud',
    'ros_fields',
    'stamp_from_ns',
    'stamp_ns',
]

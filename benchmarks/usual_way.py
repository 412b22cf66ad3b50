# SPDX-License-Identifier: Apache-2.0
"""
What the node's ROS side is held against: cv_bridge and sensor_msgs_py's create_cloud.

Where they are not installed, what they compute, with numpy.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FIELDS = ('x', 'y', 'z', 'rgb', 'std')
MAX_DEPTH = 10.0


class UsualWay:
    """Do with a frame what most Python nodes do."""

    def __init__(self) -> None:
        self.decode, self.encode = _bridge()
        self.create_cloud = _cloud_maker()

    def messages(
        self, image: Any, depth: Any, std: Any, camera: Any, stride: int, as_list: bool
    ) -> dict[str, Any]:
        """Make the four messages of a frame; the arrays are (H, W) float32, metres."""
        from sensor_msgs.msg import PointField

        rgb = self.decode(image, 'rgb8')
        near = np.clip(depth / MAX_DEPTH * 255, 0, 255).astype(np.uint8)
        color = cv2.cvtColor(cv2.applyColorMap(255 - near, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)

        u, v = np.meshgrid(np.arange(0, camera.width, stride), np.arange(0, camera.height, stride))
        z = depth[::stride, ::stride]
        points = np.empty(z.shape, [(name, np.float32) for name in FIELDS])
        points['x'] = (u - camera.cx) * z / camera.fx
        points['y'] = (v - camera.cy) * z / camera.fy
        points['z'] = z
        wide = rgb[::stride, ::stride].astype(np.uint32)
        packed = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
        points['rgb'] = packed.view(np.float32)
        points['std'] = std[::stride, ::stride]
        fields = [
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(FIELDS)
        ]
        made = {
            'depth': self.encode(depth, '32FC1'),
            'std': self.encode(std, '32FC1'),
            'color': self.encode(color, 'rgb8'),
        }
        for message in made.values():
            message.header = image.header
        given = points.reshape(-1).tolist() if as_list else points
        return {**made, 'points': self.create_cloud(image.header, fields, given)}


def _bridge() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return image message to array and back: cv_bridge's, or the same with numpy."""
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return _decoded, _encoded
    bridge = CvBridge()
    return bridge.imgmsg_to_cv2, bridge.cv2_to_imgmsg


def _decoded(message: Any, encoding: str) -> NDArray[np.uint8]:
    shape = (message.height, message.width, 3)
    pixels: NDArray[np.uint8] = np.ndarray(shape, np.uint8, message.data)
    return pixels if message.encoding == encoding else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _encoded(pixels: NDArray[Any], encoding: str) -> Any:
    from sensor_msgs.msg import Image

    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.data.frombytes(pixels.tobytes())
    message.step = len(message.data) // message.height
    return message


def _cloud_maker() -> Callable[..., Any]:
    """Return create_cloud of sensor_msgs_py, or the same with numpy."""
    try:
        from sensor_msgs_py.point_cloud2 import create_cloud
    except ImportError:
        return _created_cloud
    return create_cloud


def _created_cloud(header: Any, fields: list[Any], points: Any) -> Any:
    from sensor_msgs.msg import PointCloud2

    if not isinstance(points, np.ndarray):
        dtype = np.dtype([(field.name, np.float32) for field in fields])
        points = np.array(list(map(tuple, points)), dtype)[np.newaxis]
    height, width = points.shape
    message = PointCloud2(header=header, height=height, width=width, fields=fields)
    message.point_step = points.itemsize
    message.row_step = points.itemsize * width
    data = array.array('B')
    data.frombytes(memoryview(points).cast('B'))
    message.data = data
    return message

# SPDX-License-Identifier: Apache-2.0
"""A depth estimate as ROS messages: everything that the node publishes about a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages.buffers import ros_fields
from adabins_ros.messages.camera_info import camera_info_fields
from adabins_ros.messages.clouds import cloud_fields
from adabins_ros.messages.images import image_fields
from adabins_ros.ros.frame_arrays import FrameArrays
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension, MultiArrayLayout

Message = TypeVar('Message', CameraInfo, Image, PointCloud2)


@dataclass(frozen=True)
class FrameProducts:
    """
    Make the messages of one frame; each method is named as its product in the parameters.

    Attributes
    ----------
    header : std_msgs.msg.Header
        Of the camera's image; every message carries it.
    arrays : FrameArrays
        What the messages hold.

    """

    header: Header
    arrays: FrameArrays

    def image(self) -> Image:
        """Return depth in metres, 32FC1 (REP 117, 118)."""
        return _image(self.arrays.image(), '32FC1', self.header)

    def image_raw(self) -> Image:
        """Return depth in millimetres, 16UC1 (REP 118)."""
        return _image(self.arrays.image_raw(), '16UC1', self.header)

    def std(self) -> Image:
        """Return one standard deviation of depth in metres, 32FC1."""
        return _image(self.arrays.std(), '32FC1', self.header)

    def color(self) -> Image:
        """Return depth as colours, rgb8."""
        return _image(self.arrays.color(), 'rgb8', self.header)

    def bin_centers(self) -> Float32MultiArray:
        """Return the centres of this frame's depth bins, metres; none for plain regression."""
        centers = self.arrays.bin_centers()
        dimension = MultiArrayDimension(
            label='bin_centers', size=len(centers), stride=len(centers)
        )
        values = ros_fields({'data': centers})
        return Float32MultiArray(layout=MultiArrayLayout(dim=[dimension]), **values)

    def points(self) -> PointCloud2:
        """
        Return the organised cloud in the camera's optical frame: x y z rgb std.

        Every `point_stride`-th row and column; NaN where a gate of the parameters drops the point.
        """
        cloud, all_valid = self.arrays.points()
        # A valid depth is finite, and so is its point.
        fields = cloud_fields(cloud, is_dense=all_valid)
        fields['fields'] = [
            PointField(name=name, offset=offset, datatype=datatype, count=count)
            for name, offset, datatype, count in fields['fields']
        ]
        return _filled(PointCloud2, self.header, fields)


def camera_info_message(camera: PinholeCamera, header: Header) -> CameraInfo:
    """Return intrinsics as sensor_msgs/CameraInfo."""
    return _filled(CameraInfo, header, camera_info_fields(camera))


def _image(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """Return an array as sensor_msgs/Image."""
    return _filled(Image, header, image_fields(pixels, encoding))


def _filled(kind: type[Message], header: Header, fields: dict[str, Any]) -> Message:
    """Make a message without a copy of its data, which rclpy's constructors would make."""
    try:
        # From Jazzy on only messages that check their fields keep an array.array as it is.
        message = kind(check_fields=True)
    except AssertionError:
        # Humble's check always, and know no such argument.
        message = kind()
    message.header = header
    for name, value in ros_fields(fields).items():
        setattr(message, name, value)
    return message

# SPDX-License-Identifier: Apache-2.0
"""A depth estimate as ROS messages: everything that the node publishes about a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TYPE_CHECKING, TypeVar

from adabins_ros.geometry.back_projection import back_project
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.cloud import pack_cloud
from adabins_ros.geometry.colors import depth_colors
from adabins_ros.geometry.depth_encoding import mark_range, millimetres
from adabins_ros.geometry.filtering import valid_points
from adabins_ros.messages.buffers import ros_fields
from adabins_ros.messages.camera_info import camera_info_fields
from adabins_ros.messages.clouds import cloud_fields
from adabins_ros.messages.images import image_fields
from adabins_ros.ros.parameters import DepthNodeSettings
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension, MultiArrayLayout

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthEstimate

Message = TypeVar('Message', CameraInfo, Image, PointCloud2)


@dataclass(frozen=True)
class FrameProducts:
    """
    Make the messages of one frame; each method is named as its product in the parameters.

    Attributes
    ----------
    header : std_msgs.msg.Header
        Of the camera's image; every message carries it.
    rgb : (H, W, 3) uint8
        The image as the network saw it (rectified if that was asked for).
    camera : PinholeCamera or None
        Intrinsics of `rgb`; points need them.
    estimate : DepthEstimate
        Of `rgb`.
    model_farthest : float
        The farthest that the model can say of this camera, metres.
    settings : DepthNodeSettings
        The node's parameters.

    """

    header: Header
    rgb: NDArray[np.uint8]
    camera: PinholeCamera | None
    estimate: DepthEstimate
    model_farthest: float
    settings: DepthNodeSettings

    @cached_property
    def _marked(self) -> NDArray[np.float32]:
        return mark_range(self.estimate.depth, self.settings.min_depth, self._farthest)

    @property
    def _farthest(self) -> float:
        # The predictor keeps to the model's range; 1 ulp of rounding must not put it outside.
        return self.settings.max_depth or np.inf

    def image(self) -> Image:
        """Return depth in metres, 32FC1 (REP 117, 118)."""
        return _image(self._marked, '32FC1', self.header)

    def image_raw(self) -> Image:
        """Return depth in millimetres, 16UC1 (REP 118)."""
        return _image(millimetres(self._marked), '16UC1', self.header)

    def std(self) -> Image:
        """Return one standard deviation of depth in metres, 32FC1."""
        return _image(self.estimate.std, '32FC1', self.header)

    def color(self) -> Image:
        """Return depth as colours, rgb8."""
        settings = self.settings
        farthest = settings.color_max_depth or settings.max_depth or self.model_farthest
        return _image(depth_colors(self._marked, 0.0, farthest), 'rgb8', self.header)

    def bin_centers(self) -> Float32MultiArray:
        """Return the centres of this frame's depth bins, metres; none for plain regression."""
        count = len(self.estimate.bin_centers)
        dimension = MultiArrayDimension(label='bin_centers', size=count, stride=count)
        values = ros_fields({'data': self.estimate.bin_centers})
        return Float32MultiArray(layout=MultiArrayLayout(dim=[dimension]), **values)

    def points(self) -> PointCloud2:
        """
        Return the organised cloud in the camera's optical frame: x y z rgb std.

        Every `point_stride`-th row and column; NaN where a gate of the parameters drops the point.
        """
        if self.camera is None:
            raise ValueError('points need the intrinsics of the camera')
        settings, stride = self.settings, self.settings.point_stride
        depth, std = self.estimate.depth, self.estimate.std
        # The network's output has at most half the camera's rows and columns: gating every
        # second one loses nothing, and is four times faster.
        step = 2 if stride % 2 == 0 else 1
        valid = valid_points(
            np.ascontiguousarray(depth[::step, ::step]),
            std[::step, ::step],
            min_depth=settings.min_depth,
            max_depth=self._farthest,
            max_std_ratio=settings.max_std_ratio,
            edge_ratio=settings.edge_ratio,
        )
        valid = valid[:: stride // step, :: stride // step]
        cloud = pack_cloud(
            back_project(depth, self.camera, stride),
            self.rgb[::stride, ::stride],
            std[::stride, ::stride],
            valid,
        )
        # A valid depth is finite, and so is its point.
        fields = cloud_fields(cloud, is_dense=bool(valid.all()))
        fields['fields'] = [
            PointField(name=name, offset=offset, datatype=datatype, count=count)
            for name, offset, datatype, count in fields['fields']
        ]
        return _filled(PointCloud2(), self.header, fields)


def camera_info_message(camera: PinholeCamera, header: Header) -> CameraInfo:
    """Return intrinsics as sensor_msgs/CameraInfo."""
    return _filled(CameraInfo(), header, camera_info_fields(camera))


def _image(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """Return an array as sensor_msgs/Image."""
    return _filled(Image(), header, image_fields(pixels, encoding))


def _filled(message: Message, header: Header, fields: dict[str, Any]) -> Message:
    """Set a message's fields; one by one, as rclpy's constructors copy the data once more."""
    message.header = header
    for name, value in ros_fields(fields).items():
        setattr(message, name, value)
    return message

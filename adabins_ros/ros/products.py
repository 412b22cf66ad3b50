# SPDX-License-Identifier: Apache-2.0
"""
The table of what the node publishes about a frame.

One row is one product. The node's publishers and `publish_NAME` parameters, what is computed and
when, the help and the demo's collector read it: another product is another row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from adabins_ros.geometry.cloud import (
    clearing_points,
    CLOUD_DTYPE,
    CLOUD_WITH_HEIGHT_DTYPE,
    pack_cloud,
)
from adabins_ros.geometry.gates import is_on
from adabins_ros.geometry.laser_scan import optical_from_level, scan_depth
from adabins_ros.messages.clouds import cloud_fields
from adabins_ros.messages.compressed import compressed_rgb_fields
from adabins_ros.messages.compressed_depth import compressed_depth_fields
from adabins_ros.messages.fields import camera_info_fields, ros_fields
from adabins_ros.messages.images import image_fields
from adabins_ros.ros.frame import Frame, NotMade
from adabins_ros.ros.scale_status import scale_status
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    LaserScan,
    PointCloud2,
    PointField,
)
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension, MultiArrayLayout

Message = TypeVar('Message', CameraInfo, CompressedImage, Image, LaserScan, PointCloud2)


@dataclass(frozen=True)
class Product:
    """
    A row of the table.

    Attributes
    ----------
    name : str
        Of the parameter `publish_NAME`, and of its time in /diagnostics.
    topic : str
        Relative to the camera's namespace.
    kind : type
        Of the message.
    make : callable
        Makes the message of a frame; its arrays may be those of the frame's memory.
    description : str
        For people.
    needs_network, needs_intrinsics : bool
        What has to be there: without, the product is not made.
    other_form_of : str
        What says the same, a product or the camera's own image; the demo records that one alone.
    can_be_held : bool
        Robots move by it: not made where `Frame.is_held`.
    takes_long : bool
        `make` returns what makes the message, without the frame's memory, for another thread.

    """

    name: str
    topic: str
    kind: type
    make: Callable[[Frame], Any]
    description: str
    needs_network: bool = True
    needs_intrinsics: bool = False
    other_form_of: str = ''
    can_be_held: bool = False
    takes_long: bool = False


def _camera_info(frame: Frame) -> CameraInfo:
    assert frame.camera is not None
    return _filled(CameraInfo, frame.header, camera_info_fields(frame.camera))


def _points(frame: Frame) -> PointCloud2:
    """Make the organised cloud: every `point_stride`-th row and column, NaN where gated out."""
    assert frame.camera is not None
    settings, estimate = frame.settings, frame.estimated
    step = settings.point_stride
    valid = frame.sure & (estimate.depth[::step, ::step] <= np.float32(frame.limits[1]))
    if settings.remove_floor:
        valid &= frame.stands
    dtype = CLOUD_WITH_HEIGHT_DTYPE if settings.height_field else CLOUD_DTYPE
    cloud = pack_cloud(
        frame.safe_depth,
        frame.rgb,
        estimate.std,
        valid,
        frame.camera,
        settings.point_stride,
        frame.memory.array('points', valid.shape, dtype),
        frame.heights if settings.height_field else None,
    )
    # A valid depth is finite, and so is its point.
    return _cloud(cloud, bool(valid.all()), frame)


def _clearing_points(frame: Frame) -> PointCloud2:
    """Make the ends of free rays; those of the floor and of what lies beyond the range too."""
    assert frame.camera is not None
    step, (nearest, farthest) = frame.settings.point_stride, frame.limits
    ends = clearing_points(
        frame.safe_depth,
        frame.sure & (frame.safe_depth[::step, ::step] > np.float32(nearest)),
        frame.camera,
        farthest_m=farthest,
        clear_range_m=frame.settings.clear_range,
        stride=step,
    )
    return _cloud(ends, True, frame)


def _scan(frame: Frame) -> LaserScan:
    """Make the scan in the level frame of the camera, which TF is told of."""
    assert frame.camera is not None
    settings, estimate = frame.settings, frame.estimated
    height, down = frame.level
    try:
        scan = scan_depth(
            estimate.depth,
            frame.sure,
            frame.camera,
            down,
            height,
            heights_m=(settings.scan_min_height, settings.scan_max_height),
            range_m=frame.limits,
            stride=settings.point_stride,
            safe_depth=frame.safe_depth if settings.sure_std else None,
            trusted=frame.trusted if is_on(settings.max_std_ratio) or settings.sure_std else None,
            stands=frame.stands,
        )
    except ValueError as error:
        raise NotMade(str(error)) from None
    name = settings.scan_frame or f'{frame.header.frame_id}_level'
    if frame.transforms is not None:
        frame.transforms.tell(frame.header, name, optical_from_level(down))
    angle_max = scan.angle_min + (len(scan.ranges) - 1) * scan.angle_increment
    fields = {**vars(scan), 'angle_max': angle_max}
    return _filled(LaserScan, Header(stamp=frame.header.stamp, frame_id=name), fields)


def _bin_centers(frame: Frame) -> Float32MultiArray:
    centers = frame.estimated.bin_centers
    dimension = MultiArrayDimension(label='bin_centers', size=len(centers), stride=len(centers))
    values = ros_fields({'data': centers})
    return Float32MultiArray(layout=MultiArrayLayout(dim=[dimension]), **values)


def _status(frame: Frame) -> DiagnosticArray:
    assert frame.scale is not None
    return DiagnosticArray(header=frame.header, status=[scale_status(frame.scale)])


PRODUCTS = (
    Product(
        'image',
        'depth/image',
        Image,
        lambda frame: _image(frame.marked, '32FC1', frame),
        '32FC1, metres; NaN unknown, +Inf beyond and -Inf below the range (REP 117, 118)',
    ),
    Product(
        'image_raw',
        'depth/image_raw',
        Image,
        lambda frame: _image(frame.millimetres, '16UC1', frame),
        '16UC1, millimetres; 0 unknown or out of range',
        other_form_of='image',
    ),
    Product(
        'camera_info',
        'depth/camera_info',
        CameraInfo,
        _camera_info,
        'intrinsics of the published depth',
        needs_network=False,
        needs_intrinsics=True,
    ),
    Product(
        'std',
        'depth/std',
        Image,
        lambda frame: _image(frame.estimated.std, '32FC1', frame),
        '32FC1, one standard deviation, metres',
    ),
    Product(
        'color',
        'depth/color',
        Image,
        lambda frame: _image(frame.colors, 'rgb8', frame),
        'rgb8, for people',
    ),
    Product(
        'points',
        'points',
        PointCloud2,
        _points,
        'organised, x y z rgb std in the optical frame (REP 103); NaN where gated out',
        needs_intrinsics=True,
        can_be_held=True,
    ),
    Product(
        'points_clearing',
        'points_clearing',
        PointCloud2,
        _clearing_points,
        'x y z up to where sure rays are free, clear_range at most: costmaps clear by it',
        needs_intrinsics=True,
        can_be_held=True,
        other_form_of='points',
    ),
    Product(
        'scan',
        'depth/scan',
        LaserScan,
        _scan,
        'nearest obstacle of each direction, levelled; NaN unknown, +Inf surely free (REP 117)',
        needs_intrinsics=True,
        can_be_held=True,
        other_form_of='points',
    ),
    Product(
        'bin_centers',
        'depth/bin_centers',
        Float32MultiArray,
        _bin_centers,
        'the depth bins of this frame, metres; none for plain regression',
    ),
    Product(
        'status',
        'depth/status',
        DiagnosticArray,
        _status,
        'what is known of the true scale of this frame, and why if it is not',
    ),
    # Not `image`: image_transport would take the node's own input, camera_info, for its camera.
    # They wait for the network, so that no frame has colours that can have no depth.
    Product(
        'color_image',
        'color/image',
        Image,
        lambda frame: _image(frame.rgb, 'rgb8', frame),
        'rgb8, the picture that the network saw (rectified if that was asked for)',
        other_form_of='the image of the camera',
    ),
    Product(
        'color_camera_info',
        'color/camera_info',
        CameraInfo,
        _camera_info,
        'intrinsics of color/image, those of the depth',
        needs_intrinsics=True,
        other_form_of='camera_info',
    ),
    # Made in a thread of their own: nothing of a frame waits for them, nor does the next frame.
    Product(
        'image_raw_compressed',
        'depth/image_raw/compressedDepth',
        CompressedImage,
        # Millimetres alone: the plugin's inverse depth for 32FC1 would lose with distance.
        lambda frame: _compressed(compressed_depth_fields, frame.millimetres, frame),
        'depth/image_raw as PNG, without loss',
        other_form_of='image',
        takes_long=True,
    ),
    Product(
        'color_compressed',
        'depth/color/compressed',
        CompressedImage,
        lambda frame: _compressed(compressed_rgb_fields, frame.colors.copy(), frame),
        'depth/color as JPEG',
        other_form_of='color',
        takes_long=True,
    ),
    Product(
        'color_image_compressed',
        'color/image/compressed',
        CompressedImage,
        lambda frame: _compressed(compressed_rgb_fields, frame.rgb, frame),
        'color/image as JPEG',
        other_form_of='the image of the camera',
        takes_long=True,
    ),
)
"""In the order in which they are made and published."""


def _cloud(cloud: NDArray[Any], is_dense: bool, frame: Frame) -> PointCloud2:
    """Return a structured array as sensor_msgs/PointCloud2."""
    fields = cloud_fields(cloud, is_dense)
    fields['fields'] = [
        PointField(name=name, offset=offset, datatype=datatype, count=count)
        for name, offset, datatype, count in fields['fields']
    ]
    return _filled(PointCloud2, frame.header, fields)


def _image(pixels: NDArray[Any], encoding: str, frame: Frame) -> Image:
    """Return an array as sensor_msgs/Image."""
    return _filled(Image, frame.header, image_fields(pixels, encoding))


def _compressed(
    encode: Callable[[NDArray[Any]], dict[str, Any]], pixels: NDArray[Any], frame: Frame
) -> Callable[[], CompressedImage]:
    """Return what compresses an array that nobody writes to any more."""
    header = frame.header
    return lambda: _filled(CompressedImage, header, encode(pixels))


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

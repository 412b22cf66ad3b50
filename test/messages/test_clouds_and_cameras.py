# SPDX-License-Identifier: Apache-2.0
"""Point clouds, camera_info, stamps, and the hand-over to rclpy."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.camera_for import camera_for
from adabins_ros.messages import (
    camera_info_fields,
    cloud_fields,
    decode_rgb,
    image_fields,
    MessageError,
    read_cloud,
    ros_fields,
    stamp_from_ns,
    stamp_ns,
)
from adabins_ros.messages.fields import header_stamp_ns, ReusedArrays
import numpy as np
import pytest

POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<f4'), ('std', '<f4')])


def _cloud(height: int = 3, width: int = 4) -> np.ndarray:
    cloud = np.zeros((height, width), POINT)
    for index, name in enumerate(POINT.names or ()):
        cloud[name] = np.arange(height * width).reshape(height, width) + 100 * index
    return cloud


def test_a_cloud_reads_as_it_was_written(make: Any) -> None:
    fields = cloud_fields(_cloud())
    assert fields['fields'] == [
        ('x', 0, 7, 1),
        ('y', 4, 7, 1),
        ('z', 8, 7, 1),
        ('rgb', 12, 7, 1),
        ('std', 16, 7, 1),
    ]
    assert (fields['point_step'], fields['row_step'], fields['is_dense']) == (20, 80, True)
    np.testing.assert_array_equal(read_cloud(make('sensor_msgs/PointCloud2', **fields)), _cloud())


def test_a_cloud_with_holes_is_not_dense() -> None:
    cloud = _cloud()
    cloud['std'][0, 0] = np.nan
    assert cloud_fields(cloud)['is_dense']
    cloud['z'][1, 1] = np.nan
    assert not cloud_fields(cloud)['is_dense']


@pytest.mark.parametrize(('big', 'order'), [(False, '<'), (True, '>')])
def test_padding_and_byte_order_of_a_cloud_are_honoured(make: Any, big: bool, order: str) -> None:
    # 16 bytes a point: float x at 4, uint16 ring at 10, two int8 at 12; 5 bytes behind each row.
    rows = b''
    for row in range(2):
        for column in range(3):
            point = bytearray(16)
            point[4:8] = np.array(row + column / 4, order + 'f4').tobytes()
            point[10:12] = np.array(1000 * row + column, order + 'u2').tobytes()
            point[12:14] = np.array([-row, column], 'i1').tobytes()
            rows += bytes(point)
        rows += b'\x63' * 5
    cloud = read_cloud(
        make(
            'sensor_msgs/PointCloud2',
            height=2,
            width=3,
            fields=[('x', 4, 7, 1), ('ring', 10, 4, 1), ('pair', 12, 1, 2)],
            is_bigendian=big,
            point_step=16,
            row_step=53,
            data=rows,
        )
    )
    np.testing.assert_array_equal(cloud['x'], [[0, 0.25, 0.5], [1, 1.25, 1.5]])
    np.testing.assert_array_equal(cloud['ring'], [[0, 1, 2], [1000, 1001, 1002]])
    np.testing.assert_array_equal(cloud['pair'][1, 2], [-1, 2])
    assert cloud.dtype['x'].isnative


@pytest.mark.parametrize(
    ('changes', 'cause'),
    [
        ({'data': bytes(100)}, 'short data'),
        ({'row_step': 10}, 'step'),
        ({'point_step': 10}, 'fields'),
        ({'fields': []}, 'fields'),
        ({'fields': [('x', 0, 99, 1)]}, 'fields'),
        ({'fields': [('x', 0, 7, 1), ('x', 4, 7, 1)]}, 'fields'),
        ({'height': 100_000, 'width': 100_000}, 'absurd size'),
        ({'point_step': 2**31, 'row_step': 2**31}, 'absurd size'),
    ],
)
def test_a_malformed_cloud_is_refused(make: Any, changes: dict[str, Any], cause: str) -> None:
    message = make('sensor_msgs/PointCloud2', **{**cloud_fields(_cloud()), **changes})
    with pytest.raises(MessageError) as caught:
        read_cloud(message)
    assert caught.value.cause == cause


def test_an_empty_cloud_is_empty(make: Any) -> None:
    fields = {**cloud_fields(_cloud()), 'width': 0, 'data': b''}
    assert read_cloud(make('sensor_msgs/PointCloud2', **fields)).shape == (3, 0)


def test_only_structured_arrays_become_clouds() -> None:
    for wrong in (np.zeros((3, 4)), np.zeros((2, 2), [('x', 'c8')]), np.zeros((1, 1, 1), POINT)):
        with pytest.raises(MessageError):
            cloud_fields(wrong)


def test_sensor_msgs_py_reads_the_same_points(make: Any) -> None:
    point_cloud2 = pytest.importorskip('sensor_msgs_py.point_cloud2')
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    fields = cloud_fields(_cloud())
    names = ('name', 'offset', 'datatype', 'count')
    fields['fields'] = [
        sensor_msgs.PointField(**dict(zip(names, field, strict=True)))
        for field in fields['fields']
    ]
    message = sensor_msgs.PointCloud2(**ros_fields(fields))
    theirs = point_cloud2.read_points(message)
    np.testing.assert_array_equal(read_cloud(message).reshape(-1), theirs)


K = (500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0)
P = (400.0, 0.0, 310.0, 0.0, 0.0, 400.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0)


IMAGE = (480, 640)


def _info(make: Any, **changes: Any) -> Any:
    fields = {'width': 640, 'height': 480, 'distortion_model': 'plumb_bob'}
    fields |= {'d': [0.0] * 5, 'k': list(K), 'p': list(P), **changes}
    return make('sensor_msgs/CameraInfo', **fields)


def test_a_plain_camera_info(make: Any) -> None:
    assert camera_for(_info(make), IMAGE) == PinholeCamera(640, 480, 500, 510, 320, 240)


def test_distortion_is_kept_for_the_raw_image_and_gone_for_the_rectified(make: Any) -> None:
    message = _info(make, d=[0.1, -0.2, 0.0, 0.0, 0.05])
    raw = camera_for(message, IMAGE, '/camera/image_raw')
    assert raw.distortion_model == 'plumb_bob'
    assert raw.distortion == pytest.approx((0.1, -0.2, 0.0, 0.0, 0.05))
    assert raw.is_distorted
    rectified = camera_for(message, IMAGE, '/camera/image_rect')
    assert rectified == PinholeCamera(640, 480, 400, 400, 310, 230)


def test_a_fisheye_stays_one_with_zero_coefficients(make: Any) -> None:
    camera = camera_for(_info(make, distortion_model='equidistant', d=[0.0] * 4), IMAGE)
    assert camera.is_distorted


def test_the_region_of_interest_shifts_the_principal_point(make: Any) -> None:
    roi = {'x_offset': 100, 'y_offset': 40, 'width': 320, 'height': 240, 'do_rectify': True}
    camera = camera_for(_info(make, roi=roi), (240, 320))
    assert camera == PinholeCamera(320, 240, 500, 510, 220, 200)


def test_binning_keeps_the_rays_of_pixel_blocks(make: Any) -> None:
    camera = camera_for(_info(make, binning_x=2, binning_y=4), (120, 320))
    assert (camera.width, camera.height) == (320, 120)
    # The centre of the first block of 2x4 pixels is at (0.5, 1.5) in the full image.
    assert -camera.cx / camera.fx == pytest.approx((0.5 - 320) / 500)
    assert -camera.cy / camera.fy == pytest.approx((1.5 - 240) / 510)


def test_the_region_is_cut_out_before_binning(make: Any) -> None:
    roi = {'x_offset': 100, 'y_offset': 40, 'width': 320, 'height': 240, 'do_rectify': False}
    camera = camera_for(_info(make, roi=roi, binning_x=2, binning_y=2), (120, 160))
    assert camera == PinholeCamera(640, 480, 500, 510, 320, 240).cropped(100, 40, 320, 240).binned(
        2, 2
    )


@pytest.mark.parametrize(
    ('changes', 'cause'),
    [
        ({'k': [0.0] * 9}, 'uncalibrated'),
        ({'k': [float('nan')] * 9}, 'uncalibrated'),
        ({'width': 0}, 'zero size'),
        ({'d': [0.1, float('nan')]}, 'distortion'),
        ({'width': 0, 'height': 0, 'k': [0.0] * 9}, 'uncalibrated'),
        ({'width': 100_000}, 'absurd size'),
        ({'binning_x': 1000}, 'zero size'),
        (
            {'roi': {'x_offset': 600, 'y_offset': 0, 'width': 100, 'height': 480}},
            'zero size',
        ),
    ],
)
def test_an_unusable_camera_info_is_refused(
    make: Any, changes: dict[str, Any], cause: str
) -> None:
    with pytest.raises(CameraError) as caught:
        camera_for(_info(make, **changes), IMAGE)
    assert caught.value.cause == cause


def test_an_uncalibrated_camera_says_what_to_do(make: Any) -> None:
    with pytest.raises(CameraError, match='horizontal_fov_deg'):
        camera_for(_info(make, k=[0.0] * 9), IMAGE)
    with pytest.raises(CameraError, match='P with fx = 0'):
        camera_for(_info(make, p=[0.0, 1.0] + [0.0] * 10), IMAGE, rectified=True)


def test_ros_1_names_are_understood() -> None:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    message = SimpleNamespace(width=640, height=480, distortion_model='plumb_bob', roi=roi)
    message.D, message.K, message.P = (), K, P
    message.binning_x = message.binning_y = 0
    assert camera_for(message, IMAGE).fx == 500


@pytest.mark.parametrize(
    'camera',
    [
        PinholeCamera(640, 480, 500, 510, 320, 240),
        PinholeCamera(64, 48, 50.5, -51, 31.5, 23.5),
        PinholeCamera(64, 48, 50, 51, 31, 23, 'plumb_bob', (0.1, 0.2, 0.0, 0.0, 0.3)),
        PinholeCamera(64, 48, 50, 51, 31, 23, 'equidistant', (0.1, 0.2, 0.0, 0.0)),
    ],
)
def test_a_camera_reads_as_it_was_written(make: Any, camera: PinholeCamera) -> None:
    message = make('sensor_msgs/CameraInfo', **camera_info_fields(camera))
    size = (camera.height, camera.width)
    assert camera_for(message, size) == camera
    assert camera_for(message, size, rectified=True).distortion == ()
    assert message.distortion_model


def test_stamps_in_nanoseconds_and_back(make: Any) -> None:
    for ns in (0, 1, 999_999_999, 1_700_000_000_123_456_789, -1):
        sec, nanosec = stamp_from_ns(ns)
        message = make('std_msgs/Header')
        message.stamp.sec, message.stamp.nanosec = sec, nanosec
        assert stamp_ns(message.stamp) == ns
    assert stamp_ns(SimpleNamespace(secs=2, nsecs=3)) == 2_000_000_003
    for wrong in (2**31 * 10**9, -(2**40) * 10**9):
        with pytest.raises(MessageError):
            stamp_from_ns(wrong)
    with pytest.raises(MessageError):
        stamp_ns('now')


def test_the_stamp_of_a_serialised_header_is_read_in_both_byte_orders_and_in_ros_1() -> None:
    stamp, rest = (1_700_000_000, 123_456_789), bytes(8)
    for start, order, ros1 in (
        (b'\0\1\0\0', '<', False),
        (b'\0\0\0\0', '>', False),
        (b'\0\0\0\0', '<', True),  # seq 0
    ):
        data = start + struct.pack(f'{order}iI', *stamp) + rest
        assert header_stamp_ns(data, ros1=ros1) == 1_700_000_000_123_456_789
    with pytest.raises(MessageError, match='11 bytes hold no header'):
        header_stamp_ns(bytes(11))


def test_rclpy_takes_the_converted_fields() -> None:
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    fields = ros_fields(image_fields(image, 'rgb8'))
    message = sensor_msgs.Image(**fields)
    assert message.data == fields['data']
    np.testing.assert_array_equal(decode_rgb(message), image)


def test_rclpy_takes_reused_memory_as_it_is() -> None:
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    memory = ReusedArrays()
    depth = memory.array('image', (2, 3), np.dtype(np.float32))
    depth[:] = np.arange(6).reshape(2, 3)
    fields = ros_fields(image_fields(depth, '32FC1'))
    message = sensor_msgs.Image(check_fields=True)
    message.data = fields['data']
    assert np.frombuffer(message.data, np.float32).tolist() == [0, 1, 2, 3, 4, 5]
    memory.array('image', (2, 3), np.dtype(np.float32))[1, 2] = 7
    assert np.frombuffer(message.data, np.float32)[-1] == 7
    assert memory.array('other', (2, 3), np.dtype(np.float32))[1, 2] == 0
    assert memory.array('image', (2, 4), np.dtype(np.float32))[1, 3] == 0


@pytest.mark.parametrize('part', [slice(1, None), slice(None, -1), slice(None, None, -1)])
def test_a_part_of_reused_memory_is_copied(part: slice) -> None:
    image = ReusedArrays().array('image', (4, 3), np.dtype(np.uint8))
    image[:] = np.arange(12).reshape(4, 3)
    data = ros_fields(image_fields(image[part], 'mono8'))['data']
    assert data.tolist() == image[part].reshape(-1).tolist()
    image[:] = 99
    assert 99 not in data


@pytest.mark.parametrize(
    'encoding',
    ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'mono16', 'rgb16', 'bgra16', 'yuv422']
    + ['yuv422_yuy2', 'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'],
)
@pytest.mark.parametrize('big', [0, 1])
def test_cv_bridge_gives_the_same_picture(encoding: str, big: int) -> None:
    cv_bridge = pytest.importorskip('cv_bridge')
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    channels = {'rgb': 3, 'bgr': 3, 'yuv': 2}.get(encoding[:3], 1) + ('a' in encoding[:4])
    channels = 1 if encoding.startswith('bayer') else channels
    item = 2 if encoding.endswith('16') else 1
    row = 32 * channels * item
    data = np.random.default_rng(0).integers(0, 256, 24 * (row + 24), dtype=np.uint8)
    message = sensor_msgs.Image(
        encoding=encoding,
        width=32,
        height=24,
        step=row + 24,  # whole pixels of every encoding, which cv_bridge needs
        is_bigendian=big,
        data=data.tobytes(),
    )
    theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8')
    np.testing.assert_array_equal(decode_rgb(message), theirs)

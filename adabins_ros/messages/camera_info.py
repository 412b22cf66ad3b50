# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo to the pinhole camera of the published image, and back."""

from __future__ import annotations

from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
import numpy as np

from .buffers import check_size
from .errors import MessageError


def camera_from_info(message: Any, *, rectified: bool = False) -> PinholeCamera:
    """
    Return the camera of the image that is published with a sensor_msgs/CameraInfo.

    The message describes the full sensor; its region of interest (0x0: all of it) and then its
    binning (0: 1) are applied. `roi.do_rectify` says how rectified pictures were cut out and
    changes nothing about the raw one.

    Parameters
    ----------
    message : sensor_msgs.msg.CameraInfo
        Of rclpy or of rosbags; ROS 1 names (K, D, P) are accepted.
    rectified : bool
        The image is an image_rect: P instead of K, and no distortion.

    Returns
    -------
    PinholeCamera
        Pixels of the published image, integer pixel centres.

    Raises
    ------
    MessageError
        Causes 'uncalibrated' (the focal length is 0), 'zero size', 'absurd size', 'data'.

    """
    width, height = int(message.width), int(message.height)
    check_size(width, height, 'camera_info')
    distortion = tuple(_numbers(message, 'd', None))
    if rectified:
        fx, _, cx, _, _, fy, cy = _numbers(message, 'p', 12)[:7]
        distortion = ()
    else:
        fx, _, cx, _, fy, cy = _numbers(message, 'k', 9)[:6]
    if fx <= 0 or fy == 0 or not np.all(np.isfinite((fx, fy, cx, cy, *distortion))):
        raise MessageError(
            'uncalibrated',
            f'camera_info has {"P" if rectified else "K"} with fx = {fx:g}, fy = {fy:g} '
            '(uncalibrated); calibrate the camera or set the parameter horizontal_fov_deg',
        )
    model = '' if rectified else str(message.distortion_model)
    # Zeros mean no distortion, except to the fisheye model: its radius is not the pinhole's.
    if not any(distortion) and model != 'equidistant':
        model, distortion = '', ()
    return _published(PinholeCamera(width, height, fx, fy, cx, cy, model, distortion), message)


def _published(camera: PinholeCamera, message: Any) -> PinholeCamera:
    roi = message.roi
    x, y = int(roi.x_offset), int(roi.y_offset)
    width, height = int(roi.width) or camera.width - x, int(roi.height) or camera.height - y
    if width <= 0 or height <= 0 or x + width > camera.width or y + height > camera.height:
        raise MessageError(
            'zero size',
            f'camera_info has a region of interest of {width}x{height} at ({x}, {y}), outside its '
            f'{camera.width}x{camera.height} pixels',
        )
    if (width, height) != (camera.width, camera.height):
        camera = camera.cropped(x, y, width, height)
    binning_x, binning_y = int(message.binning_x) or 1, int(message.binning_y) or 1
    if binning_x < 0 or binning_y < 0 or binning_x > width or binning_y > height:
        raise MessageError(
            'zero size', f'camera_info has a binning of {binning_x}x{binning_y}: no pixel is left'
        )
    if (binning_x, binning_y) != (1, 1):
        camera = camera.binned(binning_x, binning_y)
    return camera


def camera_info_fields(camera: PinholeCamera) -> dict[str, Any]:
    """
    Return the fields of a sensor_msgs/CameraInfo, without its header.

    Returns
    -------
    dict
        height, width, distortion_model, d, k, r, p (flat float64; p is k, as for a camera that
        needs no rectification or whose rectified picture keeps its matrix), binning_x, binning_y.
        The region of interest keeps its default: all of the image.

    """
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return {
        'height': camera.height,
        'width': camera.width,
        'distortion_model': camera.distortion_model or 'plumb_bob',
        'd': np.array(camera.distortion or (0.0,) * 5, np.float64),
        'k': np.array((fx, 0, cx, 0, fy, cy, 0, 0, 1), np.float64),
        'r': np.eye(3).reshape(-1),
        'p': np.array((fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0), np.float64),
        'binning_x': 1,
        'binning_y': 1,
    }


def _numbers(message: Any, name: str, count: int | None) -> list[float]:
    values = getattr(message, name, None)
    if values is None:
        values = getattr(message, name.upper())
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        raise MessageError('data', f'camera_info has {name.upper()} = {values!r}') from None
    if count is not None and len(numbers) != count:
        raise MessageError(
            'data', f'camera_info has {len(numbers)} numbers in {name.upper()}, not {count}'
        )
    return numbers

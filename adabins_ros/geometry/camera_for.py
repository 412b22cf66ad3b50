# SPDX-License-Identifier: Apache-2.0
"""Which camera took an image: the one rule for the node, the demo, recordings and evaluation."""

from __future__ import annotations

import math
import re
from typing import Any

from adabins_ros.geometry.camera import (
    CameraError,
    EQUIDISTANT,
    PinholeCamera,
    refuse_size,
    same_shape,
)

# What image_transport and its kin append to the topic of the picture.
_TRANSPORTS = re.compile(r'/(compressed|compressedDepth|theora|ffmpeg|zstd|foxglove)$')
_RECTIFIED = re.compile(r'(^|_)rect(ified)?(_|$)')
_RAW = re.compile(r'(^|_)raw(_|$)')
_SAME_MODEL = {'fisheye': EQUIDISTANT, 'brown_conrady': 'plumb_bob'}


def camera_for(
    camera_info: Any,
    image_size: tuple[int, int],
    topic: str = '',
    *,
    rectified: str | bool = 'auto',
    horizontal_fov_deg: float = 0.0,
    info_topic: str = '',
) -> PinholeCamera:
    """
    Return the camera of an image that is published with a sensor_msgs/CameraInfo.

    A raw image was taken with K and D. A rectified one has P and no distortion; where P is all
    zeros, as many drivers leave it, K stands in (with R the identity). The message describes the
    full sensor: its region of interest (0x0: all of it) is cut out, then its binning (0: 1) is
    applied. `roi.do_rectify` says how rectified pictures were cut out and changes nothing. A
    message without a size (0x0) speaks of the image as it is.

    A lens model that is not known stays in the camera by its name: the focal length, all that
    depth needs, is right without it. What needs the lens (`Rectifier`, `project`, `rays`) refuses
    it by name.

    Parameters
    ----------
    camera_info : sensor_msgs.msg.CameraInfo or None
        Of rclpy or of rosbags; ROS 1 names (K, D, P) are accepted. None: there was none.
    image_size : (int, int)
        Height and width of the image, px. Intrinsics for another size of the same shape (within
        2 %) are scaled.
    topic : str
        Of the image: its name tells whether it is rectified.
    rectified : bool or 'auto', 'true', 'false'
        Whether the image is rectified; 'auto': as its topic is named, see `is_rectified`.
    horizontal_fov_deg : float
        Stands in for a camera_info that is missing or unusable, degrees; 0: nothing does.
    info_topic : str
        Of the camera_info, for the texts.

    Returns
    -------
    PinholeCamera
        At the image's size; integer pixel centres.

    Raises
    ------
    CameraError
        Causes 'missing', 'uncalibrated' (the focal length is 0), 'zero size', 'absurd size',
        'size' (of another shape), 'data', 'distortion' (a coefficient is not finite).
    ValueError
        If horizontal_fov_deg or `rectified` is none of what is possible.

    """
    height, width = image_size
    what = f'camera_info on {info_topic}' if info_topic else 'camera_info'
    by_projection = is_rectified(topic, rectified)
    try:
        if camera_info is None:
            raise CameraError(
                'missing',
                f'no {what}: publish it, remap camera_info, or set the parameter '
                'horizontal_fov_deg',
            )
        camera = _published(camera_info, by_projection, (width, height), what)
        return _at_size(camera, width, height, what)
    except ValueError as error:
        if horizontal_fov_deg:
            return PinholeCamera.from_horizontal_fov(width, height, horizontal_fov_deg)
        if isinstance(error, CameraError):
            raise
        raise CameraError('data', f'{what}: {error}') from None


def is_rectified(topic: str, rectified: str | bool = 'auto') -> bool:
    """
    Tell whether an image is rectified, by what was said or else by its topic.

    'auto' looks at the end of the topic, behind which a transport may stand: image_rect,
    image_rect_color, depth/image_rect_raw and image_rectified are rectified, and so is an image in
    a namespace rect or rectified (rgb/rect/image) unless it calls itself raw.

    Raises
    ------
    ValueError
        If `rectified` is neither a bool nor 'auto', 'true' or 'false'.

    """
    said = str(rectified).lower()
    if said in ('true', 'false'):
        return said == 'true'
    if said != 'auto':
        raise ValueError(f"rectified = {rectified!r}: 'auto', 'true' and 'false' are possible")
    *_, space, name = ('', '', *_TRANSPORTS.sub('', topic).split('/'))
    if _RECTIFIED.search(name):
        return True
    return space in ('rect', 'rectified') and not _RAW.search(name)


def _published(
    message: Any, by_projection: bool, image: tuple[int, int], what: str
) -> PinholeCamera:
    """Return the camera of the picture that the message speaks of, at the message's own size."""
    roi = message.roi
    x, y = int(roi.x_offset), int(roi.y_offset)
    binning = int(message.binning_x) or 1, int(message.binning_y) or 1
    sensor = int(message.width), int(message.height)
    if sensor == (0, 0):
        sensor = (
            x + (int(roi.width) or image[0] * binning[0]),
            y + (int(roi.height) or image[1] * binning[1]),
        )
    refuse_size(*sensor, what, CameraError, 'its header is damaged')
    camera = _full_camera(message, sensor, by_projection, what)
    width, height = int(roi.width) or sensor[0] - x, int(roi.height) or sensor[1] - y
    if width <= 0 or height <= 0 or x + width > sensor[0] or y + height > sensor[1]:
        raise CameraError(
            'zero size',
            f'{what} has a region of interest of {width}x{height} at ({x}, {y}), outside its '
            f'{sensor[0]}x{sensor[1]} pixels',
        )
    if min(binning) < 0 or binning[0] > width or binning[1] > height:
        raise CameraError(
            'zero size', f'{what} has a binning of {binning[0]}x{binning[1]}: no pixel is left'
        )
    if (width, height) != sensor:
        camera = camera.cropped(x, y, width, height)
    return camera.binned(*binning) if binning != (1, 1) else camera


def _full_camera(
    message: Any, sensor: tuple[int, int], by_projection: bool, what: str
) -> PinholeCamera:
    """Return the camera of the whole sensor: P, or K and the lens."""
    name = 'P' if by_projection else 'K'
    fx, fy, cx, cy = _intrinsics(message, name, what)
    if by_projection and not any(_numbers(message, 'p', 12, what)):
        fx, fy, cx, cy = _intrinsics(message, 'K', what)
        name = 'K and P' if fx == 0 else 'K'
    if fx <= 0 or fy == 0 or not all(math.isfinite(value) for value in (fx, fy, cx, cy)):
        raise CameraError(
            'uncalibrated',
            f'{what} has {name} with fx = {fx:g}, fy = {fy:g} (uncalibrated); calibrate the '
            'camera or set the parameter horizontal_fov_deg',
        )
    model, distortion = ('', ()) if by_projection else _lens(message, what)
    return PinholeCamera(*sensor, fx, fy, cx, cy, model, distortion)


def _intrinsics(message: Any, name: str, what: str) -> tuple[float, float, float, float]:
    """Return fx, fy, cx, cy of K (3x3) or P (3x4)."""
    columns = 4 if name == 'P' else 3
    matrix = _numbers(message, name.lower(), 3 * columns, what)
    return matrix[0], matrix[columns + 1], matrix[2], matrix[columns + 2]


def _lens(message: Any, what: str) -> tuple[str, tuple[float, ...]]:
    """Return the distortion model, '' for none, and its coefficients as they were given."""
    distortion = tuple(_numbers(message, 'd', None, what))
    if not all(math.isfinite(value) for value in distortion):
        given = ', '.join(f'{value:g}' for value in distortion)
        raise CameraError(
            'distortion',
            f'{what} has D = [{given}], which is not finite: the calibration is damaged; '
            'calibrate the camera again or set the parameter horizontal_fov_deg',
        )
    given_model = str(message.distortion_model)
    plain = '_'.join(given_model.lower().split())
    model = _SAME_MODEL.get(plain, given_model)
    # Zeros mean no distortion, except to a fisheye: its radius is not the pinhole's.
    if plain == 'none' or not PinholeCamera(1, 1, 1, 1, 0, 0, model, distortion).is_distorted:
        return '', ()
    return model, distortion


def _at_size(camera: PinholeCamera, width: int, height: int, what: str) -> PinholeCamera:
    """Return the camera of the same picture at the image's size."""
    if (camera.width, camera.height) == (width, height):
        return camera
    if not same_shape((camera.height, camera.width), (height, width)):
        raise CameraError(
            'size',
            f'{what} is for {camera.width}x{camera.height} px, images are {width}x{height} px, '
            'of another shape: publish the camera_info of these images, or set the parameter '
            'horizontal_fov_deg',
        )
    return camera.scaled(width, height)


def _numbers(message: Any, name: str, count: int | None, what: str) -> list[float]:
    values = getattr(message, name, None)
    if values is None:
        values = getattr(message, name.upper())
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        raise CameraError('data', f'{what} has {name.upper()} = {values!r}') from None
    if count is not None and len(numbers) != count:
        raise CameraError(
            'data', f'{what} has {len(numbers)} numbers in {name.upper()}, not {count}'
        )
    return numbers

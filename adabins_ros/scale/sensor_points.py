# SPDX-License-Identifier: Apache-2.0
"""What a sensor beside the camera measured, at the camera's pixels."""

from __future__ import annotations

import math
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.occlusion import visible
from adabins_ros.geometry.projection import project
from adabins_ros.scale.evidence import EvidenceError, is_known
import numpy as np
from numpy.typing import NDArray

# The body frame of REP 103 (x forward, y left, z up) in the optical frame (x right, y down).
_OPTICAL_FROM_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
# More points cost time and say no more about one factor.
MOST_PROJECTED, MOST_TAKEN = 6000, 2000
# Occlusion is judged in an image of about this size, px.
_OCCLUSION_SIZE = 160
FEWEST_OF_MANY = 5


def optical_from_sensor(pose: tuple[float, ...]) -> NDArray[np.float64]:
    """
    Return what turns a sensor's points into the camera's optical frame.

    Parameters
    ----------
    pose : six floats
        The sensor's in the camera's body frame (x forward along the optical axis, y left, z up):
        x y z in metres, roll pitch yaw in degrees about x, y, z in this order, as in TF.

    Returns
    -------
    (4, 4) float64

    """
    *position, roll, pitch, yaw = pose
    sines = [math.sin(math.radians(angle)) for angle in (roll, pitch, yaw)]
    cosines = [math.cos(math.radians(angle)) for angle in (roll, pitch, yaw)]
    about_x = np.array([[1, 0, 0], [0, cosines[0], -sines[0]], [0, sines[0], cosines[0]]])
    about_y = np.array([[cosines[1], 0, sines[1]], [0, 1, 0], [-sines[1], 0, cosines[1]]])
    about_z = np.array([[cosines[2], -sines[2], 0], [sines[2], cosines[2], 0], [0, 0, 1]])
    result = np.eye(4)
    result[:3, :3] = _OPTICAL_FROM_BODY @ about_z @ about_y @ about_x
    result[:3, 3] = _OPTICAL_FROM_BODY @ position
    return result


def scan_points(
    ranges: NDArray[np.floating],
    angle_min: float,
    angle_increment: float,
    range_min: float,
    range_max: float,
) -> NDArray[np.float64]:
    """
    Return the (N, 3) points of a sensor_msgs/LaserScan in its frame, m; only what it hit.

    Raises
    ------
    EvidenceError
        It does not say in which directions its beams go.

    """
    if not (math.isfinite(angle_min) and math.isfinite(angle_increment)):
        raise EvidenceError(
            f'the scan has angle_min {angle_min:g} and angle_increment {angle_increment:g}: its '
            'driver fills in the message wrongly'
        )
    ranges = np.asarray(ranges, np.float64)
    angles = angle_min + angle_increment * np.arange(ranges.size)
    with np.errstate(invalid='ignore'):
        hit = is_known(ranges) & (ranges >= range_min) & (ranges <= range_max)
    ranges, angles = ranges[hit], angles[hit]
    return np.stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(ranges.size)], -1)


def depth_image_points(
    measured: NDArray[np.floating], camera: PinholeCamera
) -> NDArray[np.float32]:
    """
    Return the points of a depth image beside the camera, (N, 3) in its sensor's body frame, m.

    Parameters
    ----------
    measured : (h, w) float
        m along the sensor's axis, 0 or NaN unknown; of any size.
    camera : PinholeCamera
        Whose field of view the sensor has, too; without its distortion.

    """
    rows, columns = np.nonzero(is_known(measured))
    ahead = np.asarray(measured, np.float32)[rows, columns]
    right, down = camera.scaled(*measured.shape[::-1]).slopes()
    points = [ahead, -right[columns] * ahead, -down[rows, 0] * ahead]
    return np.stack(points, -1).astype(np.float32)


@np.errstate(all='ignore')  # what they did not hit, some sensors call NaN, infinity or 3e38 m
def at_pixels(
    points: NDArray[np.floating],
    optical_from_points: NDArray[np.float64],
    camera: PinholeCamera,
    depth: NDArray[np.floating],
    std: NDArray[np.floating],
    name: str,
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """
    Return what the network says and what a sensor measured, where the camera sees its points.

    Parameters
    ----------
    points : (N, 3) float
        In the sensor's frame, m.
    optical_from_points : (4, 4) float64
        Turns them into the camera's optical frame.
    camera : PinholeCamera
        Of the depth; its distortion is applied.
    depth, std : (H, W) float
        The network's, m.
    name : str
        The sensor's, for the error.

    Returns
    -------
    predicted, measured, predicted_std : (M,) float
        m along the optical axis.

    Raises
    ------
    EvidenceError
        Hardly a point lies in the image.

    """
    points = points[:: max(1, math.ceil(len(points) / MOST_PROJECTED))]
    turned = optical_from_points.astype(np.float32)
    inside = points.astype(np.float32) @ turned[:3, :3].T + turned[:3, 3]
    pixels, measured, within = project(inside, camera)
    pixels, measured = _those(within, pixels, measured)
    if len(points) > 1:
        step = max(1, max(camera.height, camera.width) // _OCCLUSION_SIZE)
        shape = (-(-camera.height // step), -(-camera.width // step))
        open_to_view = visible((pixels + 0.5) / step - 0.5, measured, shape)
        pixels, measured = _those(open_to_view, pixels, measured)
    # A scan that hit one thing is not a range finder, which looks where it was put to look.
    hits = FEWEST_OF_MANY if name in ('scan', 'cloud') else len(points)
    if len(measured) < min(hits, FEWEST_OF_MANY):
        raise EvidenceError(
            f'too little overlap: the camera sees {len(measured)} of {len(points)} points of '
            f'{name}; is its pose right (TF, or the parameter scale_pose.{name})?'
        )
    step = max(1, math.ceil(len(measured) / MOST_TAKEN))
    columns, rows = np.floor(pixels[::step] + 0.5).astype(np.int64).T
    return depth[rows, columns], measured[::step], std[rows, columns]


def _those(
    which: NDArray[np.bool_], pixels: NDArray[Any], depth: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return some of the points, in an eighth of the time that numpy needs for `pixels[which]`."""
    places = np.flatnonzero(which)
    return pixels.take(places, axis=0), depth.take(places)


def at_registered_pixels(
    measured: NDArray[np.floating],
    depth: NDArray[np.floating],
    std: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """
    Do what `at_pixels` does for a depth image that covers the camera's view.

    Parameters
    ----------
    measured : (h, w) float
        m along the optical axis, 0 or NaN unknown; of any size (8x8 of a time-of-flight chip).
    depth, std : (H, W) float
        The network's, m.

    """
    rows, columns = np.nonzero(is_known(measured))
    step = max(1, math.ceil(rows.size / MOST_TAKEN))
    rows, columns = rows[::step], columns[::step]
    (small_height, small_width), (height, width) = measured.shape, depth.shape
    # Edges of the images coincide; the middle of a small image's pixel is looked up.
    at_rows = ((rows + 0.5) * height / small_height).astype(np.int64)
    at_columns = ((columns + 0.5) * width / small_width).astype(np.int64)
    return depth[at_rows, at_columns], measured[rows, columns], std[at_rows, at_columns]

# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera as sensor_msgs/CameraInfo; the way back is `geometry.camera_for`."""

from __future__ import annotations

from typing import Any

from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.camera_for import published_camera
import numpy as np

from .errors import MessageError


def camera_from_info(message: Any, *, rectified: bool = False) -> PinholeCamera:
    """Return `published_camera`; raises MessageError. Use `geometry.camera_for` instead."""
    try:
        return published_camera(message, rectified)
    except CameraError as error:
        raise MessageError(error.cause, str(error)) from None


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

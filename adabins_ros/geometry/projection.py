# SPDX-License-Identifier: Apache-2.0
"""
Points to pixels and pixels to rays, through the lens.

The models are those of sensor_msgs and OpenCV: Brown-Conrady ('plumb_bob': D. C. Brown,
Decentering distortion of lenses, 1966; 'rational_polynomial' with OpenCV's denominators, thin
prism and tilt) and 'equidistant' (J. Kannala and S. Brandt, A generic camera model, 2006, as in
cv2.fisheye).
"""

from __future__ import annotations

from functools import lru_cache
import math
from typing import Any

from adabins_ros.geometry.camera import CameraError, EQUIDISTANT, PinholeCamera
import cv2
import numpy as np
from numpy.typing import NDArray

NEAREST_M = 0.05
"""What is nearer to the camera than this is the robot itself, or noise: m."""

BROWN_CONRADY = ('plumb_bob', 'rational_polynomial')
_COUNTS = {False: (0, 4, 5, 8, 12, 14), True: (4,)}
_ANGLES = np.linspace(0, math.pi / 2, 4097)[:-1]


def lens(camera: PinholeCamera) -> tuple[bool, NDArray[np.float64]]:
    """
    Return whether a lens is a fisheye, and its coefficients as OpenCV takes them.

    Coefficients that are not given are 0: a 'plumb_bob' of two has k1 and k2. Zeros behind the
    last that the model has are left out.

    Returns
    -------
    (bool, (N,) float64)
        True: for cv2.fisheye, four of them. False: for OpenCV's other functions.

    Raises
    ------
    CameraError
        Cause 'distortion': the model is not known, or takes fewer coefficients than were given.

    """
    fisheye = camera.distortion_model == EQUIDISTANT
    if camera.is_distorted and not fisheye and camera.distortion_model not in BROWN_CONRADY:
        known = ', '.join((*BROWN_CONRADY, EQUIDISTANT))
        raise CameraError(
            'distortion',
            f'distortion model {camera.distortion_model!r} is unknown; known are {known}: '
            'rectify the images elsewhere or calibrate with one of these',
        )
    given = np.trim_zeros(np.array(camera.distortion, np.float64), 'b')
    counts = _COUNTS[fisheye]
    if given.size > counts[-1]:
        raise CameraError(
            'distortion',
            f'{len(camera.distortion)} distortion coefficients for '
            f'{camera.distortion_model!r}; it takes {"4" if fisheye else "4, 5, 8, 12 or 14"}',
        )
    coefficients = np.zeros(min(count for count in counts if count >= given.size))
    coefficients[: given.size] = given
    return fisheye, coefficients


def project(
    points: NDArray[Any], camera: PinholeCamera
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """
    Return where a camera sees points, its distortion included.

    Parameters
    ----------
    points : (N, 3) float
        x right, y down, z forward in the optical frame, m.
    camera : PinholeCamera
        Pixel centres are whole numbers.

    Returns
    -------
    pixels : (N, 2) float32
        Column and row, px, also outside of the image; NaN for points that are not finite, nearer
        than NEAREST_M or behind the camera, and for those farther off the axis than the lens
        model is good for: beyond that its polynomial turns back and would put them into the
        image.
    depth : (N,) float32
        z, m.
    inside : (N,) bool
        The pixel lies within the image.

    Raises
    ------
    CameraError
        Cause 'distortion', as `lens`.

    """
    points = np.asarray(points)
    depth = points[:, 2].astype(np.float32)
    pixels = np.empty((len(points), 2), np.float32)
    with np.errstate(invalid='ignore'):
        front = (depth > NEAREST_M) & np.isfinite(points[:, 0] + points[:, 1] + points[:, 2])
    if camera.is_distorted:
        widest = math.tan(field_angle(camera))
        front &= np.hypot(points[:, 0], points[:, 1]) <= widest * points[:, 2]
        if front.any():
            pixels[front] = _distorted(points[front], camera)
    else:
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            pixels[:, 0] = points[:, 0] / points[:, 2] * camera.fx + camera.cx
            pixels[:, 1] = points[:, 1] / points[:, 2] * camera.fy + camera.cy
    pixels[~front] = np.nan
    with np.errstate(invalid='ignore'):
        columns, rows = pixels[:, 0], pixels[:, 1]
        inside: NDArray[np.bool_] = (columns >= -0.5) & (columns < camera.width - 0.5)
        inside &= (rows >= -0.5) & (rows < camera.height - 0.5)
    return pixels, depth, inside


@lru_cache(maxsize=4)
def rays(camera: PinholeCamera) -> NDArray[np.float32]:
    """
    Return along which ray every pixel looks, its distortion removed.

    Returns
    -------
    (height, width, 2) float32, read-only
        x / z and y / z; NaN where the lens model reaches no ray.

    Raises
    ------
    CameraError
        Cause 'distortion', as `lens`.

    """
    if not camera.is_distorted:
        slopes = np.dstack(np.broadcast_arrays(*camera.slopes()))
    else:
        fisheye, coefficients = lens(camera)
        rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float64)
        pixels = np.dstack([columns, rows]).reshape(-1, 1, 2)
        if fisheye:
            found = cv2.fisheye.undistortPoints(pixels, camera.matrix, coefficients)
        else:
            # OpenCV 4 knows criteria in a function of its own.
            undistort = getattr(cv2, 'undistortPointsIter', cv2.undistortPoints)
            until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-8)
            found = undistort(pixels, camera.matrix, coefficients, R=None, P=None, criteria=until)
        slopes = found.reshape(-1, 2)
        # What comes back to another pixel was not solved: there is no such ray.
        ahead = np.column_stack([slopes, np.ones(len(slopes))])
        back = project(ahead, camera)[0]
        missed = ~(np.abs(back - pixels[:, 0]).max(-1) < 0.5)
        slopes[missed] = np.nan
        slopes = slopes.reshape(camera.height, camera.width, 2)
    result = slopes.astype(np.float32)
    result.flags.writeable = False
    return result


@lru_cache(maxsize=16)
def field_angle(camera: PinholeCamera) -> float:
    """Return up to which angle from the axis the lens model is monotonic, rad, below pi / 2."""
    fisheye, k = lens(camera)
    if fisheye:
        squared = _ANGLES**2
        radius = _ANGLES * np.polyval([*k[::-1], 1.0], squared)
    else:
        k = np.concatenate([k, np.zeros(8)])
        slope = np.tan(_ANGLES)
        squared = slope**2
        with np.errstate(divide='ignore', invalid='ignore'):
            radius = slope * np.polyval([k[4], k[1], k[0], 1.0], squared)
            radius /= np.polyval([k[7], k[6], k[5], 1.0], squared)
    turns = np.flatnonzero(~(np.diff(radius) > 0))
    return float(_ANGLES[turns[0] if turns.size else -1])


def _distorted(points: NDArray[Any], camera: PinholeCamera) -> NDArray[Any]:
    """Return pixels as the lens makes them, (N, 2)."""
    fisheye, coefficients = lens(camera)
    objects, still = points.astype(np.float64)[:, None], np.zeros(3)
    through = cv2.fisheye.projectPoints if fisheye else cv2.projectPoints
    return through(objects, still, still, camera.matrix, coefficients)[0].reshape(-1, 2)

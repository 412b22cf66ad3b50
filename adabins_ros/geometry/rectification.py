# SPDX-License-Identifier: Apache-2.0
"""Removing a lens's distortion from images."""

from __future__ import annotations

from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
import cv2
import numpy as np
from numpy.typing import NDArray

BROWN_CONRADY_MODELS = ('plumb_bob', 'rational_polynomial')
BROWN_CONRADY_COUNTS = (4, 5, 8, 12, 14)
EQUIDISTANT_MODEL = 'equidistant'
EQUIDISTANT_COUNT = 4


class Rectifier:
    """
    Turn a distorted camera's images into those of the pinhole camera with the same matrix.

    The maps are made once, in fixed point (1/32 px). Pixels that the lens did not see are black.

    Parameters
    ----------
    camera : PinholeCamera
        Intrinsics and distortion of the images that come in.

    Attributes
    ----------
    camera : PinholeCamera
        The camera of the images that come out: same size and matrix, no distortion.

    Raises
    ------
    ValueError
        If the distortion model is unknown or has a wrong number of coefficients.

    """

    def __init__(self, camera: PinholeCamera) -> None:
        self.camera = camera.rectified()
        self._maps = _rectification_maps(camera) if camera.is_distorted else None

    def rectify(self, image: NDArray[Any]) -> NDArray[Any]:
        """
        Remove the distortion from one image, interpolating linearly.

        Parameters
        ----------
        image : (H, W) or (H, W, C) array
            At the camera's size; uint8, uint16 or float32.

        Returns
        -------
        array
            Of the same shape and dtype; the image itself where there is nothing to remove.

        Raises
        ------
        ValueError
            If the image has another size than the camera.

        """
        if image.shape[:2] != (self.camera.height, self.camera.width):
            raise ValueError(
                f'image of {image.shape[1]}x{image.shape[0]} px, but its camera has '
                f'{self.camera.width}x{self.camera.height} px; scale the camera first'
            )
        if self._maps is None:
            return image
        return cv2.remap(image, *self._maps, cv2.INTER_LINEAR)


def _rectification_maps(camera: PinholeCamera) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return OpenCV's fixed-point maps from rectified to distorted pixels."""
    size = (camera.width, camera.height)
    same_axes = np.eye(3)
    if camera.distortion_model == EQUIDISTANT_MODEL:
        coefficients = _equidistant_coefficients(camera.distortion)
        return cv2.fisheye.initUndistortRectifyMap(
            camera.matrix, coefficients, same_axes, camera.matrix, size, cv2.CV_16SC2
        )
    if camera.distortion_model not in BROWN_CONRADY_MODELS:
        known = ', '.join((*BROWN_CONRADY_MODELS, EQUIDISTANT_MODEL))
        raise ValueError(
            f'distortion model {camera.distortion_model!r} is unknown; known are {known}: '
            'rectify the images elsewhere or calibrate with one of these'
        )
    if len(camera.distortion) not in BROWN_CONRADY_COUNTS:
        raise ValueError(
            f'{len(camera.distortion)} distortion coefficients for '
            f'{camera.distortion_model!r}; it takes 4, 5, 8, 12 or 14'
        )
    coefficients = np.array(camera.distortion)
    return cv2.initUndistortRectifyMap(
        camera.matrix, coefficients, same_axes, camera.matrix, size, cv2.CV_16SC2
    )


def _equidistant_coefficients(distortion: tuple[float, ...]) -> NDArray[np.float64]:
    """Return k1..k4; drivers publish none for an ideal lens, or zeros behind the four."""
    if not any(distortion):
        return np.zeros(EQUIDISTANT_COUNT)
    if len(distortion) < EQUIDISTANT_COUNT or any(distortion[EQUIDISTANT_COUNT:]):
        raise ValueError(
            f'{len(distortion)} distortion coefficients for {EQUIDISTANT_MODEL!r}; it takes 4'
        )
    return np.array(distortion[:EQUIDISTANT_COUNT])

# SPDX-License-Identifier: Apache-2.0
"""Removing a lens's distortion from images."""

from __future__ import annotations

import math
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.projection import field_angle, lens
import cv2
import numpy as np
from numpy.typing import NDArray

# The fixed-point maps are exact to 1/32 px.
_MAP_TOLERANCE = 1 / 32


class Rectifier:
    """
    Turn a distorted camera's images into those of the pinhole camera with the same matrix.

    The maps are made once, in fixed point (1/32 px).

    Parameters
    ----------
    camera : PinholeCamera
        Intrinsics and distortion of the images that come in.

    Attributes
    ----------
    camera : PinholeCamera
        The camera of the images that come out: same size and matrix, no distortion.
    seen : (H, W) bool or None
        The pixels that the lens saw; the others are black, or what the lens model folds back into
        the image. None: all of them.

    Raises
    ------
    CameraError
        If the distortion model is unknown or has too many coefficients.

    """

    def __init__(self, camera: PinholeCamera) -> None:
        self.camera = camera.rectified()
        self.seen: NDArray[np.bool_] | None = None
        self._maps: tuple[NDArray[Any], NDArray[Any]] | None = None
        if camera.is_distorted:
            columns, rows = _source_pixels(camera)
            seen = _seen(camera, columns, rows)
            self.seen = None if seen.all() else seen
            self._maps = cv2.convertMaps(columns, rows, cv2.CV_16SC2)

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


def _source_pixels(camera: PinholeCamera) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return from which column and row of the distorted image each pixel comes, float32 (H, W)."""
    fisheye, coefficients = lens(camera)
    make = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    size = (camera.width, camera.height)
    return make(camera.matrix, coefficients, np.eye(3), camera.matrix, size, cv2.CV_32FC1)


def _seen(camera: PinholeCamera, columns: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which pixels come from within the distorted image, and not by folding back, (H, W)."""
    last_column, last_row = camera.width - 1 + _MAP_TOLERANCE, camera.height - 1 + _MAP_TOLERANCE
    seen = (columns >= -_MAP_TOLERANCE) & (columns <= last_column)
    seen &= (rows >= -_MAP_TOLERANCE) & (rows <= last_row)
    folded = np.hypot(*camera.slopes()) > math.tan(field_angle(camera))
    result: NDArray[np.bool_] = seen & ~folded
    return result

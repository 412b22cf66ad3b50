# SPDX-License-Identifier: Apache-2.0
"""The camera, and what resizing, cropping and binning an image do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import math
from operator import index
import re

import numpy as np
from numpy.typing import NDArray

# OpenCV's remap and warps stop at 32767; a wider picture is a damaged header, not a camera.
MAX_SIDE = 32766
MAX_PIXELS = 1 << 27
ASPECT_TOLERANCE = 0.02
"""Widest relative difference of the two scales at which two images are one picture."""

EQUIDISTANT = 'equidistant'
# Lens models whose picture is not the pinhole's even where all their coefficients are zero.
_BENT_WITHOUT_COEFFICIENTS = re.compile('fish|equi|kannala|theta|sphere|omni|mei|ucm|ocam|fov')


class CameraError(ValueError):
    """
    A camera_info or a lens that can't be used.

    The text names the thing, its value and the way out.

    Attributes
    ----------
    cause : str
        Short and stable: 'missing', 'uncalibrated', 'zero size', 'absurd size', 'size', 'data' or
        'distortion'.

    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


def refuse_size(
    width: int, height: int, what: str, error: Callable[[str, str], Exception], way_out: str
) -> None:
    """Raise an error, made of cause and text, for a size that no camera has."""
    if width <= 0 or height <= 0:
        raise error('zero size', f'{what} is {width}x{height}: it has no pixels')
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise error(
            'absurd size',
            f'{what} claims {width}x{height} pixels; accepted are {MAX_SIDE} a side and '
            f'{MAX_PIXELS // 1_000_000} million in all: {way_out}',
        )


def same_shape(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Tell whether two (height, width) are one picture at two sizes, rounded to whole pixels."""
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) < ASPECT_TOLERANCE


# Focal lengths and principal points of more images' lengths, or less than their inverse, are
# numbers that a driver left, and beyond what float32 takes.
_MOST_IMAGES = 1e6
NARROWEST_FOV_DEG = 0.01
"""Least horizontal field of view that is taken from anybody, degrees."""


@dataclass(frozen=True)
class PinholeCamera:
    """
    Hold the intrinsics of one camera at one image size.

    Integer coordinates are pixel centres, as in sensor_msgs/CameraInfo and OpenCV: the ray of
    pixel (u, v) in the optical frame (REP 103: x right, y down, z forward) is
    ((u - cx) / fx, (v - cy) / fy, 1), and the image covers -0.5 .. width - 0.5.

    Attributes
    ----------
    width, height : int
        Size of the image, px.
    fx, fy : float
        Focal lengths, px. `fy` is negative for images stored upside down (ICL-NUIM).
    cx, cy : float
        Principal point, px.
    distortion_model : str
        '' for none, or a name of sensor_msgs: 'plumb_bob', 'rational_polynomial', 'equidistant'.
        Other names are kept as they are; what needs the lens (`Rectifier`, `project`, `rays`)
        refuses them.
    distortion : tuple of float
        Coefficients in the order of the model, for normalised image coordinates.

    Raises
    ------
    ValueError
        If a size is below 1 px, or a number is not finite, or a focal length or a principal point
        is none that a lens has.

    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = ''
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Bring every field to its type and check its value."""
        for name in ('width', 'height'):
            size = _whole_number(name, getattr(self, name))
            if size < 1:
                raise ValueError(f'camera {name} = {size} px: an image has at least 1 px')
            object.__setattr__(self, name, size)
        for name in ('fx', 'fy', 'cx', 'cy'):
            object.__setattr__(self, name, _finite(f'camera {name}', getattr(self, name), ' px'))
        if self.fx <= 0:
            raise ValueError(
                f'camera fx = {self.fx:g} px: the focal length must be positive; '
                'calibrate the camera or give its horizontal field of view'
            )
        if self.fy == 0:
            raise ValueError(
                'camera fy = 0 px: the focal length must not be zero; '
                'calibrate the camera or give its horizontal field of view'
            )
        for name in ('fx', 'fy', 'cx', 'cy'):
            images = abs(getattr(self, name)) / max(self.width, self.height)
            if images > _MOST_IMAGES or (name[0] == 'f' and images < 1 / _MOST_IMAGES):
                raise ValueError(
                    f'camera {name} = {getattr(self, name):g} px at {self.width}x{self.height}: '
                    'no lens is like that; calibrate the camera or give its horizontal field of '
                    'view'
                )
        coefficients = tuple(
            _finite(f'distortion coefficient {position}', value)
            for position, value in enumerate(self.distortion)
        )
        object.__setattr__(self, 'distortion', coefficients)

    @classmethod
    def from_horizontal_fov(
        cls, width: int, height: int, horizontal_fov_deg: float
    ) -> PinholeCamera:
        """
        Make the camera with square pixels and a central principal point that sees so much.

        Parameters
        ----------
        width, height : int
            Size of the image, px.
        horizontal_fov_deg : float
            Angle between the left edge of the first and the right edge of the last column,
            degrees, in [NARROWEST_FOV_DEG, 180).

        Raises
        ------
        ValueError
            If the angle is none of these.

        """
        angle = float(horizontal_fov_deg)
        if not NARROWEST_FOV_DEG <= angle < 180:
            raise ValueError(
                f'horizontal_fov_deg = {angle:g}: a pinhole camera sees {NARROWEST_FOV_DEG:g} '
                'degrees or more, and less than 180'
            )
        focal_length = width / 2 / math.tan(math.radians(angle) / 2)
        return cls(width, height, focal_length, focal_length, (width - 1) / 2, (height - 1) / 2)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Return K, (3, 3) float64, px."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    @property
    def horizontal_fov_deg(self) -> float:
        """Return the angle between the image's left and right edges without distortion, deg."""
        left = math.atan((self.cx + 0.5) / self.fx)
        right = math.atan((self.width - 0.5 - self.cx) / self.fx)
        return math.degrees(left + right)

    @property
    def is_distorted(self) -> bool:
        """
        Tell whether straight lines may appear bent.

        A fisheye lens bends them with coefficients of zero too: its radius is f theta.
        """
        name = self.distortion_model.lower()
        return any(self.distortion) or bool(_BENT_WITHOUT_COEFFICIENTS.search(name))

    def slopes(
        self, stride: int = 1, first: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """
        Return along which rays pixels look, without distortion.

        Parameters
        ----------
        stride, first : int
            Of the pixels first, first + stride, .. of rows and columns.

        Returns
        -------
        (W',) float64, (H', 1) float64
            x / z of the columns and y / z of the rows.

        """
        columns = np.arange(first, self.width, stride, dtype=np.float64)
        rows = np.arange(first, self.height, stride, dtype=np.float64)[:, np.newaxis]
        return (columns - self.cx) / self.fx, (rows - self.cy) / self.fy

    def scaled(self, width: int, height: int) -> PinholeCamera:
        """
        Return the camera of the same image resized to (height, width) px.

        Edges stay edges, as in cv2.resize and in torch's interpolate with align_corners=False:
        cx' = (cx + 0.5) sx - 0.5. Distortion is in normalised coordinates and does not change.
        """
        return self._resampled(width, height, width / self.width, height / self.height)

    def with_corners_kept(self, width: int, height: int) -> PinholeCamera:
        """
        Return the camera of the same image in (height, width) px whose corner pixels stay.

        As in torch's interpolate with align_corners=True: cx' = cx sx, sx = (w' - 1) / (w - 1).
        """
        sx = (width - 1) / max(self.width - 1, 1)
        sy = (height - 1) / max(self.height - 1, 1)
        fx, fy, cx, cy = self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy
        return replace(self, width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)

    def cropped(self, x: int, y: int, width: int, height: int) -> PinholeCamera:
        """
        Return the camera of the part of the image that starts at column x and row y, px.

        Raises
        ------
        ValueError
            If the part does not lie inside the image.

        """
        if x < 0 or y < 0 or x + width > self.width or y + height > self.height:
            raise ValueError(
                f'region of interest {width}x{height} px at ({x}, {y}) leaves the image of '
                f'{self.width}x{self.height} px'
            )
        return replace(self, width=width, height=height, cx=self.cx - x, cy=self.cy - y)

    def binned(self, bx: int, by: int) -> PinholeCamera:
        """
        Return the camera of the image with blocks of bx columns and by rows joined.

        Columns and rows that do not fill a block are lost, as in the sensor. 0 means 1, as in
        sensor_msgs/CameraInfo.

        Raises
        ------
        ValueError
            If a factor is negative or larger than the image.

        """
        bx, by = _whole_number('binning_x', bx) or 1, _whole_number('binning_y', by) or 1
        if not (0 < bx <= self.width and 0 < by <= self.height):
            raise ValueError(
                f'binning {bx}x{by} does not fit the image of {self.width}x{self.height} px'
            )
        return self._resampled(self.width // bx, self.height // by, 1 / bx, 1 / by)

    def rectified(self) -> PinholeCamera:
        """Return the camera of the rectified image: same size and matrix, no distortion."""
        return replace(self, distortion_model='', distortion=())

    def _resampled(self, width: int, height: int, sx: float, sy: float) -> PinholeCamera:
        """Return the camera with both axes scaled about the image's top left edge."""
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )


def _whole_number(name: str, value: int) -> int:
    """Return any integer type as int; raise ValueError that names the value otherwise."""
    try:
        return index(value)
    except TypeError:
        raise ValueError(f'{name} = {value!r} is not a whole number') from None


def _finite(name: str, value: float, unit: str = '') -> float:
    """Return any real type as float; raise ValueError that names the value otherwise."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f'{name} = {number}{unit} is not a finite number')
    return number

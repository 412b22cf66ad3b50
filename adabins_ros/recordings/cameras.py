# SPDX-License-Identifier: Apache-2.0
"""The cameras of a recording by time, each calibration held once."""

from __future__ import annotations

from array import array
from typing import Any

from adabins_ros.frames.errors import RecordingError
from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.camera_for import camera_for
import numpy as np

from .recorded_message import RecordedMessage

# Behind the stamp: what differs here is another calibration.
_CALIBRATION = slice(12, None)


class RecordedCameras:
    """
    What camera_info says of the images of a topic, at any time.

    Parameters
    ----------
    image_topic : str
        Its name tells whether the images are rectified.
    info_topic : str or None
        None: no camera_info was recorded.
    horizontal_fov_deg : float, optional
        Stands in where there is no calibrated camera_info.
    depth : bool
        The images are those of a depth camera: where it has no distortion there is nothing to
        rectify, and K is its camera, whatever a P that was copied from the colour camera says.

    Attributes
    ----------
    damaged : int
        Messages that could not be read.
    uncalibrated : int
        Messages with K = 0.

    """

    def __init__(
        self,
        image_topic: str,
        info_topic: str | None,
        horizontal_fov_deg: float | None = None,
        *,
        depth: bool = False,
    ) -> None:
        self.topic = info_topic
        self.damaged = self.uncalibrated = 0
        self._image_topic = image_topic
        self._depth = depth
        self._field_of_view = horizontal_fov_deg or 0.0
        self._infos: list[Any] = []
        self._seen: dict[bytes, int] = {}
        self._stamps: array[int] = array('q')
        self._numbers: list[int] = []
        self._made: dict[tuple[int, tuple[int, int]], PinholeCamera] = {}

    def __bool__(self) -> bool:
        """Tell whether any calibration was found."""
        return bool(self._stamps)

    def add(self, message: RecordedMessage) -> None:
        """Take in a sensor_msgs/CameraInfo."""
        try:
            stamp, key = message.stamp_ns(), message.raw[_CALIBRATION]
            if key not in self._seen:
                self._seen[key] = self._number(message.decode())
        except (RecordingError, CameraError, ValueError):
            self.damaged += 1
            return
        if self._seen[key] < 0:
            self.uncalibrated += 1
            return
        self._stamps.append(stamp)
        self._numbers.append(self._seen[key])

    def at(self, stamp_ns: int, size: tuple[int, int]) -> PinholeCamera | None:
        """
        Return the camera of an image of this (height, width) and time, None if none is known.

        Raises
        ------
        CameraError
            The camera_info is that of an image of another shape.

        """
        if not self._stamps:
            if not self._field_of_view:
                return None
            return PinholeCamera.from_horizontal_fov(size[1], size[0], self._field_of_view)
        nearest = int(np.argmin(np.abs(np.asarray(self._stamps, np.int64) - stamp_ns)))
        number = self._numbers[nearest]
        key = (number, size)
        if key not in self._made:
            self._made[key] = self._camera(self._infos[number], size, self._field_of_view)
        return self._made[key]

    def _camera(self, info: Any, size: tuple[int, int], angle_deg: float) -> PinholeCamera:
        distortion = getattr(info, 'd', None)
        distorted = np.any(info.D if distortion is None else distortion)
        return camera_for(
            info,
            size,
            self._image_topic,
            rectified='auto' if distorted or not self._depth else False,
            horizontal_fov_deg=angle_deg,
            info_topic=self.topic or '',
        )

    def _number(self, info: Any) -> int:
        """Keep a calibration and return its number; -1 where it is none."""
        size = (int(info.height) or 1, int(info.width) or 1)
        try:
            self._camera(info, size, 0.0)
        except CameraError as error:
            if error.cause == 'uncalibrated':
                return -1
            # Binning and regions have another shape than the sensor.
            if error.cause != 'size':
                raise
        self._infos.append(info)
        return len(self._infos) - 1

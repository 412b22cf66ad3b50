# SPDX-License-Identifier: Apache-2.0
"""The cameras of a recording by time, each calibration held once."""

from __future__ import annotations

from adabins_ros.bags import RecordingError
from adabins_ros.bags.bag_index import BagIndex
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_from_info, MessageError
import numpy as np

# Behind the stamp: what differs here is another calibration.
_CALIBRATION = slice(12, None)


class BagCameras:
    """
    What camera_info says, at any time.

    Parameters
    ----------
    index : BagIndex
    topic : str or None
        None: no camera_info was recorded.
    rectified : bool
        The pictures are rectified ones (image_rect).
    horizontal_fov_deg : float, optional
        Stands in where there is no calibrated camera_info.

    Attributes
    ----------
    frame_id : str
        Of the first readable message; '' without one.
    damaged : int
        Messages that could not be read.
    uncalibrated : int
        Messages with K = 0.

    """

    def __init__(
        self,
        index: BagIndex,
        topic: str | None,
        *,
        rectified: bool = False,
        horizontal_fov_deg: float | None = None,
    ) -> None:
        self.frame_id = ''
        self.damaged = self.uncalibrated = 0
        self._field_of_view = horizontal_fov_deg
        self._cameras: list[PinholeCamera] = []
        stamps: list[int] = []
        numbers: list[int] = []
        seen: dict[bytes, int | None] = {}
        for number in range(index.topics[topic].count if topic else 0):
            assert topic is not None
            try:
                message = index.message(topic, number)
                key = message.raw[_CALIBRATION]
                if key not in seen:
                    decoded = message.decode()
                    self.frame_id = self.frame_id or str(decoded.header.frame_id)
                    seen[key] = self._add(camera_from_info(decoded, rectified=rectified))
            except MessageError as error:
                if error.cause != 'uncalibrated':
                    self.damaged += 1
                    continue
                seen[key] = None
            except (RecordingError, ValueError):
                self.damaged += 1
                continue
            known = seen[key]
            if known is None:
                self.uncalibrated += 1
            else:
                stamps.append(int(index.stamps_ns(topic)[number]))
                numbers.append(known)
        order = np.argsort(np.asarray(stamps, np.int64), kind='stable')
        self._stamps = np.asarray(stamps, np.int64)[order]
        self._numbers = np.asarray(numbers, np.int64)[order]

    def __bool__(self) -> bool:
        """Tell whether any calibration was found."""
        return bool(self._cameras)

    def at(self, stamp_ns: int, width: int, height: int) -> PinholeCamera | None:
        """Return the camera of an image of this size and time; None where nothing is known."""
        if not self._cameras:
            if self._field_of_view is None:
                return None
            return PinholeCamera.from_horizontal_fov(width, height, self._field_of_view)
        after = int(np.searchsorted(self._stamps, stamp_ns))
        near = [x for x in (after - 1, after) if 0 <= x < self._stamps.size]
        nearest = min(near, key=lambda x: abs(int(self._stamps[x]) - stamp_ns))
        camera = self._cameras[int(self._numbers[nearest])]
        if (camera.width, camera.height) != (width, height):
            camera = camera.scaled(width, height)
        return camera

    def _add(self, camera: PinholeCamera) -> int:
        if camera not in self._cameras:
            self._cameras.append(camera)
        return self._cameras.index(camera)

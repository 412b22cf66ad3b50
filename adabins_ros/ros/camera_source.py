# SPDX-License-Identifier: Apache-2.0
"""The camera behind the images: the latest camera_info, or what the user said instead."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages.camera_info import camera_from_info
from adabins_ros.messages.errors import MessageError

ASPECT_TOLERANCE = 0.02
"""Widest relative difference of the two scales at which camera_info still fits an image."""


class CameraSource:
    """
    Turn the latest camera_info into the intrinsics of an image.

    `update` is called by the thread that receives, everything else by the one that computes.

    Parameters
    ----------
    topic
        Name of the camera_info topic, for the texts.
    warn
        Takes a cause and a text for each thing that is wrong.

    """

    def __init__(self, topic: str, warn: Callable[[str, str], object]) -> None:
        self.topic = topic
        self.problem: str | None = None
        self._warn = warn
        self._arrived = threading.Event()
        self._message: Any = None
        self._converted: tuple[Any, PinholeCamera] | None = None

    def update(self, message: Any) -> None:
        """Take a sensor_msgs/CameraInfo as the latest."""
        self._message = message
        self._arrived.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first camera_info, at most `timeout_s` seconds; tell whether it is here."""
        return self._arrived.wait(timeout_s)

    def camera_for(
        self, width: int, height: int, frame_id: str, horizontal_fov_deg: float
    ) -> PinholeCamera | None:
        """
        Return the intrinsics of an image, or None where nothing tells them.

        Parameters
        ----------
        width, height
            Size of the image, px; intrinsics for another size of the same shape are scaled.
        frame_id
            Of the image; that of camera_info should be the same.
        horizontal_fov_deg
            Stands in for a missing or unusable camera_info, degrees; 0: nothing does.

        """
        try:
            camera = self._calibrated(width, height, frame_id)
            self.problem = None
            return camera
        except ValueError as error:
            cause, text = getattr(error, 'cause', 'value'), str(error)
        if horizontal_fov_deg > 0:
            self.problem = None
            return PinholeCamera.from_horizontal_fov(width, height, horizontal_fov_deg)
        self.problem = (
            f'{text}; until then depth is that of the camera of training and no points '
            'are published'
        )
        self._warn(f'camera_info: {cause}', self.problem)
        return None

    def _calibrated(self, width: int, height: int, frame_id: str) -> PinholeCamera:
        """Return what camera_info says about an image; raise MessageError if it says nothing."""
        message = self._message
        if message is None:
            raise MessageError(
                'missing',
                f'no camera_info on {self.topic}: publish it, remap camera_info, or set the '
                'parameter horizontal_fov_deg',
            )
        if self._converted is None or self._converted[0] is not message:
            try:
                self._converted = message, camera_from_info(message)
            except ValueError as error:
                cause = getattr(error, 'cause', 'value')
                raise MessageError(cause, f'camera_info on {self.topic}: {error}') from None
        camera = self._converted[1]
        if frame_id and message.header.frame_id and message.header.frame_id != frame_id:
            self._warn(
                'camera_info: frame_id',
                f'images are in the frame {frame_id!r}, camera_info on {self.topic} in '
                f'{message.header.frame_id!r}: does it belong to this camera?',
            )
        if (camera.width, camera.height) == (width, height):
            return camera
        if abs(width * camera.height / (height * camera.width) - 1) > ASPECT_TOLERANCE:
            raise MessageError(
                'size',
                f'camera_info on {self.topic} is for {camera.width}x{camera.height} px, images '
                f'are {width}x{height} px, of another shape: publish the camera_info of these '
                'images, or set the parameter horizontal_fov_deg',
            )
        return camera.scaled(width, height)

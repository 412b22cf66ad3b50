# SPDX-License-Identifier: Apache-2.0
"""The camera behind the images: the latest camera_info, or what the user said instead."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.camera_for import camera_for
from adabins_ros.ros.parameters import DepthNodeSettings


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

    Attributes
    ----------
    image_topic : str
        Of the images, whose name tells whether they are rectified.
    problem : str or None
        Why the last image has no intrinsics, or is not rectified as was asked for.

    """

    def __init__(self, topic: str, warn: Callable[[str, str], object]) -> None:
        self.topic = topic
        self.image_topic = ''
        self.problem: str | None = None
        self._warn = warn
        self._arrived = threading.Event()
        self._message: Any = None

    def update(self, message: Any) -> None:
        """Take a sensor_msgs/CameraInfo as the latest."""
        self._message = message
        self._arrived.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first camera_info, at most `timeout_s` seconds; tell whether it is here."""
        return self._arrived.wait(timeout_s)

    def camera_for(
        self, image_size: tuple[int, int], frame_id: str, settings: DepthNodeSettings
    ) -> PinholeCamera | None:
        """
        Return the intrinsics of an image, or None where nothing tells them.

        Parameters
        ----------
        image_size
            Height and width, px.
        frame_id
            Of the image; that of camera_info should be the same.
        settings
            The node's parameters for this image.

        """
        message = self._message
        try:
            camera = camera_for(
                message,
                image_size,
                self.image_topic,
                rectified=settings.rectified_input,
                horizontal_fov_deg=settings.horizontal_fov_deg,
                info_topic=self.topic,
            )
        except CameraError as error:
            self.problem = (
                f'{error}; until then depth is that of the camera of training and no points '
                'are published'
            )
            self._warn(f'camera_info: {error.cause}', self.problem)
            return None
        self.problem = None
        info_frame = '' if message is None else message.header.frame_id
        if frame_id and info_frame and info_frame != frame_id:
            self._warn(
                'camera_info: frame_id',
                f'images are in the frame {frame_id!r}, camera_info on {self.topic} in '
                f'{info_frame!r}: does it belong to this camera?',
            )
        return camera

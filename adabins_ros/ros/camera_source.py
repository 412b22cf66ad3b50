# SPDX-License-Identifier: Apache-2.0
"""The camera behind the images: the camera_info of each, or what the user said instead."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.camera_for import camera_for
from adabins_ros.messages.fields import stamp_ns
from adabins_ros.ros.parameters import DepthNodeSettings

KEPT = 100
"""How many camera_info wait for the image of their stamp."""
PAIR_S = 0.1
"""How long an image waits for the camera_info of its stamp, seconds."""
MOST_MISSES = 5
"""After so many images in a row without a camera_info of their stamp, no further one waits."""


class CameraSource:
    """
    Turn the camera_info with an image's stamp, or else the latest, into its intrinsics.

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
    choice : str
        Which camera_info the last image got, in words.

    """

    def __init__(self, topic: str, warn: Callable[[str, str], object]) -> None:
        self.topic = topic
        self.image_topic = ''
        self.problem: str | None = None
        self.choice = 'none yet'
        self._warn = warn
        self._changed = threading.Condition()
        self._messages: dict[int, Any] = {}
        self._misses = 0

    def update(self, message: Any) -> None:
        """Take a sensor_msgs/CameraInfo as the latest."""
        stamp = stamp_ns(message.header.stamp)
        with self._changed:
            self._messages.pop(stamp, None)
            self._messages[stamp] = message
            if len(self._messages) > KEPT:
                del self._messages[next(iter(self._messages))]
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first camera_info, at most `timeout_s` seconds; tell whether it is here."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._messages), timeout_s)

    def camera_for(
        self, image_size: tuple[int, int], header: Any, settings: DepthNodeSettings
    ) -> PinholeCamera | None:
        """
        Return the intrinsics of an image, or None where nothing tells them.

        Parameters
        ----------
        image_size
            Height and width, px.
        header
            Of the image; camera_info should have the same stamp and frame.
        settings
            The node's parameters for this image.

        """
        message = self._message_for(stamp_ns(header.stamp))
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
        frame_id = header.frame_id
        info_frame = '' if message is None else message.header.frame_id
        if frame_id and info_frame and info_frame != frame_id:
            self._warn(
                'camera_info: frame_id',
                f'images are in the frame {frame_id!r}, camera_info on {self.topic} in '
                f'{info_frame!r}: does it belong to this camera?',
            )
        return camera

    def _message_for(self, stamp: int) -> Any:
        """Return the camera_info of a stamp, or after a short wait the latest; None for none."""
        with self._changed:
            if not self._messages:
                return None
            if self._misses < MOST_MISSES:
                # They come in order: after a later one it is not to be expected any more.
                self._changed.wait_for(lambda: self._latest_stamp >= stamp, PAIR_S)
            message = self._messages.get(stamp)
            if message is not None:
                self._misses, self.choice = 0, 'of the stamp of the image'
                return message
            self._misses += 1
            self.choice = 'the latest: none has the stamp of the image'
            latest = self._messages[self._latest_stamp]
        if self._misses == MOST_MISSES:
            self._warn(
                'camera_info: stamp',
                f'camera_info on {self.topic} does not have the stamps of the images: the latest '
                'one counts, which is wrong for a while when the camera changes',
            )
        return latest

    @property
    def _latest_stamp(self) -> int:
        return next(reversed(self._messages))

# SPDX-License-Identifier: Apache-2.0
"""The slot of size one between a camera and the network: what is old is dropped, not queued."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Frame = TypeVar('Frame')


class NewestFrames(Generic[Frame]):
    """
    Hand the newest frame of each camera from the thread that receives to the one that computes.

    A frame that was not taken before its camera's next one arrived is dropped, so the taker never
    starts on a frame older than the one that arrived last.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: dict[str, Frame] = {}
        self._closed = False

    def put(self, camera: str, frame: Frame) -> bool:
        """
        Store a frame in place of the one of its camera that waits; after `close` it is ignored.

        Returns
        -------
        dropped
            Whether a frame that waited was dropped for this one.

        """
        with self._changed:
            if self._closed:
                return False
            dropped = camera in self._frames
            self._frames[camera] = frame
            self._changed.notify()
            return dropped

    def take(self, timeout_s: float | None = None) -> list[Frame]:
        """
        Wait for a frame and remove all that wait.

        Parameters
        ----------
        timeout_s
            Longest wait in seconds; None waits for a frame or for `close`.

        Returns
        -------
        frames
            The newest of each camera that has one, in the order in which they became due; none
            when the time ran out or the slots were closed.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            frames, self._frames = list(self._frames.values()), {}
            return frames

    def close(self) -> None:
        """Wake the taker for good and forget the frames that wait."""
        with self._changed:
            self._closed = True
            self._frames = {}
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Tell whether the slots were closed."""
        with self._changed:
            return self._closed

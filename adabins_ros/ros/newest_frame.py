# SPDX-License-Identifier: Apache-2.0
"""The slot of size one between the camera and the network: what is old is dropped, not queued."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Frame = TypeVar('Frame')


class NewestFrame(Generic[Frame]):
    """
    Hand the newest frame from the thread that receives to the thread that computes.

    A frame that was not taken before the next one arrived is dropped, so the taker never starts
    on a frame older than the one that arrived last.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._closed = False

    def put(self, frame: Frame) -> bool:
        """
        Store a frame in place of the one that waits; after `close` it is ignored.

        Returns
        -------
        dropped
            Whether a frame that waited was dropped for this one.

        """
        with self._changed:
            if self._closed:
                return False
            dropped = self._frame is not None
            self._frame = frame
            self._changed.notify()
            return dropped

    def take(self, timeout_s: float | None = None) -> Frame | None:
        """
        Wait for a frame and remove it from the slot.

        Parameters
        ----------
        timeout_s
            Longest wait in seconds; None waits for a frame or for `close`.

        Returns
        -------
        frame
            The newest frame, or None when the time ran out or the slot was closed.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._closed, timeout_s)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        """Wake the taker for good and forget the frame that waits."""
        with self._changed:
            self._closed = True
            self._frame = None
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Tell whether the slot was closed."""
        with self._changed:
            return self._closed

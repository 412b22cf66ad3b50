# SPDX-License-Identifier: Apache-2.0
"""A thread that computes: takes the newest frames, survives what goes wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import threading
import time
import traceback
from typing import Any, Generic, Protocol, TypeVar

from adabins_ros.messages.fields import MessageError
from adabins_ros.ros.model_loading import free_cached_memory, out_of_memory

Item = TypeVar('Item')


class NewestFrames(Generic[Item]):
    """
    Hand the newest frame of each camera from the thread that receives to the one that computes.

    A slot of size one for each camera: a frame that was not taken before its camera's next one
    arrived is dropped, so the taker never starts on a frame older than the one that arrived last.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: dict[str, Item] = {}
        self._closed = False

    def put(self, camera: str, frame: Item) -> bool:
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

    def take(self, timeout_s: float | None = None) -> Item | None:
        """
        Wait for a frame and remove it.

        Parameters
        ----------
        timeout_s
            Longest wait in seconds; None waits for a frame or for `close`.

        Returns
        -------
        frame
            The newest of the camera that has waited longest, so that cameras take turns; None when
            the time ran out or the slots were closed.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            return self._frames.pop(next(iter(self._frames))) if self._frames else None

    def close(self) -> None:
        """Wake the taker for good and forget the frames that wait."""
        with self._changed:
            self._closed = True
            self._frames = {}
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Tell whether the slots were closed."""
        return self._closed


class Stream(Protocol):
    """A camera with its images, or an output with what makes its messages."""

    name: str

    def process(self, message: Any, arrived_s: float, /) -> None:
        """Compute and publish; runs in the worker's thread."""

    def give_up(self, cause: str, text: str) -> None:
        """Say what `process` raised."""


@dataclass(frozen=True)
class ReceivedFrame:
    """An image message, whose it is, and when it arrived, `time.perf_counter` seconds."""

    stream: Stream
    message: Any
    arrived_s: float = field(default_factory=time.perf_counter)


class FrameWorker:
    """
    Process the newest frames of all streams in turn, in one thread, from `start` to `stop`.

    What a frame raises is counted and said, never fatal.

    Parameters
    ----------
    between_frames
        Called in the thread after each frame.
    name
        Of the thread.

    """

    def __init__(
        self, between_frames: Callable[[], None] = lambda: None, name: str = 'depth'
    ) -> None:
        self._between_frames = between_frames
        self._slots: NewestFrames[ReceivedFrame] = NewestFrames()
        self._progress = threading.Condition()
        self._begun = self._done = 0
        # A daemon: a network call of seconds must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def put(self, stream: Stream, message: Any) -> bool:
        """Hand over a message of a stream; tell whether another was dropped for it."""
        return self._slots.put(stream.name, ReceivedFrame(stream, message))

    def wait_for_frame(self) -> None:
        """Wait until the frame that is in work now, if one is, is done; not in the thread."""
        with self._progress:
            begun = self._begun
            self._progress.wait_for(lambda: self._done >= begun)

    def stop(self, timeout_s: float | None = None) -> bool:
        """Finish the frame in work and no other; tell whether that took less than the timeout."""
        self._slots.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._slots.closed:
            frame = self._slots.take()
            if frame is not None:
                self._begun += 1
                _survive(frame, self._between_frames)
                with self._progress:
                    self._done = self._begun
                    self._progress.notify_all()


def _survive(frame: ReceivedFrame, then: Callable[[], None]) -> None:
    """Process a frame, and then do something else; count and report what is raised."""
    try:
        frame.stream.process(frame.message, frame.arrived_s)
        then()
    except MessageError as error:
        frame.stream.give_up(error.cause, str(error))
    except Exception as error:  # nothing that arrives may end the thread
        if out_of_memory(error):
            free_cached_memory()
            frame.stream.give_up(
                'out of memory',
                f'memory did not suffice for a frame ({error}); use a smaller pixel_budget or a '
                'smaller model',
            )
        else:
            frame.stream.give_up(
                f'internal: {type(error).__name__}',
                f'a frame failed, the node goes on\n{traceback.format_exc()}',
            )

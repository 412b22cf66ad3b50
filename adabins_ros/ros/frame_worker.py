# SPDX-License-Identifier: Apache-2.0
"""The one thread that computes: takes the newest frames, survives what goes wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
import threading
import time
import traceback
from typing import Any

from adabins_ros.messages.errors import MessageError
from adabins_ros.ros.camera_stream import CameraStream
from adabins_ros.ros.model_loading import free_cached_memory, out_of_memory
from adabins_ros.ros.newest_frame import NewestFrames


@dataclass(frozen=True)
class ReceivedFrame:
    """An image message, whose it is, and when it arrived, `time.perf_counter` seconds."""

    stream: CameraStream
    message: Any
    arrived_s: float = field(default_factory=time.perf_counter)


class FrameWorker:
    """
    Run `work` on the newest frames of all cameras, in one thread, from `start` to `stop`.

    Parameters
    ----------
    work
        Called with all frames that wait, one a camera; what it raises is counted and said, never
        fatal.

    """

    def __init__(self, work: Callable[[Sequence[ReceivedFrame]], None]) -> None:
        self._work = work
        self._slots: NewestFrames[ReceivedFrame] = NewestFrames()
        # A daemon: a network call of seconds must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name='depth', daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def put(self, stream: CameraStream, message: Any) -> None:
        """Hand over an image message of a camera; never waits."""
        stream.statistics.count_received()
        if self._slots.put(stream.name, ReceivedFrame(stream, message)):
            stream.statistics.count_dropped()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Finish the frames in work and no other; tell whether that took less than the timeout."""
        self._slots.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._slots.closed:
            frames = self._slots.take()
            with surviving(*(frame.stream for frame in frames)):
                if frames:
                    self._work(frames)


@contextmanager
def surviving(*streams: CameraStream) -> Iterator[None]:
    """Count and report, for a frame of each stream, what is raised in the context; go on."""
    try:
        yield
    except MessageError as error:
        cause, text = error.cause, str(error)
    except Exception as error:  # nothing that arrives may end the thread
        if out_of_memory(error):
            free_cached_memory()
            cause, text = (
                'out of memory',
                f'memory did not suffice for a frame ({error}); use a smaller pixel_budget or a '
                'smaller model',
            )
        else:
            cause, text = (
                f'internal: {type(error).__name__}',
                f'a frame failed, the node goes on\n{traceback.format_exc()}',
            )
    else:
        return
    for stream in streams:
        stream.give_up(cause, text)

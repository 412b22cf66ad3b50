# SPDX-License-Identifier: Apache-2.0
"""The one thread that computes: takes the newest frame, works on it, survives what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import threading
import time
import traceback
from typing import Any

from adabins_ros.messages.errors import MessageError
from adabins_ros.ros.frame_statistics import FrameStatistics
from adabins_ros.ros.model_loading import free_cached_memory, out_of_memory
from adabins_ros.ros.newest_frame import NewestFrame


@dataclass(frozen=True)
class ReceivedFrame:
    """An image message and when it arrived, `time.perf_counter` seconds."""

    message: Any
    arrived_s: float = field(default_factory=time.perf_counter)


class FrameWorker:
    """
    Run `work` on the newest frame, in one thread, from `start` to `stop`.

    Parameters
    ----------
    work
        Called with one frame after another; what it raises is counted and said, never fatal.
    statistics
        Counts the frames that arrive, are dropped, or can't be used.
    warn
        Takes a cause and a text.

    """

    def __init__(
        self,
        work: Callable[[ReceivedFrame], None],
        statistics: FrameStatistics,
        warn: Callable[[str, str], object],
    ) -> None:
        self._work = work
        self._statistics = statistics
        self._warn = warn
        self._slot: NewestFrame[ReceivedFrame] = NewestFrame()
        # A daemon: a network call of seconds must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name='depth', daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def put(self, message: Any) -> None:
        """Hand over an image message; never waits."""
        self._statistics.count_received()
        if self._slot.put(ReceivedFrame(message)):
            self._statistics.count_dropped()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Finish the frame in work and no other; tell whether that took less than the timeout."""
        self._slot.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._slot.closed:
            frame = self._slot.take()
            if frame is None:
                continue
            try:
                self._work(frame)
            except MessageError as error:
                self._give_up(error.cause, str(error))
            except Exception as error:  # nothing that arrives may end the thread
                if out_of_memory(error):
                    free_cached_memory()
                    self._give_up(
                        'out of memory',
                        f'memory did not suffice for a frame ({error}); use a smaller '
                        'pixel_budget or a smaller model',
                    )
                else:
                    self._give_up(
                        f'internal: {type(error).__name__}',
                        f'a frame failed, the node goes on\n{traceback.format_exc()}',
                    )

    def _give_up(self, cause: str, text: str) -> None:
        """Count and report a frame that led to nothing."""
        self._statistics.count_bad(cause, text.splitlines()[0])
        self._warn(f'image: {cause}', text)

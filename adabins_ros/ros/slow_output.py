# SPDX-License-Identifier: Apache-2.0
"""An output whose messages take long to make, in a thread beside the frames'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adabins_ros.ros.diagnostics import FrameStatistics
from adabins_ros.ros.frame_worker import FrameWorker


class SlowOutput:
    """
    Publish what takes long to make in a thread beside the frames', the newest first.

    Parameters
    ----------
    name
        Of the camera and the product.
    publisher
        Of its topic.
    worker
        Has the thread.
    statistics
        Get the time that it takes.
    warn
        Takes a cause and a text where a message could not be made.

    """

    def __init__(
        self,
        name: str,
        publisher: Any,
        worker: FrameWorker,
        statistics: FrameStatistics,
        warn: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self._publisher, self._worker = publisher, worker
        self._statistics, self._warn = statistics, warn

    def publish(self, make: Callable[[], Any]) -> None:
        """Hand over what makes a message, in place of one that was not begun."""
        self._worker.put(self, make)

    def process(self, make: Callable[[], Any], given_s: float) -> None:
        """Make a message and publish it; runs in the worker's thread."""
        with self._statistics.timed(f'{self.name.rpartition("/")[2]}, beside'):
            self._publisher.publish(make())

    def give_up(self, cause: str, text: str) -> None:
        """Report a message that could not be made."""
        self._warn(f'{self.name}: {cause}', text)

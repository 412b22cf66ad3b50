# SPDX-License-Identifier: Apache-2.0
"""Warnings that say a thing at once, and then only now and again how often it happened."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class WarningLogger(Protocol):
    """What a ROS logger offers and this module uses."""

    def warning(self, message: str) -> object:
        """Log at the level WARN."""


class ThrottledWarnings:
    """
    Warn of each cause at once, and again at most every `period_s`, with the count.

    Parameters
    ----------
    logger
        Where the text goes.
    period_s
        Shortest time between two lines of the same cause, seconds.

    """

    def __init__(self, logger: WarningLogger, period_s: float = 10.0) -> None:
        self._logger = logger
        self._period_s = period_s
        self._lock = threading.Lock()
        self._causes: dict[str, tuple[float, int]] = {}

    def warn(self, cause: str, text: str) -> bool:
        """Log `text` unless its cause was logged within the period; tell whether it was."""
        now = time.monotonic()
        with self._lock:
            logged_s, silent = self._causes.get(cause, (None, 0))
            if logged_s is not None and now - logged_s < self._period_s:
                self._causes[cause] = (logged_s, silent + 1)
                return False
            self._causes[cause] = (now, 0)
        self._logger.warning(f'{text} ({silent} more of this kind before)' if silent else text)
        return True

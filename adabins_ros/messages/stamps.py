# SPDX-License-Identifier: Apache-2.0
"""builtin_interfaces/Time as nanoseconds and back."""

from __future__ import annotations

from typing import Any

from .errors import MessageError

NANOSECONDS = 1_000_000_000


def stamp_ns(stamp: Any) -> int:
    """Return a ROS 2 (sec, nanosec) or ROS 1 (secs, nsecs) stamp in nanoseconds."""
    if hasattr(stamp, 'nanosec'):
        return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)
    if hasattr(stamp, 'nsecs'):
        return int(stamp.secs) * NANOSECONDS + int(stamp.nsecs)
    raise MessageError('stamp', f'a {type(stamp).__name__} is no time stamp (sec, nanosec)')


def stamp_from_ns(ns: int) -> tuple[int, int]:
    """
    Return (sec, nanosec) of a time in nanoseconds.

    Raises
    ------
    MessageError
        Cause 'stamp': builtin_interfaces/Time holds seconds in an int32.

    """
    seconds, nanoseconds = divmod(int(ns), NANOSECONDS)
    if not -(2**31) <= seconds < 2**31:
        raise MessageError('stamp', f'{ns} ns does not fit a ROS time stamp (int32 seconds)')
    return seconds, nanoseconds

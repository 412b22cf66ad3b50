# SPDX-License-Identifier: Apache-2.0
"""The error for recordings and folders that can't be used."""

from adabins_ros.frames.errors import RecordingError

__all__ = ['RecordingError']

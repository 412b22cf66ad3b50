# SPDX-License-Identifier: Apache-2.0
"""Recorded data: opening, choosing topics, pairing by time, frames, writing. No ROS needed."""

from .errors import RecordingError
from .folders import RgbdFolder
from .frames import iterate_frames, RgbdFrame
from .packing import pack_folder
from .pairing import pair_by_time
from .reader import open_recording, Recording, TopicInfo
from .recorded_message import RecordedMessage
from .topics import CameraTopics, find_camera_topics
from .writer import RecordingWriter

__all__ = [
    'CameraTopics',
    'RecordedMessage',
    'Recording',
    'RecordingError',
    'RecordingWriter',
    'RgbdFolder',
    'RgbdFrame',
    'TopicInfo',
    'find_camera_topics',
    'iterate_frames',
    'open_recording',
    'pack_folder',
    'pair_by_time',
]

# SPDX-License-Identifier: Apache-2.0
"""Recorded data: reading, choosing topics, pairing by time, extracting frames, writing."""

from adabins_ros.frames.errors import RecordingError

from .extract import extract_frames
from .packing import pack_folder
from .pairing import pair_by_time
from .recorded_file import DamageError
from .recorded_message import RecordedMessage
from .recorded_pairs import read_pairs, RecordedPairs, survey
from .recording import open_recording, Recording, TopicInfo
from .rgbd_frames import iterate_frames, RgbdFrame
from .topics import CameraTopics, colour_topics, find_camera_topics
from .writer import RecordingWriter

__all__ = [
    'CameraTopics',
    'DamageError',
    'RecordedMessage',
    'RecordedPairs',
    'Recording',
    'RecordingError',
    'RecordingWriter',
    'RgbdFrame',
    'TopicInfo',
    'colour_topics',
    'extract_frames',
    'find_camera_topics',
    'iterate_frames',
    'open_recording',
    'pack_folder',
    'pair_by_time',
    'read_pairs',
    'survey',
]

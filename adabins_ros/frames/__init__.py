# SPDX-License-Identifier: Apache-2.0
"""Colour with true depth from folders and public data sets, behind one interface."""

from .config import Section, SourceConfig
from .errors import RecordingError
from .folder_source import FolderSource
from .opening import frames_of, open_sources
from .rgbd_folder import FolderFrame, is_rgbd_folder, RgbdFolder
from .samples import FrameSource, RgbdSample, SourceReport

__all__ = [
    'FolderFrame',
    'FolderSource',
    'FrameSource',
    'RecordingError',
    'RgbdFolder',
    'RgbdSample',
    'Section',
    'SourceConfig',
    'SourceReport',
    'frames_of',
    'is_rgbd_folder',
    'open_sources',
]

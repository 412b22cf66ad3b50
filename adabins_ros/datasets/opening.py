# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the sources of frames that it names."""

from __future__ import annotations

from pathlib import Path

from adabins_ros.bags import RecordingError
from adabins_ros.datasets.bag_source import BagSource
from adabins_ros.datasets.config import SourceConfig
from adabins_ros.datasets.folder_source import FolderSource
from adabins_ros.datasets.frame_cache import CachedSource
from adabins_ros.datasets.list_source import KITTI, NYU, read_list
from adabins_ros.datasets.nyu_source import NyuLabelledSource
from adabins_ros.datasets.samples import FrameSource

# Settings beside the topics on which a frame and its truth depend.
_SEEN_IN_FRAMES = {'alignment', 'tolerance_ms', 'time_offset_ms', 'horizontal_fov_deg'}


def open_sources(config: SourceConfig) -> list[FrameSource]:
    """
    Open every input.

    Returns
    -------
    list of FrameSource
        Recordings, folders, KITTI and NYU, in this order.

    Raises
    ------
    RecordingError
        Nothing is given, or an input is unusable.

    """
    sources: list[FrameSource] = [BagSource(path, config) for path in config.bags]
    sources += [FolderSource(path, config.every) for path in config.folders]
    if config.kitti is not None:
        file = _needed(config.kitti_list, 'kitti_list', config.kitti)
        sources += read_list(config.kitti, file, KITTI, config.every)
    if config.nyu is not None and config.nyu.is_dir():
        file = _needed(config.nyu_list, 'nyu_list', config.nyu)
        sources += read_list(config.nyu, file, NYU, config.every)
    elif config.nyu is not None:
        sources.append(NyuLabelledSource(config.nyu, config.every))
    if not sources:
        raise RecordingError(
            'no frames are given; give recordings with --bags, or set data.folders, data.nyu or '
            'data.kitti'
        )
    if config.cache is not None:
        settings = config.model_dump_json(include=_SEEN_IN_FRAMES)
        sources = [CachedSource(source, config.cache, settings) for source in sources]
    return sources


def _needed(file: Path | None, name: str, folder: Path) -> Path:
    if file is None:
        raise RecordingError(f'the list of frames of {folder} is missing; set data.{name}')
    return file

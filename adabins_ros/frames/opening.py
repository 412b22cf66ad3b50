# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the sources of frames that it names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from adabins_ros.package_files import shell_command

from .config import SourceConfig
from .errors import RecordingError
from .folder_source import FolderSource
from .listed_frames import KITTI, NYU, read_list
from .nyu_labelled import NyuLabelledSource
from .samples import FrameSource

if TYPE_CHECKING:
    from adabins_ros.recordings.extract import Progress


def frames_of(
    config: SourceConfig,
    extract_to: str | os.PathLike[str],
    progress: Progress | None = None,
) -> list[FrameSource]:
    """
    Open every input; recordings are extracted first, each into a folder below `extract_to`.

    What was extracted before, from the same files with the same settings, is used again.

    Returns
    -------
    list of FrameSource
        Recordings, folders, KITTI and NYU, in this order.

    Raises
    ------
    RecordingError
        Nothing is given, an input is unusable, or the disk is full.

    """
    sources: list[FrameSource] = []
    if config.bags:
        from adabins_ros.recordings import extract_frames

        folders = extract_frames(config.bags, extract_to, config, progress=progress)
        sources += [FolderSource(path, config.every, recording=True) for path in folders]
    rest = config.model_copy(update={'bags': ()})
    if not sources or rest.folders or rest.kitti or rest.nyu:
        sources += open_sources(rest)
    return sources


def open_sources(config: SourceConfig) -> list[FrameSource]:
    """
    Open folders and public data sets; see `frames_of` for recordings.

    Returns
    -------
    list of FrameSource
        Folders, KITTI and NYU, in this order.

    Raises
    ------
    RecordingError
        Nothing is given, recordings are, or an input is unusable.

    """
    if config.bags:
        raise RecordingError(
            f'{config.bags[0]} is a recording; make frames of it first, with '
            f'`{shell_command("extract")}`'
        )
    sources: list[FrameSource] = [FolderSource(path, config.every) for path in config.folders]
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
    return sources


def _needed(file: Path | None, name: str, folder: Path) -> Path:
    if file is None:
        raise RecordingError(f'the list of frames of {folder} is missing; set data.{name}')
    return file

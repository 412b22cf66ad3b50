# SPDX-License-Identifier: Apache-2.0
"""From a configuration to what is trained on and what is validated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adabins_ros.bags import RecordingError
from adabins_ros.model import AdaBinsConfig, load_model
from adabins_ros.training.augmentation import Augmentation
from adabins_ros.training.bag_source import BagSource
from adabins_ros.training.config import DataConfig, TrainingConfig
from adabins_ros.training.dataset import RgbdDataset
from adabins_ros.training.folder_source import FolderSource
from adabins_ros.training.frame_cache import CachedSource
from adabins_ros.training.list_source import KITTI, NYU, read_list
from adabins_ros.training.nyu_source import NyuLabelledSource
from adabins_ros.training.samples import FrameSource, SourceReport
from adabins_ros.training.splits import Split, split_frames

# Settings beside the topics on which a frame and its truth depend.
_SEEN_IN_FRAMES = {'alignment', 'tolerance_ms', 'time_offset_ms', 'horizontal_fov_deg'}


@dataclass(frozen=True)
class TrainingData:
    """
    The frames of a run.

    Attributes
    ----------
    train, validation : RgbdDataset
        The second one may be empty.
    report : list of SourceReport
        What was found, by source.
    split : dict
        What belongs to which, as JSON can hold it.

    """

    train: RgbdDataset
    validation: RgbdDataset
    report: list[SourceReport]
    split: dict[str, Any]


def build_data(config: TrainingConfig, network: AdaBinsConfig | None = None) -> TrainingData:
    """
    Open everything that the configuration names, and divide it.

    Parameters
    ----------
    config : TrainingConfig
        The sections data, augmentation and network are looked at.
    network : AdaBinsConfig, optional
        What is trained; by default the model that `config.network` names.

    Raises
    ------
    RecordingError
        Nothing is given, an input is unusable, or nothing is left for training.
    ModelError
        The model's configuration can't be read.

    """
    network = network or load_model(config.network.model).config
    sources, held_out = open_sources(config.data)
    data = config.data
    split: Split = split_frames(
        sources,
        data.validation_share,
        method=data.split,
        blocks=data.split_blocks,
        gap_s=data.split_gap_s,
        held_out=held_out,
        seed=config.seed,
    )
    augmentation = Augmentation(config.augmentation) if config.augmentation.enabled else None
    train, validation = (
        RgbdDataset(
            sources,
            frames,
            data.size or network.input_size,
            changes,
            network.mean,
            network.std,
            config.seed,
            network.training_focal_length_px,
        )
        for frames, changes in ((split.training, augmentation), (split.validation, None))
    )
    return TrainingData(train, validation, [x.report for x in sources], split.description)


def open_sources(config: DataConfig) -> tuple[list[FrameSource], list[int]]:
    """
    Open every input.

    Returns
    -------
    sources : list of FrameSource
    held_out : list of int
        Those of `validation_bags`.

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
            'there is nothing to train on; give recordings with --bags, or set data.folders, '
            'data.nyu or data.kitti'
        )
    first = len(sources)
    sources += [BagSource(path, config) for path in config.validation_bags]
    if config.cache is not None:
        settings = config.model_dump_json(include=_SEEN_IN_FRAMES)
        sources = [CachedSource(source, config.cache, settings) for source in sources]
    return sources, list(range(first, len(sources)))


def _needed(file: Path | None, name: str, folder: Path) -> Path:
    if file is None:
        raise RecordingError(f'the list of frames of {folder} is missing; set data.{name}')
    return file

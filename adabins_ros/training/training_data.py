# SPDX-License-Identifier: Apache-2.0
"""From a configuration to what is trained on and what is validated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adabins_ros.datasets.opening import open_sources
from adabins_ros.datasets.samples import SourceReport
from adabins_ros.model import AdaBinsConfig, load_model
from adabins_ros.training.augmentation import Augmentation
from adabins_ros.training.config import TrainingConfig
from adabins_ros.training.dataset import RgbdDataset
from adabins_ros.training.splits import Split, split_frames

# What else the configuration names, when only the recordings to hold out are opened.
_NOTHING_ELSE: dict[str, Any] = {'folders': (), 'kitti': None, 'nyu': None}


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
    data = config.data
    sources = open_sources(data)
    held_out = range(0)
    if data.validation_bags:
        changes = {**_NOTHING_ELSE, 'bags': data.validation_bags}
        first = len(sources)
        sources += open_sources(data.model_copy(update=changes))
        held_out = range(first, len(sources))
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


def check_usable(data: TrainingData) -> None:
    """Raise RecordingError if none of the frames to train on, or to validate on, can be used."""
    for dataset in (data.train, data.validation):
        if len(dataset):
            dataset[0]

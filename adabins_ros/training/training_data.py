# SPDX-License-Identifier: Apache-2.0
"""From a configuration to what is trained on and what is validated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adabins_ros.bags import RecordingError
from adabins_ros.datasets.opening import open_sources
from adabins_ros.datasets.samples import FrameSource, SourceReport
from adabins_ros.model import AdaBinsConfig, load_model
from adabins_ros.training.augmentation import Augmentation
from adabins_ros.training.config import TrainingConfig
from adabins_ros.training.dataset import RgbdDataset, UNUSABLE
from adabins_ros.training.splits import Split, split_frames
import numpy as np
from numpy.typing import NDArray

# Frames of each input that are looked at before a run.
_LOOKED_AT = 5
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


def check_usable(data: TrainingData, network: AdaBinsConfig) -> None:
    """
    Look at some frames, for what would otherwise be trained on in vain.

    Raises
    ------
    RecordingError
        No frame to train on, or to validate on, can be used; or the depth of an input is unknown
        or out of the network's range in all frames that were looked at.

    """
    for dataset in (data.train, data.validation):
        if len(dataset):
            dataset[0]
    for number, source in enumerate(data.train.sources):
        _check_depth(source, np.flatnonzero(data.train.indices[:, 0] == number), data, network)


def _check_depth(
    source: FrameSource, elements: NDArray[np.intp], data: TrainingData, network: AdaBinsConfig
) -> None:
    """Raise RecordingError unless some of a source's frames have depth within the range."""
    spread = np.linspace(0, elements.size - 1, min(_LOOKED_AT, elements.size)).round().astype(int)
    nearest, farthest, readable = np.inf, 0.0, 0
    for element in elements[spread].tolist():
        try:
            known = data.train.sample(element).depth
        except UNUSABLE:
            continue
        readable += 1
        known = known[known > 0]
        if ((known >= network.min_depth) & (known <= network.max_depth)).any():
            return
        if known.size:
            nearest, farthest = min(nearest, known.min()), max(farthest, known.max())
    if not readable:
        return
    looked_at = f'{source.report.name}: none of the {readable} frames looked at has a depth'
    if not farthest:
        raise RecordingError(
            f'{looked_at}: all pixels are unknown; leave this input out, or choose another truth '
            'with data.depth_topic or data.lidar_topic'
        )
    raise RecordingError(
        f'{looked_at} within the {network.min_depth:g} to {network.max_depth:g} m of the network, '
        f'but {nearest:.1f} to {farthest:.1f} m: set network.max_depth, or check the unit (16UC1 '
        'holds millimetres, 32FC1 metres)'
    )

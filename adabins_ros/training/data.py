# SPDX-License-Identifier: Apache-2.0
"""From a configuration to what is trained on and what is validated on, and that in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adabins_ros.frames import (
    FolderSource,
    FrameSource,
    is_rgbd_folder,
    open_sources,
    RecordingError,
    SourceReport,
)
from adabins_ros.model import AdaBinsConfig
from adabins_ros.recordings import extract_frames, survey
from adabins_ros.recordings.progress import extraction_bar
from adabins_ros.training.augmentation import Augmentation
from adabins_ros.training.config import DataConfig, TrainingConfig
from adabins_ros.training.dataset import RgbdDataset, source_name, UNUSABLE
from adabins_ros.training.splits import Split, split_frames
from adabins_ros.training.starting_network import loaded_model
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

# Frames of each input that are looked at before a run.
_LOOKED_AT = 5


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
    folders : sequence of Path
        What recordings have become.

    """

    train: RgbdDataset
    validation: RgbdDataset
    report: list[SourceReport]
    split: dict[str, Any]
    folders: Sequence[Path] = ()


def make_frames(data: DataConfig, folder: Path, *, quiet: bool = False) -> list[Path]:
    """
    Write the frames of the recordings as folders below `folder`, with a progress bar.

    What is there already, from the same files with the same settings, is used again.

    Returns
    -------
    list of Path
        One for each of `data.bags`, then for each of `data.validation_bags`; what is a folder of
        frames already, itself.

    Raises
    ------
    RecordingError
        A recording is unusable, or the disk is full.

    """
    with extraction_bar(Console(quiet=quiet)) as progress:
        return [
            bag
            if is_rgbd_folder(bag)
            else extract_frames([bag], folder, data, progress=progress)[0]
            for bag in (*data.bags, *data.validation_bags)
        ]


def build_data(
    config: TrainingConfig,
    network: AdaBinsConfig | None = None,
    folders: Sequence[Path] | None = None,
) -> TrainingData:
    """
    Open everything that the configuration names, and divide it.

    Parameters
    ----------
    config : TrainingConfig
        The sections data, augmentation and network are looked at.
    network : AdaBinsConfig, optional
        What is trained; by default the model that `config.network` names.
    folders : sequence of Path, optional
        What `make_frames` gave; by default frames are read out of the recordings: slow, but
        nothing is written.

    Raises
    ------
    RecordingError
        Nothing is given, an input is unusable, or nothing is left for training.
    ModelError
        The model's configuration can't be read.

    """
    network = network or loaded_model(config.network.model).config
    data = config.data
    sources, held_out_sources = _sources(data, folders)
    _check_names(data, sources)
    held_out = range(len(sources), len(sources) + len(held_out_sources))
    sources += held_out_sources
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
            data.scale_unknown,
            data.draws,
            borders=network.repeats_borders,
        )
        for frames, changes in ((split.training, augmentation), (split.validation, None))
    )
    report = [source.report for source in sources]
    return TrainingData(train, validation, report, split.description, folders or ())


def _sources(
    data: DataConfig, folders: Sequence[Path] | None
) -> tuple[list[FrameSource], list[FrameSource]]:
    """Return the sources to divide, and those to hold out as a whole."""
    bags = [*data.bags, *data.validation_bags]
    opened: dict[Path, FrameSource] = {}
    for bag, folder in zip(bags, folders or bags, strict=True):
        if bag not in opened and is_rgbd_folder(bag):
            opened[bag] = FolderSource(bag, data.every)
        elif bag not in opened and folders:
            opened[bag] = FolderSource(folder, data.every, recording=True)
        elif bag not in opened:
            opened[bag] = survey(bag, data)
    sources = [opened[bag] for bag in data.bags]
    held_out = [opened[bag] for bag in data.validation_bags]
    rest = data.model_copy(update={'bags': ()})
    if not sources or rest.folders or rest.kitti or rest.nyu:
        sources += open_sources(rest)
    return sources, held_out


def _check_names(data: DataConfig, sources: Sequence[FrameSource]) -> None:
    """Raise RecordingError if something is said of a source that is not there."""
    there = {source_name(source) for source in sources}
    for key, names in (('draws', data.draws), ('scale_unknown', data.scale_unknown)):
        for name in names:
            if name not in there:
                raise RecordingError(
                    f'data.{key} names {name!r}, but the sources are {", ".join(sorted(there))}'
                )
    if not any(data.draws.get(name, 1.0) for name in there):
        raise RecordingError('data.draws is 0 for every source: nothing is left to train on')


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
    nearest, farthest, readable = np.inf, 0.0, 0
    for element in elements[spread(elements.size, _LOOKED_AT)].tolist():
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


def spread(count: int, wanted: int) -> list[int]:
    """Return at most so many of the numbers below a count, evenly spread."""
    numbers: list[int] = np.unique(np.linspace(0, count - 1, wanted).round().astype(int)).tolist()
    return numbers if count else []


def describe_source(report: SourceReport) -> list[str]:
    """Return what was chosen in a source and what is worth knowing of it, line by line."""
    if report.topics:
        texts = [f'{report.topics}: {_count(report.frames, "pair")}']
    else:
        texts = [f'{_count(report.frames, "frame")} ({report.kind})']
    if report.offset_ms:
        median, largest = report.offset_ms
        texts[0] += f', truth {median:+.1f} ms after colour in the middle ({largest:+.1f} at most)'
    texts += report.remarks
    # Damage names its file already.
    return [x if x.startswith(report.name) else f'{report.name}: {x}' for x in texts]


def describe_split(data: TrainingData) -> str:
    """Return how many frames serve for what, in one line."""
    training, held_out = len(data.train), len(data.validation)
    left_out = sum(len(source) for source in data.train.sources) - training - held_out
    height, width = data.train.size
    parts = [f'{_count(training, "frame")} to train on', f'{held_out} held out to validate on']
    if left_out:
        parts.append(f'{left_out} between them not used')
    return f'{", ".join(parts)}; at {width}x{height} (split by {data.split["method"]})'


def _count(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'


def print_data(data: TrainingData) -> None:
    """Print what was chosen in each source, and the split."""
    console = Console()
    lines = Counter(x for one in data.train.sources for x in describe_source(one.report))
    for line, count in lines.items():
        again = f' (given {count} times)' if count > 1 else ''
        console.print(f'{line}{again}', markup=False, highlight=False, soft_wrap=True)
    console.print(describe_split(data), highlight=False, soft_wrap=True)

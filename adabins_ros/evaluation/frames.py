# SPDX-License-Identifier: Apache-2.0
"""Which frames are evaluated: a data set, a part of it, or what a training run held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
import re

from adabins_ros.evaluation.held_out import data_of_run, held_out, open_run
from adabins_ros.evaluation.protocols import Dataset, EvaluationError
from adabins_ros.frames import (
    FrameSource,
    open_sources,
    RecordingError,
    RgbdSample,
    SourceConfig,
)
from adabins_ros.frames.config import DataSettings
from adabins_ros.frames.listed_frames import NYU, read_list
from adabins_ros.frames.nyu_labelled import NyuLabelledSource
from adabins_ros.recordings import RecordedPairs, survey
from adabins_ros.settings import load_settings
import cv2
import numpy as np
from numpy.typing import NDArray

NYU_FILE = 'nyu_depth_v2_labeled.mat'
_NYU_TEST_FRAMES = 654
_INPUTS = ('bags', 'folders', 'nyu', 'nyu_list', 'kitti', 'kitti_list')
# What damaged bytes raise in the decoders.
_UNUSABLE = (ValueError, OSError, EOFError, cv2.error)


@dataclass(frozen=True)
class FrameChoice:
    """
    Which frames of each source.

    Attributes
    ----------
    start, stop, every : int or None
        As in a slice: start -50 are the last 50.
    run : Path or None
        A training run; only what it held out.

    """

    start: int | None = None
    stop: int | None = None
    every: int | None = None
    run: Path | None = None

    @property
    def description(self) -> str:
        """Say it in words."""
        parts = [f'held out by {self.run}'] if self.run else []
        if (self.start, self.stop, self.every) != (None, None, None):
            ends = ['' if end is None else str(end) for end in (self.start, self.stop)]
            steps = [] if self.every is None else [str(self.every)]
            parts.append(f'frames [{":".join(ends + steps)}] of each source')
        return ', '.join(parts) or 'all frames'


@dataclass(frozen=True)
class Frames:
    """
    Frames of several sources.

    Attributes
    ----------
    sources : list of FrameSource
    indices : (N, 2) int64
        Number of the source, number of its frame.
    choice : str
        In words, which ones were chosen.

    """

    sources: list[FrameSource]
    indices: NDArray[np.int64]
    choice: str

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> RgbdSample:
        source, frame = self.indices[number].tolist()
        return self.sources[source][frame]

    def read(
        self, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[int, RgbdSample | Exception]]:
        """
        Yield the number of each frame with the frame, or with the reason that it is unusable.

        Each recording is read once, front to back, whatever is taken of it.

        Parameters
        ----------
        numbers : sequence of int, optional
            Only these frames; all by default.

        """
        wanted = np.arange(len(self)) if numbers is None else np.unique(numbers)
        for place, source in enumerate(self.sources):
            mine = wanted[self.indices[wanted, 0] == place].tolist()
            frames = self.indices[mine, 1].tolist()
            if isinstance(source, RecordedPairs):
                yield from zip(mine, _in_one_pass(source, frames), strict=True)
            else:
                yield from zip(mine, _one_by_one(source, frames), strict=True)

    def name(self, number: int) -> str:
        """Return the name of a frame without reading it."""
        source, frame = self.indices[number].tolist()
        return self.sources[source].frame_name(frame)


def open_frames(
    dataset: Dataset,
    paths: Sequence[Path],
    *,
    list_file: Path | None = None,
    overrides: Sequence[str] = (),
    choice: FrameChoice | None = None,
) -> Frames:
    """
    Open what is to be evaluated.

    Parameters
    ----------
    dataset : str
        What the paths are: recordings, RGB-D folders, or the folder of a benchmark.
    paths : sequence of Path
        May be empty for a training run, which knows its data.
    list_file : Path, optional
        Lines COLOUR DEPTH FOCAL, as the authors share their splits; for nyu_depth_v2_labeled.mat
        its splits.mat, or the numbers of frames, from 1, in a text file.
    overrides : sequence of str
        Settings of the data, 'data.image_topic=/camera/image_raw'.
    choice : FrameChoice, optional
        All frames if None.

    Raises
    ------
    EvaluationError
        Something is missing or contradicts itself, or no frame is left.
    RecordingError
        An input is unusable.
    ConfigError
        A setting is wrong.

    """
    choice = choice or FrameChoice()
    data, extracted = data_of_run(choice.run) if choice.run else ({}, Path())
    if paths:
        # In place of what the run was trained on; how it was read still holds.
        data = {name: value for name, value in data.items() if name not in _INPUTS}
    config = load_settings(DataSettings, {'data': data}, overrides).data
    wanted = None
    if paths and (dataset != 'bags' or choice.run is None):
        sources, wanted = _open(dataset, list(paths), list_file, config)
    elif choice.run is not None:
        sources = open_run(choice.run, extracted, paths, config)
    else:
        raise EvaluationError(
            'no frames are given; give recordings with --bags, or a data set with --dataset and '
            '--data'
        )
    chosen = [np.arange(len(source)) if wanted is None else wanted for source in sources]
    if choice.run is not None:
        chosen = held_out(choice.run, sources)
    part = slice(choice.start, choice.stop, choice.every)
    pairs = [
        np.stack([np.full(len(frames), number), frames], -1)
        for number, frames in enumerate(frames[part] for frames in chosen)
    ]
    indices = np.concatenate(pairs).astype(np.int64)
    if not len(indices):
        there = ', '.join(f'{source.report.name} has {len(source)}' for source in sources)
        raise EvaluationError(f'no frame is left to evaluate ({choice.description}): {there}')
    return Frames(sources, indices, choice.description)


def _in_one_pass(source: RecordedPairs, frames: list[int]) -> Iterator[RgbdSample | Exception]:
    """Yield frames of a recording, which are in their order."""
    waiting = iter(frames)
    for number, colour, truth in source.messages(frames):
        for missed in iter(lambda: next(waiting), number):
            yield RecordingError(f'{source.frame_name(missed)} can not be read')
        try:
            yield source.sample(number, colour, truth)
        except _UNUSABLE as error:
            yield error
    for missed in waiting:
        yield RecordingError(f'{source.frame_name(missed)} can not be read')


def _one_by_one(source: FrameSource, frames: list[int]) -> Iterator[RgbdSample | Exception]:
    for number in frames:
        try:
            yield source[number]
        except _UNUSABLE as error:
            yield error


def _open(
    dataset: Dataset, paths: list[Path], list_file: Path | None, config: SourceConfig
) -> tuple[list[FrameSource], NDArray[np.int64] | None]:
    """Open the sources; and which frames a list of numbers names."""
    if dataset in ('bags', 'folder') and list_file is not None:
        raise EvaluationError('--list is for --dataset nyu and --dataset kitti')
    if dataset == 'bags':
        return [survey(path, config) for path in paths], None
    if dataset == 'folder':
        return open_sources(config.model_copy(update={'folders': tuple(paths)})), None
    if len(paths) > 1:
        raise EvaluationError(f'--dataset {dataset} takes one folder, not {len(paths)}')
    (root,) = paths
    if dataset == 'nyu':
        return _open_nyu(root, list_file, config.every)
    if list_file is None:
        raise EvaluationError(
            'KITTI needs its list of frames, lines COLOUR DEPTH FOCAL such as the Eigen '
            "split's test files: give it with --list"
        )
    return open_sources(config.model_copy(update={'kitti': root, 'kitti_list': list_file})), None


def _open_nyu(
    root: Path, list_file: Path | None, every: int
) -> tuple[list[FrameSource], NDArray[np.int64] | None]:
    labelled = root / NYU_FILE if root.is_dir() else root
    if root.is_dir() and not labelled.is_file():
        if list_file is None:
            raise EvaluationError(
                f"{root} holds no {NYU_FILE}; for the authors' PNG files give their list with "
                '--list'
            )
        # Training leaves the border out; the metrics are of whole images with the Eigen crop.
        return [*read_list(root, list_file, replace(NYU, border=None), every)], None
    source = NyuLabelledSource(labelled, every, filled=False)
    if list_file is not None:
        return [source], _numbers(list_file, len(source))
    if len(source) > _NYU_TEST_FRAMES:
        source.report.remarks.append(
            f'all {len(source)} frames are evaluated; the published figures are of the '
            f'{_NYU_TEST_FRAMES} test frames: give splits.mat with --list'
        )
    return [source], None


def _numbers(file: Path, count: int) -> NDArray[np.int64]:
    """Return the frames, from 0, that splits.mat or a text file names, from 1."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise EvaluationError(f'the list {file} can not be read: {error.strerror}') from None
    if raw.startswith(b'MATLAB'):
        try:
            loadmat = import_module('scipy.io').loadmat
        except ImportError:
            raise EvaluationError(
                f'{file} needs scipy to be read: pip install scipy; or give the numbers of its '
                'testNdxs in a text file'
            ) from None
        numbers = np.asarray(loadmat(file)['testNdxs'], np.int64).ravel() - 1
    else:
        words = raw.decode('utf-8', errors='replace').split()
        wrong = [word for word in words if not re.fullmatch(r'\d+', word)]
        if wrong or not words:
            found = f'{wrong[0][:40]!r}' if wrong else 'nothing'
            raise EvaluationError(
                f'the list {file} holds {found}; expected splits.mat, or numbers of frames from 1'
            )
        numbers = np.array([int(word) for word in words], np.int64) - 1
    if numbers.min() < 0 or numbers.max() >= count:
        raise EvaluationError(
            f'the list {file} names frames {numbers.min() + 1}..{numbers.max() + 1}; there are '
            f'1..{count}'
        )
    return numbers

# SPDX-License-Identifier: Apache-2.0
"""Frames of any source as the tensors that the network trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import math
import os
from pathlib import PurePath
from typing import Any

from adabins_ros.frames import FrameSource, RecordingError, RgbdSample
from adabins_ros.freed_memory import keep_freed_memory
from adabins_ros.inference.input_size import inner_size
from adabins_ros.inference.resizing import bordered
from adabins_ros.model.config import IMAGENET_MEAN, IMAGENET_STD
from adabins_ros.training.augmentation import Augmentation
from adabins_ros.training.cropping import cut_out, Depth, Image, largest_box
import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch.utils.data import Dataset

# What damaged bytes raise in the decoders.
UNUSABLE = (ValueError, OSError, EOFError, cv2.error)


def source_name(source: FrameSource) -> str:
    """Return the name of the file or folder that a source comes from, without where that is."""
    return PurePath(source.report.name).name


class RgbdDataset(Dataset[dict[str, Any]]):
    """
    Frames at one size, with depth as the network is to say it.

    A frame that can't be used is counted and replaced by its nearest neighbour that can, always
    by the same one.

    Parameters
    ----------
    sources : sequence of FrameSource
        Where frames come from.
    indices : (N, 2) int
        Source and frame of each element, in time order.
    size : (int, int)
        Height and width, px.
    augmentation : Augmentation, optional
        None: the largest central part of the frame, unchanged.
    mean, std : (float, float, float)
        Of the network's input, RGB, 0..1.
    seed : int
        Of the augmentation; each frame's changes depend on it, the epoch and the frame alone.
    training_focal_length_px : float
        The focal length, in pixels at `size`, for which depth is in true metres.
    scale_unknown : sequence of str
        Names of sources whose depth has no scale.
    draws : mapping of str to float
        How often an epoch shows each frame of a source, by its name; 1 where nothing is said.
    borders : bool
        Whether wide images are seen with their border repeated, as inference shows them to such
        networks (`AdaBinsConfig.repeats_borders`); else they are cut.

    Attributes
    ----------
    draws : (N,) float64
        How often an epoch shows each element.
    epoch : int
        Chooses the augmentation's changes; whoever draws the frames sets it.
    unusable_marks : (N,) uint8 tensor
        1 for the frames that were found unusable; shared with worker processes.

    """

    def __init__(
        self,
        sources: Sequence[FrameSource],
        indices: NDArray[np.int64] | Sequence[tuple[int, int]],
        size: tuple[int, int],
        augmentation: Augmentation | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        seed: int = 0,
        training_focal_length_px: float = 518.86,
        scale_unknown: Sequence[str] = (),
        draws: Mapping[str, float] | None = None,
        borders: bool = False,
    ) -> None:
        self.sources = list(sources)
        self.indices = np.asarray(indices, np.int64).reshape(-1, 2)
        self.size = (int(size[0]), int(size[1]))
        self.augmentation = augmentation
        self.seed = seed
        self.borders = borders
        self.training_focal_length_px = training_focal_length_px
        names = [source_name(source) for source in sources]
        by_source = np.array([(draws or {}).get(name, 1.0) for name in names], np.float64)
        self.draws = by_source[self.indices[:, 0]]
        self._scale_known = [name not in scale_unknown for name in names]
        self._factor = (1 / (255 * np.asarray(std))).astype(np.float32)[:, None, None]
        self._bias = (-np.asarray(mean) / np.asarray(std)).astype(np.float32)[:, None, None]
        marks = torch.zeros(max(len(self.indices), 1), dtype=torch.uint8)
        self.unusable_marks = marks.share_memory_()
        self.epoch = 0
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Return one element.

        Returns
        -------
        dict
            image (3, h, w) float32, normalised; depth (1, h, w) float32, true metres times
            focal_scale, 0 unknown; focal_scale () float32: the training focal length over the
            frame's at this size; scale_known () bool; name str; index int.

        Raises
        ------
        RecordingError
            No frame at all can be used.

        """
        if self._process != os.getpid():
            self._process = os.getpid()
            cv2.setNumThreads(0)  # a worker: OpenCV's threads do not outlive a fork
            keep_freed_memory()
        sample = self._usable(index)
        image, depth, focal = self._fitted(sample, index)
        scale = self.training_focal_length_px / focal
        normal = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32)
        normal *= self._factor
        normal += self._bias
        return {
            'image': torch.from_numpy(normal),
            'depth': torch.from_numpy(depth * np.float32(scale))[None],
            'focal_scale': torch.tensor(scale, dtype=torch.float32),
            'scale_known': torch.tensor(self._scale_known[self.indices[index, 0]]),
            'name': sample.name,
            'index': index,
        }

    def set_epoch(self, epoch: int) -> None:
        """Let the augmentation make the changes of this epoch."""
        self.epoch = epoch

    def sample(self, index: int) -> RgbdSample:
        """Return a frame as it was recorded; raises what its source raises."""
        source, frame = self.indices[index].tolist()
        return self.sources[source][frame]

    def name(self, index: int) -> str:
        """Return the name of a frame without reading it."""
        source, frame = self.indices[index].tolist()
        return self.sources[source].frame_name(frame)

    def unusable_frames(self) -> list[str]:
        """Return the frames that were replaced so far, in any worker, with the reasons."""
        found = []
        for index in torch.nonzero(self.unusable_marks).flatten().tolist():
            try:
                self.sample(index)
                found.append(f'{self.name(index)}: was unusable once')
            except UNUSABLE as error:
                found.append(f'{self.name(index)}: {error}')
        return found

    def _usable(self, index: int) -> RgbdSample:
        reason: Exception | None = None
        for candidate in self._neighbours(index):
            try:
                if not self.unusable_marks[candidate]:
                    return self.sample(candidate)
            except UNUSABLE as error:
                self.unusable_marks[candidate] = 1
                reason = reason or error
        if reason is None:  # all were found unusable earlier
            try:
                return self.sample(index)
            except UNUSABLE as error:
                reason = error
        raise RecordingError(
            f'none of the {len(self)} frames can be used; {self.name(index)}: {reason}'
        ) from reason

    def _neighbours(self, index: int) -> Iterator[int]:
        yield index
        for step in range(1, len(self)):
            for candidate in (index + step, index - step):
                if 0 <= candidate < len(self):
                    yield candidate

    def _fitted(self, sample: RgbdSample, index: int) -> tuple[Image, Depth, float]:
        """Return image and depth at the network's size, and fx there, px."""
        focal = sample.focal_length_px
        if not math.isfinite(focal):  # taken to be that of the training for the whole frame
            focal = self.training_focal_length_px * sample.image.shape[1] / self.size[1]
        if self.augmentation is None:
            shape = sample.image.shape
            inner = inner_size((shape[0], shape[1]), self.size) if self.borders else self.size
            box = largest_box(shape[:2], inner)
            image, depth = cut_out(sample.image, sample.depth, box, inner)
            depth = bordered(depth, self.size[0], cv2.BORDER_CONSTANT)
            return bordered(image, self.size[0]), depth, focal * self.size[1] / box.width
        rng = np.random.default_rng((self.seed, self.epoch, index))
        image, depth, zoom = self.augmentation(
            sample.image, sample.depth, self.size, rng, borders=self.borders
        )
        return image, depth, focal * zoom

# SPDX-License-Identifier: Apache-2.0
"""Frames of an RGB-D folder."""

from __future__ import annotations

import os

from adabins_ros.bags import RgbdFolder
from adabins_ros.datasets.samples import RgbdSample, SourceReport
import numpy as np


class FolderSource:
    """
    Colour images with true depth from rgb/, depth/ and camera.json.

    Parameters
    ----------
    path : path
        As RgbdFolder takes it.
    every : int
        Take every so many-th frame.

    Raises
    ------
    RecordingError
        What is missing or wrong, by file.

    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self._folder = RgbdFolder(path)
        self._frames = self._folder.frames[::every]
        self.name = self._folder.path.name
        self.stamps_ns = np.array([frame.stamp_ns for frame in self._frames], np.int64)
        self.report = SourceReport(str(self._folder.path), 'folder', frames=len(self._frames))

    def __len__(self) -> int:
        return len(self._frames)

    def frame_name(self, index: int) -> str:
        """Return folder and file name of a frame."""
        return f'{self.name}/{self._frames[index].stem}'

    def __getitem__(self, index: int) -> RgbdSample:
        frame = self._frames[index]
        image, depth = self._folder.colour(frame), self._folder.depth_m(frame)
        return RgbdSample(image, depth, frame.camera.fx, self.frame_name(index), self.name)

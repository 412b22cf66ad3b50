# SPDX-License-Identifier: Apache-2.0
"""Frames of an RGB-D folder, as training and evaluation take them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .errors import RecordingError
from .rgbd_folder import ORIGIN, read_object, RgbdFolder
from .samples import RgbdSample, SourceReport


class FolderSource:
    """
    Frames of an RGB-D folder, for training and evaluation (a FrameSource).

    Parameters
    ----------
    path : path
        As RgbdFolder takes it.
    every : int
        Take every so many-th frame.
    recording : bool
        Stand for the recording that the folder was extracted from: its name, its topics, and what
        was found in it.

    Raises
    ------
    RecordingError
        What is missing or wrong, by file.

    """

    def __init__(
        self, path: str | os.PathLike[str], every: int = 1, *, recording: bool = False
    ) -> None:
        self._folder = RgbdFolder(path)
        self._frames = self._folder.frames[::every]
        self.name = self._folder.path.name
        self.stamps_ns = np.array([frame.stamp_ns for frame in self._frames], np.int64)
        self.report = SourceReport(str(self._folder.path), 'folder', frames=len(self._frames))
        self._of_recording = recording
        if recording:
            origin = read_object(self._folder.path / ORIGIN)
            self.name = Path(str(origin['recording'])).stem
            self.report = SourceReport(
                str(origin['recording']),
                'bag',
                str(origin['topics']),
                len(self._frames),
                [str(remark) for remark in origin['remarks']],
                tuple(float(offset) for offset in origin['offset_ms']),
            )

    def __len__(self) -> int:
        return len(self._frames)

    def frame_name(self, index: int) -> str:
        """Return folder and file name of a frame, or recording and stamp."""
        if self._of_recording:
            return f'{self.name}@{int(self.stamps_ns[index])}'
        return f'{self.name}/{self._frames[index].stem}'

    def __getitem__(self, index: int) -> RgbdSample:
        frame = self._frames[index]
        image, depth = self._folder.colour(frame), self._folder.depth_m(frame)
        if depth.shape != image.shape[:2]:
            raise RecordingError(
                f'{frame.depth} is {depth.shape[1]}x{depth.shape[0]}, its picture '
                f'{image.shape[1]}x{image.shape[0]}'
            )
        focal = float(np.nan) if frame.camera is None else frame.camera.fx
        return RgbdSample(image, depth, focal, self.frame_name(index), self.name, frame.camera)

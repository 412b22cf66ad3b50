# SPDX-License-Identifier: Apache-2.0
"""The 1449 labelled frames of NYU Depth v2, from nyu_depth_v2_labeled.mat."""

from __future__ import annotations

from importlib import import_module
import os
from pathlib import Path
from typing import Any

import numpy as np

from .errors import RecordingError
from .samples import RgbdSample, SourceReport

# The colour camera of the data set's toolbox, px.
FOCAL_LENGTH_PX = 518.8579
_STEP_NS = 1_000_000_000


class NyuLabelledSource:
    """
    Frames with the depth that the authors filled in, or as it was measured.

    Parameters
    ----------
    path : path
        nyu_depth_v2_labeled.mat (HDF5, 2.8 GB); read frame by frame. Needs h5py.
    every : int
        Take every so many-th frame.
    filled : bool
        False: as measured, 0 where the sensor saw nothing; papers evaluate on this.

    Raises
    ------
    RecordingError
        h5py is missing, or the file is not this one.

    """

    def __init__(
        self, path: str | os.PathLike[str], every: int = 1, *, filled: bool = True
    ) -> None:
        self._path = Path(path)
        self._depths = 'depths' if filled else 'rawDepths'
        self._file: Any = None
        self._process = os.getpid()
        try:
            images, depths = self._arrays()
            if images.ndim != 4 or depths.ndim != 3 or len(images) != len(depths):
                raise KeyError('images')
            self._numbers = np.arange(len(images))[::every]
        except (OSError, KeyError) as error:
            raise RecordingError(
                f'{self._path} is not nyu_depth_v2_labeled.mat, or damaged: {error}'
            ) from None
        self._close()
        self.name = self._path.stem
        # Sorted by scene: far numbers are other scenes.
        self.stamps_ns = self._numbers.astype(np.int64) * _STEP_NS
        self.report = SourceReport(str(self._path), 'NYU Depth v2', frames=len(self._numbers))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return {**self.__dict__, '_file': None}

    def __len__(self) -> int:
        return len(self._numbers)

    def frame_name(self, index: int) -> str:
        """Return the number of a frame in the file, from 0."""
        return f'{self.name}/{int(self._numbers[index]):04}'

    def __getitem__(self, index: int) -> RgbdSample:
        number = int(self._numbers[index])
        images, depths = self._arrays()
        # MATLAB stores columns first.
        image = np.ascontiguousarray(images[number].transpose(2, 1, 0), np.uint8)
        depth = np.ascontiguousarray(depths[number].T, np.float32)
        return RgbdSample(image, depth, FOCAL_LENGTH_PX, self.frame_name(index), self.name)

    def _arrays(self) -> tuple[Any, Any]:
        if self._process != os.getpid():
            self._file, self._process = None, os.getpid()
        if self._file is None:
            try:
                h5py = import_module('h5py')
            except ImportError:
                raise RecordingError(
                    f'{self._path} needs h5py to be read; `pip install h5py`, or give the '
                    "authors' PNG files with data.nyu_list"
                ) from None
            self._file = h5py.File(self._path, 'r')
        return self._file['images'], self._file[self._depths]

    def _close(self) -> None:
        self._file.close()
        self._file = None

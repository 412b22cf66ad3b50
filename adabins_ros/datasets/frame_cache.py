# SPDX-License-Identifier: Apache-2.0
"""Decoded frames kept in a folder, for recordings that are slow to decode."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
import tempfile
from typing import Any
from zipfile import BadZipFile

from adabins_ros.datasets.samples import FrameSource, RgbdSample
import numpy as np


class CachedSource:
    """
    A source whose frames are written to a folder when they are first read.

    Parameters
    ----------
    source : FrameSource
        What is read once.
    folder : Path
        Made where it is missing. A frame takes its raw size: 2.1 MB at 640x480.
    settings : str
        Whatever else the frames depend on; other settings have a cache of their own.

    """

    def __init__(self, source: FrameSource, folder: Path, settings: str = '') -> None:
        self._source = source
        self.name, self.stamps_ns, self.report = source.name, source.stamps_ns, source.report
        self._folder = folder / f'{_safe(source.name)}-{_key(source, settings)}'
        self._folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self._source)

    def frame_name(self, index: int) -> str:
        """Return the source's name of a frame."""
        return self._source.frame_name(index)

    def __getitem__(self, index: int) -> RgbdSample:
        file = self._folder / f'{int(self.stamps_ns[index])}-{index}.npz'
        try:
            with np.load(file) as found:
                image, depth, focal = found['image'], found['depth'], float(found['focal'])
            return RgbdSample(image, depth, focal, self.frame_name(index), self.name)
        except (OSError, ValueError, KeyError, BadZipFile):
            sample = self._source[index]
        _write(file, image=sample.image, depth=sample.depth, focal=sample.focal_length_px)
        return sample


def _write(file: Path, **arrays: Any) -> None:
    """Write a file that is whole whenever it is there."""
    handle, name = tempfile.mkstemp(dir=file.parent, suffix='.unfinished')
    try:
        with os.fdopen(handle, 'wb') as unfinished:
            np.savez(unfinished, **arrays)
        Path(name).replace(file)
    except OSError:  # a full disk: go on without the cache
        Path(name).unlink(missing_ok=True)


def _key(source: FrameSource, settings: str) -> str:
    """Return what changes with the recording and with the choice of its topics."""
    path = Path(source.report.name)
    words = [str(path.resolve()), source.report.kind, source.report.topics, settings]
    if path.exists():
        words.append(str(path.stat().st_mtime_ns))
    return hashlib.sha256('\n'.join(words).encode()).hexdigest()[:16]


def _safe(name: str) -> str:
    return ''.join(letter if letter.isalnum() else '_' for letter in name)[:60]

# SPDX-License-Identifier: Apache-2.0
"""Frames of one recording."""

from __future__ import annotations

import os
from pathlib import Path

from adabins_ros.bags import RecordingError
from adabins_ros.bags.bag_index import BagIndex, index_bag
from adabins_ros.bags.frames import decode_colour
from adabins_ros.datasets.bag_cameras import BagCameras
from adabins_ros.datasets.bag_topics import choose_streams
from adabins_ros.datasets.config import SourceConfig
from adabins_ros.datasets.samples import RgbdSample, SourceReport
from adabins_ros.datasets.stream_pairs import pair_streams
import numpy as np

_MOST_PLACES = 5


class BagSource:
    """
    Colour images of a recording with their true depth.

    Parameters
    ----------
    path : path
        As `open_recording` takes it.
    config : SourceConfig
        Topics, tolerance, alignment and so on.

    Attributes
    ----------
    name : str
    stamps_ns : (N,) int64
        Header stamps of the colour images, ns.
    report : SourceReport

    Raises
    ------
    RecordingError
        Damage, no colour image, no truth, no calibration, no pair.

    """

    def __init__(self, path: str | os.PathLike[str], config: SourceConfig | None = None) -> None:
        config = config or SourceConfig()
        self.path = Path(path)
        self.name = self.path.stem
        self._index: BagIndex = index_bag(self.path, salvage=config.salvage)
        streams = choose_streams(self._index, config)
        self._image = streams.image
        self._cameras: BagCameras = streams.cameras
        self._truth = streams.truth
        try:
            pairs = pair_streams(
                (streams.image, self._index.stamps_ns(streams.image)),
                (streams.truth.topic, self._index.stamps_ns(streams.truth.topic)),
                config.tolerance_ms,
                config.time_offset_ms,
                (self._index.log_ns(streams.image), self._index.log_ns(streams.truth.topic)),
            )
        except RecordingError as error:
            raise RecordingError(f'{self.path}: {error}') from None
        self._first = pairs.first[:: config.every]
        self._second = pairs.second[:: config.every]
        self.stamps_ns = pairs.stamps_ns[:: config.every]
        self.report = SourceReport(
            str(self.path),
            'bag',
            streams.description,
            len(self),
            [*_some(self._index.damage), *streams.remarks, *pairs.remarks],
            pairs.offset_ms,
        )
        self._index.keep({streams.image, streams.truth.topic})
        self._index.close()

    def __len__(self) -> int:
        return int(self._first.size)

    def frame_name(self, index: int) -> str:
        """Return recording and stamp of a frame."""
        return f'{self.name}@{int(self.stamps_ns[index])}'

    def __getitem__(self, index: int) -> RgbdSample:
        stamp = int(self.stamps_ns[index])
        image = decode_colour(self._index.message(self._image, int(self._first[index])))
        height, width = image.shape[:2]
        camera = self._cameras.at(stamp, width, height)
        depth = self._truth.depth(self._index, int(self._second[index]), (height, width), camera)
        focal = camera.fx if camera is not None else float(np.nan)
        return RgbdSample(image, depth, focal, self.frame_name(index), self.name)


def _some(damage: list[str]) -> list[str]:
    """Return the first places that are damaged, and how many there are more."""
    more = len(damage) - _MOST_PLACES
    return damage[:_MOST_PLACES] + ([f'and {more} more such places'] if more > 0 else [])

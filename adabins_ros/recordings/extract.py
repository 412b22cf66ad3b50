# SPDX-License-Identifier: Apache-2.0
"""Recordings become RGB-D folders, once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import os
from pathlib import Path
from typing import Any

from adabins_ros.camera_topics import COMPRESSED_IMAGE
from adabins_ros.frames.config import SourceConfig
from adabins_ros.frames.errors import RecordingError
from adabins_ros.frames.rgbd_folder import camera_fields, ORIGIN, read_object
from adabins_ros.geometry.depth_encoding import millimetres
from adabins_ros.messages.depth_png import encode_depth_png
from adabins_ros.messages.fields import data_bytes
from adabins_ros.messages.still_pictures import encode_picture, picture_kind
from adabins_ros.whole_files import unfinished_folder
import cv2
import numpy as np
from numpy.typing import NDArray

from .frame_table import FrameRow, rows_of, thinned, write_json, write_table
from .recorded_message import RecordedMessage
from .recorded_pairs import RecordedPairs
from .truth import UNUSABLE

Progress = Callable[[str, int, int], None]
"""Is told the recording's name, how many of its pairs are done, and how many there are."""

FORMAT = 'adabins_ros frames 1'
# What frames depend on, beside the recording itself.
_SETTINGS = {
    'image_topic',
    'camera_info_topic',
    'depth_topic',
    'depth_camera_info_topic',
    'lidar_topic',
    'alignment',
    'tolerance_ms',
    'time_offset_ms',
    'horizontal_fov_deg',
    'salvage',
}
# A lossless PNG takes 15 times as long to write and 5 times as long to read.
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 98)
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_DEPTH_PNG_LEVEL = 1
# Where there is more than millimetres in 16 bits say: KITTI's unit reaches to 256 m.
_FAR_UNITS, _UNITS = 256, 1000
_WORKERS = max(2, min(4, os.cpu_count() or 2))
_PARTS = ('.bag', '.mcap', '.db3', '-wal', '.zstd', '.yaml')


def extract_frames(
    bags: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    config: SourceConfig | None = None,
    *,
    rate: float | None = None,
    lossless: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """
    Write the usable pairs of recordings as RGB-D folders below `output`, one per recording.

    A folder holds rgb/, depth/, camera.json (cameras.json where the camera changed), frames.csv
    (stem, stamp_ns, offset_ms, used, reason of each pair; one that can't be used is named there
    and left out) and recording.json (what it was made from, and remarks). It is written under a
    hidden name and gets its own when it is whole. One that is there is used again if it was made
    from the same files (path, size, time) with the same settings; else a new one is written beside
    it. What a JPEG or PNG holds is kept byte for byte; raw images become JPEG of quality 98.

    Parameters
    ----------
    bags : sequence of path
        As `open_recording` takes them.
    output : path
        Made where it is missing.
    config : SourceConfig, optional
        Topics, tolerance, alignment, salvage and so on; `every` counts when frames are opened.
    rate : float, optional
        At most so many pairs a second of the recording; all by default.
    lossless : bool
        Raw images become PNG: slower, and four times as large.
    progress : callable, optional
        See Progress; called from this thread.

    Returns
    -------
    list of Path
        The folders, in the order of the recordings.

    Raises
    ------
    RecordingError
        A recording is unusable, or the disk is full; nothing half-written stays.

    """
    config = config or SourceConfig()
    if rate is not None and not 0 < rate < float('inf'):
        raise RecordingError(f'the rate must be positive, not {rate:g} Hz')
    return [
        _Extraction(Path(bag), Path(output), config, rate, lossless).folder(progress)
        for bag in bags
    ]


class _Extraction:
    """One recording on its way into a folder."""

    def __init__(
        self, bag: Path, output: Path, config: SourceConfig, rate: float | None, lossless: bool
    ) -> None:
        self._bag = bag
        self._output = output
        self._config = config
        self._rate = rate
        self._suffix = '.png' if lossless else '.jpg'
        if bag.is_dir() and output.resolve().is_relative_to(bag.resolve()):
            raise RecordingError(
                f'{output} lies in the recording {bag}, where nothing is written; choose another '
                'folder'
            )
        self._origin: dict[str, Any] = {
            'format': FORMAT,
            'files': _files(bag),
            'settings': {
                **config.model_dump(mode='json', include=_SETTINGS),
                'rate': rate,
                'lossless': lossless,
            },
        }

    def folder(self, progress: Progress | None) -> Path:
        """Return the folder with the frames; write it where there is none."""
        path, is_there = self._place()
        if is_there:
            return path
        pairs = RecordedPairs(self._bag, self._config.model_copy(update={'every': 1}))
        try:
            with unfinished_folder(self._output / self._bag.stem) as folder:
                rows = self._write(pairs, folder, progress)
                units = self._units(pairs)
                more = {} if units == _UNITS else {'depth_units_per_metre': units}
                write_table(folder, rows, **more)
                unused = sum(1 for row in rows if row.reason)
                remarks = list(pairs.report.remarks)
                if unused:
                    first = next(row for row in rows if row.reason)
                    remarks.append(
                        f'{unused} of {len(rows)} frames were left out, such as {first.stem}: '
                        f'{first.reason}'
                    )
                found = {
                    'recording': str(self._bag),
                    'topics': pairs.report.topics,
                    'remarks': remarks,
                    'offset_ms': list(pairs.report.offset_ms),
                }
                write_json(folder / ORIGIN, {**self._origin, **found})
                return self._finish(folder, path)
        except OSError as error:
            raise RecordingError(f'{path} can not be written: {error.strerror}') from None

    def _place(self) -> tuple[Path, bool]:
        """Return the folder to use, and whether it is there; one of other contents is left."""
        for number in range(1, 10_000):
            name = self._bag.stem if number == 1 else f'{self._bag.stem}-{number}'
            path = self._output / name
            if not os.path.lexists(path):
                return path, False
            if self._is_same(path):
                return path, True
        raise RecordingError(f'{self._output} holds too many folders named {self._bag.stem}')

    def _is_same(self, path: Path) -> bool:
        try:
            found = read_object(path / ORIGIN)
        except RecordingError:
            return False
        return all(found.get(name) == value for name, value in self._origin.items())

    def _finish(self, folder: Path, path: Path) -> Path:
        while True:
            try:
                folder.rename(path)
                return path
            except OSError:
                if not os.path.lexists(path):
                    raise
            # Another process was faster.
            path, is_there = self._place()
            if is_there:
                return path

    def _write(
        self, pairs: RecordedPairs, folder: Path, progress: Progress | None
    ) -> list[FrameRow]:
        rows = rows_of(pairs)
        chosen = thinned(pairs.stamps_ns, self._rate)
        units = self._units(pairs)
        for name in ('rgb', 'depth'):
            (folder / name).mkdir()

        def write(number: int, colour: RecordedMessage, truth: RecordedMessage) -> None:
            row = rows[number]
            try:
                sample = pairs.sample(number, colour, truth)
            except UNUSABLE as error:
                row.reason = str(error)
                return
            suffix, data = self._picture(colour, sample.image)
            (folder / 'rgb' / f'{row.stem}{suffix}').write_bytes(data)
            depth = encode_depth_png(_encoded(sample.depth, units), _DEPTH_PNG_LEVEL)
            (folder / 'depth' / f'{row.stem}.png').write_bytes(depth)
            height, width = sample.depth.shape
            row.camera = camera_fields(sample.camera, width, height)

        done = 0
        with ThreadPoolExecutor(_WORKERS) as pool:
            for _ in _in_turn(pool, write, pairs.messages(chosen)):
                done += 1
                if progress is not None:
                    progress(pairs.name, done, len(chosen))
        rows = [rows[number] for number in chosen]
        for row in rows:
            if row.camera is None and not row.reason:
                row.reason = 'it can not be read'
        if all(row.reason for row in rows):
            raise RecordingError(
                f'{self._bag}: none of the {len(rows)} frames can be used; the first: '
                f'{rows[0].reason}'
            )
        return rows

    def _picture(
        self, colour: RecordedMessage, image: NDArray[np.uint8]
    ) -> tuple[str, bytes | memoryview]:
        """Return suffix and bytes of the file: as they were recorded where that can be."""
        if colour.msgtype == COMPRESSED_IMAGE:
            data = data_bytes(colour.decode().data)
            kind = picture_kind(data)
            if kind == 'jpeg' or (kind == 'png' and _is_plain_png(data)):
                return ('.jpg' if kind == 'jpeg' else '.png'), data.data
        options = _JPEG if self._suffix == '.jpg' else _PNG
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return self._suffix, encode_picture(bgr, self._suffix, *options).data

    def _units(self, pairs: RecordedPairs) -> int:
        truth = pairs.streams.truth
        return _FAR_UNITS if truth.kind == 'lidar' or truth.far else _UNITS


def _files(bag: Path) -> list[list[Any]]:
    """Return path, size and time of each file of a recording, write-ahead logs included."""
    near = bag.iterdir() if bag.is_dir() else (bag, bag.with_name(f'{bag.name}-wal'))
    files = sorted(x.resolve() for x in near if x.is_file() and x.name.endswith(_PARTS))
    times = [(file, file.stat()) for file in files]
    return [[str(file), found.st_size, found.st_mtime_ns] for file, found in times]


def _encoded(depth: NDArray[np.float32], units: int) -> NDArray[np.uint16]:
    return millimetres(depth if units == _UNITS else depth * np.float32(units / _UNITS))


def _is_plain_png(data: NDArray[np.uint8]) -> bool:
    """Tell whether a PNG has 8 bits a channel and no palette, as its header says."""
    return data.size > 25 and int(data[24]) == 8 and int(data[25]) in (0, 2, 6)


def _in_turn(
    pool: ThreadPoolExecutor, work: Callable[..., None], items: Iterator[tuple[Any, ...]]
) -> Iterator[None]:
    """Do work in threads, a few items ahead; raises what the work raises."""
    waiting: deque[Future[None]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, *item))
            if len(waiting) > 2 * _WORKERS:
                waiting.popleft().result()
                yield
        while waiting:
            waiting.popleft().result()
            yield
    finally:
        for future in waiting:
            future.cancel()

# SPDX-License-Identifier: Apache-2.0
"""
Frames named by a list of files, as the authors of depth networks share their splits.

A line holds COLOUR DEPTH FOCAL: two paths below the data's folder and fx in pixels. NYU Depth v2
has a depth in 1/1000 m, KITTI (the Eigen split) one in 1/256 m and lines without depth ('None').
Each folder of colour images, a scene or a drive, becomes a source of its own, so that no split
divides neighbouring frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re

from adabins_ros.messages.images import to_rgb
import numpy as np

from .errors import RecordingError
from .rgbd_folder import read_picture
from .samples import RgbdSample, SourceReport

_NO_DEPTH = 'None'
# Frames of a list carry no times; KITTI records ten a second, and NYU's lists take such steps.
_RATE_HZ = 10


@dataclass(frozen=True)
class ListFormat:
    """
    How a data set stores its frames.

    Attributes
    ----------
    name : str
    units_per_metre : float
        Of the depth PNGs.
    depth_folders : tuple of str
        Where, below the data's folder, the depth may lie.
    border : (int, int, int, int) or None
        Left, top, right, bottom of the part that holds a picture; the rest is left out.
    bottom_centre : (int, int) or None
        Height and width of the part at the bottom to take.

    """

    name: str
    units_per_metre: float
    depth_folders: tuple[str, ...] = ('',)
    border: tuple[int, int, int, int] | None = None
    bottom_centre: tuple[int, int] | None = None


NYU = ListFormat('NYU Depth v2', 1000, border=(43, 45, 608, 472))
_ANNOTATED = 'data_depth_annotated'
KITTI = ListFormat(
    'KITTI',
    256,
    ('', 'train', 'val', _ANNOTATED, f'{_ANNOTATED}/train', f'{_ANNOTATED}/val'),
    bottom_centre=(352, 1216),
)


@dataclass(frozen=True)
class ListedFrame:
    """One line of a list, resolved."""

    image: Path
    depth: Path
    focal_length_px: float


def read_list(root: Path, file: Path, form: ListFormat, every: int = 1) -> list[ListSource]:
    """
    Return the sources that a list names, in the order of their folders.

    Parameters
    ----------
    root : Path
        The folder that the paths of the list start from.
    file : Path
        The list.
    form : ListFormat
        NYU or KITTI.
    every : int
        Take every so many-th frame.

    Raises
    ------
    RecordingError
        The list can't be read, a line is malformed, or no frame of it is there.

    """
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f'the list {file} can not be read: {error}') from None
    frames: dict[Path, list[ListedFrame]] = {}
    without_depth, absent = 0, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != 3 or not re.fullmatch(r'\d+(\.\d+)?', words[2]):
            raise RecordingError(
                f'{file} line {number} is {line[:60]!r}; expected COLOUR DEPTH FOCAL'
            )
        image = root / words[0].lstrip('/')
        depth = _existing_depth(root, words[1].lstrip('/'), form)
        if words[1] == _NO_DEPTH:
            without_depth += 1
        elif depth is None or not image.is_file():
            absent.append(words[0] if not image.is_file() else words[1])
        else:
            frames.setdefault(image.parent, []).append(ListedFrame(image, depth, float(words[2])))
    if not frames:
        missing = f'; {absent[0]} is not below {root}' if absent else ''
        raise RecordingError(f'{file} names no frame that is there{missing}')
    sources = [
        ListSource(root, _in_order(found)[::every], form) for _, found in sorted(frames.items())
    ]
    remarks = sources[0].report.remarks
    if without_depth:
        remarks.append(f'{without_depth} lines of {file.name} have no depth')
    if absent:
        remarks.append(f'{len(absent)} frames of {file.name} are not there, such as {absent[0]}')
    return sources


class ListSource:
    """Frames of one folder of a list; made by `read_list`."""

    def __init__(self, root: Path, frames: list[ListedFrame], form: ListFormat) -> None:
        self._frames, self._form = frames, form
        folder = frames[0].image.parent
        self.name = str(folder.relative_to(root)) if folder != root else root.name
        self.stamps_ns = np.array([_number(frame.image) for frame in frames], np.int64)
        self.stamps_ns *= 1_000_000_000 // _RATE_HZ
        self.report = SourceReport(self.name, form.name, frames=len(frames))

    def __len__(self) -> int:
        return len(self._frames)

    def frame_name(self, index: int) -> str:
        """Return folder and file name of a frame."""
        return f'{self.name}/{self._frames[index].image.stem}'

    def __getitem__(self, index: int) -> RgbdSample:
        frame = self._frames[index]
        picture = read_picture(frame.image)
        if picture.dtype != np.uint8 or picture.ndim != 3:
            raise RecordingError(f'{frame.image} is no 8-bit colour picture')
        image = to_rgb(picture[..., :3], 'bgr8')
        raw = read_picture(frame.depth)
        if raw.ndim != 2 or raw.dtype != np.uint16 or raw.shape != image.shape[:2]:
            raise RecordingError(
                f'{frame.depth} is {raw.dtype} {raw.shape}; expected uint16 {image.shape[:2]}'
            )
        depth = raw / np.float32(self._form.units_per_metre)
        rows, columns = _part(image.shape[:2], self._form)
        return RgbdSample(
            image[rows, columns],
            depth[rows, columns],
            frame.focal_length_px,
            self.frame_name(index),
            self.name,
        )


def _existing_depth(root: Path, name: str, form: ListFormat) -> Path | None:
    for folder in form.depth_folders:
        path = root / folder / name
        if path.is_file():
            return path
    return None


def _in_order(frames: list[ListedFrame]) -> list[ListedFrame]:
    return sorted(frames, key=lambda frame: (_number(frame.image), frame.image.name))


def _number(path: Path) -> int:
    """Return the last number of a file name, as in rgb_00045.jpg."""
    digits = re.findall(r'\d+', path.stem)
    return int(digits[-1]) % 2**30 if digits else 0


def _part(size: tuple[int, int], form: ListFormat) -> tuple[slice, slice]:
    """Return the rows and columns that hold a picture with depth."""
    height, width = size
    if form.border is not None and size == (480, 640):
        left, top, right, bottom = form.border
        return slice(top, bottom), slice(left, right)
    if form.bottom_centre is not None:
        tall, wide = min(height, form.bottom_centre[0]), min(width, form.bottom_centre[1])
        left = (width - wide) // 2
        return slice(height - tall, height), slice(left, left + wide)
    return slice(None), slice(None)

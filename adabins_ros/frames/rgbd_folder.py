# SPDX-License-Identifier: Apache-2.0
"""RGB-D folders: rgb/, depth/, camera.json, and what extraction writes beside them."""

from __future__ import annotations

from collections.abc import Mapping
import csv
from dataclasses import dataclass
import json
import os
from pathlib import Path
import re
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.depth_encoding import millimetres
from adabins_ros.messages import MessageError
from adabins_ros.messages.images import to_rgb
from adabins_ros.messages.still_pictures import decode_picture
import numpy as np
from numpy.typing import NDArray

from .errors import RecordingError

DEFAULT_RATE_HZ = 10.0
FRAME_TABLE = 'frames.csv'
"""Names stem, stamp_ns, offset_ms, used and reason of each pair that was extracted."""
ORIGIN = 'recording.json'
"""What an extracted folder was made from, and what is worth knowing about it."""
# Where file names hold no times a recording starts here (2023-11-14 22:13:20 UTC): the same
# folder gives the same recording, and no stamp is 0, which means "not set".
_START_NS = 1_700_000_000_000_000_000
_EARLIEST_S = 1e8
_SUFFIXES = ('.png', '.jpg', '.jpeg')
_CAMERA = ('width', 'height', 'fx', 'fy', 'cx', 'cy')


@dataclass(frozen=True)
class FolderFrame:
    """
    One frame of a folder.

    Attributes
    ----------
    stem : str
        The file's name without suffix.
    colour, depth : Path
    camera : PinholeCamera or None
        None where the folder says that it is not known (fx null).
    stamp_ns : int

    """

    stem: str
    colour: Path
    depth: Path
    camera: PinholeCamera | None
    stamp_ns: int


def is_rgbd_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether something that may be a recording is a folder of frames."""
    return (Path(path) / 'rgb').is_dir()


class RgbdFolder:
    """
    A folder of RGB-D frames.

    `rgb/STEM.(jpg|png)` and `depth/STEM.png` (uint16, 0 unknown) make a frame. `camera.json` holds
    fx, fy, cx, cy, width, height (px, integer pixel centres), optionally distortion_model and
    distortion, depth_units_per_metre (default 1000) and fps; `cameras.json` holds the same by
    stem. Stamps are those of `frames.csv` where it names every frame; else a file name that is a
    time in seconds since 1970; else frames follow each other at `fps`, or at 10 Hz.

    Parameters
    ----------
    path : path
    rate_hz : float, optional
        Let frames follow each other at this rate, whatever the folder says.

    Attributes
    ----------
    frames : list of FolderFrame
        In the order of their names.
    depth_units_per_metre : float

    Raises
    ------
    RecordingError
        What is missing or wrong, by file.

    """

    def __init__(self, path: str | os.PathLike[str], rate_hz: float | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise RecordingError(f'{self.path} is no folder; expected rgb/, depth/, camera.json')
        if rate_hz is not None and not 0 < rate_hz < 1e6:
            raise RecordingError(f'the rate must be positive, not {rate_hz:g} Hz')
        colour, depth = self._files('rgb'), self._files('depth')
        stems = sorted(colour.keys() & depth.keys(), key=_natural)
        if not stems:
            raise RecordingError(
                f'{self.path} has no frame: {len(colour)} pictures in rgb/ and {len(depth)} in '
                'depth/ have no name in common'
            )
        cameras = self._cameras(stems)
        try:
            stamps = np.array(self._stamps(stems, rate_hz), np.int64).tolist()
        except OverflowError:
            raise RecordingError(
                f'{self.path}: the times of its frames, in ns, need more than 64 bits; look at '
                f'{FRAME_TABLE}, the names of its files and the rate'
            ) from None
        self.frames = [
            FolderFrame(stem, colour[stem], depth[stem], cameras[stem], stamp)
            for stem, stamp in zip(stems, stamps, strict=True)
        ]

    def colour(self, frame: FolderFrame) -> NDArray[np.uint8]:
        """Return the (H, W, 3) uint8 RGB picture of a frame; raises RecordingError."""
        picture = read_picture(frame.colour, frame.camera)
        if picture.dtype != np.uint8:
            raise RecordingError(f'{frame.colour} is {picture.dtype}, not an 8-bit picture')
        if picture.ndim == 2:
            return to_rgb(picture, 'mono8')
        return to_rgb(picture, 'bgra8' if picture.shape[2] == 4 else 'bgr8')

    def depth_mm(self, frame: FolderFrame) -> NDArray[np.uint16]:
        """
        Return the (H, W) uint16 depth of a frame in millimetres; raises RecordingError.

        0 where unknown or beyond 65.535 m.
        """
        picture = self._depth(frame)
        if self.depth_units_per_metre == 1000:
            return picture
        return millimetres(picture / self.depth_units_per_metre)

    def depth_m(self, frame: FolderFrame) -> NDArray[np.float32]:
        """Return the (H, W) float32 depth of a frame in metres, 0 unknown; any distance."""
        depth = self._depth(frame).astype(np.float32)
        depth /= np.float32(self.depth_units_per_metre)
        return depth

    def _depth(self, frame: FolderFrame) -> NDArray[np.uint16]:
        picture = read_picture(frame.depth, frame.camera)
        if picture.ndim != 2 or picture.dtype != np.uint16:
            raise RecordingError(f'{frame.depth} is {picture.dtype} {picture.shape}, not uint16')
        return picture

    def _files(self, name: str) -> dict[str, Path]:
        folder = self.path / name
        if not folder.is_dir():
            raise RecordingError(f'{self.path} has no folder {name}/')
        return {file.stem: file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES}

    def _cameras(self, stems: list[str]) -> dict[str, PinholeCamera | None]:
        single, by_stem = self.path / 'camera.json', self.path / 'cameras.json'
        file = single if single.is_file() else by_stem
        if not file.is_file():
            raise RecordingError(f'{self.path} has neither camera.json nor cameras.json')
        found = read_object(file)
        for stem in stems:
            if file == by_stem and not isinstance(found.get(stem), dict):
                raise RecordingError(f'{file} has no camera for frame {stem}')
        # Whatever else the file says holds for all frames.
        self._settings = found if file == single else found[stems[0]]
        self.depth_units_per_metre = self._setting('depth_units_per_metre', 1000.0)
        if file == single:
            return dict.fromkeys(stems, _camera(file, found))
        return {stem: _camera(file, found[stem]) for stem in stems}

    def _setting(self, name: str, default: float) -> float:
        value = self._settings.get(name, default)
        if not isinstance(value, (int, float)) or not 0 < value < 1e6:
            raise RecordingError(f'{self.path / "camera.json"} has {name} = {value!r}')
        return float(value)

    def _stamps(self, stems: list[str], rate_hz: float | None) -> list[int]:
        if rate_hz is None:
            table = _stamps_of_table(self.path / FRAME_TABLE)
            if all(stem in table for stem in stems):
                return [table[stem] for stem in stems]
            seconds = [stem for stem in stems if re.fullmatch(r'\d+\.\d+', stem)]
            if len(seconds) == len(stems) and float(stems[0]) > _EARLIEST_S:
                return [_nanoseconds(stem) for stem in stems]
        rate_hz = rate_hz or self._setting('fps', DEFAULT_RATE_HZ)
        return [_START_NS + round(index * 1e9 / rate_hz) for index in range(len(stems))]


def camera_fields(camera: PinholeCamera | None, width: int, height: int) -> dict[str, Any]:
    """Return what camera.json says of a camera; fx, fy, cx and cy are None where it is unknown."""
    if camera is None:
        return {'width': width, 'height': height, **dict.fromkeys(_CAMERA[2:])}
    fields = {name: getattr(camera, name) for name in _CAMERA}
    if camera.is_distorted:
        fields['distortion_model'] = camera.distortion_model
        fields['distortion'] = list(camera.distortion)
    return fields


def _camera(file: Path, values: Mapping[str, Any]) -> PinholeCamera | None:
    try:
        numbers = {name: values[name] for name in _CAMERA}
        if numbers['fx'] is None:
            return None
        numbers['distortion_model'] = str(values.get('distortion_model', ''))
        numbers['distortion'] = tuple(values.get('distortion', ()))
        return PinholeCamera(**numbers)
    except KeyError as error:
        raise RecordingError(f'{file} has no {error}; it needs {", ".join(_CAMERA)}') from None
    except (TypeError, ValueError) as error:
        raise RecordingError(f'{file}: {error}') from None


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds; raises RecordingError."""
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise RecordingError(f'{file} can not be read: {error}') from None
    if not isinstance(found, dict):
        raise RecordingError(f'{file} holds a {type(found).__name__}, not an object')
    return found


def read_bytes(file: Path) -> NDArray[np.uint8]:
    """Return what a file holds, (N,) uint8; raises RecordingError."""
    try:
        return np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise RecordingError(f'{file} can not be read: {error.strerror}') from None


def read_picture(file: Path, camera: PinholeCamera | None = None) -> NDArray[Any]:
    """Return the picture of a file, of its camera's size; raises RecordingError."""
    try:
        picture = decode_picture(read_bytes(file))
    except MessageError as error:
        raise RecordingError(f'{file}: {error}') from None
    if camera is not None and picture.shape[1::-1] != (camera.width, camera.height):
        raise RecordingError(
            f'{file} is {picture.shape[1]}x{picture.shape[0]}, its camera '
            f'{camera.width}x{camera.height}'
        )
    return picture


def _stamps_of_table(file: Path) -> dict[str, int]:
    try:
        with file.open(encoding='utf-8', newline='') as lines:
            return {row['stem']: int(row['stamp_ns']) for row in csv.DictReader(lines)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f'{file} can not be read: {error}') from None


def _natural(stem: str) -> list[tuple[int, str]]:
    """Sort 'learn2' before 'learn10'."""
    return [
        (int(part or 0), '') if part.isdigit() else (0, part) for part in re.split(r'(\d+)', stem)
    ]


def _nanoseconds(stem: str) -> int:
    """Return a decimal number of seconds in ns, exactly."""
    whole, _, fraction = stem.partition('.')
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, '0'))

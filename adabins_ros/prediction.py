# SPDX-License-Identifier: Apache-2.0
"""Depth of photos: pictures in, a .npz and a .png for each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import io
import os
from pathlib import Path
import stat
from typing import Any, TYPE_CHECKING

from adabins_ros.evaluation.pictures import prediction_picture
from adabins_ros.geometry.camera import MAX_PIXELS, NARROWEST_FOV_DEG, PinholeCamera
from adabins_ros.messages.images import to_rgb
from adabins_ros.messages.still_pictures import (
    decode_picture,
    encode_picture,
    exif_orientation,
    picture_kind,
)
from adabins_ros.whole_files import whole_file
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthEstimate

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.tif', '.tiff', '.bmp', '.webp', '.ppm', '.pgm')
"""What is looked for in a folder; a picture that is named itself may end in anything."""
MOST_ROWS = 40
_ENCODINGS = {1: 'mono', 3: 'bgr', 4: 'bgra'}
_RESULTS = ('.npz', '.png')
_LARGEST_FILE = 8 * MAX_PIXELS
"""Bytes: four channels of 16 bits, not compressed."""


class PredictionError(ValueError):
    """Photos that can't be predicted as asked; the text says what to change."""


@dataclass(frozen=True)
class FocalLength:
    """
    The focal length of photos, as far as somebody has told it.

    Attributes
    ----------
    pixels : float or None
        In pixels of the photo.
    horizontal_fov_deg : float or None
        Horizontal field of view instead, degrees.

    """

    pixels: float | None = None
    horizontal_fov_deg: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no camera has."""
        if self.pixels is not None and not 1e-3 <= self.pixels <= 1e9:
            raise PredictionError(
                f'the focal length must be .001 to 1e9 px, not {self.pixels:g} px'
            )
        angle = self.horizontal_fov_deg
        if angle is not None and not NARROWEST_FOV_DEG <= angle < 180:
            raise PredictionError(
                f'the horizontal field of view must be {NARROWEST_FOV_DEG:g} degrees or more and '
                f'less than 180, not {angle:g}'
            )

    def of(self, width: int, height: int) -> float | None:
        """Return the focal length for a photo of this size, px, or None if unknown."""
        if self.horizontal_fov_deg is None:
            return self.pixels
        return PinholeCamera.from_horizontal_fov(width, height, self.horizontal_fov_deg).fx


def predict_photos(
    paths: Sequence[Path],
    output: Path,
    model: str,
    *,
    focal: FocalLength | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[str]:
    """
    Write <stem>.npz (depth, std, bin_centers; metres) and <stem>.png (a picture) per photo.

    What can be checked is checked before the model is loaded. A photo that can't be used is named
    on stderr, and the others follow.

    Parameters
    ----------
    paths : sequence of Path
        Photos, and folders of photos (not their subfolders).
    output : Path
        Folder; it is made.
    model : str
        As for DepthPredictor.from_pretrained.
    focal : FocalLength, optional
        Of all photos.
    overwrite : bool
        Replace results that exist.
    **options
        Of DepthPredictor.from_pretrained.

    Returns
    -------
    list of str
        What was wrong with each photo that could not be used.

    Raises
    ------
    PredictionError
        No photos, two photos with the same result, results that exist already or can't be written.
    ModelError
        The model can't be loaded.

    """
    planned = _plan(find_photos(paths), output, overwrite)
    from adabins_ros.inference.predictor import DepthPredictor

    predictor = DepthPredictor.from_pretrained(model, **options)
    output.mkdir(parents=True, exist_ok=True)
    console, errors = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
    table = _table(predictor.description)
    failures: list[str] = []
    for photo, target in track(planned.items(), 'predicting', console=errors, transient=True):
        try:
            rgb = read_photo(photo)
            focal_length_px = (focal or FocalLength()).of(rgb.shape[1], rgb.shape[0])
            estimate = predictor.predict(rgb, focal_length_px=focal_length_px)
        except Exception as error:  # whatever a photo holds, the others are predicted
            failures.append(f'{photo}: {_reason(error)}')
            errors.print(failures[-1], markup=False)
            continue
        _save(target, rgb, estimate)
        _add_row(table, photo, estimate)
    if len(planned) > len(failures):
        console.print(table)
    if failures:
        errors.print(f'{len(failures)} of {len(planned)} photos could not be used', markup=False)
    return failures


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """
    Return files as they are and folders as their pictures, each file once.

    Raises
    ------
    PredictionError
        A path that does not exist, or a folder without pictures.

    """
    photos: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in SUFFIXES and not file.name.startswith('.')
            )
            if not found:
                raise PredictionError(f'{path} holds no pictures ({", ".join(SUFFIXES)})')
            photos.update(dict.fromkeys(found))
        elif path.exists():
            photos[path] = None
        else:
            raise PredictionError(f'{path} does not exist')
    return list(photos)


def read_photo(path: Path) -> NDArray[np.uint8]:
    """
    Return a photo as people see it: grey, 16-bit and transparent ones as RGB, and turned upright.

    Parameters
    ----------
    path : Path
        JPEG, PNG, TIFF, BMP, WebP or PNM.

    Returns
    -------
    (H, W, 3) uint8 RGB

    Raises
    ------
    PredictionError
        The file can't be read, or is of a kind that is no photo.
    MessageError
        It is damaged, too large, or of a format that is not read.

    """
    try:
        data = _content(path)
    except OSError as error:
        raise PredictionError(f'it can not be read: {error.strerror}') from None
    picture = decode_picture(data)
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    if picture.dtype not in (np.uint8, np.uint16) or channels not in _ENCODINGS:
        raise PredictionError(f'{channels} channels of {picture.dtype} are no photo')
    rgb = to_rgb(picture, f'{_ENCODINGS[channels]}{8 * picture.dtype.itemsize}')
    if picture_kind(data) != 'tiff':  # which OpenCV turns by itself, and nothing else
        rgb = _upright(rgb, exif_orientation(data))
    return np.ascontiguousarray(rgb)


def _content(path: Path) -> NDArray[np.uint8]:
    """Read a file, but nothing that has no end, and no more than a photo can be."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise PredictionError('it is a folder')
    if not stat.S_ISREG(found.st_mode):  # nothing may ever come out of a pipe
        raise PredictionError('it is no file')
    if found.st_size > _LARGEST_FILE:
        raise PredictionError(
            f'it has {found.st_size >> 20} MiB, and a photo {_LARGEST_FILE >> 20} at most'
        )
    return np.fromfile(path, np.uint8)


def _reason(error: Exception) -> str:
    """Say why a photo can not be used."""
    if isinstance(error, MemoryError):
        return 'it does not fit into memory'
    ours = type(error).__module__.startswith('adabins_ros.')
    return str(error) if ours else f'{type(error).__name__}: {error}'


def _upright(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo one of EXIF's eight orientations."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return rgb


def _plan(photos: list[Path], output: Path, overwrite: bool) -> dict[Path, Path]:
    """Return where each photo's results go, without suffix."""
    by_target: dict[Path, Path] = {}
    for photo in photos:
        target = output / photo.stem
        if target in by_target:
            raise PredictionError(
                f'{by_target[target]} and {photo} would both become {target}.npz; '
                'predict them into different folders'
            )
        by_target[target] = photo
    if not overwrite:
        results = [Path(f'{target}{suffix}') for target in by_target for suffix in _RESULTS]
        existing = [result for result in results if os.path.lexists(result)]
        if existing:
            more = f' (and {len(existing) - 1} more)' if len(existing) > 1 else ''
            raise PredictionError(
                f'{existing[0]} exists already{more}; choose another folder, or replace it with '
                '--overwrite'
            )
    return {photo: target for target, photo in by_target.items()}


def _save(target: Path, rgb: NDArray[np.uint8], estimate: DepthEstimate) -> None:
    """Write both results, each complete or not at all."""
    picture = encode_picture(prediction_picture(rgb, estimate)[..., ::-1], '.png')
    arrays = io.BytesIO()
    np.savez(arrays, depth=estimate.depth, std=estimate.std, bin_centers=estimate.bin_centers)
    for suffix, data in zip(_RESULTS, (arrays.getvalue(), picture.tobytes()), strict=True):
        try:
            with whole_file(Path(f'{target}{suffix}')) as unfinished:
                unfinished.write_bytes(data)
        except OSError as error:
            raise PredictionError(
                f'{target}{suffix} can not be written: {error.strerror}; make room, or choose '
                'another folder with --output'
            ) from None


def _table(description: str) -> Table:
    table = Table(title=description, title_justify='left')
    table.add_column('photo', overflow='fold')
    for name in ('size', 'network saw', 'depth p1 / median / p99', 'median std', 'time'):
        table.add_column(name, justify='right')
    return table


def _add_row(table: Table, photo: Path, estimate: DepthEstimate) -> None:
    if table.row_count >= MOST_ROWS:
        table.caption = f'the first {MOST_ROWS} photos'
        return
    height, width = estimate.depth.shape
    low, median, high = np.percentile(estimate.depth, [1, 50, 99])
    table.add_row(
        Text(photo.name),  # which may hold what rich takes for a colour
        f'{width}x{height}',
        '{1}x{0}'.format(*estimate.inference_size),
        f'{low:.2f} / {median:.2f} / {high:.2f} m',
        f'{np.median(estimate.std):.2f} m',
        f'{sum(estimate.seconds.values()) * 1e3:.0f} ms',
    )

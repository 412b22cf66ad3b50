# SPDX-License-Identifier: Apache-2.0
"""
The lidar of a folder of KITTI: velodyne/STEM.bin and calib.txt beside rgb/.

The calibration is that of KITTI's object benchmark: a point of the lidar is seen by the left
colour camera at P2 @ R0_rect @ Tr_velo_to_cam @ point.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import RecordingError
from .rgbd_folder import read_bytes

# Names of the object benchmark, and those of the raw recordings and of odometry.
_NAMES = {
    'P2': ('P2', 'P_rect_02'),
    'R0_rect': ('R0_rect', 'R_rect', 'R_rect_00'),
    'Tr_velo_to_cam': ('Tr_velo_to_cam', 'Tr_velo_cam', 'Tr'),
}
_POINT = np.dtype([(name, '<f4') for name in ('x', 'y', 'z', 'intensity')])


class FolderLidar:
    """
    Clouds of a folder and where the lidar sits.

    Parameters
    ----------
    path : path
        The folder that holds velodyne/ and calib.txt.

    Attributes
    ----------
    optical_from_lidar : (4, 4) float64
        Turns points of the lidar into the optical frame of the colour camera.

    Raises
    ------
    RecordingError
        calib.txt is missing or holds something else.

    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        self._clouds = {file.stem: file for file in (path / 'velodyne').glob('*.bin')}
        self.optical_from_lidar = _optical_from_lidar(path / 'calib.txt')

    def cloud(self, stem: str) -> NDArray[Any] | None:
        """
        Return the cloud of a frame, None where it has none.

        Returns
        -------
        (N,) structured
            Fields x, y, z (m, in the frame of the lidar) and intensity (0..1), all float32.

        Raises
        ------
        RecordingError
            The file can't be read, or is cut off.

        """
        file = self._clouds.get(stem)
        if file is None:
            return None
        content = read_bytes(file)
        if content.size % _POINT.itemsize:
            raise RecordingError(
                f'{file} is cut off: {content.size} bytes are no multiple of {_POINT.itemsize} '
                '(x, y, z and intensity as float32)'
            )
        return content.view(_POINT)


def _optical_from_lidar(file: Path) -> NDArray[np.float64]:
    values = _read(file)
    projection = _matrix(file, values, 'P2', (3, 4))
    rectification = np.eye(4)
    rectification[:3, :3] = _matrix(file, values, 'R0_rect', (3, 3))
    lidar = np.eye(4)
    lidar[:3] = _matrix(file, values, 'Tr_velo_to_cam', (3, 4))
    # P2 = K [I | shift]: the colour camera sits beside the one that all else refers to.
    beside = np.eye(4)
    try:
        beside[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    except np.linalg.LinAlgError:
        raise RecordingError(f'{file}: P2 is no projection, its left part is singular') from None
    return beside @ rectification @ lidar


def _read(file: Path) -> dict[str, list[float]]:
    """Return the numbers of each line 'NAME: NUMBER ...'."""
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f'{file}, which velodyne/ needs, can not be read: {error}') from None
    values = {}
    for line in lines:
        name, _, numbers = line.partition(':')
        try:
            values[name.strip()] = [float(number) for number in numbers.split()]
        except ValueError:
            continue  # the date and such
    return values


def _matrix(
    file: Path, values: dict[str, list[float]], name: str, shape: tuple[int, int]
) -> NDArray[np.float64]:
    for known in _NAMES[name]:
        if len(values.get(known, ())) == shape[0] * shape[1]:
            return np.array(values[known], np.float64).reshape(shape)
    raise RecordingError(
        f'{file} has no {" or ".join(_NAMES[name])} with {shape[0] * shape[1]} numbers'
    )

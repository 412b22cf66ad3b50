# SPDX-License-Identifier: Apache-2.0
"""The files that make up a recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import yaml

from .decompression import zstd_decompress_file
from .errors import RecordingError
from .storage import file_kind, recording_path, undescribed_parts


@dataclass(frozen=True)
class RecordingParts:
    """
    The files of a recording.

    Attributes
    ----------
    files : list of Path
        In their order.
    packed_messages : bool
        Each message is compressed by itself, with zstd.
    unpacked : TemporaryDirectory or None
        Holds the files where they had to be unpacked first; they go with it.
    damage : list of str
        What is missing, where it was looked for with `salvage`.

    """

    files: list[Path]
    packed_messages: bool = False
    unpacked: TemporaryDirectory[str] | None = None
    damage: list[str] = field(default_factory=list)


def recording_parts(path: Path, *, salvage: bool = False) -> RecordingParts:
    """
    Find the files of a .bag, a rosbag2 folder (with or without metadata.yaml), or a lone file.

    Parameters
    ----------
    path : Path
        As a user gives it.
    salvage : bool
        Do without a damaged metadata.yaml and without files that are missing or empty.

    Raises
    ------
    RecordingError
        Missing, empty, or no recording.

    """
    path = recording_path(path)
    if not path.is_dir():
        file_kind(path)
        return RecordingParts([path])
    if salvage:
        return _salvaged_parts(path)
    if (path / 'metadata.yaml').exists():
        return _described_parts(path)
    files = undescribed_parts(path)
    for file in files:
        file_kind(file)
    return RecordingParts(files)


def _salvaged_parts(path: Path) -> RecordingParts:
    """Return those files of a folder that are recordings; raise RecordingError if none is."""
    parts = RecordingParts([])
    if (path / 'metadata.yaml').exists():
        try:
            return _described_parts(path)
        except RecordingError as error:
            parts.damage.append(str(error))
    try:
        files = undescribed_parts(path)
    except RecordingError as error:
        raise RecordingError(parts.damage[0] if parts.damage else str(error)) from None
    for file in files:
        try:
            file_kind(file)
            parts.files.append(file)
        except RecordingError as error:
            parts.damage.append(str(error))
    if not parts.files:
        raise RecordingError(parts.damage[-1])
    return parts


def _described_parts(path: Path) -> RecordingParts:
    file = path / 'metadata.yaml'
    try:
        found = yaml.safe_load(file.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
        names = [PurePath(name).name for name in found['relative_file_paths']]
        mode = str(found.get('compression_mode', '')).lower()
        storage = found['storage_identifier']
    except OSError as error:
        raise RecordingError(f'{file} can not be read: {error.strerror}') from None
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise RecordingError(
            f'{file} is empty or damaged; `ros2 bag reindex` writes it anew, and --salvage reads '
            'the files beside without it'
        ) from None
    if storage not in ('mcap', 'sqlite3'):
        raise RecordingError(
            f'{path} can not be opened: its storage {storage!r} is unknown, expected mcap or '
            'sqlite3'
        )
    files = [path / name for name in names]
    absent = [part.name for part in files if not part.exists()]
    if absent:
        raise RecordingError(
            f'{path} is incomplete: {", ".join(absent)} is not there; copy it, or use what is '
            'there with --salvage'
        )
    if mode == 'file':
        return _unpacked_parts(files)
    for part in files:
        file_kind(part)
    return RecordingParts(files, packed_messages=mode == 'message')


def _unpacked_parts(files: list[Path]) -> RecordingParts:
    folder = TemporaryDirectory(prefix='adabins-recording-')
    unpacked = []
    for file in files:
        target = Path(folder.name) / file.stem
        try:
            zstd_decompress_file(file, target)
        except Exception as error:  # the library's own kinds
            raise RecordingError(f'{file} can not be unpacked: {error}; copy it again') from None
        file_kind(target)
        unpacked.append(target)
    return RecordingParts(unpacked, unpacked=folder)

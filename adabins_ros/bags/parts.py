# SPDX-License-Identifier: Apache-2.0
"""The files that make up a recording."""

from __future__ import annotations

from dataclasses import dataclass
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

    """

    files: list[Path]
    packed_messages: bool = False
    unpacked: TemporaryDirectory[str] | None = None


def recording_parts(path: Path) -> RecordingParts:
    """
    Find the files of a .bag, a rosbag2 folder (with or without metadata.yaml), or a lone file.

    Raises
    ------
    RecordingError
        Missing, empty, or no recording.

    """
    path = recording_path(path)
    if not path.is_dir():
        file_kind(path)
        return RecordingParts([path])
    if (path / 'metadata.yaml').exists():
        return _described_parts(path)
    files = undescribed_parts(path)
    for file in files:
        file_kind(file)
    return RecordingParts(files)


def _described_parts(path: Path) -> RecordingParts:
    file = path / 'metadata.yaml'
    try:
        found = yaml.safe_load(file.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
        names = [PurePath(name).name for name in found['relative_file_paths']]
        mode = str(found.get('compression_mode', '')).lower()
        storage = found['storage_identifier']
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise RecordingError(
            f'{path} can not be opened, its metadata.yaml is damaged: {type(error).__name__} '
            f'{error}; without metadata.yaml the files in the folder can be read'
        ) from None
    if storage not in ('mcap', 'sqlite3'):
        raise RecordingError(f'{path} can not be opened: its storage {storage!r} is unknown')
    files = [path / name for name in names]
    absent = [part.name for part in files if not part.exists()]
    if absent:
        raise RecordingError(f'{path} is incomplete: {", ".join(absent)} is not there; copy it')
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

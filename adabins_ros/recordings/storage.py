# SPDX-License-Identifier: Apache-2.0
"""The files that make up a recording, told by their content, and in words where there are none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory

from adabins_ros.frames.errors import RecordingError
import yaml
import zstandard

from .recorded_message import in_words

_KINDS = {
    '.bag': (b'#ROSBAG V', 'ROS 1 bag', 'rosbag reindex'),
    '.mcap': (b'\x89MCAP0\r\n', 'mcap file', 'mcap recover'),
    '.db3': (b'SQLite format 3\x00', 'rosbag2 sqlite3 file', 'sqlite3 FILE .recover'),
}
_EXPECTED = 'expected a ROS 1 .bag, a rosbag2 folder, a .mcap or a .db3'


@dataclass
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
    if not path.exists():
        raise RecordingError(f'{path} does not exist; {_EXPECTED}')
    path = path.parent if path.name == 'metadata.yaml' else path
    if not path.is_dir():
        _check_kind(path)
        return RecordingParts([path])
    parts = RecordingParts([])
    if (path / 'metadata.yaml').exists():
        try:
            return _described_parts(path)
        except RecordingError as error:
            if not salvage:
                raise
            parts.damage.append(str(error))
    for file in sorted(x for x in path.iterdir() if x.suffix in ('.mcap', '.db3')):
        try:
            _check_kind(file)
            parts.files.append(file)
        except RecordingError as error:
            if not salvage:
                raise
            parts.damage.append(str(error))
    if parts.files:
        return parts
    if parts.damage:
        raise RecordingError(parts.damage[-1])
    raise RecordingError(
        f'the folder {path} holds no recording (no metadata.yaml, .mcap or .db3); {_EXPECTED}'
    )


def _check_kind(path: Path) -> None:
    """Refuse a file that is empty, unreadable, no recording, or one under a wrong name."""
    try:
        with path.open('rb') as file:
            head = file.read(16)
    except OSError as error:
        raise RecordingError(f'{path} can not be read: {error.strerror}') from None
    if not head:
        raise RecordingError(f'{path} is empty (0 bytes): nothing was recorded')
    if path.suffix == '.zstd':
        raise RecordingError(
            f'{path} is a compressed part of a rosbag2 recording; open the folder that holds its '
            'metadata.yaml, or unpack it with `unzstd`'
        )
    found = next((suffix for suffix, kind in _KINDS.items() if head.startswith(kind[0])), None)
    if found is None:
        claimed = _KINDS.get(path.suffix)
        what = f'no {claimed[1]}' if claimed else 'no recording'
        raise RecordingError(f'{path} is {what}: it starts with {head[:8]!r}; {_EXPECTED}')
    if found != path.suffix:
        raise RecordingError(
            f'{path} is a {_KINDS[found][1]}; rename it so that it ends in {found}'
        )


def way_out(file: Path) -> str:
    """Return what to try with a damaged file."""
    known = _KINDS.get(file.suffix)
    return f'copy it again, or try `{known[2]}`' if known else 'copy it again'


def _described_parts(path: Path) -> RecordingParts:
    file = path / 'metadata.yaml'
    try:
        found = yaml.safe_load(file.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
        # Of either slash: a bag that was recorded on Windows is copied elsewhere.
        names = [PureWindowsPath(name).name for name in found['relative_file_paths']]
        mode = str(found.get('compression_mode', '')).lower()
        storage = found['storage_identifier']
    except OSError as error:
        raise RecordingError(f'{file} can not be read: {error.strerror}') from None
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise RecordingError(
            f'{path} can not be opened: {file} is empty or damaged; `ros2 bag reindex` writes it '
            'anew, and --salvage reads the files beside without it'
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
        _check_kind(part)
    return RecordingParts(files, packed_messages=mode == 'message')


def _unpacked_parts(files: list[Path]) -> RecordingParts:
    folder = TemporaryDirectory(prefix='adabins-recording-')
    unpacked = []
    for file in files:
        target = Path(folder.name) / file.stem
        try:
            with file.open('rb') as packed, target.open('wb') as plain:
                zstandard.ZstdDecompressor().copy_stream(packed, plain)
        except (OSError, zstandard.ZstdError) as error:
            raise RecordingError(
                f'{file} can not be unpacked: {in_words(error)}; copy it again'
            ) from None
        _check_kind(target)
        unpacked.append(target)
    return RecordingParts(unpacked, unpacked=folder)

# SPDX-License-Identifier: Apache-2.0
"""Which reader a path needs, found by its content and told in words where there is none."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
import struct
from typing import cast

from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from .errors import RecordingError

_KINDS = {
    '.bag': (b'#ROSBAG V', 'ROS 1 bag', 'rosbag reindex'),
    '.mcap': (b'\x89MCAP0\r\n', 'mcap file', 'mcap recover'),
    '.db3': (b'SQLite format 3\x00', 'rosbag2 sqlite3 file', 'sqlite3 FILE .recover'),
}
_HEAD_BYTES = 100
_EXPECTED = 'expected a ROS 1 .bag, a rosbag2 folder, a .mcap or a .db3'


def recording_path(path: Path) -> Path:
    """Return the file or folder that a user means; raise RecordingError if it is not there."""
    if not path.exists():
        raise missing(path)
    return path.parent if path.name == 'metadata.yaml' else path


def undescribed_parts(path: Path) -> list[Path]:
    """Return the files of a folder without metadata.yaml; raise RecordingError if none fits."""
    parts = sorted(part for part in path.iterdir() if part.suffix in ('.mcap', '.db3'))
    if not parts:
        raise no_parts(path)
    return parts


def open_readers(path: Path, stack: ExitStack) -> list[Ros1Reader | Ros2Reader]:
    """
    Open the readers of a recording, one per file, and leave their closing to the stack.

    Raises
    ------
    RecordingError
        Missing, empty, or no recording.

    """
    path = recording_path(path)
    if not path.is_dir():
        parts = [path]
    elif (path / 'metadata.yaml').exists():
        reader = stack.enter_context(Ros2Reader(path))
        assert isinstance(reader.storage, DirectoryReader)
        if reader.compression_mode:
            _adopt_stored_connections(reader.storage)
            return [reader]
        storages = cast('list[McapReader | Sqlite3Reader]', reader.storage.storages)
        parts = [Path(str(storage.path)) for storage in storages]
    else:
        parts = undescribed_parts(path)
    readers = [_file_reader(part) for part in parts]
    for opened in readers:
        stack.enter_context(opened)
    return readers


def _adopt_stored_connections(folder: DirectoryReader) -> None:
    """
    Take each topic's QoS from the files.

    rosbags leaves out, without a word, every message of a topic whose QoS in metadata.yaml differs
    from that in the file, and converters write them differently.
    """
    stored = {(x.topic, x.msgtype): x for part in folder.storages for x in part.connections}
    for index, connection in enumerate(folder.connections):
        match = stored.get((connection.topic, connection.msgtype))
        if match is not None:
            folder.connections[index] = connection._replace(ext=match.ext, digest='')


def way_out(path: Path) -> str:
    """Return what to try with a damaged recording."""
    suffixes = [path.suffix]
    if path.is_dir():
        suffixes = sorted({part.suffix for part in path.iterdir()})
    for suffix in suffixes:
        if suffix in _KINDS:
            return f'copy it again, or try `{_KINDS[suffix][2]}`'
    return 'copy it again'


def file_kind(path: Path) -> str:
    """
    Return '.bag', '.mcap' or '.db3' by a file's first bytes.

    Raises
    ------
    RecordingError
        Empty, unreadable, no recording, or one under a wrong name.

    """
    head = _head(path)
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
    return found


def missing(path: Path) -> RecordingError:
    """Return the error for a path that does not exist."""
    return RecordingError(f'{path} does not exist; {_EXPECTED}')


def no_parts(path: Path) -> RecordingError:
    """Return the error for a folder without recorded files."""
    return RecordingError(
        f'the folder {path} holds no recording (no metadata.yaml, .mcap or .db3); {_EXPECTED}'
    )


def _head(path: Path) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise RecordingError(f'{path} can not be read: {error.strerror}') from None


def _file_reader(path: Path) -> Ros1Reader | Ros2Reader:
    found = file_kind(path)
    if found == '.db3':
        _check_sqlite_size(path, _head(path))
    return Ros1Reader(path) if found == '.bag' else Ros2Reader(path)


def _check_sqlite_size(path: Path, head: bytes) -> None:
    """
    Refuse a database that is shorter than its header says.

    SQLite itself notices only when it comes to a missing page.
    """
    needed, given = sqlite_bytes(head), path.stat().st_size
    if given < needed:
        raise RecordingError(
            f'{path} is cut off: it has {given} bytes of {needed}; {way_out(path)}'
        )


def sqlite_bytes(head: bytes) -> int:
    """Return how long a database is by its first 100 bytes; 0 where they do not tell."""
    if len(head) < _HEAD_BYTES:
        return 0
    (page_bytes,) = struct.unpack_from('>H', head, 16)
    counter, pages = struct.unpack_from('>II', head, 24)
    (counted_at,) = struct.unpack_from('>I', head, 92)
    # The number of pages counts only if it was written with the last change.
    if counter != counted_at:
        return 0
    return int(pages * (65536 if page_bytes == 1 else page_bytes))

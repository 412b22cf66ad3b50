# SPDX-License-Identifier: Apache-2.0
"""Single messages of a recorded file by their places, as a scan found them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
import os
from pathlib import Path
from typing import Protocol

from .mcap_scan import load_chunk as load_mcap_chunk
from .ros1_scan import load_chunk as load_ros1_chunk
from .scanning import in_memory, NO_CHUNK
from .sqlite_scan import open_database, read_row

# Neighbouring frames lie in one chunk, colour and depth in two at most.
_KEPT_CHUNKS = 4


class MessageFile(Protocol):
    """An open file of a recording."""

    def read(self, chunk: int, offset: int, size: int) -> bytes:
        """Return the bytes of the message at a place."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_message_file(path: Path, kind: str) -> MessageFile:
    """Open a file of the kind '.mcap', '.bag' or '.db3'; raises OSError or sqlite3.Error."""
    if kind == '.db3':
        return _RowFile(path)
    return _ChunkFile(path, load_mcap_chunk if kind == '.mcap' else load_ros1_chunk)


class _ChunkFile:
    """Messages in the file itself, or in compressed chunks of which the last few are kept."""

    def __init__(self, path: Path, load: Callable[[int, int], bytes]) -> None:
        self._file = path.open('rb')
        self._load = load
        self._chunks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, chunk: int, offset: int, size: int) -> bytes:
        if chunk == NO_CHUNK:
            data = os.pread(self._file.fileno(), size, offset)
        else:
            data = in_memory(self._unpacked(chunk))(offset, size)
        if len(data) < size:
            raise ValueError(f'{len(data)} of {size} bytes are left of it')
        return data

    def _unpacked(self, chunk: int) -> bytes:
        if chunk in self._chunks:
            self._chunks.move_to_end(chunk)
        else:
            self._chunks[chunk] = self._load(self._file.fileno(), chunk)
            if len(self._chunks) > _KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        return self._chunks[chunk]

    def close(self) -> None:
        self._file.close()
        self._chunks.clear()


class _RowFile:
    """Messages as rows of a database."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path)

    def read(self, chunk: int, offset: int, size: int) -> bytes:
        return read_row(self._database, offset)

    def close(self) -> None:
        self._database.close()

# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, whatever ends the process that writes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import fcntl
import glob
import os
from pathlib import Path
import shutil
import tempfile

_UNFINISHED = '.unfinished-'


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """
    Give a place for a new file; what is written there takes the path's name if nothing is raised.

    It lies in a folder of its own, so nobody's link is followed, and what a library writes beside
    it meanwhile goes with it. What an earlier process left that was killed is removed.

    Raises
    ------
    OSError
        The folder can't be written, or the disk is full.

    """
    with unfinished_folder(path) as folder:
        partial = folder / path.name
        yield partial
        with partial.open('rb+') as stream:
            # On the disk before it takes its name, or a power cut leaves an empty file.
            os.fsync(stream.fileno())
        partial.chmod(0o644)
        partial.replace(path)


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """
    Give a new folder beside a path to write into; it is removed unless it was renamed.

    What an earlier process left that was killed while it wrote under the same name is removed.

    Raises
    ------
    OSError
        The folder's place can't be written.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(path)
    folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}{_UNFINISHED}', dir=path.parent))
    folder.chmod(0o755)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def is_unfinished(name: str) -> bool:
    """Tell whether a folder's name is that of one in which a file is, or was, being written."""
    return name.startswith('.') and _UNFINISHED in name


def remove_left_overs(path: Path) -> None:
    """Remove what killed processes began of a file; who still writes it holds a lock."""
    for left in path.parent.glob(f'.{glob.escape(path.name)}{_UNFINISHED}*'):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()
            finally:
                os.close(handle)

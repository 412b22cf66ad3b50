# SPDX-License-Identifier: Apache-2.0
"""Find the files that come with the package, however it was installed, and those it keeps."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import shutil

PACKAGE_FOLDER = Path(__file__).resolve().parent
PACKAGE_NAME = PACKAGE_FOLDER.name


def package_file(name: str) -> Path:
    """
    Return the path of a file that the package ships.

    `samples/...` and `weights/...` lie inside the Python package. `config/...`, `launch/...` and
    `package.xml` lie beside it in a source tree, and in `share/adabins_ros` of the prefix that
    holds it once installed: pip's environment, its user folder, or colcon's install space. So
    no environment variable of ROS is needed to find them.

    Parameters
    ----------
    name : str
        Path in the package, with forward slashes: 'config/fastdds.xml'.

    Raises
    ------
    FileNotFoundError
        If the file is in none of these places.

    """
    candidates = list(_candidates(name))
    for path in candidates:
        if path.exists():
            return path
    places = ', '.join(str(path) for path in candidates)
    raise FileNotFoundError(
        f'{name} of the package {PACKAGE_NAME} is missing (looked for {places}); '
        'install the package again'
    )


def shell_command(words: str) -> str:
    """
    Return how to call `adabins WORDS` here: colcon puts no commands on PATH.

    In a workspace that was sourced, `ros2 run` finds it.
    """
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    index = f'share/ament_index/resource_index/packages/{PACKAGE_NAME}'
    in_workspace = any(Path(prefix, index).is_file() for prefix in prefixes if prefix)
    if in_workspace and shutil.which('adabins') is None:
        return f'ros2 run {PACKAGE_NAME} adabins {words}'
    return f'adabins {words}'


def cache_folder() -> Path | None:
    """
    Return where engines and fetched weights are kept, or None if nowhere.

    The environment variable ADABINS_CACHE names it, and switches the cache off if it is empty;
    else it is adabins_ros in XDG_CACHE_HOME or in ~/.cache.
    """
    named = os.environ.get('ADABINS_CACHE')
    if named is not None:
        return Path(named).expanduser() if named else None
    try:
        base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    except RuntimeError:
        return None
    return Path(base) / 'adabins_ros'


def _candidates(name: str) -> Iterator[Path]:
    yield PACKAGE_FOLDER / name
    if (PACKAGE_FOLDER.parent / 'package.xml').is_file():
        yield PACKAGE_FOLDER.parent / name
    for prefix in PACKAGE_FOLDER.parents:
        share = prefix / 'share' / PACKAGE_NAME
        if share.is_dir():
            yield share / name

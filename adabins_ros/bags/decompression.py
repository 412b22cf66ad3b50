# SPDX-License-Identifier: Apache-2.0
"""The compressions of recordings."""

from __future__ import annotations

import bz2
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
import shutil
import sys
from typing import Any

from lz4.frame import decompress as lz4_decompress  # type: ignore[import-untyped]

_ZSTD_MODULES = ('compression.zstd', 'backports.zstd', 'zstandard')


def zstd_decompress(data: bytes) -> bytes:
    """Return what zstd packed; raises whatever the library raises for damaged data."""
    return bytes(_zstd().decompress(data))


def zstd_decompress_file(source: Path, target: Path) -> None:
    """Unpack a file piece by piece; raises OSError or the library's own errors."""
    with _zstd().open(source, 'rb') as packed, target.open('wb') as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)


def decompressor(name: str) -> Callable[[bytes], bytes] | None:
    """Return the function for '', 'none', 'lz4', 'bz2' or 'zstd'; None for other names."""
    return _DECOMPRESSORS.get(name)


def _zstd() -> Any:
    """Import the zstd library that rosbags installed: it differs by version."""
    if sys.version_info >= (3, 14):
        return import_module(_ZSTD_MODULES[0])
    for name in _ZSTD_MODULES[1:]:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ImportError('no zstd library is installed; reinstall rosbags')


_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    '': bytes,
    'none': bytes,
    'lz4': lz4_decompress,
    'bz2': bz2.decompress,
    'zstd': zstd_decompress,
}

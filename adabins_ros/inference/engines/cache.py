# SPDX-License-Identifier: Apache-2.0
"""What was built and measured once, kept in the user's cache folder."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import json
import os
from pathlib import Path
import platform
import tempfile
from typing import Any

from adabins_ros.model.adabins import AdaBins
import numpy as np

VARIABLE = 'ADABINS_CACHE'


def cache_folder() -> Path | None:
    """
    Return where engines are kept, or None if nowhere.

    The environment variable ADABINS_CACHE names it, and switches the cache off if it is empty;
    else it is adabins_ros in XDG_CACHE_HOME or in ~/.cache.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named else None
    try:
        base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    except RuntimeError:
        return None
    return Path(base) / 'adabins_ros'


class EngineCache:
    """
    Small records as JSON, and large files beside them.

    Nothing here is an error: what can't be written is not kept, and what can't be read is not
    there. Each file is written beside its place and renamed, so that processes that start together
    never see half of one.

    Parameters
    ----------
    folder : Path or None
        Made at need; None keeps nothing.

    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder if folder is not None and _can_be_written(folder) else None

    def read(self, key: str) -> dict[str, Any] | None:
        """Return a record, or None if there is none that can be read."""
        if self.folder is None:
            return None
        try:
            record = json.loads((self.folder / f'{key}.json').read_bytes())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record if possible."""
        if self.folder is None:
            return
        partial = None
        try:
            handle, partial = tempfile.mkstemp(dir=self.folder, prefix=f'.{key}.')
            with os.fdopen(handle, 'w') as file:
                json.dump(record, file, indent=1)
            os.replace(partial, self.folder / f'{key}.json')
        except OSError:
            if partial is not None:
                Path(partial).unlink(missing_ok=True)


def network_key(network: AdaBins, *more: str) -> str:
    """Return a short hash of a network's weights and configuration, and of what else matters."""
    digest = hashlib.sha256(network.config.model_dump_json().encode())
    for name, tensor in network.state_dict().items():
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}'.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return short_hash(digest.hexdigest(), *more)


def short_hash(*parts: object) -> str:
    """Return 16 hexadecimal digits that tell these parts from others."""
    return hashlib.sha256('\n'.join(map(str, parts)).encode()).hexdigest()[:16]


def machine() -> str:
    """Name the processor, as far as the system tells."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.processor() or platform.machine()


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)

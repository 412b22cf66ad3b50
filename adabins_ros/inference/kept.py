# SPDX-License-Identifier: Apache-2.0
"""What was built and measured once, kept in the user's cache folder: an ONNX file and a JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import fcntl
import hashlib
from importlib import metadata
import json
import logging
import os
from pathlib import Path
import platform
import stat
import tempfile
from typing import Any

from adabins_ros import __version__
from adabins_ros.inference.engines.engine import Place
from adabins_ros.inference.onnx_file import FORMAT, OnnxModel, read_onnx
from adabins_ros.model.errors import ModelError
from adabins_ros.provenance import sha256

log = logging.getLogger(__name__)
_REVISION = 2
"""Raised when the exporter writes another graph for the same network."""
_PACKAGES = {
    'torch': ('torch',),
    'torch_compile': ('torch',),
    'onnx': ('onnxruntime-gpu', 'onnxruntime'),
    'openvino': ('openvino',),
}


class Kept:
    """
    What is kept of one model.

    What can't be written is not kept, and what can't be read, or is not what was written, is not
    there. Files are written beside their place and renamed, so that nobody sees half of one.

    Parameters
    ----------
    key : str
        Of the model's content, by ``key_of_file`` or ``key_of_network``.
    folder : Path or None
        Made at need; None keeps nothing.

    """

    def __init__(self, key: str, folder: Path | None) -> None:
        self.key = key
        self.folder = folder if folder is not None and _can_be_written(folder) else None

    @property
    def onnx_path(self) -> Path:
        """Where the exported network is, or is to be written."""
        assert self.folder is not None
        return self.folder / f'{self.key}.onnx'

    def exported(self) -> OnnxModel | None:
        """Return the exported network, if it is there and whole."""
        known = self._read().get('sha256')
        if self.folder is None or known is None:
            return None
        try:
            return read_onnx(self.onnx_path) if sha256(self.onnx_path) == known else None
        except (OSError, ModelError):
            return None

    def note_exported(self) -> None:
        """Remember the exported network as it is now."""
        self._write({**self._read(), 'sha256': sha256(self.onnx_path)})

    def measured(self, where: str) -> dict[str, Any]:
        """Return what was measured at a place, by ``key_of_place``; empty if nothing was."""
        found = self._read().get('places', {}).get(where)
        return found if isinstance(found, dict) else {}

    def note_measured(self, where: str, **figures: object) -> None:
        """Remember what was measured at a place."""
        content = self._read()
        places = {**content.get('places', {})}
        places[where] = {**self.measured(where), **figures}
        self._write({**content, 'places': places})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time build this model."""
        assert self.folder is not None
        # Neither followed where it is a link, nor emptied.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        handle = os.open(self.folder / f'{self.key}.lock', flags, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self) -> dict[str, Any]:
        if self.folder is None:
            return {}
        try:
            content = json.loads((self.folder / f'{self.key}.json').read_bytes())
        except (OSError, ValueError):
            return {}
        places = content.get('places', {}) if isinstance(content, dict) else None
        return content if isinstance(places, dict) else {}

    def _write(self, content: dict[str, Any]) -> None:
        if self.folder is None:
            return
        partial = None
        try:
            handle, partial = tempfile.mkstemp(dir=self.folder, prefix=f'.{self.key}.')
            with os.fdopen(handle, 'w') as file:
                json.dump(content, file, indent=1)
            os.replace(partial, self.folder / f'{self.key}.json')
        except OSError:
            if partial is not None:
                Path(partial).unlink(missing_ok=True)


def key_of_file(path: Path, depth_range: tuple[float, float] | None = None) -> str:
    """
    Return a key for the network that a model file holds.

    The name of an authors' file is part of it: it tells the depth range.
    """
    name = '' if path.suffix == '.safetensors' else path.name
    # Given as a list, or in whole metres, it is the same range.
    ends = tuple(map(float, depth_range)) if depth_range else None
    return _short_hash(sha256(path), name, ends, *_made_with())


def key_of_network(network: Any) -> str:
    """Return a key for an ``AdaBins`` in memory: of its weights and configuration."""
    digest = hashlib.sha256(network.config.model_dump_json().encode())
    for name, tensor in network.state_dict().items():
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}'.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return _short_hash(digest.hexdigest(), *_made_with())


def key_of_place(place: Place, engines: Sequence[str]) -> str:
    """Return a key for what is measured of some engines: of the processor and the versions."""
    versions = [f'{name} {version(name)}' for name in engines]
    return _short_hash(machine(), place, place.threads, *versions)


def version(name: str) -> str:
    """Return the version of what an engine runs with."""
    for package in _PACKAGES[name]:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return 'unknown'


def machine() -> str:
    """Name the processor, as far as the system tells."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.processor() or platform.machine()


def _made_with() -> tuple[object, ...]:
    return FORMAT, _REVISION, __version__


def _short_hash(*parts: object) -> str:
    """Return 16 hexadecimal digits that tell these parts from others."""
    return hashlib.sha256('\n'.join(map(str, parts)).encode()).hexdigest()[:16]


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    found = folder.stat()
    if found.st_mode & stat.S_IWOTH or found.st_uid not in (os.getuid(), 0):
        log.warning(
            'no engine is kept in %s, where others may write: run chmod o-w on it, or let '
            'ADABINS_CACHE name a folder of your own',
            folder,
        )
        return False
    return True

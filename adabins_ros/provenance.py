# SPDX-License-Identifier: Apache-2.0
"""What a result depends on beside its settings: versions, git revision, machine, files."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
import platform
import subprocess
import sys
from typing import Any

from adabins_ros import __version__

_PACKAGES = (
    'torch',
    'torchvision',
    'timm',
    'pytorch-lightning',
    'torchmetrics',
    'onnxruntime',
    'numpy',
)


def environment() -> dict[str, Any]:
    """Return versions, git revision, machine and command line, as JSON can hold them."""
    versions = {'python': platform.python_version(), 'adabins_ros': __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = 'not installed'
    return {
        'versions': versions,
        'git_revision': git_revision(),
        'machine': f'{platform.system()} {platform.machine()}',
        'command': sys.argv,
    }


def git_revision() -> str | None:
    """Return the revision of the source tree, with '+' if it was changed; None without git."""
    here = Path(__file__).resolve().parent
    try:
        said = subprocess.run(
            ['git', '-C', str(here), 'describe', '--always', '--abbrev=12', '--dirty=+'],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open('rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

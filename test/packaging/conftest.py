# SPDX-License-Identifier: Apache-2.0
"""A copy of what is installed, away from the repository."""

from __future__ import annotations

import os
from pathlib import Path
import shutil

import pytest

INSTALLED_FROM = (
    'package.xml',
    'setup.py',
    'setup.cfg',
    'pyproject.toml',
    'LICENSE',
    'resource',
    'launch',
    'config',
    'adabins_ros',
)


@pytest.fixture
def source_copy(tmp_path, repository) -> Path:
    """Return a copy of the sources, so that building leaves nothing in the repository."""
    copy = tmp_path / 'workspace' / 'src' / 'adabins_ros'
    copy.mkdir(parents=True)
    for name in INSTALLED_FROM:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, copy / name)
    return copy


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """Return this environment without what would lead back to the repository."""
    left_out = ('PYTHONPATH', 'AMENT_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'CMAKE_PREFIX_PATH')
    return {name: value for name, value in os.environ.items() if name not in left_out}

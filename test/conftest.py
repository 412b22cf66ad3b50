# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every part of the test suite shares."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import random

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def repository() -> Path:
    """Return the root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope='session')
def shared_data() -> Callable[[str], Path]:
    """
    Return a function that finds a data set by its name, or skips the test.

    The sets are not part of the repository. They are looked for in the folder that the
    environment variable ADABINS_SHARED_DATA names, else in ../shared/data beside the repository.
    """
    folder = Path(os.environ.get('ADABINS_SHARED_DATA') or REPOSITORY.parent / 'shared' / 'data')

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f'data set {name} is not in {folder}')
        return path

    return find


@pytest.fixture(scope='session')
def ros_environment() -> dict[str, str]:
    """
    Return an environment for child processes in which they meet only each other over DDS.

    The domain is random, discovery stays on this machine, and the shipped Fast DDS profile is
    set. Children find this source tree first, whether the package is installed or not.
    """
    environment = dict(os.environ)
    # The rclpy wheels set it to restart each interpreter only once; a child that inherits it
    # from another virtual environment would never set up its own libraries.
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    profile = str(REPOSITORY / 'config' / 'fastdds.xml')
    environment.update(
        ROS_DOMAIN_ID=str(random.SystemRandom().randint(1, 101)),
        ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST',
        FASTDDS_DEFAULT_PROFILES_FILE=profile,
        FASTRTPS_DEFAULT_PROFILES_FILE=profile,
        PYTHONUNBUFFERED='1',
        PYTHONPATH=os.pathsep.join(
            [str(REPOSITORY), *filter(None, [environment.get('PYTHONPATH')])]
        ),
    )
    return environment

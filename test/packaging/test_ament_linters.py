# SPDX-License-Identifier: Apache-2.0
"""The linters of a ROS package pass, where there is a ROS install."""

import pytest

LINTED = ('adabins_ros', 'launch', 'test', 'setup.py')


@pytest.fixture
def paths(repository) -> list[str]:
    """Return what is linted."""
    return [str(repository / name) for name in LINTED]


@pytest.mark.linter
@pytest.mark.flake8
def test_flake8_finds_nothing(paths):
    ament_flake8 = pytest.importorskip('ament_flake8.main')
    status, errors = ament_flake8.main_with_errors(argv=paths)
    assert status == 0, '\n'.join(errors)


@pytest.mark.linter
@pytest.mark.pep257
def test_pep257_finds_nothing(paths):
    ament_pep257 = pytest.importorskip('ament_pep257.main')
    assert ament_pep257.main(argv=paths) == 0

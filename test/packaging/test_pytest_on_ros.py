# SPDX-License-Identifier: Apache-2.0
"""`colcon test` on a ROS machine finds the tests and runs them."""

from collections import Counter
import subprocess
import sys

PLUGIN = """
import importlib
from pathlib import Path
import sys

def pytest_pycollect_makemodule(module_path, parent):
    sys.path.insert(0, str(module_path.parent))
    importlib.import_module(module_path.stem)
"""


def test_the_plugins_of_ros_that_import_test_files_by_themselves_are_left_out(pytestconfig):
    for plugin in ('launch_testing', 'launch_ros'):
        assert pytestconfig.pluginmanager.is_blocked(plugin)


def test_no_two_test_files_share_a_name(repository):
    names = Counter(path.name for path in (repository / 'test').rglob('*.py'))
    assert {name for name, times in names.items() if times > 1} == {'conftest.py'}


def test_no_two_files_of_the_package_share_a_name_but_twins_on_purpose(repository):
    """Three command.py cost every reader a minute."""
    names = Counter(path.name for path in (repository / 'adabins_ros').rglob('*.py'))
    twins = {'__init__.py', 'config.py', 'errors.py'}
    assert {name for name, times in names.items() if times > 1} - twins == set()


def test_beside_such_a_plugin_a_file_that_skips_itself_does_not_end_the_session(
    tmp_path, repository
):
    site = tmp_path / 'site'
    metadata = site / 'launch_testing-1.0.dist-info'
    metadata.mkdir(parents=True)
    (site / 'ros_plugin.py').write_text(PLUGIN)
    (metadata / 'METADATA').write_text('Metadata-Version: 2.1\nName: launch-testing\nVersion: 1\n')
    (metadata / 'entry_points.txt').write_text('[pytest11]\nlaunch_testing = ros_plugin\n')
    tests = tmp_path / 'tests'
    tests.mkdir()
    (tests / 'test_absent.py').write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (tests / 'test_present.py').write_text('def test_it():\n    pass\n')
    ini = ['-c', str(repository / 'pyproject.toml'), '--rootdir', str(tests)]
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *ini, str(tests)],
        env={'PYTHONPATH': str(site), 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
    )
    assert '1 passed, 1 skipped' in done.stdout, done.stdout + done.stderr

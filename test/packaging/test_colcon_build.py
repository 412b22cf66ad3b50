# SPDX-License-Identifier: Apache-2.0
"""After `colcon build`, `ros2 launch` and `ros2 run` find everything where they look."""

from __future__ import annotations

from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig

import pytest

COLCON = shutil.which('colcon', path=sysconfig.get_path('scripts')) or shutil.which('colcon')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COLCON is None, reason='colcon is not installed'),
]

WHERE = """
from adabins_ros.package_files import package_file
from ament_index_python.packages import get_package_prefix, get_package_share_directory
print(get_package_prefix('adabins_ros'))
print(get_package_share_directory('adabins_ros'))
print(package_file('config/fastdds.xml').resolve())
print(package_file('samples').resolve())
"""


def colcon(*arguments: str, workspace: Path, environment: dict[str, str]) -> str:
    """Run colcon in a workspace; return what it prints."""
    done = subprocess.run(
        [COLCON, '--log-base', 'log', '--log-level', 'error', *arguments],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_workspace(workspace: Path, environment: dict[str, str], *command: str) -> str:
    """Run a command after sourcing the workspace, elsewhere; return what it prints."""
    script = f'. {shlex.quote(str(workspace / "install" / "setup.sh"))} && {shlex.join(command)}'
    done = subprocess.run(
        ['/bin/sh', '-c', script], cwd='/', env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_colcon_takes_it_for_a_ros_package(source_copy, clean_environment):
    listed = colcon('list', workspace=source_copy.parents[1], environment=clean_environment)
    assert listed.split() == ['adabins_ros', 'src/adabins_ros', '(ros.ament_python)']


@pytest.mark.parametrize('options', [(), ('--symlink-install',)], ids=['plain', 'symlink'])
def test_a_built_workspace_has_everything_in_place(source_copy, clean_environment, options):
    workspace = source_copy.parents[1]
    (source_copy / 'adabins_ros' / 'samples').mkdir(exist_ok=True)
    (source_copy / 'adabins_ros' / 'samples' / 'test.mcap').write_bytes(b'sample')
    colcon('build', *options, workspace=workspace, environment=clean_environment)

    prefix = workspace / 'install' / 'adabins_ros'
    share = prefix / 'share' / 'adabins_ros'
    assert (prefix / 'share/ament_index/resource_index/packages/adabins_ros').is_file()
    for folder in ('config', 'launch'):
        names = {path.name for path in (source_copy / folder).iterdir()}
        assert {path.name for path in (share / folder).iterdir()} == names
    assert (share / 'package.xml').is_file()
    scripts = re.findall(r"'(\w+) = adabins_ros\.", (source_copy / 'setup.py').read_text())
    assert len(scripts) >= 3
    for name in scripts:
        assert (prefix / 'lib' / 'adabins_ros' / name).stat().st_mode & 0o111, name

    pytest.importorskip('ament_index_python')
    found = in_workspace(workspace, clean_environment, sys.executable, '-c', WHERE).splitlines()
    assert found[:2] == [str(prefix), str(share)]
    assert found[2] == str((share / 'config' / 'fastdds.xml').resolve())
    assert (Path(found[3]) / 'test.mcap').read_bytes() == b'sample'
    assert found[3].startswith(str(workspace))

    pytest.importorskip('rclpy')
    for name in scripts:
        executable = str(prefix / 'lib' / 'adabins_ros' / name)
        assert 'usage' in in_workspace(workspace, clean_environment, executable, '--help').lower()

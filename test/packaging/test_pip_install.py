# SPDX-License-Identifier: Apache-2.0
"""After `pip install`, the commands are in bin/ and the files are found."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
import subprocess
import sys
import sysconfig

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def environment_python(tmp_path) -> Path:
    """Return the interpreter of a new environment that sees what this one has installed."""
    for distribution, oldest in (('pip', 21), ('setuptools', 64)):
        try:
            found = version(distribution)
        except PackageNotFoundError:
            pytest.skip(f'{distribution} is not installed')
        if int(found.split('.')[0]) < oldest:
            pytest.skip(f'{distribution} {found} cannot install editable packages in the new way')
    folder = tmp_path / 'environment'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    python = f'python{sys.version_info.major}.{sys.version_info.minor}'
    others = folder / 'lib' / python / 'site-packages' / 'others.pth'
    others.write_text('\n'.join({sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}))
    return folder / 'bin' / 'python'


@pytest.mark.parametrize('options', [(), ('--editable',)], ids=['plain', 'editable'])
def test_the_commands_are_in_bin_and_the_files_are_found(
    environment_python, source_copy, clean_environment, options
):
    (source_copy / 'adabins_ros' / 'samples').mkdir(exist_ok=True)
    (source_copy / 'adabins_ros' / 'samples' / 'test.mcap').write_bytes(b'sample')
    # No network and no copy of torch: what it depends on is there already.
    offline = ['--no-deps', '--no-index', '--no-build-isolation']
    done = subprocess.run(
        [environment_python, '-m', 'pip', 'install', '-q', *offline, *options, str(source_copy)],
        cwd='/',
        env=clean_environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    prefix = environment_python.parents[1]
    assert not (prefix / 'lib' / 'adabins_ros').exists(), 'setup.cfg has diverted the scripts'
    for name in ('adabins', 'depth_node', 'evaluate', 'play_bag', 'training'):
        assert (prefix / 'bin' / name).stat().st_mode & 0o111

    code = (
        'from adabins_ros.package_files import package_file as find\n'
        "names = 'config/fastdds.xml', 'launch/depth.launch.py', 'samples/test.mcap'\n"
        "find('evaluation/report.html.j2')\n"
        'print(*map(find, names), sep="\\n")'
    )
    found = subprocess.run(
        [environment_python, '-c', code],
        cwd='/',
        env=clean_environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    home = source_copy if options else prefix / 'share' / 'adabins_ros'
    assert found[:2] == [
        str(home / 'config' / 'fastdds.xml'),
        str(home / 'launch' / 'depth.launch.py'),
    ]
    assert Path(found[2]).read_bytes() == b'sample'

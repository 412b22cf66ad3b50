# SPDX-License-Identifier: Apache-2.0
"""After `pip install`, the commands are in bin/ and the files are found."""

from __future__ import annotations

from importlib.metadata import distributions, PackageNotFoundError, version
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


def install(python, source, environment, options=()) -> None:
    """Install the package alone: no network, what it depends on is there already."""
    offline = ['--no-deps', '--no-index', '--no-build-isolation']
    done = subprocess.run(
        [python, '-m', 'pip', 'install', '-q', *offline, *options, str(source)],
        cwd='/',
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def required(python) -> list[str]:
    """Return what the installed package requires without any extra."""
    folder = python.parents[1] / 'lib' / f'python3.{sys.version_info.minor}' / 'site-packages'
    (installed,) = distributions(name='adabins_ros', path=[str(folder)])
    return [line for line in installed.requires or [] if 'extra ==' not in line]


def test_the_plain_install_asks_for_no_torch_and_no_ros(
    environment_python, source_copy, clean_environment
):
    install(environment_python, source_copy, clean_environment)
    names = {line.split('>')[0].split('<')[0] for line in required(environment_python)}
    assert {'numpy', 'onnxruntime', 'opencv-python-headless', 'rosbags', 'mcap'} <= names
    assert not names & {'torch', 'torchvision', 'timm', 'ros-rclpy', 'opencv-python', 'onnx'}


def test_an_onnxruntime_for_the_gpu_is_not_overwritten_by_the_plain_one(
    environment_python, source_copy, clean_environment
):
    library = environment_python.parents[1] / 'lib'
    chosen = library / f'python3.{sys.version_info.minor}/site-packages'
    chosen = chosen / 'onnxruntime_gpu-1.20.0.dist-info'
    chosen.mkdir()
    (chosen / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20.0\n'
    )
    install(environment_python, source_copy, clean_environment)
    runtimes = [line for line in required(environment_python) if 'onnxruntime' in line]
    assert runtimes == ['onnxruntime-gpu']


@pytest.mark.parametrize('options', [(), ('--editable',)], ids=['plain', 'editable'])
def test_the_commands_are_in_bin_and_the_files_are_found(
    environment_python, source_copy, clean_environment, options
):
    (source_copy / 'adabins_ros' / 'samples').mkdir(exist_ok=True)
    (source_copy / 'adabins_ros' / 'samples' / 'test.mcap').write_bytes(b'sample')
    install(environment_python, source_copy, clean_environment, options)

    prefix = environment_python.parents[1]
    assert not (prefix / 'lib' / 'adabins_ros').exists(), 'setup.cfg has diverted the scripts'
    for name in ('adabins', 'depth_node', 'evaluate', 'fetch', 'play_bag', 'training'):
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

# SPDX-License-Identifier: Apache-2.0
"""The files that come with the package are found wherever it lies."""

from pathlib import Path
import shutil
import subprocess
import sys

from adabins_ros.package_files import package_file
import pytest


def installed_copy(prefix: Path, packages: str, repository: Path) -> Path:
    """Lay the package out as an installer does; return the folder with the Python packages."""
    site = prefix / packages
    (site / 'adabins_ros' / 'samples').mkdir(parents=True)
    for name in ('__init__.py', 'package_files.py'):
        shutil.copy(repository / 'adabins_ros' / name, site / 'adabins_ros' / name)
    (site / 'adabins_ros' / 'samples' / 'room.mcap').write_bytes(b'sample')
    share = prefix / 'share' / 'adabins_ros'
    (share / 'config').mkdir(parents=True)
    shutil.copy(repository / 'config' / 'fastdds.xml', share / 'config')
    return site


def ask(site: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Call package_file in an interpreter that has only this copy of the package."""
    code = f'from adabins_ros.package_files import package_file; print(package_file({name!r}))'
    return subprocess.run(
        [sys.executable, '-S', '-c', code],
        cwd=site,
        env={'PYTHONPATH': str(site)},
        capture_output=True,
        text=True,
    )


def test_the_fast_dds_profile_is_found_beside_the_source_tree(repository):
    assert package_file('config/fastdds.xml').samefile(repository / 'config' / 'fastdds.xml')


def test_a_folder_is_found_too(repository):
    assert package_file('launch').samefile(repository / 'launch')


def test_a_missing_file_is_named_with_the_places_and_the_way_out(repository):
    with pytest.raises(FileNotFoundError, match=r'config/gone\.yaml.*install the package again'):
        package_file('config/gone.yaml')


@pytest.mark.parametrize(
    'packages',
    [
        'lib/python3.11/site-packages',  # a virtual environment, colcon
        'local/lib/python3.12/dist-packages',  # Debian's pip, colcon on Jazzy's Debian layout
        '.',  # pip install --target
    ],
)
def test_an_installed_package_finds_its_files_without_any_environment_variable(
    tmp_path, repository, packages
):
    site = installed_copy(tmp_path / 'prefix', packages, repository)
    profile = ask(site, 'config/fastdds.xml')
    assert profile.stdout.strip() == str(
        tmp_path / 'prefix' / 'share' / 'adabins_ros' / 'config' / 'fastdds.xml'
    ), profile.stderr
    sample = ask(site, 'samples/room.mcap')
    assert Path(sample.stdout.strip()).read_bytes() == b'sample', sample.stderr


def test_a_foreign_config_folder_among_the_python_packages_is_not_mistaken_for_ours(
    tmp_path, repository
):
    site = installed_copy(tmp_path / 'prefix', 'lib/python3.11/site-packages', repository)
    (site / 'config').mkdir()
    (site / 'config' / 'other.xml').write_text('<somebody-elses/>')
    answer = ask(site, 'config/other.xml')
    assert answer.returncode != 0
    assert 'config/other.xml of the package adabins_ros is missing' in answer.stderr

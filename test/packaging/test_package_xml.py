# SPDX-License-Identifier: Apache-2.0
"""The manifest is valid, so that colcon takes the package for what it is."""

import re
import shlex

import adabins_ros
import pytest

catkin_package = pytest.importorskip('catkin_pkg.package')


@pytest.fixture(scope='module')
def manifest(repository):
    """Return package.xml, parsed by the parser that colcon uses."""
    warnings: list[str] = []
    package = catkin_package.parse_package(str(repository / 'package.xml'), warnings=warnings)
    assert warnings == []
    package.validate(warnings=warnings)
    assert warnings == []
    return package


def test_the_manifest_is_an_ament_python_package_of_format_three(manifest):
    assert manifest.name == 'adabins_ros'
    assert manifest.package_format == 3
    assert manifest.get_build_type() == 'ament_python'
    assert manifest.licenses == ['Apache-2.0']
    assert [str(person) for person in manifest.maintainers] == [
        'adabins_ros developers <adabins_ros@users.noreply.github.com>'
    ]


def test_the_version_is_the_same_everywhere(manifest):
    assert manifest.version == adabins_ros.__version__


def test_the_licence_text_is_there(manifest, repository):
    assert manifest.licenses[0].file == 'LICENSE'
    assert 'Apache License' in (repository / 'LICENSE').read_text()


ROSDEP_KEYS = {
    'Jinja2': 'python3-jinja2',
    'matplotlib': 'python3-matplotlib',
    'numpy': 'python3-numpy',
    'opencv-python-headless': 'python3-opencv',
    'Pillow': 'python3-pil',
    'PyYAML': 'python3-yaml',
}


def test_what_the_plain_install_needs_comes_from_rosdep_or_from_the_readmes_pip(
    manifest, repository
):
    setup = (repository / 'setup.py').read_text()
    listed = setup.partition('install_requires=[')[2].partition('],')[0]
    needed = {name: whole for whole, name in re.findall(r"'(([\w-]+)[^']*)'", listed)}
    needed['onnxruntime'] = 'onnxruntime'
    keys = {dependency.name for dependency in manifest.exec_depends}
    assert set(ROSDEP_KEYS) <= set(needed)
    assert set(ROSDEP_KEYS.values()) <= keys
    (line,) = (
        line
        for line in (repository / 'README.md').read_text().splitlines()
        if line.startswith('python3 -m pip install --user')
    )
    by_pip = set(shlex.split(line.partition('--break-system-packages')[2])) - {'numpy<2'}
    assert by_pip == {whole for name, whole in needed.items() if name not in ROSDEP_KEYS}


def test_every_ros_package_that_is_imported_is_a_dependency(manifest, repository):
    declared = {
        dependency.name
        for kind in (manifest.exec_depends, manifest.test_depends)
        for dependency in kind
    }
    ros = re.compile(
        r'^\s*(?:from|import) ((?:\w+_msgs|\w+_interfaces|std_srvs|rclpy|launch|launch_ros|'
        r'ament_\w+|cv_bridge|sensor_msgs_py))\b',
        re.MULTILINE,
    )
    imported = {
        name
        for folder in ('adabins_ros', 'launch', 'test')
        for path in (repository / folder).rglob('*.py')
        for name in ros.findall(path.read_text())
    }
    assert imported - declared == set()

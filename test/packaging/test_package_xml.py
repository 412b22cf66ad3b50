# SPDX-License-Identifier: Apache-2.0
"""The manifest is valid, so that colcon takes the package for what it is."""

import re

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

# SPDX-License-Identifier: Apache-2.0
"""The shipped parameter file and the node agree."""

from dataclasses import fields

import pytest
import yaml


@pytest.fixture(scope='module')
def shipped(repository) -> dict[str, object]:
    """Return the parameters of config/depth.yaml."""
    document = yaml.safe_load((repository / 'config' / 'depth.yaml').read_text())
    assert list(document) == ['/**'], 'it must apply to the node in any namespace'
    return document['/**']['ros__parameters']


@pytest.fixture(scope='module')
def declared() -> dict[str, object]:
    """Return the defaults that the node declares."""
    pytest.importorskip('rclpy')
    from adabins_ros.ros.parameters import DepthNodeSettings, ros_name

    return {
        ros_name(row.name): list(row.default) if isinstance(row.default, tuple) else row.default
        for row in fields(DepthNodeSettings)
    }


def test_the_file_lists_every_parameter_in_the_order_of_the_node(shipped, declared):
    assert list(shipped) == list(declared)


def test_every_value_in_the_file_is_the_default_and_of_its_type(shipped, declared):
    assert shipped == declared
    types = {name: type(value) for name, value in shipped.items()}
    assert types == {name: type(value) for name, value in declared.items()}
    elements = {name: [type(e) for e in v] for name, v in shipped.items() if type(v) is list}
    assert elements == {name: [type(e) for e in declared[name]] for name in elements}


def test_every_value_in_the_file_has_a_comment_or_says_it_by_its_name(repository, shipped):
    lines = (repository / 'config' / 'depth.yaml').read_text().splitlines()
    for name in shipped:
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f'{name}:'))
        assert lines[at - 1].lstrip().startswith('#') or name.startswith('publish_'), name

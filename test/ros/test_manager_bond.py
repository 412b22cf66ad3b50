# SPDX-License-Identifier: Apache-2.0
"""A lifecycle manager learns of the node's life by a bond, where bondpy is installed."""

from __future__ import annotations

from typing import Any

import pytest

# What bondpy 4.1 has of its class, for a machine without: it writes down what is asked of it.
STAND_IN = """
class Bond:
    def __init__(self, node, topic, bond_id, on_broken=None, on_formed=None):
        self.words = f'{bond_id} on {node.resolve_topic_name(topic)}'
        self.heartbeat_period = 1.0

    def start(self):
        print(f'BOND {self.words} every {self.heartbeat_period} s', flush=True)

    def shutdown(self):
        print(f'BROKEN {self.words}', flush=True)
"""


@pytest.fixture
def with_bondpy(tmp_path, ros_environment) -> dict[str, str]:
    """Return an environment in which bondpy can be imported."""
    package = tmp_path / 'bondpy'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'bondpy.py').write_text(STAND_IN)
    return {'PYTHONPATH': f'{tmp_path}:{ros_environment["PYTHONPATH"]}'}


def managed(start_node: Any, make_station: Any, name: str, **more: Any) -> tuple[Any, Any]:
    """Return a node that a manager brought up, and its station."""
    process = start_node(name, autostart=False, inference_size=[128, 160], **more)
    station = make_station(name)
    assert station.transition('configure') and station.transition('activate')
    return process, station


def test_a_managed_node_has_a_bond_while_it_is_active(start_node, make_station, with_bondpy):
    process, station = managed(start_node, make_station, 'bonded', environment=with_bondpy)
    formed = 'BOND depth_node on /bonded/bond every 0.25 s'
    station.spin_until(lambda: process.log.count(formed) == 1)
    assert 'BROKEN' not in process.log
    assert station.transition('deactivate')
    station.spin_until(lambda: 'BROKEN depth_node' in process.log)
    assert station.transition('activate')
    station.spin_until(lambda: process.log.count(formed) == 2)
    station.destroy()
    assert process.end()[0] == 0
    assert process.log.count('BROKEN') == 2


def test_a_node_that_starts_by_itself_has_none(start_node, make_station, with_bondpy):
    process = start_node('alone', environment=with_bondpy, inference_size=[128, 160])
    station = make_station('alone')
    station.wait_until_active()
    station.destroy()
    process.end()
    assert 'BOND' not in process.log


def test_without_bondpy_the_manager_is_told_how_to_do_without(start_node, make_station):
    process, station = managed(start_node, make_station, 'unbonded')
    if not _has_bondpy():
        station.spin_until(lambda: 'bond_timeout: 0.0' in process.log)
    station.destroy()
    process.end()


def _has_bondpy() -> bool:
    try:
        import bondpy.bondpy  # noqa: F401
    except ImportError:
        return False
    return True


def test_the_real_bond_sends_heartbeats_under_the_nodes_name(start_node, make_station):
    pytest.importorskip('bondpy.bondpy')
    from bond.msg import Status

    process = start_node('truly_bonded', autostart=False, inference_size=[128, 160])
    station = make_station('truly_bonded')
    station.listen('bond', Status)
    assert station.transition('configure') and station.transition('activate')
    station.spin_until(lambda: len(station.received['bond']) > 2)
    assert all(m.active and m.id == 'depth_node' for m in station.received['bond'])
    assert station.transition('deactivate')
    station.spin_until(lambda: not station.received['bond'][-1].active)
    station.destroy()
    process.end()

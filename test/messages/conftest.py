# SPDX-License-Identifier: Apache-2.0
"""Real messages of both worlds for the conversion tests."""

from __future__ import annotations

from collections.abc import Callable
import importlib
from typing import Any

from adabins_ros.messages import ros_fields
from adabins_ros.recordings.recorded_message import shipped_types
from adabins_ros.recordings.writer import build_message
import pytest

Make = Callable[..., Any]


def _rosbags_message(msgtype: str, **fields: Any) -> Any:
    types = shipped_types()
    name = msgtype.replace('/', '/msg/')
    return types.deserialize_cdr(
        types.serialize_cdr(build_message(types, name, fields), name), name
    )


def _rclpy_message(msgtype: str, **fields: Any) -> Any:
    pytest.importorskip('rclpy')
    package, _, name = msgtype.partition('/')
    module = importlib.import_module(f'{package}.msg')
    if 'fields' in fields:
        names = ('name', 'offset', 'datatype', 'count')
        fields['fields'] = [
            module.PointField(**dict(zip(names, field, strict=True))) for field in fields['fields']
        ]
    if 'roi' in fields:
        fields['roi'] = module.RegionOfInterest(**fields['roi'])
    if isinstance(fields.get('data'), bytes):
        fields['data'] = list(fields['data'])
    return getattr(module, name)(**ros_fields(fields))


@pytest.fixture(params=['rosbags', 'rclpy'])
def make(request: pytest.FixtureRequest) -> Make:
    """
    Return a function that makes a message, once rosbags' and once rclpy's.

    It is called as make('sensor_msgs/Image', **fields).
    """
    return _rosbags_message if request.param == 'rosbags' else _rclpy_message


@pytest.fixture(scope='session')
def make_recorded() -> Make:
    """Return the same function for rosbags' messages alone."""
    return _rosbags_message

# SPDX-License-Identifier: Apache-2.0
"""Message types of a recording: its own definitions first, those that ROS ships second."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys import (
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
    Stores,
    TypesysError,
)

if TYPE_CHECKING:
    from rosbags.interfaces.typing import Typesdict
    from rosbags.typesys.store import Typestore

_HEADER = 'std_msgs/msg/Header'
_IDL_SEPARATOR = '=' * 80 + '\n'


def normal_type_name(name: str) -> str:
    """Return 'sensor_msgs/msg/Image' for that and for the 'sensor_msgs/Image' of old bags."""
    package, _, rest = name.partition('/')
    return f'{package}/msg/{rest}' if rest and '/' not in rest else name


@cache
def shipped_types(ros1: bool = False) -> Typestore:
    """Return the message types of a ROS installation."""
    return get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)


def types_of(connection: Connection, ros1: bool) -> Typestore:
    """
    Return a store that knows the connection's type.

    A definition that is missing, or that can't be parsed, is replaced by the one that ROS ships.

    Raises
    ------
    TypesysError
        The type is unknown.

    """
    name = normal_type_name(connection.msgtype)
    try:
        types = _recorded_types(connection, name)
    except (TypesysError, ValueError, KeyError, AssertionError):
        types = {}
    if name in types:
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        return store
    if name in shipped_types(ros1).fielddefs:
        return shipped_types(ros1)
    raise TypesysError(f'the recording holds no definition of {name}, and ROS ships none')


def with_ros2_header(types: Typestore) -> Typestore:
    """Return a ROS 1 recording's types with ROS 2's header, which has no `seq`."""
    store = get_typestore(Stores.EMPTY)
    header = shipped_types().fielddefs[_HEADER]
    store.register({**types.fielddefs, _HEADER: header})
    return store


def _recorded_types(connection: Connection, name: str) -> Typesdict:
    definition = connection.msgdef
    if definition.format == MessageDefinitionFormat.MSG:
        return get_types_from_msg(definition.data, name)
    if definition.format == MessageDefinitionFormat.IDL:
        types: Typesdict = {}
        for part in definition.data.split(_IDL_SEPARATOR):
            text = part.partition('\n')[2] if part.startswith('IDL: ') else part
            if text.strip():
                types.update(get_types_from_idl(text))
        return types
    return {}

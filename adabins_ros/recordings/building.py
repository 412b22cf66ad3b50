# SPDX-License-Identifier: Apache-2.0
"""rosbags messages from plain fields, or from the messages of another library such as rclpy's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TYPE_CHECKING

import numpy as np
from rosbags.interfaces import Nodetype

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_NUMPY_NAMES = {'byte': 'uint8', 'char': 'uint8'}


def build_message(types: Typestore, msgtype: str, value: Any) -> Any:
    """
    Return a message of the store, field by field.

    Parameters
    ----------
    types : Typestore
        Of rosbags.
    msgtype : str
        'sensor_msgs/msg/Image'
    value : mapping, tuple or message
        A mapping by field names, where missing ones take their defaults; a tuple in the order of
        the fields; or any object with the fields as attributes.

    Raises
    ------
    ValueError
        A field that the type does not have, or a value that does not fit.

    """
    fields = types.fielddefs[msgtype][1]
    names = [name for name, _ in fields]
    if isinstance(value, tuple):
        value = dict(zip(names, value, strict=True))
    elif not isinstance(value, Mapping):
        value = {name: getattr(value, name) for name in names}
    unknown = set(value) - set(names)
    if unknown:
        raise ValueError(f'{msgtype} has no field {", ".join(sorted(unknown))}')
    return types.types[msgtype](
        **{name: _field(types, kind, value.get(name)) for name, kind in fields}
    )


def _field(types: Typestore, kind: Any, value: Any) -> Any:
    node, detail = kind
    if node == Nodetype.NAME:
        return build_message(types, detail, {} if value is None else value)
    if node == Nodetype.BASE:
        return _base(detail[0], value)
    (item, item_detail), count = detail
    if item == Nodetype.NAME or item_detail[0] == 'string':
        values = [None] * count if value is None else value
        return [_field(types, (item, item_detail), one) for one in values]
    dtype = _NUMPY_NAMES.get(item_detail[0], item_detail[0])
    if value is None:
        return np.zeros(count if node == Nodetype.ARRAY else 0, dtype)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return np.frombuffer(value, dtype)
    array = np.asarray(value, dtype).reshape(-1)
    if node == Nodetype.ARRAY and array.size != count:
        raise ValueError(f'{array.size} values for an array of {count}')
    return array


def _base(name: str, value: Any) -> Any:
    kind = {'string': str, 'bool': bool}.get(name, float if name.startswith('float') else int)
    return kind() if value is None else kind(value)

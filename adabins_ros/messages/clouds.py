# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 to a structured array and back."""

from __future__ import annotations

import sys
from typing import Any

from adabins_ros.geometry.camera import MAX_PIXELS
import numpy as np
from numpy.typing import NDArray

from .fields import data_bytes, MessageError

# PointField.INT8 = 1 ... FLOAT64 = 8
_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
_DATATYPES = {name: number for number, name in _TYPES.items()}
_LARGEST_STEP = 2**31 - 1
"""Bytes of a point: what NumPy 1 can say."""


def cloud_fields(cloud: NDArray[Any], is_dense: bool | None = None) -> dict[str, Any]:
    """
    Return the fields of a sensor_msgs/PointCloud2, without its header.

    Parameters
    ----------
    cloud : (H, W) or (N,) structured array
        One field of the dtype per field of the message; padding in the dtype stays.
    is_dense : bool, optional
        Whether x, y and z are all finite, where the caller knows; otherwise they are looked at.

    Returns
    -------
    dict
        height, width, fields as (name, offset, datatype, count), is_bigendian, point_step,
        row_step, data (flat uint8, a view of a contiguous cloud) and is_dense: false where a
        coordinate x, y or z is not finite.

    Raises
    ------
    MessageError
        Cause 'fields': no structured array, or a type that PointField does not have.

    """
    dtype = cloud.dtype
    if dtype.fields is None or dtype.names is None or cloud.ndim not in (1, 2):
        raise MessageError('fields', f'a cloud must be an (H, W) structured array, not {dtype}')
    fields = []
    for name in dtype.names:
        kind, offset = dtype.fields[name][:2]
        base, shape = kind.subdtype or (kind, ())
        if base.str[1:] not in _DATATYPES:
            raise MessageError(
                'fields', f'field {name!r} of type {kind} does not fit a PointField'
            )
        count = int(np.prod(shape, dtype=int))
        fields.append((name, offset, _DATATYPES[base.str[1:]], count))
    rows = cloud if cloud.ndim == 2 else cloud[None]
    height, width = rows.shape
    if is_dense is None:
        coordinates = [name for name in ('x', 'y', 'z') if name in dtype.names]
        is_dense = all(bool(np.isfinite(rows[name]).all()) for name in coordinates)
    return {
        'height': height,
        'width': width,
        'fields': fields,
        'is_bigendian': sys.byteorder == 'big',
        'point_step': dtype.itemsize,
        'row_step': dtype.itemsize * width,
        'data': data_bytes(rows),
        'is_dense': is_dense,
    }


def read_cloud(message: Any) -> NDArray[Any]:
    """
    Return the points of a sensor_msgs/PointCloud2.

    Parameters
    ----------
    message : sensor_msgs.msg.PointCloud2
        Of rclpy or of rosbags.

    Returns
    -------
    (H, W) structured array
        With the message's field names, in native byte order; a view where the message is native.
        Points that are not finite stay, so that an organised cloud keeps its shape.

    Raises
    ------
    MessageError
        Causes 'fields', 'step', 'short data', 'absurd size', 'data'.

    """
    height, width = int(message.height), int(message.width)
    point_step, row_step = int(message.point_step), int(message.row_step)
    if height * width > MAX_PIXELS or height < 0 or width < 0:
        raise MessageError('absurd size', f'cloud claims {width}x{height} points')
    if point_step > _LARGEST_STEP:
        raise MessageError('absurd size', f'cloud claims points of {point_step} bytes')
    dtype = _cloud_dtype(message.fields, point_step, '>' if message.is_bigendian else '<')
    if row_step < width * point_step and height > 1:
        raise MessageError(
            'step', f'cloud of {width} points of {point_step} bytes has a row_step of {row_step}'
        )
    data = data_bytes(message.data)
    needed = (height - 1) * row_step + width * point_step if height and width else 0
    if data.size < needed:
        raise MessageError(
            'short data',
            f'cloud {width}x{height} needs {needed} bytes, {data.size} were given',
        )
    if not needed:
        return np.zeros((height, width), dtype.newbyteorder('='))
    cloud: NDArray[Any] = np.ndarray((height, width), dtype, data, strides=(row_step, point_step))
    if not dtype.isnative:
        return cloud.astype(dtype.newbyteorder('='))
    cloud.flags.writeable = False
    return cloud


def _cloud_dtype(fields: Any, point_step: int, order: str) -> np.dtype[Any]:
    names, formats, offsets = [], [], []
    for index, field in enumerate(fields):
        name, offset = str(field.name) or f'unnamed_field_{index}', int(field.offset)
        kind = _TYPES.get(int(field.datatype))
        if kind is None:
            raise MessageError('fields', f'field {name!r} has the unknown type {field.datatype}')
        # Old drivers leave count at 0.
        count = int(field.count) or 1
        if count < 0 or offset < 0 or offset + count * int(kind[1:]) > point_step:
            raise MessageError(
                'fields',
                f'field {name!r} at byte {offset} (count {count}) lies outside the point_step of '
                f'{point_step} bytes',
            )
        names.append(name)
        formats.append((order + kind, (count,)) if count > 1 else order + kind)
        offsets.append(offset)
    if not names:
        raise MessageError('fields', 'cloud has no fields')
    if len(set(names)) < len(names):
        raise MessageError('fields', f'cloud has fields of the same name: {", ".join(names)}')
    return np.dtype(
        {'names': names, 'formats': formats, 'offsets': offsets, 'itemsize': point_step}
    )

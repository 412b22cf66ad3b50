# SPDX-License-Identifier: Apache-2.0
"""Transforms and rotations of messages as matrices, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def transform_matrix(transform: Any) -> NDArray[np.float64]:
    """
    Return a geometry_msgs/Transform as a (4, 4) float64 matrix, metres.

    A rotation of zeros, ROS 1's default, counts as none.
    """
    rotation, translation = transform.rotation, transform.translation
    x, y, z, w = (float(value) for value in (rotation.x, rotation.y, rotation.z, rotation.w))
    norm = x * x + y * y + z * z + w * w
    scale = 2 / norm if norm > 0 else 0.0
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + scale * np.array(
        [
            [-y * y - z * z, x * y - z * w, x * z + y * w],
            [x * y + z * w, -x * x - z * z, y * z - x * w],
            [x * z - y * w, y * z + x * w, -x * x - y * y],
        ]
    )
    matrix[:3, 3] = float(translation.x), float(translation.y), float(translation.z)
    return matrix


def quaternion(rotation: NDArray[np.float64]) -> dict[str, float]:
    """
    Return a (3, 3) rotation matrix as the fields x, y, z, w of a geometry_msgs/Quaternion.

    Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix", 2000: also for
    half turns, and for matrices that were rounded in a file.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    _, vectors = np.linalg.eigh(symmetric)
    return dict(zip('xyzw', vectors[:, -1].tolist(), strict=True))

# SPDX-License-Identifier: Apache-2.0
"""The fixed transforms of a robot, as /tf_static holds them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from adabins_ros.messages.matrices import transform_matrix
import numpy as np
from numpy.typing import NDArray

from .errors import RecordingError

Matrix = NDArray[np.float64]


class StaticTransforms:
    """
    Frames that do not move against each other.

    Parameters
    ----------
    messages : iterable of tf2_msgs/TFMessage
        Of rosbags or of rclpy; of two transforms of a child frame the later one counts.

    """

    def __init__(self, messages: Iterable[Any] = ()) -> None:
        self._parents: dict[str, tuple[str, Matrix]] = {}
        for message in messages:
            for stamped in message.transforms:
                child = _name(stamped.child_frame_id)
                matrix = transform_matrix(stamped.transform)
                self._parents[child] = (_name(stamped.header.frame_id), matrix)

    @property
    def frames(self) -> list[str]:
        """Return the names of all frames, sorted."""
        return sorted(set(self._parents) | {parent for parent, _ in self._parents.values()})

    def lookup(self, target: str, source: str) -> Matrix:
        """
        Return the (4, 4) matrix that turns points of the source frame into the target frame.

        Raises
        ------
        RecordingError
            No chain of transforms connects the two.

        """
        target, source = _name(target), _name(source)
        edges: dict[str, list[tuple[str, Matrix]]] = {}
        for child, (parent, matrix) in self._parents.items():
            edges.setdefault(child, []).append((parent, matrix))
            edges.setdefault(parent, []).append((child, _inverse(matrix)))
        reached: dict[str, Matrix] = {source: np.eye(4)}
        waiting = deque([source])
        while waiting and target not in reached:
            frame = waiting.popleft()
            for neighbour, matrix in edges.get(frame, ()):
                if neighbour not in reached:
                    reached[neighbour] = matrix @ reached[frame]
                    waiting.append(neighbour)
        if target not in reached:
            known = ', '.join(self.frames) or 'no frame'
            raise RecordingError(
                f'/tf_static does not connect {source!r} with {target!r}; it has {known}: record '
                '/tf_static of the whole robot, or choose a depth topic aligned to the colour'
            )
        return reached[target]


def _inverse(matrix: Matrix) -> Matrix:
    turned = np.eye(4)
    turned[:3, :3] = matrix[:3, :3].T
    turned[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return turned


def _name(frame: Any) -> str:
    """Return a frame's name without the leading slash of old recordings."""
    return str(frame).lstrip('/')

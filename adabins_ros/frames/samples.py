# SPDX-License-Identifier: Apache-2.0
"""What every kind of input gives to training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from adabins_ros.geometry.camera import PinholeCamera
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RgbdSample:
    """
    One colour image with its true depth.

    Attributes
    ----------
    image : (H, W, 3) uint8
        RGB; may be read-only.
    depth : (H, W) float32
        Metres along z, 0 where unknown.
    focal_length_px : float
        fx at this size; NaN where it is not known.
    name : str
        Of the frame, such as recording and stamp.
    source : str
    camera : PinholeCamera or None
        At the size of the image, with its distortion; None where it is not known.

    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    focal_length_px: float
    name: str
    source: str
    camera: PinholeCamera | None = None


@dataclass
class SourceReport:
    """
    What was found in one input, for people.

    Attributes
    ----------
    name, kind : str
    topics : str
        What was chosen; empty for files.
    frames : int
        Pairs that can be used.
    remarks : list of str
        Everything worth knowing: drift, duplicates, damage, assumptions.
    offset_ms : tuple of float
        Median and largest difference between the stamps within a pair; empty for files.

    """

    name: str
    kind: str
    topics: str = ''
    frames: int = 0
    remarks: list[str] = field(default_factory=list)
    offset_ms: tuple[float, ...] = ()


class FrameSource(Protocol):
    """
    Frames in time order with random access; goes to worker processes by pickling.

    `__getitem__` raises RecordingError or MessageError for a frame that can't be used.
    """

    name: str
    stamps_ns: NDArray[np.int64]
    report: SourceReport

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RgbdSample: ...

    def frame_name(self, index: int) -> str:
        """Return the name of a frame without reading it."""
        ...

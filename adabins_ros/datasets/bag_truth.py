# SPDX-License-Identifier: Apache-2.0
"""True depth of a recording: aligned depth, depth of a camera beside, or a lidar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from adabins_ros.bags.bag_index import BagIndex
from adabins_ros.bags.frames import decode_depth_image
from adabins_ros.datasets.bag_cameras import BagCameras
from adabins_ros.datasets.lidar import cloud_points, project_points
from adabins_ros.datasets.reprojection import reproject_depth
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import MessageError, read_cloud
import cv2
import numpy as np
from numpy.typing import NDArray

Depth = NDArray[np.float32]


class Truth(Protocol):
    """One way of getting the true depth of an image."""

    @property
    def topic(self) -> str: ...

    def depth(
        self, index: BagIndex, number: int, size: tuple[int, int], camera: PinholeCamera | None
    ) -> Depth:
        """Return (height, width) float32 m, 0 unknown, for a message of the topic."""
        ...


@dataclass(frozen=True)
class AlignedDepth:
    """Depth images whose pixels lie on those of the colour images, at any size."""

    topic: str

    def depth(
        self, index: BagIndex, number: int, size: tuple[int, int], camera: PinholeCamera | None
    ) -> Depth:
        """Return the depth image at the colour image's size."""
        depth = known_depth(decode_depth_image(index.message(self.topic, number)))
        if depth.shape != size:
            fitted = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            return np.asarray(fitted, np.float32)
        return depth


@dataclass(frozen=True)
class UnalignedDepth:
    """Depth images of a camera of its own."""

    topic: str
    cameras: BagCameras
    target_from_source: NDArray[np.float64]

    def depth(
        self, index: BagIndex, number: int, size: tuple[int, int], camera: PinholeCamera | None
    ) -> Depth:
        """Return the depth as the colour camera sees it."""
        depth = decode_depth_image(index.message(self.topic, number))
        stamp = int(index.stamps_ns(self.topic)[number])
        source = self.cameras.at(stamp, depth.shape[1], depth.shape[0])
        if source is None or camera is None:
            raise MessageError('uncalibrated', f'no camera_info for {self.topic} or its image')
        return reproject_depth(depth, source, camera, self.target_from_source)


@dataclass(frozen=True)
class LidarDepth:
    """Points of a lidar: sparse truth."""

    topic: str
    camera_from_lidar: NDArray[np.float64]

    def depth(
        self, index: BagIndex, number: int, size: tuple[int, int], camera: PinholeCamera | None
    ) -> Depth:
        """Return the points as the colour camera sees them."""
        if camera is None:
            raise MessageError('uncalibrated', 'the lidar needs the camera_info of the image')
        points = cloud_points(read_cloud(index.message(self.topic, number).decode()))
        return project_points(points, camera, self.camera_from_lidar)


def known_depth(depth: Depth) -> Depth:
    """Return depth with 0 for NaN, infinities and what lies behind the camera."""
    if not depth.flags.writeable:
        depth = depth.copy()
    cv2.patchNaNs(depth, 0)
    # After NaNs are gone two comparisons find what else is unusable.
    if depth.size and not (depth.min() >= 0 and depth.max() < np.inf):
        depth[~((depth > 0) & (depth < np.inf))] = 0
    return depth

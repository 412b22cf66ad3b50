# SPDX-License-Identifier: Apache-2.0
"""The arrays behind a frame's products, made from a depth estimate with numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TYPE_CHECKING

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.cloud import CLOUD_DTYPE, pack_cloud
from adabins_ros.geometry.colors import depth_colors
from adabins_ros.geometry.depth_encoding import mark_range, millimetres
from adabins_ros.geometry.filtering import valid_points
from adabins_ros.messages.buffers import ReusedArrays
from adabins_ros.ros.parameters import DepthNodeSettings
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.estimate import DepthEstimate


class FrameArrays(Protocol):
    """
    What is published about a frame; each method is named as its product in the parameters.

    An array is valid until the next frame.
    """

    def image(self) -> NDArray[np.float32]:
        """Return depth (H, W), metres, marked as REP 117 says."""

    def image_raw(self) -> NDArray[np.uint16]:
        """Return depth (H, W), millimetres; 0 for what is unknown or out of range."""

    def std(self) -> NDArray[np.float32]:
        """Return one standard deviation of depth (H, W), metres."""

    def color(self) -> NDArray[np.uint8]:
        """Return depth as RGB colours (H, W, 3)."""

    def bin_centers(self) -> NDArray[np.float32]:
        """Return the centres of this frame's depth bins (N,), metres."""

    def points(self) -> tuple[NDArray[Any], bool]:
        """Return the organised cloud, of `CLOUD_DTYPE`, and whether all points are valid."""


@dataclass(frozen=True)
class ProductLimits:
    """
    Which depths a frame's products show.

    Attributes
    ----------
    settings : DepthNodeSettings
        The node's parameters.
    model_farthest : float
        The farthest that the model can say of this camera, metres.

    """

    settings: DepthNodeSettings
    model_farthest: float

    @property
    def nearest(self) -> float:
        """Return the least depth in range, metres."""
        return self.settings.min_depth

    @property
    def farthest(self) -> float:
        """Return the largest depth in range, metres."""
        # The predictor keeps to the model's range; 1 ulp of rounding must not put it outside.
        return self.settings.max_depth or np.inf

    @property
    def farthest_color(self) -> float:
        """Return the depth at the far end of the colours, metres."""
        settings = self.settings
        return settings.color_max_depth or settings.max_depth or self.model_farthest

    @property
    def gates(self) -> dict[str, Any]:
        """Return the arguments of `valid_points`."""
        return {
            'min_depth': self.nearest,
            'max_depth': self.farthest,
            'max_std_ratio': self.settings.max_std_ratio,
            'edge_ratio': self.settings.edge_ratio,
        }


@dataclass(frozen=True)
class HostArrays:
    """
    Make a frame's arrays on the CPU, each when it is asked for.

    Attributes
    ----------
    rgb : (H, W, 3) uint8
        The image as the network saw it (rectified if that was asked for).
    camera : PinholeCamera or None
        Intrinsics of `rgb`; points need them.
    estimate : DepthEstimate
        Of `rgb`.
    limits : ProductLimits
        From the node's parameters.
    memory : ReusedArrays
        Where the arrays are made; kept from frame to frame.

    """

    rgb: NDArray[np.uint8]
    camera: PinholeCamera | None
    estimate: DepthEstimate
    limits: ProductLimits
    memory: ReusedArrays = field(default_factory=ReusedArrays)

    @cached_property
    def _marked(self) -> NDArray[np.float32]:
        depth = self.estimate.depth
        out = self.memory.array('image', depth.shape, depth.dtype)
        return mark_range(depth, self.limits.nearest, self.limits.farthest, out)

    def image(self) -> NDArray[np.float32]:
        """Return depth (H, W), metres, marked as REP 117 says."""
        return self._marked

    def image_raw(self) -> NDArray[np.uint16]:
        """Return depth (H, W), millimetres; 0 for what is unknown or out of range."""
        return millimetres(self._marked)

    def std(self) -> NDArray[np.float32]:
        """Return one standard deviation of depth (H, W), metres."""
        return self.estimate.std

    def color(self) -> NDArray[np.uint8]:
        """Return depth as RGB colours (H, W, 3)."""
        out = self.memory.array('color', self.rgb.shape, self.rgb.dtype)
        return depth_colors(self._marked, 0.0, self.limits.farthest_color, out)

    def bin_centers(self) -> NDArray[np.float32]:
        """Return the centres of this frame's depth bins (N,), metres."""
        return self.estimate.bin_centers

    def points(self) -> tuple[NDArray[Any], bool]:
        """Return the organised cloud and whether all points are valid; needs the camera."""
        assert self.camera is not None
        stride = self.limits.settings.point_stride
        depth, std = self.estimate.depth, self.estimate.std
        valid = valid_points(depth, std, stride=stride, **self.limits.gates)
        out = self.memory.array('points', valid.shape, CLOUD_DTYPE)
        cloud = pack_cloud(depth, self.rgb, std, valid, self.camera, stride, out)
        return cloud, bool(valid.all())

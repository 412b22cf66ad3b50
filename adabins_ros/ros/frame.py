# SPDX-License-Identifier: Apache-2.0
"""An image of a camera on its way through the node, and what its products share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import math
from typing import TYPE_CHECKING

from adabins_ros.geometry.above_floor import heights_above_floor, stand_on_floor
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.colors import depth_colors
from adabins_ros.geometry.depth_encoding import mark_range, millimetres, range_to_show
from adabins_ros.geometry.gates import flying_pixels, is_on, valid_points
from adabins_ros.messages.fields import ReusedArrays
from adabins_ros.scale.floor import down_in_camera
import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

if TYPE_CHECKING:
    from adabins_ros.inference.estimate import DepthEstimate
    from adabins_ros.ros.parameters import DepthNodeSettings
    from adabins_ros.ros.scale_sources import Transforms
    from adabins_ros.scale import ScaleFit


class NotMade(Exception):
    """A product that lacks something in this frame; the text says what, and the way out."""


@dataclass(frozen=True)
class Frame:
    """
    An image of a camera, and what is known about it when its products are made.

    Attributes
    ----------
    header : std_msgs.msg.Header
        Of the camera's image; every message carries it.
    rgb : (H, W, 3) uint8
        The image as the network sees it (rectified if that was asked for).
    camera : PinholeCamera or None
        Intrinsics of `rgb`, if they are known.
    settings : DepthNodeSettings
        The node's parameters for this frame.
    memory : ReusedArrays
        Where large arrays are made, valid until the camera's next frame.
    seen : (H, W) bool or None
        The pixels of a rectified image that the lens saw; None: all of them.
    estimate : DepthEstimate or None
        Of `rgb`; None before the network has run.
    scale : ScaleFit or None
        What is known of the scale that the estimate is in; None before the network has run.
    is_held : bool
        Whether what robots move by is held back, since a scale is missing that should be there.
    model_range : (float, float)
        The nearest and the farthest that the estimate can say of this camera, metres.
    transforms : Transforms or None
        What TF knows; None before the network has run.

    """

    header: Header
    rgb: NDArray[np.uint8]
    camera: PinholeCamera | None
    settings: DepthNodeSettings
    memory: ReusedArrays
    seen: NDArray[np.bool_] | None = None
    estimate: DepthEstimate | None = None
    scale: ScaleFit | None = None
    is_held: bool = False
    model_range: tuple[float, float] = (0.0, math.inf)
    transforms: Transforms | None = None

    @property
    def focal_length_px(self) -> float | None:
        """Return fx of `rgb`, or None where depth is not to be corrected for it, px."""
        if self.camera is None or not self.settings.focal_correction:
            return None
        return self.camera.fx

    @property
    def estimated(self) -> DepthEstimate:
        """Return the estimate, for products that need the network."""
        assert self.estimate is not None
        return self.estimate

    @property
    def limits(self) -> tuple[float, float]:
        """Return the least and the largest depth in range, metres."""
        return range_to_show(self.settings.min_depth, self.settings.max_depth, *self.model_range)

    @cached_property
    def marked(self) -> NDArray[np.float32]:
        """Return depth (H, W), metres; NaN unknown, infinite out of range (REP 117)."""
        depth = self.estimated.depth
        out = self.memory.array('image', depth.shape, depth.dtype)
        return mark_range(depth, *self.limits, out)

    @cached_property
    def sure(self) -> NDArray[np.bool_]:
        """Return which of every `point_stride`-th pixel pass the gates, at any distance."""
        edge_ratio, step = self.settings.edge_ratio, self.settings.point_stride
        if not is_on(edge_ratio):
            return self.trusted
        return self.trusted & ~flying_pixels(self.estimated.depth, edge_ratio, step)

    @cached_property
    def trusted(self) -> NDArray[np.bool_]:
        """Return which of these pixels pass the gates but that of flying pixels."""
        step = self.settings.point_stride
        valid = valid_points(
            self.estimated.depth,
            self.estimated.std,
            min_depth=self.limits[0],
            max_depth=math.inf,
            max_std_ratio=self.settings.max_std_ratio,
            stride=step,
        )
        if self.settings.sure_std:
            valid &= self.safe_depth[::step, ::step] > 0  # NaN where the deviation is unknown
        return valid

    @cached_property
    def safe_depth(self) -> NDArray[np.float32]:
        """Return depth less `sure_std` standard deviations (H, W), metres."""
        depth, deviations = self.estimated.depth, self.settings.sure_std
        if not deviations:
            return depth
        out = self.memory.array('safe', depth.shape, depth.dtype)
        np.multiply(self.estimated.std, np.float32(-deviations), out=out)
        np.add(out, depth, out=out)
        return np.maximum(out, np.float32(self.limits[0]), out=out)

    def height_and_down(
        self, base_from_camera: NDArray[np.float64] | None
    ) -> tuple[float, NDArray[np.float64]]:
        """
        Return the camera's height above the floor, m, and gravity in its optical frame.

        Parameters
        ----------
        base_from_camera : (4, 4) float64 or None
            What TF knows of a frame on the floor; without it, and without the parameter
            camera_height, the height is 0.

        """
        settings, base = self.settings, base_from_camera
        height = settings.camera_height or (0.0 if base is None else float(base[2, 3]))
        return height, down_in_camera(settings.camera_pitch) if base is None else -base[2, :3]

    @cached_property
    def level(self) -> tuple[float, NDArray[np.float64]]:
        """Return the camera's height above the floor, m, and gravity in its optical frame."""
        settings, camera = self.settings, self.header.frame_id
        bases = (settings.base_frame,) if settings.base_frame else ('base_footprint', 'base_link')
        known = (self.transforms.looked_up(base, camera) for base in bases if self.transforms)
        base = next((pose for pose in known if pose is not None), None)
        height, down = self.height_and_down(base)
        if height <= 0:
            raise NotMade(
                'the height of the camera above the floor is not known: publish the transform '
                f'from {camera!r} to {" or ".join(map(repr, bases))}, or set the parameters '
                'camera_height and camera_pitch'
            )
        return height, down

    @cached_property
    def heights(self) -> NDArray[np.float32]:
        """Return how high above the floor every `point_stride`-th pixel is, metres."""
        assert self.camera is not None
        height, down = self.level
        step = self.settings.point_stride
        return heights_above_floor(self.estimated.depth, self.camera, down, height, step)

    @cached_property
    def stands(self) -> NDArray[np.bool_]:
        """Return which of these pixels stand on the floor, `scan_min_height` and higher."""
        assert self.camera is not None
        height, down = self.level
        least, step = self.settings.scan_min_height, self.settings.point_stride
        return stand_on_floor(self.estimated.depth, self.camera, down, height, least, step)

    @cached_property
    def millimetres(self) -> NDArray[np.uint16]:
        """Return depth (H, W), millimetres; 0 unknown or out of range."""
        return millimetres(self.marked)

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """Return depth as a picture (H, W, 3)."""
        settings, (_, model_farthest) = self.settings, self.model_range
        farthest = settings.color_max_depth or settings.max_depth or model_farthest
        out = self.memory.array('color', self.rgb.shape, self.rgb.dtype)
        return depth_colors(self.marked, 0.0, farthest, out)

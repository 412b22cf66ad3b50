# SPDX-License-Identifier: Apache-2.0
"""The metric scale of one camera's frames: from the sources to the estimate that is published."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any, TYPE_CHECKING

from adabins_ros.geometry.camera import CameraError
from adabins_ros.inference.resizing import sampled
from adabins_ros.messages.clouds import read_cloud
from adabins_ros.messages.fields import MessageError, stamp_ns
from adabins_ros.messages.images import decode_depth
from adabins_ros.ros.scale_sources import ScaleSources
from adabins_ros.scale import EvidenceError, MetricScale
from adabins_ros.scale.floor import floor_points
from adabins_ros.scale.sensor_points import (
    at_pixels,
    at_registered_pixels,
    depth_image_points,
    MOST_PROJECTED,
    scan_points,
)
import numpy as np

if TYPE_CHECKING:
    from adabins_ros.ros.frame import Frame


class FrameScale:
    """
    Anchor the estimates of one camera, frame by frame.

    Parameters
    ----------
    sources
        Of the node.

    Attributes
    ----------
    fit : ScaleFit
        That of the last frame.
    is_wanted : bool
        Whether the last frame had a source that should have given a scale.

    """

    def __init__(self, sources: ScaleSources) -> None:
        self._sources = sources
        self._scale = MetricScale()
        self.fit = self._scale.at(0.0)
        self.is_wanted = False

    def reset(self) -> None:
        """Forget what was measured."""
        self._scale.reset()
        self.fit, self.is_wanted = self._scale.at(0.0), False

    @property
    def is_missing(self) -> bool:
        """Tell whether there should be a scale and is none."""
        return self.is_wanted and not self.fit.anchored

    @property
    def problem(self) -> str:
        """Say why there is no scale, and what to do."""
        return (
            f'depth has no true scale: {self.fit.reason}; see whether its sensor still publishes, '
            'or set scale_source to none'
        )

    def apply(self, frame: Frame) -> Frame:
        """
        Return a frame with its estimate in the scale that was measured, and what is known.

        The estimate may be of fewer pixels than the camera's image, whose corners it keeps.
        """
        settings, estimate = frame.settings, frame.estimated
        stamp_s = stamp_ns(frame.header.stamp) / 1e9
        names = self._sources.active(settings)
        self.is_wanted = bool(names)
        if names:
            self._measure(names, frame, stamp_s)
        elif settings.scale_source == 'auto':
            self._scale.refuse('no source: nothing publishes on scale/scan, cloud, range or depth')
        else:
            self._scale.refuse('no source: scale_source is none')
        if self._scale.options.scale_timeout_s != settings.scale_timeout:
            options = replace(self._scale.options, scale_timeout_s=settings.scale_timeout)
            self._scale.options = options
        self.fit = fit = self._scale.at(stamp_s)
        by_hand = np.float32(1.0 if fit.anchored else settings.scale_factor)
        if fit.anchored or self.is_missing or by_hand != 1:
            widen = self.is_missing and settings.when_unanchored == 'widen'
            depth, std = fit.scaled(estimate.depth, estimate.std, widen=widen)
            centers = fit.depth(estimate.bin_centers)
            ends = fit.depth(np.array(frame.model_range, np.float32))
            if by_hand != 1:
                depth, std, centers, ends = (
                    metres * by_hand for metres in (depth, std, centers, ends)
                )
            estimate = replace(estimate, depth=depth, std=std, bin_centers=centers)
            frame = replace(frame, model_range=(float(ends[0]), float(ends[1])))
        if not fit.anchored:
            fit = replace(fit, factor=float(by_hand))
        return replace(
            frame,
            estimate=estimate,
            scale=fit,
            transforms=self._sources.transforms,
            is_held=self.is_missing and settings.when_unanchored == 'hold',
        )

    def _measure(self, names: list[str], frame: Frame, stamp_s: float) -> None:
        """Take in what every source measured at the time of a frame."""
        reasons = []
        # Told once: what the first source says of a new place is not to be forgotten for the next.
        changed = frame.estimated.scene_changed or None
        for name in names:
            try:
                predicted, measured, std = self._points(name, frame, stamp_s)
            except (EvidenceError, MessageError, CameraError) as error:
                reasons.append(str(error))
                continue
            if self._scale.update(
                predicted, measured, std, stamp_s=stamp_s, source=name, scene_changed=changed
            ):
                changed = None
            else:
                reasons.append(self._scale.reason)
        self._scale.refuse('; '.join(reasons))

    def _points(self, name: str, frame: Frame, stamp_s: float) -> Any:
        """Return the network's depth, the measured one and the network's std at some pixels."""
        depth, std, settings = frame.estimated.depth, frame.estimated.std, frame.settings
        height, width = depth.shape
        if frame.seen is not None:
            depth = np.where(sampled(frame.seen, depth.shape), depth, np.float32(np.nan))
        if name == 'depth' and not any(settings.scale_pose_depth):
            message = self._sources.nearest(name, stamp_s, settings.scale_tolerance)
            return at_registered_pixels(decode_depth(message), depth, std)
        if frame.camera is None:
            raise EvidenceError(f'{name} needs the intrinsics of the camera (camera_info)')
        camera = frame.camera.with_corners_kept(width, height)
        if name == 'floor':
            return floor_points(depth, std, camera, *self._height_and_down(frame))
        message = self._sources.nearest(name, stamp_s, settings.scale_tolerance)
        points: Any
        if name == 'depth':
            points = depth_image_points(decode_depth(message), frame.camera)
        elif name == 'scan':
            points = scan_points(
                np.asarray(message.ranges),
                message.angle_min,
                message.angle_increment,
                message.range_min,
                message.range_max,
            )
        elif name == 'range':
            if not max(message.min_range, 0) < message.range <= message.max_range:
                raise EvidenceError(f'out of range: the range finder says {message.range:g} m')
            points = np.array([[message.range, 0.0, 0.0]])
        else:
            cloud = read_cloud(message)
            missing = {'x', 'y', 'z'} - set(cloud.dtype.names or ())
            if missing:
                raise EvidenceError(f'the cloud has no field {", ".join(sorted(missing))}')
            # Copied no more than are projected.
            cloud = cloud.ravel()[:: max(1, math.ceil(cloud.size / MOST_PROJECTED))]
            points = np.stack([cloud[axis] for axis in ('x', 'y', 'z')], -1)
        transform = self._sources.transforms.optical_from(
            name,
            message.header.frame_id,
            frame.header.frame_id,
            getattr(settings, f'scale_pose_{name}'),
        )
        return at_pixels(points, transform, camera, depth, std, name)

    def _height_and_down(self, frame: Frame) -> tuple[float, Any]:
        """Return the camera's height above the floor, m, and gravity in its optical frame."""
        floor_frame = frame.settings.floor_frame
        base = self._sources.transforms.looked_up(floor_frame, frame.header.frame_id)
        height, down = frame.height_and_down(base)
        if height > 0:
            return height, down
        if base is not None:
            raise EvidenceError(f'no floor: TF puts the camera {height:.2f} m above the floor')
        raise EvidenceError(
            'no floor: set the parameters camera_height and camera_pitch, or publish the '
            f'transform from {frame.header.frame_id!r} to {floor_frame!r}'
        )

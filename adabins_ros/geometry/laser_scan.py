# SPDX-License-Identifier: Apache-2.0
"""The nearest obstacle of each direction in the plane, from a depth image and gravity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

from adabins_ros.geometry.above_floor import gravity, level_rays, stand_on_floor
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.occlusion import nearest_by_place
import numpy as np
from numpy.typing import NDArray

# A camera that looks down more steeply than this, or up, has no forward in the plane.
_LEAST_FORWARD = math.cos(math.radians(80))
# How much behind the nearest point of a beam what it meets may lie: their mean is the range, for
# the nearest of many points is too near.
_THICKNESS = 0.07


@dataclass(frozen=True)
class Scan:
    """
    What sensor_msgs/LaserScan says, in the level frame of the camera.

    Attributes
    ----------
    ranges : (N,) float32
        In the plane, m: the mean of what lies within 7 % of the nearest. NaN: nothing is known;
        +Inf: nothing there up to `range_max` (REP 117).
    angle_min, angle_increment : float
        Of the first range and between two, counter-clockwise seen from above, radians.
    range_min, range_max : float
        m.

    """

    ranges: NDArray[np.float32]
    angle_min: float
    angle_increment: float
    range_min: float
    range_max: float


def optical_from_level(down: NDArray[np.float64]) -> NDArray[np.float64]:
    """
    Return what turns directions of the level frame into the optical frame.

    The level frame (REP 103: x forward, y left, z up) is at the camera's optical centre, and its x
    points where the camera looks.

    Parameters
    ----------
    down : (3,) float64
        Where gravity points in the optical frame; any length.

    Returns
    -------
    (3, 3) float64

    Raises
    ------
    ValueError
        The camera looks straight up or down.

    """
    up = -np.asarray(down, np.float64) / np.linalg.norm(down)
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    length = float(np.linalg.norm(forward))
    if length < _LEAST_FORWARD:
        raise ValueError(
            f'the camera looks {"down" if up[2] < 0 else "up"} by '
            f'{math.degrees(math.acos(length)):.0f} degrees: that is no view for a scan'
        )
    forward /= length
    return np.stack([forward, np.cross(up, forward), up], axis=1)


def scan_depth(
    depth: NDArray[np.float32],
    sure: NDArray[np.bool_],
    camera: PinholeCamera,
    down: NDArray[np.float64],
    height_m: float,
    *,
    heights_m: tuple[float, float],
    range_m: tuple[float, float],
    stride: int = 1,
    safe_depth: NDArray[np.float32] | None = None,
    trusted: NDArray[np.bool_] | None = None,
    stands: NDArray[np.bool_] | None = None,
) -> Scan:
    """
    Return the nearest sure obstacle of each direction between two heights.

    What counts as floor `stand_on_floor` says.

    Parameters
    ----------
    depth : (H, W) float32
        Along the optical axis, m.
    sure : (ceil(H / stride), ceil(W / stride)) bool
        Which of the pixels 0, stride, 2 stride, .. of rows and columns can be trusted, those
        beyond the range included (`valid_points`).
    camera : PinholeCamera
        Of this image, without distortion.
    down : (3,) float64
        Where gravity points in the optical frame; any length.
    height_m : float
        Of the camera above the floor, m.
    heights_m : (float, float)
        Above the floor, between which a point is an obstacle, m.
    range_m : (float, float)
        The least and the largest depth that is in range, m.
    stride : int
        Of `sure`.
    safe_depth : (H, W) float32, optional
        Up to which nothing is in the way, if that is nearer than `depth`, m: ranges are measured
        by it, heights by `depth`.
    trusted : bool, optional
        Like `sure`, but with flying pixels: those hang between what is seen beside them, while
        anything may stand where depth is not trusted. Nothing is said of what is behind that.
    stands : bool, optional
        Like `sure`: what `stand_on_floor` says of this depth and the lesser height, if known.

    Returns
    -------
    Scan
        A direction is free (+Inf) where every ray that ends between the heights is sure to end
        beyond the range, and nothing unsure stands before: what was not seen is not free.

    Raises
    ------
    ValueError
        Depth or `sure` are not of the camera's size, or it looks straight up or down.

    """
    size = camera.height, camera.width
    if depth.shape != size or sure.shape != tuple(-(-side // stride) for side in size):
        raise ValueError(
            f'depth {depth.shape} with sure {sure.shape} for a camera of {size} px and '
            f'a stride of {stride}'
        )
    unit = gravity(down)
    level, up = (rays.reshape(-1) for rays in level_rays(camera, unit, stride))
    beam, count, angle_min, increment = _fan(camera, unit, stride)
    nearest, farthest = range_m
    lowest, highest = (np.float32(metres - height_m) for metres in heights_m)
    # Rays that end between the heights where they leave the range tell of free space.
    at_end = np.float32(min(farthest, float(np.finfo(np.float32).max))) * up
    leaves = (at_end >= lowest) & (at_end <= highest)
    range_max = farthest * (float(level[leaves].min()) if leaves.any() else 1.0)
    z = depth[::stride, ::stride].reshape(-1)
    safe = z if safe_depth is None else safe_depth[::stride, ::stride].reshape(-1)
    is_sure = sure.reshape(-1)
    with np.errstate(invalid='ignore', over='ignore'):
        ranges, heights = safe * level, z * up
        within = (heights >= lowest) & (heights <= highest) & (ranges <= np.float32(range_max))
        is_free = is_sure & (safe > np.float32(farthest))
    if stands is None:
        stands = stand_on_floor(depth, camera, down, height_m, heights_m[0], stride)
    obstacles = np.flatnonzero(stands.reshape(-1) & within & is_sure)
    beams = _front(beam[obstacles], ranges[obstacles], count)
    if trusted is not None:
        doubts = np.flatnonzero(within & ~trusted.reshape(-1))
        beams[nearest_by_place(beam[doubts], ranges[doubts], count) < beams] = np.nan
    is_open = np.zeros(count, bool)
    is_open[beam[leaves]] = True
    is_open[beam[(within & ~is_sure) | (leaves & ~is_free)]] = False
    beams[np.isinf(beams) & ~is_open] = np.nan
    return Scan(beams, angle_min, increment, nearest, range_max)


def _front(
    beam: NDArray[np.int64], ranges: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Return for each beam the mean range of what is nearest; infinite where nothing is."""
    beams = nearest_by_place(beam, ranges, count)
    met = ranges <= beams[beam] * np.float32(1 + _THICKNESS)
    pixels = np.bincount(beam[met], minlength=count)
    total = np.bincount(beam[met], ranges[met], count)
    return np.divide(total, pixels, out=beams, where=pixels > 0, casting='same_kind')


@lru_cache(maxsize=8)
def _fan(
    camera: PinholeCamera, down: tuple[float, float, float], stride: int
) -> tuple[NDArray[np.int64], int, float, float]:
    """
    Return the beam of each pixel, row by row, how many there are, the first's angle and the step.

    They are the same for frame after frame.
    """
    x, y = camera.slopes(stride)
    forward, left = (
        (axis[0] * x + axis[1] * y + axis[2]).reshape(-1)
        for axis in optical_from_level(np.array(down)).T[:2]
    )
    angle = np.arctan2(left, forward)
    # In the middle of the image pixels are widest, so that no beam lies between two of them.
    increment = stride / camera.fx
    angle_min = float(angle.min())
    beam = np.rint((angle - angle_min) / increment).astype(np.int64)
    return beam, int(beam.max()) + 1, angle_min, increment

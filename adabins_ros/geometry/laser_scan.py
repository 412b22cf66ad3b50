# SPDX-License-Identifier: Apache-2.0
"""The nearest obstacle of each direction in the plane, from a depth image and gravity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

from adabins_ros.geometry.camera import PinholeCamera
import numpy as np
from numpy.typing import NDArray

# A camera that looks down more steeply than this, or up, has no forward in the plane.
_LEAST_FORWARD = math.cos(math.radians(80))
# Networks bend floors: what rises less than this (rise over run) is floor, if it is as low as an
# error of this share of the depth makes floor. Slopes are those over this share of the image.
_STEEP = 0.4
_BENT = 0.1
_SLOPE_OVER = 1 / 60
# How much behind the nearest point of a beam what it meets may lie: their mean is the range, for
# the nearest of many points is too near.
_THICKNESS = 0.07
# About a tenth of a degree: what the direction of gravity is rounded to, so that a pose that TF
# computes anew for every frame is one.
_DECIMALS = 3


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
) -> Scan:
    """
    Return the nearest sure obstacle of each direction between two heights.

    What is hardly higher than the least height and does not rise steeply counts as floor: the
    nearest point of an obstacle is on its front. So a low flat top whose front is out of view
    is none.

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
    unit = np.asarray(down, np.float64) / np.linalg.norm(down)
    rays = _rays(camera, tuple(np.round(unit, _DECIMALS).tolist()), stride)
    nearest, farthest = range_m
    lowest, highest = (np.float32(metres - height_m) for metres in heights_m)
    # Rays that end between the heights where they leave the range tell of free space.
    at_end = np.float32(min(farthest, float(np.finfo(np.float32).max))) * rays.up
    leaves = (at_end >= lowest) & (at_end <= highest)
    range_max = farthest * (float(rays.level[leaves].min()) if leaves.any() else 1.0)
    z = depth[::stride, ::stride].reshape(-1)
    safe = z if safe_depth is None else safe_depth[::stride, ::stride].reshape(-1)
    is_sure, beam = sure.reshape(-1), rays.beam
    with np.errstate(invalid='ignore', over='ignore'):
        ranges, up = safe * rays.level, z * rays.up
        stands = (up >= lowest) & (up <= highest) & (ranges <= np.float32(range_max))
        low = np.flatnonzero(stands & is_sure & (up < lowest / np.float32(1 + _BENT)))
        stands[low] = _steep(low, z, rays, sure.shape, unit)
        is_free = is_sure & (safe > np.float32(farthest))
    obstacles = np.flatnonzero(stands & is_sure)
    beams = _front(beam[obstacles], ranges[obstacles], rays.count)
    if trusted is not None:
        doubts = np.flatnonzero(stands & ~trusted.reshape(-1))
        beams[_nearest(beam[doubts], ranges[doubts], rays.count) < beams] = np.nan
    is_open = np.zeros(rays.count, bool)
    is_open[beam[leaves]] = True
    is_open[beam[(stands & ~is_sure) | (leaves & ~is_free)]] = False
    beams[np.isinf(beams) & ~is_open] = np.nan
    return Scan(beams, rays.angle_min, rays.increment, nearest, range_max)


def _steep(
    pixels: NDArray[np.int64],
    z: NDArray[np.float32],
    rays: _Rays,
    shape: tuple[int, ...],
    down: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which of the pixels lie on what rises steeply, from below them to above."""
    along = 0 if abs(down[1]) >= abs(down[0]) else 1
    step = max(1, round(shape[along] * _SLOPE_OVER)) * (1 if down[1 - along] > 0 else -1)
    place = np.divmod(pixels, shape[1])
    ends = []
    for side in (-step, step):
        moved = list(place)
        moved[along] = np.clip(place[along] + side, 0, shape[along] - 1)
        ends.append(moved[0] * shape[1] + moved[1])
    above, below = ends
    rise = z[above] * rays.up[above] - z[below] * rays.up[below]
    run = z[above] * rays.level[above] - z[below] * rays.level[below]
    return ~(rise < _STEEP * run)


def _nearest(
    beam: NDArray[np.int64], ranges: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Return the least range of each beam; infinite where it has none."""
    nearest = np.full(count, np.inf, np.float32)
    np.minimum.at(nearest, beam, ranges)
    return nearest


def _front(
    beam: NDArray[np.int64], ranges: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Return for each beam the mean range of what is nearest; infinite where nothing is."""
    beams = _nearest(beam, ranges, count)
    met = ranges <= beams[beam] * np.float32(1 + _THICKNESS)
    pixels = np.bincount(beam[met], minlength=count)
    total = np.bincount(beam[met], ranges[met], count)
    return np.divide(total, pixels, out=beams, where=pixels > 0, casting='same_kind')


@dataclass(frozen=True)
class _Rays:
    """The beam of each pixel, and for a depth of 1 m how far and how high it is; row by row."""

    beam: NDArray[np.int64]
    level: NDArray[np.float32]
    up: NDArray[np.float32]
    count: int
    angle_min: float
    increment: float


@lru_cache(maxsize=8)
def _rays(camera: PinholeCamera, down: tuple[float, float, float], stride: int) -> _Rays:
    """Return what a camera's rays are in the level plane; the same for frame after frame."""
    x = (np.arange(0, camera.width, stride) - camera.cx) / camera.fx
    y = (np.arange(0, camera.height, stride) - camera.cy) / camera.fy
    forward, left, up = (
        (axis[0] * x + axis[1] * y[:, None] + axis[2]).reshape(-1)
        for axis in optical_from_level(np.array(down)).T
    )
    angle = np.arctan2(left, forward)
    # In the middle of the image pixels are widest, so that no beam lies between two of them.
    increment = stride / camera.fx
    angle_min = float(angle.min())
    beam = np.rint((angle - angle_min) / increment).astype(np.int64)
    return _Rays(
        beam,
        np.hypot(forward, left).astype(np.float32),
        up.astype(np.float32),
        int(beam.max()) + 1,
        angle_min,
        increment,
    )

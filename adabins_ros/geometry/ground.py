# SPDX-License-Identifier: Apache-2.0
"""
The plane that the robot stands on, in a depth image, where gravity is known.

A level plane has one number, its distance below the camera: every pixel votes for its own, with
the weight of its standard deviation, and the lowest distance that many agree on is the ground.
Fitting all three parameters of a plane (RANSAC) was measured to be worse: networks bend floors,
so that a free plane is tilted by 5 to 10 degrees and its distance off by up to a quarter. What
agrees by chance, such as a table's edge and a cupboard below it, does not lie level.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from adabins_ros.geometry.camera import PinholeCamera
import cv2
import numpy as np
from numpy.typing import NDArray

# About as many pixels are looked at.
_MOST_PIXELS = 3000
_BIN = 0.03
_SMOOTHING = np.exp(-0.5 * np.square(np.arange(-7, 8) * _BIN / 0.08))
_COUNTED = np.ones(7)
_ROUNDS = 10
# Logs of distance: how near to the plane a pixel is on it, and how far below it is none of it.
_ON_PLANE = 0.1
_BELOW = 0.21
# A ray that meets the plane at a smaller angle tells little of its distance.
_SHALLOWEST = math.sin(math.radians(6))
_SMALLEST_RELATIVE_STD = 0.05
# Level is what changes by less than this share of what an upright surface does, from one looked-at
# pixel to the next; seen from straight above that is nothing, so at least so much (log) counts.
_STEEPEST = 0.6
_LEAST_CHANGE = 0.02


class GroundError(ValueError):
    """No plane in the image is the ground; the text says why."""


@dataclass(frozen=True)
class Ground:
    """
    The ground in the camera's optical frame: down . point = distance_m.

    Attributes
    ----------
    distance_m : float
        Of the camera from the ground, m, in the depth's own scale.
    share : float
        Of the image's pixels that lie on it.
    rows, columns : (N,) int64
        Pixels on it, of those that were looked at.

    """

    distance_m: float
    share: float
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def find_ground(
    depth: NDArray[np.floating],
    std: NDArray[np.floating] | None,
    camera: PinholeCamera,
    down: NDArray[np.float64],
    *,
    nearest_m: float,
    farthest_m: float,
    level_deg: float = 15.0,
    min_share: float = 0.085,
    max_share_below: float = 0.02,
    min_share_level: float = 0.3,
) -> Ground:
    """
    Find the ground, if a large and level plane below is it.

    Parameters
    ----------
    depth, std : (H, W) float
        Along the optical axis, m; what is not positive and finite is unknown.
    camera : PinholeCamera
        Of this image, without distortion.
    down : (3,) float64
        Where gravity points in the optical frame; any length.
    nearest_m, farthest_m : float
        Between which the camera's distance from the ground lies in this depth, m. A table top
        is level and below too: only the distance tells it from the ground.
    level_deg : float
        Largest angle between the plane and the level, degrees.
    min_share : float
        Of all pixels that must lie on the plane.
    max_share_below : float
        Of all pixels that may lie below it, as around a table top.
    min_share_level : float
        Of the plane's pixels that must lie level with their neighbours: networks bend floors,
        but what is upright hardly ever looks level.

    Returns
    -------
    Ground

    Raises
    ------
    GroundError
        No plane is the ground.
    ValueError
        The depth is not of the camera's size.

    """
    if depth.shape != (camera.height, camera.width):
        raise ValueError(f'depth {depth.shape} for a camera of {camera.height}x{camera.width} px')
    down = np.asarray(down, np.float64) / np.linalg.norm(down)
    stride = max(1, round(math.sqrt(depth.size / _MOST_PIXELS)))
    rows = np.arange(stride // 2, depth.shape[0], stride)
    columns = np.arange(stride // 2, depth.shape[1], stride)
    z = depth[rows[:, None], columns].astype(np.float64)
    looked_at = z.size
    x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    along = down[0] * x + down[1] * y[:, None] + down[2]
    steep = np.sqrt(1 + np.square(x) + np.square(y[:, None])) * _SHALLOWEST
    below = np.where(np.isfinite(z) & (z > 0) & (along > 0), along * z, np.nan)
    row, column = np.nonzero(np.isfinite(below) & (along > steep))
    level = _level(along, below)[row, column]
    along, z = along[row, column], z[row, column]
    weight = np.ones_like(z)
    if std is not None:
        relative = std[rows[row], columns[column]] / z
        weight = 1 / (1 + np.square(np.nan_to_num(relative, nan=1.0) / _SMALLEST_RELATIVE_STD))
    logs = np.log(along * z)
    start = _lowest_peak(
        logs,
        weight,
        (math.log(nearest_m), math.log(farthest_m)),
        min_share * looked_at,
        max_share_below * looked_at,
    )
    middle = _middle_of_peak(logs, weight, start)
    on = np.abs(logs - middle) < 1.5 * _ON_PLANE
    share = float(on.sum()) / looked_at
    if share < min_share:
        raise GroundError(f'no plane is large enough: {share:.0%} of the image')
    if not nearest_m <= math.exp(middle) <= farthest_m:
        raise GroundError(
            f'the level plane below is {math.exp(middle):.2f} m away, the ground {nearest_m:.2f} '
            f'to {farthest_m:.2f} m'
        )
    share_level = float(level[on].mean())
    if share_level < min_share_level:
        raise GroundError(
            f'what is below is no plane: {share_level:.0%} of it lies level with its neighbours'
        )
    # What stands on the ground is counted with it within its width, but is not level.
    distance = math.exp(np.median(logs[on & level]))
    points = np.stack([x[column[on]], y[row[on]], np.ones(on.sum())], -1) * z[on, None]
    tilt = _tilt_deg(points, weight[on], down)
    if tilt > level_deg:
        raise GroundError(f'the plane below is not level: off by {tilt:.0f} degrees')
    return Ground(distance, share, rows[row[on]], columns[column[on]])


def _lowest_peak(
    logs: NDArray[np.float64],
    weight: NDArray[np.float64],
    ends: tuple[float, float],
    fewest: float,
    most_below: float,
) -> float:
    """Return the log of the largest distance that many pixels agree on, and few lie beyond."""
    bins = max(3, math.ceil((ends[1] - ends[0]) / _BIN))
    beyond = round(_BELOW / _BIN)
    # Counted on both sides beyond the ends, so that a slope there is no peak.
    first, last = ends[0] - beyond * _BIN, bins + 2 * beyond
    place = np.clip(np.floor((logs - first) / _BIN), -1, last).astype(np.int64) + 1
    pixels = np.bincount(place, minlength=last + 2)[1:]
    votes = np.bincount(place, weight, last + 2)[1:]
    lower = pixels[::-1].cumsum()[::-1]
    density = np.convolve(votes, _SMOOTHING)[7:-7]
    before, after = np.append(0, density[:-1]), np.append(density[1:], 0)
    peaks = (density >= before) & (density > after)
    peaks &= np.convolve(pixels, _COUNTED)[3:-3] >= fewest
    within = np.arange(beyond, beyond + bins)
    found = np.flatnonzero(peaks[within] & (lower[within + beyond] <= most_below))
    if not found.size:
        raise GroundError('no large level plane is as far below as the ground')
    return ends[0] + (int(found[-1]) + 0.5) * _BIN


def _middle_of_peak(logs: NDArray[np.float64], weight: NDArray[np.float64], start: float) -> float:
    """Return where the weighted pixels about a peak have their mode (mean shift)."""
    middle = start
    for _ in range(_ROUNDS):
        trust = weight * np.exp(-0.5 * np.square((logs - middle) / _ON_PLANE))
        middle = float(trust @ logs / trust.sum())
    return middle


def _level(along: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which pixels are as far below the camera as their neighbours (NaN is unknown)."""
    known = np.isfinite(below)
    with np.errstate(divide='ignore', invalid='ignore'):
        # Noise is averaged away; OpenCV's running sums carry a NaN on to what comes after it.
        total = cv2.blur(np.where(known, np.log(below), 0.0), (3, 3))
        logs = np.divide(total, cv2.blur(known.astype(np.float64), (3, 3)))
        change = np.hypot(*np.gradient(np.where(known, logs, np.nan)))
        upright = np.hypot(*np.gradient(np.log(along)))
    return change < _STEEPEST * np.fmax(upright, _LEAST_CHANGE)


def _tilt_deg(
    points: NDArray[np.float64], weight: NDArray[np.float64], down: NDArray[np.float64]
) -> float:
    """Return the angle between gravity and the plane that fits the points best, degrees."""
    root = np.sqrt(weight)
    plane = np.linalg.lstsq(points * root[:, None], root, rcond=None)[0]
    cosine = float(plane @ down) / max(float(np.linalg.norm(plane)), 1e-12)
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))

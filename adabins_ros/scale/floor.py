# SPDX-License-Identifier: Apache-2.0
"""
The floor as a measurement: the camera's height above it is known, so its depth is too.

A level plane has one number, its distance below the camera: every pixel votes for its own, with
the weight of its standard deviation, and the lowest distance that many agree on is the floor.
Fitting all three parameters of a plane (RANSAC) was measured to be worse: networks bend floors,
so that a free plane is tilted by 5 to 10 degrees and its distance off by up to a quarter. What
agrees by chance, such as a table's edge and a cupboard below it, does not lie level.
"""

from __future__ import annotations

import math

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.scale.evidence import EvidenceError, is_known
import cv2
import numpy as np
from numpy.typing import NDArray

LARGEST_FACTOR = 1.25
"""A plane that would make depth larger than by this is no floor: tables lie above floors."""
SMALLEST_FACTOR = 0.71
"""Nothing level lies below a floor, so that the network may be farther off to this side."""

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
# Of all pixels: so many must lie on the plane, and so few below it, as around a table top.
_SMALLEST_SHARE, _LARGEST_SHARE_BELOW = 0.085, 0.02
# Of the plane's pixels that must lie level with their neighbours: networks bend floors, but what
# is upright hardly ever looks level.
_SMALLEST_SHARE_LEVEL = 0.3
_LARGEST_TILT_DEG = 15.0


def floor_points(
    depth: NDArray[np.floating],
    std: NDArray[np.floating] | None,
    camera: PinholeCamera,
    camera_height_m: float,
    down: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    """
    Return the network's depth of the floor's pixels and that with the floor where it should be.

    Parameters
    ----------
    depth, std : (H, W) float
        The network's, unscaled, m; what is not positive and finite is unknown.
    camera : PinholeCamera
        Of this image, without distortion.
    camera_height_m : float
        Of the camera above the floor, m.
    down : (3,) float64
        Where gravity points in the optical frame; any length. `down_in_camera` makes it from
        the camera's pitch and roll.

    Returns
    -------
    predicted, measured : (N,) float64
        m, for `MetricScale.update`; one factor apart, as a level plane has one number.
    predicted_std : (N,) float64 or None

    Raises
    ------
    EvidenceError
        No floor is seen; the text says why.
    ValueError
        The depth is not of the camera's size.

    """
    if depth.shape != (camera.height, camera.width):
        raise ValueError(f'depth {depth.shape} for a camera of {camera.height}x{camera.width} px')
    # A table top is level and below too: only the distance tells it from the floor.
    nearest_m, farthest_m = camera_height_m / LARGEST_FACTOR, camera_height_m / SMALLEST_FACTOR
    down = np.asarray(down, np.float64) / np.linalg.norm(down)
    stride = max(1, round(math.sqrt(depth.size / _MOST_PIXELS)))
    taken = slice(stride // 2, None, stride)
    z = depth[taken, taken].astype(np.float64)
    looked_at = z.size
    x, y = camera.slopes(stride, stride // 2)
    along = down[0] * x + down[1] * y + down[2]
    steep = np.sqrt(1 + np.square(x) + np.square(y)) * _SHALLOWEST
    below = np.where(is_known(z) & (along > 0), along * z, np.nan)
    row, column = np.nonzero(np.isfinite(below) & (along > steep))
    level = _level(along, below)[row, column]
    along, z = along[row, column], z[row, column]
    weight, spread = np.ones_like(z), None
    if std is not None:
        spread = std[taken, taken][row, column].astype(np.float64)
        relative = np.nan_to_num(spread / z, nan=1.0)
        weight = 1 / (1 + np.square(relative / _SMALLEST_RELATIVE_STD))
    logs = np.log(along * z)
    start = _lowest_peak(logs, weight, (math.log(nearest_m), math.log(farthest_m)), looked_at)
    middle = _middle_of_peak(logs, weight, start)
    on = np.abs(logs - middle) < 1.5 * _ON_PLANE
    share = float(on.sum()) / looked_at
    if share < _SMALLEST_SHARE:
        raise EvidenceError(f'no floor: no plane is large enough: {share:.0%} of the image')
    if not nearest_m <= math.exp(middle) <= farthest_m:
        raise EvidenceError(
            f'no floor: the level plane below is {math.exp(middle):.2f} m away, the ground '
            f'{nearest_m:.2f} to {farthest_m:.2f} m'
        )
    share_level = float(level[on].mean())
    if share_level < _SMALLEST_SHARE_LEVEL:
        raise EvidenceError(
            f'no floor: what is below is no plane: {share_level:.0%} of it lies level with its '
            'neighbours'
        )
    # What stands on the floor is counted with it within its width, but is not level.
    distance_m = math.exp(np.median(logs[on & level]))
    points = np.stack([x[column[on]], y[row[on], 0], np.ones(on.sum())], -1) * z[on, None]
    tilt = _tilt_deg(points, weight[on], down)
    if tilt > _LARGEST_TILT_DEG:
        raise EvidenceError(f'no floor: the plane below is not level: off by {tilt:.0f} degrees')
    # Networks bend floors: single pixels would ask for an exponent that nothing else has.
    measured = z[on] * (camera_height_m / distance_m)
    return z[on], measured, None if spread is None else spread[on]


def down_in_camera(pitch_deg: float, roll_deg: float = 0.0) -> NDArray[np.float64]:
    """
    Return where gravity points in the optical frame (REP 103: x right, y down, z forward).

    Parameters
    ----------
    pitch_deg, roll_deg : float
        Of the camera's body frame (x forward, y left, z up): a positive pitch looks down, a
        positive roll leans to the right, as in TF.

    Returns
    -------
    (3,) float64
        Unit vector.

    """
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    # In the body frame it is the last row of Rz Ry Rx, negated; these are its -y, -z and x.
    right, below = math.cos(pitch) * math.sin(roll), math.cos(pitch) * math.cos(roll)
    return np.array([right, below, math.sin(pitch)])


def _lowest_peak(
    logs: NDArray[np.float64],
    weight: NDArray[np.float64],
    ends: tuple[float, float],
    looked_at: int,
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
    peaks &= np.convolve(pixels, _COUNTED)[3:-3] >= _SMALLEST_SHARE * looked_at
    within = np.arange(beyond, beyond + bins)
    few_below = lower[within + beyond] <= _LARGEST_SHARE_BELOW * looked_at
    found = np.flatnonzero(peaks[within] & few_below)
    if not found.size:
        raise EvidenceError('no floor: no large level plane is as far below as the ground')
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

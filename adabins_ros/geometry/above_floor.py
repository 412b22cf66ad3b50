# SPDX-License-Identifier: Apache-2.0
"""How high above the floor points are, and which stand on it: one rule for clouds and scan."""

from __future__ import annotations

from functools import lru_cache

from adabins_ros.geometry.camera import PinholeCamera
import numpy as np
from numpy.typing import NDArray

# Networks bend floors: what rises less than this (rise over run) is floor, if it is as low as an
# error of this share of the depth makes floor. Slopes are those over this share of the image.
_STEEP = 0.4
_BENT = 0.1
_SLOPE_OVER = 1 / 60
# About a tenth of a degree: what the direction of gravity is rounded to, so that a pose that TF
# computes anew for every frame is one.
_DECIMALS = 3


def gravity(down: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return where gravity points as a unit vector, rounded so that it can be a key."""
    x, y, z = np.round(np.asarray(down, np.float64) / np.linalg.norm(down), _DECIMALS).tolist()
    return x, y, z


@lru_cache(maxsize=8)
def level_rays(
    camera: PinholeCamera, down: tuple[float, float, float], stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """
    Return how far the rays of pixels go in the level plane, and how far up, for a depth of 1 m.

    Both are (ceil(H / stride), ceil(W / stride)), and the same for frame after frame.
    """
    x, y = camera.slopes(stride)
    up = -(down[0] * x + down[1] * y + down[2]) / np.linalg.norm(down)
    level = np.sqrt(np.maximum(x * x + y * y + 1 - up * up, 0))
    return level.astype(np.float32), up.astype(np.float32)


def heights_above_floor(
    depth: NDArray[np.float32],
    camera: PinholeCamera,
    down: NDArray[np.float64],
    height_m: float,
    stride: int = 1,
) -> NDArray[np.float32]:
    """
    Return how high above the floor the points of a depth image are.

    Parameters
    ----------
    depth : (H, W) float32
        Along the optical axis, m.
    camera : PinholeCamera
        Of this image, without distortion.
    down : (3,) float64
        Where gravity points in the optical frame; any length.
    height_m : float
        Of the camera above the floor, m.
    stride : int
        Take the pixels 0, stride, 2 stride, .. of rows and columns.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) float32
        m; NaN where depth is.

    """
    _, up = level_rays(camera, gravity(down), stride)
    heights = depth[::stride, ::stride] * up
    return np.add(heights, np.float32(height_m), out=heights)


def stand_on_floor(
    depth: NDArray[np.float32],
    camera: PinholeCamera,
    down: NDArray[np.float64],
    height_m: float,
    least_m: float,
    stride: int = 1,
) -> NDArray[np.bool_]:
    """
    Return which points are higher above the floor than `least_m`, and no floor seen too near.

    What is hardly higher and does not rise steeply counts as floor: the nearest point of an
    obstacle is on its front. So a low flat top whose front is out of view is floor.

    Parameters
    ----------
    depth, camera, down, height_m, stride
        As those of `heights_above_floor`.
    least_m : float
        Above the floor, from which on a point stands on it, m.

    Returns
    -------
    (ceil(H / stride), ceil(W / stride)) bool
        False where depth is NaN.

    """
    z, (level, up) = depth[::stride, ::stride], level_rays(camera, gravity(down), stride)
    lowest = np.float32(least_m - height_m)
    with np.errstate(invalid='ignore', over='ignore'):
        heights = z * up
        stands: NDArray[np.bool_] = heights >= lowest
        low = np.nonzero(stands & (heights < lowest / np.float32(1 + _BENT)))
        stands[low] = _rises(low, heights, z, level, np.asarray(down))
    return stands


def _rises(
    pixels: tuple[NDArray[np.int64], ...],
    heights: NDArray[np.float32],
    z: NDArray[np.float32],
    level: NDArray[np.float32],
    down: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which of the pixels lie on what rises steeply, from below them to above."""
    along = 0 if abs(down[1]) >= abs(down[0]) else 1
    step = max(1, round(z.shape[along] * _SLOPE_OVER)) * (1 if down[1 - along] > 0 else -1)
    ends = []
    for side in (-step, step):
        moved = list(pixels)
        moved[along] = np.clip(pixels[along] + side, 0, z.shape[along] - 1)
        at = tuple(moved)
        ends.append((heights[at], z[at] * level[at]))
    (up_above, level_above), (up_below, level_below) = ends
    return ~(up_above - up_below < _STEEP * (level_above - level_below))

# SPDX-License-Identifier: Apache-2.0
"""How high above the floor points are, and which stand on it: one rule for clouds and scan."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class LevelRays:
    """
    What the rays of an image are in the level plane, for a depth of 1 m.

    Attributes
    ----------
    level : (h, w) float32
        How far each goes in the plane.
    up : (h, w) float32
        How far it goes up.

    """

    level: NDArray[np.float32]
    up: NDArray[np.float32]


def gravity(down: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return where gravity points as a unit vector, rounded so that it can be a key."""
    x, y, z = np.round(np.asarray(down, np.float64) / np.linalg.norm(down), _DECIMALS).tolist()
    return x, y, z


@lru_cache(maxsize=8)
def level_rays(camera: PinholeCamera, down: tuple[float, float, float], stride: int) -> LevelRays:
    """Return what a camera's rays are in the level plane; the same for frame after frame."""
    x = (np.arange(0, camera.width, stride) - camera.cx) / camera.fx
    y = (np.arange(0, camera.height, stride) - camera.cy)[:, None] / camera.fy
    up = -(down[0] * x + down[1] * y + down[2]) / np.linalg.norm(down)
    level = np.sqrt(np.maximum(x * x + y * y + 1 - up * up, 0))
    return LevelRays(level.astype(np.float32), up.astype(np.float32))


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
    heights = depth[::stride, ::stride] * level_rays(camera, gravity(down), stride).up
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
    z, rays = depth[::stride, ::stride], level_rays(camera, gravity(down), stride)
    lowest = np.float32(least_m - height_m)
    with np.errstate(invalid='ignore', over='ignore'):
        up = z * rays.up
        stands: NDArray[np.bool_] = up >= lowest
        low = np.nonzero(stands & (up < lowest / np.float32(1 + _BENT)))
        stands[low] = _rises(low, z, rays, np.asarray(down))
    return stands


def _rises(
    pixels: tuple[NDArray[np.int64], ...],
    z: NDArray[np.float32],
    rays: LevelRays,
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
        ends.append((z[at] * rays.up[at], z[at] * rays.level[at]))
    (up_above, level_above), (up_below, level_below) = ends
    return ~(up_above - up_below < _STEEP * (level_above - level_below))

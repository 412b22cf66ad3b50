# SPDX-License-Identifier: Apache-2.0
"""The floor as a measurement: the camera's height above it is known, so its depth is too."""

from __future__ import annotations

import math

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.ground import find_ground, GroundError
from adabins_ros.scale.evidence import EvidenceError
import numpy as np
from numpy.typing import NDArray

LARGEST_FACTOR = 1.25
"""A plane that would make depth larger than by this is no floor: tables lie above floors."""
SMALLEST_FACTOR = 0.71
"""Nothing level lies below a floor, so that the network may be farther off to this side."""


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
        The network's, unscaled, m.
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

    """
    try:
        ground = find_ground(
            depth,
            std,
            camera,
            down,
            nearest_m=camera_height_m / LARGEST_FACTOR,
            farthest_m=camera_height_m / SMALLEST_FACTOR,
        )
    except GroundError as error:
        raise EvidenceError(f'no floor: {error}') from None
    predicted = depth[ground.rows, ground.columns].astype(np.float64)
    spread = None if std is None else std[ground.rows, ground.columns].astype(np.float64)
    # Networks bend floors: single pixels would ask for an exponent that nothing else has.
    return predicted, predicted * (camera_height_m / ground.distance_m), spread


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
    # Gravity in the body frame is the last row of Rz Ry Rx, negated.
    body = np.array(
        [math.sin(pitch), -math.cos(pitch) * math.sin(roll), -math.cos(pitch) * math.cos(roll)]
    )
    return np.array([-body[1], -body[2], body[0]])

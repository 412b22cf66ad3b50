# SPDX-License-Identifier: Apache-2.0
"""What sensors beside the camera would measure, taken from true depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.scale import EvidenceError
from adabins_ros.scale.floor import down_in_camera, floor_points
from adabins_ros.scale.sensor_points import at_pixels, optical_from_sensor, scan_points
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(3, N): what the network says, what is measured, the network's standard deviation; metres."""
LIDAR_POSE = (0.0, 0.0, 0.5, 0.0, 0.0, 10.0)
"""Above the camera and turned to the left, as the parameter scale_pose.scan has it."""
BEAM_STEP = np.radians(0.5)
BEAMS = 361
FIRST_BEAM = -BEAM_STEP * (BEAMS // 2)
FARTHEST_M = 30.0


@dataclass(frozen=True)
class View:
    """
    One frame.

    Attributes
    ----------
    depth, std, true : (H, W) float32
        The network's depth and its standard deviation, and the true depth (0 unknown), m.
    camera : PinholeCamera or None
        None where it is not known.

    """

    depth: NDArray[np.float32]
    std: NDArray[np.float32]
    true: NDArray[np.float32]
    camera: PinholeCamera | None = None

    def points(self, rows: Any, columns: Any) -> Points:
        """Return what lies at pixels, where the truth is known."""
        planes = (self.depth, self.true, self.std)
        taken = np.stack([plane[rows, columns] for plane in planes]).astype(np.float64)
        return taken[:, taken[1] > 0]


Look = Callable[[View], Points]
"""A sensor; raises EvidenceError where it measures nothing that counts."""


def row(view: View) -> Points:
    """Return the middle row."""
    return view.points(view.true.shape[0] // 2, slice(None))


def centre(view: View) -> Points:
    """Return the pixel with a true depth that is nearest to the image's centre."""
    rows, columns = np.nonzero(view.true > 0)
    if not rows.size:
        return np.zeros((3, 0))
    middle = (view.true.shape[0] / 2, view.true.shape[1] / 2)
    nearest = np.argmin(np.hypot(rows - middle[0], columns - middle[1]))
    return view.points(rows[[nearest]], columns[[nearest]])


def lidar(view: View) -> Points:
    """Return what a level scan above the camera says where the camera sees its points."""
    assert view.camera is not None
    points = scan_points(scan(view), FIRST_BEAM, BEAM_STEP, 0.05, FARTHEST_M)
    pose = optical_from_sensor(LIDAR_POSE)
    return np.stack(at_pixels(points, pose, view.camera, view.depth, view.std, 'scan'))


def scan(view: View) -> NDArray[np.float32]:
    """Return the (BEAMS,) ranges of a lidar at LIDAR_POSE, m; infinite where it hits nothing."""
    camera = view.camera
    assert camera is not None
    rows, columns = np.nonzero(view.true > 0)
    z = view.true[rows, columns].astype(np.float64)
    x, y = (columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z
    sensor = np.linalg.inv(optical_from_sensor(LIDAR_POSE))
    forward, left, up = sensor[:3, :3] @ np.stack([x, y, z]) + sensor[:3, 3:]
    far = np.hypot(forward, left)
    beam = np.rint((np.arctan2(left, forward) - FIRST_BEAM) / BEAM_STEP).astype(np.int64)
    hit = (np.abs(up) < far * np.tan(BEAM_STEP / 2)) & (beam >= 0) & (beam < BEAMS)
    ranges = np.full(BEAMS, np.inf)
    # The nearest of each beam: what is behind it, the lidar does not see.
    np.minimum.at(ranges, beam[hit], far[hit])
    return ranges.astype(np.float32)


def floor(camera_height_m: float, pitch_deg: float) -> Look:
    """Return the floor as a sensor of a camera at this height that looks down so far."""
    down = down_in_camera(pitch_deg)

    def look(view: View) -> Points:
        if view.camera is None:
            raise EvidenceError('the floor needs the intrinsics of the camera')
        seen = floor_points(view.depth, view.std, view.camera, camera_height_m, down)
        return np.stack(seen)  # type: ignore[arg-type]

    return look


SENSORS: dict[str, Look] = {'one range': centre, 'one row': row}
"""Those that every frame with true depth has, in its centre and its middle row."""

# SPDX-License-Identifier: Apache-2.0
"""Fixed transforms, lidar points and depth of a camera beside, against plain geometry."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adabins_ros.frames.transforms import StaticTransforms
from adabins_ros.frames.true_depth import cloud_points, lidar_depth, reprojected_depth
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import MessageError
from adabins_ros.recordings import RecordingError
import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

CAMERA = PinholeCamera(160, 120, 120.0, 120.0, 79.5, 59.5)


def _message(
    parent: str, child: str, translation: tuple[float, ...], rotation: tuple[float, ...]
) -> Any:
    transform = SimpleNamespace(
        translation=SimpleNamespace(**dict(zip('xyz', translation, strict=True))),
        rotation=SimpleNamespace(**dict(zip('xyzw', rotation, strict=True))),
    )
    header = SimpleNamespace(frame_id=parent)
    stamped = SimpleNamespace(header=header, child_frame_id=child, transform=transform)
    return SimpleNamespace(transforms=[stamped])


HALF = np.sqrt(0.5)
ROBOT = StaticTransforms(
    [
        _message('base', 'mast', (0, 0, 1), (0, 0, HALF, HALF)),  # turned left by 90 degrees
        _message('/mast', '/camera_link', (0.5, 0, 0), (0, 0, 0, 1)),
        _message('camera_link', 'optical', (0, 0, 0), (-0.5, 0.5, -0.5, 0.5)),
        _message('base', 'lidar', (2, 0, 1), (0, 0, 0, 1)),
    ]
)


def test_a_chain_of_transforms_is_followed_up_and_down() -> None:
    # The camera looks to the left of the robot; the lidar is 2 m ahead of the mast.
    point = ROBOT.lookup('optical', 'lidar') @ [0, 3, 0.2, 1]
    np.testing.assert_allclose(point, [2, -0.2, 2.5, 1], atol=1e-12)
    back = ROBOT.lookup('/lidar', 'optical') @ point
    np.testing.assert_allclose(back, [0, 3, 0.2, 1], atol=1e-12)
    np.testing.assert_array_equal(ROBOT.lookup('mast', 'mast'), np.eye(4))


def test_frames_that_are_not_connected_are_told_with_those_that_are() -> None:
    with pytest.raises(RecordingError, match=r"'radar' with 'optical'; it has base, camera_link"):
        ROBOT.lookup('optical', 'radar')
    with pytest.raises(RecordingError, match='it has no frame'):
        StaticTransforms().lookup('a', 'b')


def test_the_nearest_point_counts_and_those_behind_do_not() -> None:
    points = np.array([[0, 0, 5], [0, 0, 3], [0, 0, -2], [1, 0, 2], [9, 0, 2]], np.float32)
    depth = lidar_depth(points, replace(CAMERA, cx=80, cy=60), np.eye(4))
    assert np.argwhere(depth).tolist() == [[60, 80], [60, 140]]
    assert (depth[60, 80], depth[60, 140]) == (3, 2)
    assert not lidar_depth(points[:0], CAMERA, np.eye(4)).any()


@pytest.mark.parametrize(
    ('model', 'coefficients'),
    [('plumb_bob', (-0.2, 0.05, 0.001, 0.002, 0.0)), ('equidistant', (0.02, 0.01, 0.0, 0.0))],
)
def test_points_go_through_the_lens(model: str, coefficients: tuple[float, ...]) -> None:
    camera = replace(CAMERA, distortion_model=model, distortion=coefficients)
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.7, -0.5, 1], [0.7, 0.5, 1.05], (200, 3)).astype(np.float32)
    objects, still = points.astype(float)[:, None], np.zeros(3)
    if model == 'equidistant':
        project: Any = cv2.fisheye.projectPoints
    else:
        project = cv2.projectPoints
    pixels = project(objects, still, still, camera.matrix, np.array(coefficients))[0].reshape(
        -1, 2
    )
    depth = lidar_depth(points, camera, np.eye(4))
    inside = ((pixels > 0) & (pixels < (159, 119))).all(-1)
    assert inside.sum() > 100
    columns, rows = np.rint(pixels[inside]).astype(int).T
    assert (depth[rows, columns] > 0).all()
    assert (depth > 0).sum() <= 200
    # Depth at the lens's own pixels, seen by the lens itself, stays where it is.
    same = reprojected_depth(np.full((120, 160), 2, np.float32), camera, camera, np.eye(4))
    assert (same[5:-5, 5:-5] == pytest.approx(2)) or (same[5:-5, 5:-5] > 0).mean() > 0.99


def test_a_cloud_without_coordinates_is_refused() -> None:
    cloud = np.zeros((1, 3), [('x', '<f4'), ('y', '<f4')])
    with pytest.raises(MessageError, match='fields x, y, not x, y and z'):
        cloud_points(cloud)


def _slope() -> NDArray[np.float32]:
    return np.tile(np.linspace(2, 3, 160, dtype=np.float32), (120, 1))


def test_the_same_camera_sees_the_same_depth() -> None:
    depth = _slope()
    depth[40:50, 60:70] = 0
    np.testing.assert_allclose(reprojected_depth(depth, CAMERA, CAMERA, np.eye(4)), depth)


def test_a_finer_camera_sees_a_surface_without_holes() -> None:
    finer = CAMERA.scaled(320, 240)
    found = reprojected_depth(_slope(), CAMERA, finer, np.eye(4))
    assert (found[4:-4, 4:-4] > 0).all()
    expected = cv2.resize(_slope(), (320, 240))
    assert np.abs(found - expected)[found > 0].max() < 0.02


def test_a_camera_that_comes_nearer_sees_less_depth_and_no_holes() -> None:
    ahead = np.eye(4)
    ahead[2, 3] = -0.5
    found = reprojected_depth(_slope(), CAMERA, CAMERA, ahead)
    assert (found[2:-2, 2:-2] > 0).mean() > 0.97
    assert np.median(found[found > 0]) == pytest.approx(2.0, abs=0.05)


def test_nothing_shows_through_the_gaps_of_a_near_surface() -> None:
    """A near board spreads over more pixels than it had; the wall behind must not fill them."""
    depth = np.full((120, 160), 6, np.float32)
    depth[30:90, 40:120] = 1.0
    ahead = np.eye(4)
    ahead[2, 3] = -0.4
    found = reprojected_depth(depth, CAMERA, CAMERA, ahead)
    inside = found[15:105, 20:140]
    known = inside[inside > 0]
    assert known.size > 0.3 * inside.size
    assert (known < 1).mean() > 0.98

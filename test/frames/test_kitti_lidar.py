# SPDX-License-Identifier: Apache-2.0
"""A folder with KITTI's lidar becomes a recording that trains without depth images."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path

from adabins_ros.frames import RgbdFolder
from adabins_ros.messages.matrices import quaternion
from adabins_ros.recordings import pack_folder, RecordingError, survey
import cv2
import numpy as np
import pytest

# The lidar looks along its x axis (REP 103), turned a little, 0.2 m above the camera.
CALIBRATION = """calib_time: 09-Jan-2012 13:57:47
P2: 50 0 31.5 5 0 50 23.5 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0.2 1 0 0 0.1
"""


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Return a folder of four frames; every second one has a cloud with a point at 6 m."""
    folder = tmp_path / 'drive'
    for name in ('rgb', 'depth', 'velodyne'):
        (folder / name).mkdir(parents=True)
    camera = {'fx': 50.0, 'fy': 50.0, 'cx': 31.5, 'cy': 23.5, 'width': 64, 'height': 48}
    (folder / 'camera.json').write_text(json.dumps(camera))
    (folder / 'calib.txt').write_text(CALIBRATION)
    for frame in range(4):
        picture = np.full((48, 64, 3), 50 * frame, np.uint8)
        cv2.imwrite(str(folder / 'rgb' / f'{frame:010}.png'), picture)
        cv2.imwrite(str(folder / 'depth' / f'{frame:010}.png'), picture[..., 0].astype(np.uint16))
        if frame % 2 == 0:
            points = np.array([[5.9, 1.312, -0.388, 0.3], [-4, 0, 0, 0.1]], np.float32)
            points.tofile(folder / 'velodyne' / f'{frame:010}.bin')
    return folder


def test_the_lidar_is_seen_where_its_calibration_says(drive: Path, tmp_path: Path) -> None:
    pack_folder(drive, tmp_path / 'drive.mcap', depth=False)
    source = survey(tmp_path / 'drive.mcap')
    assert len(source) == 2
    assert 'lidar /velodyne_points (PointCloud2, 2)' in source.report.topics
    depth = source[1].depth
    # 0.1 m to the left of the first camera is where P2 puts the second one.
    row, column = round(23.5 + 50 * 0.588 / 6), round(31.5 + 50 * -1.212 / 6)
    assert np.argwhere(depth).tolist() == [[row, column]]
    assert depth[row, column] == pytest.approx(6.0)


def test_a_rotation_survives_as_quaternion() -> None:
    for axis in ([0.3, -2.0, 1.1], [0, 0, np.pi], [3.1, 0.1, 0], [0, 0, 0]):
        rotation = cv2.Rodrigues(np.array(axis, np.float64))[0]
        q = quaternion(rotation)
        x, y, z, w = (q[name] for name in 'xyzw')
        assert x * x + y * y + z * z + w * w == pytest.approx(1)
        again = np.array(
            [
                [w * w + x * x - y * y - z * z, 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), w * w - x * x + y * y - z * z, 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), w * w - x * x - y * y + z * z],
            ]
        )
        np.testing.assert_allclose(again, rotation, atol=1e-12)


@pytest.mark.parametrize(
    ('file', 'content', 'words'),
    [
        ('calib.txt', b'P2: 1 2 3', r'calib\.txt has no P2 or P_rect_02 with 12 numbers'),
        ('calib.txt', CALIBRATION.encode()[:90], r'has no R0_rect .* with 9 numbers'),
        ('velodyne/0000000002.bin', bytes(30), r'0000000002\.bin is cut off: 30 bytes'),
    ],
)
def test_a_damaged_lidar_is_told_and_leaves_no_recording(
    drive: Path, tmp_path: Path, file: str, content: bytes, words: str
) -> None:
    (drive / file).write_bytes(content)
    with pytest.raises(RecordingError, match=words):
        pack_folder(drive, tmp_path / 'drive.mcap')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['drive']


def test_a_missing_calibration_is_told(drive: Path, tmp_path: Path) -> None:
    (drive / 'calib.txt').unlink()
    with pytest.raises(RecordingError, match=r'calib\.txt, which velodyne/ needs'):
        pack_folder(drive, tmp_path / 'drive.mcap')


def test_real_clouds_fall_on_the_depth_images_of_their_sweep(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = RgbdFolder(shared_data('kitti_raw_seq'))
    pack_folder(folder.path, tmp_path / 'drive.mcap', stop=6, depth=False)
    source = survey(tmp_path / 'drive.mcap')
    frames = {frame.stamp_ns: frame for frame in folder.frames}
    for index, stamp in enumerate(source.stamps_ns.tolist()):
        ours, theirs = source[index].depth, folder.depth_m(frames[stamp])
        both = (ours > 0) & (theirs > 0)
        assert both.sum() > 0.999 * np.count_nonzero(ours)
        # Without those that lie behind something nearer.
        assert both.sum() > 0.9 * np.count_nonzero(theirs)
        near = np.abs(ours - theirs)[both] < 0.01 * theirs[both]
        assert near.mean() > 0.999

# SPDX-License-Identifier: Apache-2.0
"""What a robot recorded becomes frames with their true depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from adabins_ros.frames import SourceConfig
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, compressed_depth_fields, image_fields
from adabins_ros.recordings import RecordingError, survey
import numpy as np
import pytest

CAMERA = PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5)
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'
Record = Callable[..., Path]
Truth = Callable[[int], list[Any]]


def _board(sample_depth: Any) -> Any:
    return sample_depth[20:28, 26:38]


def test_aligned_depth_is_paired_by_stamp(record: Record, aligned: Truth) -> None:
    source = survey(record(aligned))
    assert len(source) == 8
    for number in (6, 2):
        sample = source[number]
        assert (sample.image[..., 0] == 10 * number).all()
        assert sample.depth[0, 0] == 0
        assert (_board(sample.depth) == 2).all()
        assert (sample.focal_length_px, sample.source) == (50, 'room')
        assert sample.name == source.frame_name(number)
        assert sample.name == f'room@{START_NS + number * STEP_NS}'
    assert source.report.offset_ms == (7, 7)
    assert '/camera/depth/image_raw (Image, 8)' in source.report.topics


@pytest.mark.parametrize(
    ('kind', 'fields'),
    [
        (IMAGE, lambda x: image_fields(x, '32FC1')),
        (COMPRESSED, lambda x: compressed_depth_fields(x, 'png')),
        (COMPRESSED, lambda x: compressed_depth_fields(x, 'rvl')),
        (COMPRESSED, lambda x: compressed_depth_fields(x, 'png', '32FC1')),
    ],
)
def test_every_way_of_storing_depth(
    record: Record, kind: str, fields: Callable[[Any], Any]
) -> None:
    depth = np.full((48, 64), 2.5, np.float32)
    depth[:4] = np.nan
    depth[4:8] = np.inf
    topic = '/camera/depth/image_raw' + ('/compressedDepth' if kind == COMPRESSED else '')

    def truth(frame: int) -> list[Any]:
        return [(topic, kind, fields(depth), 'optical', START_NS + frame * STEP_NS)]

    found = survey(record(truth))[1].depth
    assert found.dtype == np.float32
    assert not found[:8].any()
    np.testing.assert_allclose(found[8:], 2.5, rtol=0.01)


def test_one_camera_info_can_be_that_of_colour_and_depth(record: Record, aligned: Truth) -> None:
    config = SourceConfig(depth_camera_info_topic='/camera/camera_info')
    source = survey(record(aligned), config)
    assert not source.report.remarks
    assert source[1].focal_length_px == 50


def test_depth_of_a_camera_beside_is_reprojected_with_occlusion(record: Record) -> None:
    beside = PinholeCamera(96, 72, 75.0, 75.0, 47.5, 35.5)

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS
        columns, rows = np.meshgrid(np.arange(96), np.arange(72))
        across = 2 * (columns - beside.cx) / beside.fx - 0.2
        board = (np.abs(across) < 0.4) & (np.abs(2 * (rows - beside.cy) / beside.fy) < 0.3)
        depth = np.where(board, 2000, 4000).astype(np.uint16)
        return [
            ('/camera/depth/image_raw', IMAGE, image_fields(depth, '16UC1'), 'depth', stamp),
            ('/camera/depth/camera_info', INFO, camera_info_fields(beside), 'depth', stamp),
        ]

    # The depth camera is 0.2 m to the left; both hang below the robot's base.
    path = record(
        truth, transforms=(('base', 'depth', (0.8, 0, 0)), ('base', 'optical', (1.0, 0, 0)))
    )
    source = survey(path)
    assert any('reprojected' in remark for remark in source.report.remarks)
    depth = source[3].depth
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    board = (np.abs(2 * (columns - 31.5) / 50) < 0.4) & (np.abs(2 * (rows - 23.5) / 50) < 0.3)
    expected = np.where(board, 2, 4)
    known = depth > 0
    assert known.mean() > 0.85
    assert np.mean(np.abs(depth[known] - expected[known]) > 0.1) < 0.02
    inner = (np.abs(2 * (columns - 31.5) / 50) < 0.36) & (np.abs(2 * (rows - 23.5) / 50) < 0.26)
    np.testing.assert_allclose(depth[inner], 2, atol=1e-3)
    # What the board hides from the depth camera is unknown, not wall.
    hidden = (columns == 31 + 12) & inner
    assert not (depth[hidden] == 4).any()
    with pytest.raises(RecordingError, match="does not connect 'depth' with 'optical'"):
        survey(record(truth, name='unconnected.mcap'))
    taken = survey(path, SourceConfig(alignment='aligned'))
    assert taken[0].depth.shape == (48, 64)


def test_a_lidar_gives_sparse_truth(record: Record, lidar: Truth) -> None:
    path = record(lidar, transforms=(('optical', 'velodyne', (-0.5, 0, 0)),))
    source = survey(path)
    assert 'lidar /velodyne_points (PointCloud2, 8)' in source.report.topics
    depth = source[0].depth
    rows, columns = np.nonzero(depth)
    assert set(rows.tolist()) <= set(range(0, 48, 4))
    assert set(columns.tolist()) <= set(range(0, 64, 2))
    assert 0.7 < rows.size / (12 * 32) < 0.81  # those behind the camera are left out
    assert depth[24, 32] == 2
    assert depth[0, 62] == 4
    with pytest.raises(RecordingError, match=r"'velodyne' with 'optical'.*record /tf_static"):
        survey(record(lidar, name='no_transforms.mcap'))
    with pytest.raises(RecordingError, match='no calibrated camera_info'):
        survey(record(lidar, name='no_camera.mcap', camera=None))


def test_depth_comes_before_a_lidar_unless_told(
    record: Record, lidar: Truth, aligned: Truth
) -> None:
    path = record(
        lambda frame: lidar(frame) + aligned(frame),
        transforms=(('optical', 'velodyne', (-0.5, 0, 0)),),
    )
    assert (survey(path)[0].depth > 0).mean() > 0.9
    sparse = survey(path, SourceConfig(lidar_topic='velodyne_points'))
    assert (sparse[0].depth > 0).mean() < 0.2


def test_clocks_that_are_apart_are_told_and_can_be_corrected(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS + 4_000_000_000
        return [('/camera/depth/image_raw', IMAGE, depth, 'optical', stamp)]

    path = record(truth)
    with pytest.raises(RecordingError, match=r'nearest are 3300\.0 ms.*data\.time_offset_ms'):
        survey(path)
    assert len(survey(path, SourceConfig(time_offset_ms=-4000))) == 8


def test_drift_duplicates_and_losses_are_reported(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        if frame % 5 == 4:
            return []
        stamp = START_NS + frame * STEP_NS + frame * 100_000
        message = ('/camera/depth/image_raw', IMAGE, depth, 'optical', stamp)
        return [message, message] if frame == 7 else [message]

    source = survey(record(truth, frames=60))
    assert len(source) == 48
    remarks = ' '.join(source.report.remarks)
    assert '1 duplicate stamps on /camera/depth/image_raw' in remarks
    assert '12 of 60 messages on /camera/image_raw have no partner' in remarks
    assert 'drift apart by 60.00 ms per minute' in remarks


def test_without_calibration_the_focal_length_is_unknown_or_given(
    record: Record, aligned: Truth
) -> None:
    path = record(aligned, camera=None)
    source = survey(path)
    assert np.isnan(source[0].focal_length_px)
    assert 'camera_info is missing' in source.report.remarks[0]
    given = survey(path, SourceConfig(horizontal_fov_deg=90))
    assert given[0].focal_length_px == pytest.approx(32)


def test_what_is_missing_is_named(record: Record, aligned: Truth) -> None:
    path = record(lambda frame: [], name='colour_only.mcap')
    with pytest.raises(RecordingError, match=r'neither depth images nor a lidar.*/camera/image'):
        survey(path)
    path = record(aligned)
    with pytest.raises(RecordingError, match='no PointCloud2 on /lidar'):
        survey(path, SourceConfig(lidar_topic='/lidar'))
    with pytest.raises(RecordingError, match='no topic /depth'):
        survey(path, SourceConfig(depth_topic='/depth'))
    every_third = survey(path, SourceConfig(every=3))
    assert (np.diff(every_third.stamps_ns) == 3 * STEP_NS).all()


def test_public_recordings_say_what_they_lack(shared_data: Callable[[str], Path]) -> None:
    for bag in sorted(shared_data('bags').iterdir()):
        if bag.suffix == '.txt':
            continue
        with pytest.raises(RecordingError, match='has n') as caught:
            survey(bag)
        assert str(bag) in str(caught.value)

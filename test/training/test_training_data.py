# SPDX-License-Identifier: Apache-2.0
"""From a configuration to data sets, with what was found to look at."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
import json
from pathlib import Path
import shutil
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, cloud_fields, image_fields
from adabins_ros.model import AdaBinsConfig
from adabins_ros.recordings import pack_folder, RecordingError, RecordingWriter
from adabins_ros.training.config import DataConfig, TrainingConfig
from adabins_ros.training.data import build_data, make_frames, TrainingData
from adabins_ros.training.dry_run import print_dry_run, save_pairs_picture
import cv2
import numpy as np
import pytest
from rich.console import Console

NETWORK = AdaBinsConfig(input_size=(24, 32), training_focal_length_px=25.0)
Record = Callable[..., Path]
Truth = Callable[[int], list[Any]]


def _build(extract_to: Path | None = None, **data: Any) -> TrainingData:
    config = TrainingConfig(data=DataConfig(**data))
    folders = None if extract_to is None else make_frames(config.data, extract_to)
    return build_data(config, NETWORK, folders)


def _printed(data: TrainingData) -> str:
    console = Console(file=StringIO(), width=200)
    print_dry_run(data, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_a_dry_run_tells_what_was_found(
    record: Record, aligned: Truth, lidar: Truth, tmp_path: Path
) -> None:
    bags = [
        record(aligned),
        record(lidar, name='b.mcap', transforms=(('optical', 'velodyne', (-0.5, 0, 0)),)),
    ]
    data = _build(bags=bags, split_gap_s=0)
    assert (len(data.train), len(data.validation)) == (12, 4)
    assert data.train.augmentation is not None
    assert data.validation.augmentation is None
    assert data.train[0]['image'].shape == (3, 24, 32)
    assert data.validation[0]['focal_scale'] == 1
    assert json.loads(json.dumps(data.split)) == data.split
    text = _printed(data)
    for words in (
        '64x48',
        '/camera/depth/image_raw (Image, 8)',
        'lidar /velodyne_points (PointCloud2, 8)',
        '7.0 .. 7.0',
        '100.0%',
        '2.00 4.00 4.00 4.00 4.00',
        '12 frames to train on, 4 held out to validate on; at 32x24',
    ):
        assert words in text, words
    picture = save_pairs_picture(data, tmp_path / 'pairs.png')
    found = cv2.imread(str(picture))
    assert found is not None
    assert found.std() > 20
    with pytest.raises(RecordingError, match='exists already'):
        save_pairs_picture(data, picture)


def test_extracted_frames_are_divided_as_those_of_the_recording(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    given = {'bags': [record(aligned)] * 2, 'validation_bags': [record(aligned, name='b.mcap')]}
    seen, made = _build(**given), _build(tmp_path / 'frames', **given)
    assert made.split == seen.split
    assert [x.name for x in made.folders] == ['room', 'room', 'b']
    assert (len(made.train), len(made.validation)) == (16, 8)
    for index in (0, 9):
        one, other = made.train.sample(index), seen.train.sample(index)
        assert one.name == other.name
        assert one.focal_length_px == other.focal_length_px
        np.testing.assert_array_equal(one.depth, other.depth)
    assert made.report[0].topics == seen.report[0].topics


def test_nothing_to_train_on_says_what_to_give() -> None:
    with pytest.raises(RecordingError, match='give recordings with --bags'):
        _build()


def test_what_is_said_of_a_source_that_is_not_there_is_refused(
    record: Record, aligned: Truth
) -> None:
    bag = record(aligned)
    data = {'bags': [bag], 'validation_share': 0}
    for key, value in (('draws', {'hall': 2.0}), ('scale_unknown', ['hall'])):
        config = TrainingConfig(data=DataConfig(**data, **{key: value}))
        with pytest.raises(RecordingError, match=f"data.{key} names 'hall', but .*{bag.name}"):
            build_data(config)
    config = TrainingConfig(data=DataConfig(**data, draws={bag.name: 0}))
    with pytest.raises(RecordingError, match='nothing is left to train on'):
        build_data(config)


def test_recordings_can_be_held_out_by_name(record: Record, aligned: Truth) -> None:
    first, second = record(aligned), record(aligned, name='b.mcap', frames=5)
    data = _build(bags=[first], validation_bags=[second])
    assert (len(data.train), len(data.validation)) == (8, 5)
    assert data.validation.name(0).startswith('b@')


def test_a_folder_of_frames_can_be_held_out(walls: Callable[..., Path], tmp_path: Path) -> None:
    first, second = walls(tmp_path / 'first', 8), walls(tmp_path / 'second', 3)
    for data in (
        _build(folders=[first], validation_bags=[second]),
        _build(tmp_path / 'frames', folders=[first], validation_bags=[second]),
    ):
        assert (len(data.train), len(data.validation)) == (8, 3)
        assert data.validation.name(0) == 'second/000'
    assert not (tmp_path / 'frames').exists()


def _listed(folder: Path, form: str) -> Path:
    """Write three scenes, or drives, as a list of files names them."""
    lines = []
    size = (480, 640) if form == 'nyu' else (375, 1242)
    units = 1000 if form == 'nyu' else 256
    for scene in ('cafe_0001', 'bedroom_0002', 'attic_0003'):
        for frame in (1, 2, 10):
            colour, depth = f'{scene}/rgb_{frame:05}.jpg', f'{scene}/depth_{frame:05}.png'
            (folder / scene).mkdir(exist_ok=True)
            picture = np.full((*size, 3), 100, np.uint8)
            cv2.imwrite(str(folder / colour), picture)
            metres = np.full(size, 2.5)
            cv2.imwrite(str(folder / depth), (metres * units).astype(np.uint16))
            lines.append(f'/{colour} /{depth} 518.8579')
    lines += ['cafe_0001/rgb_00001.jpg None 518.8579', 'gone.jpg gone.png 518.8579', '']
    file = folder / 'list.txt'
    file.write_text('\n'.join(lines))
    return file


@pytest.mark.parametrize(('form', 'shape'), [('nyu', (427, 565)), ('kitti', (352, 1216))])
def test_the_lists_of_the_authors(tmp_path: Path, form: str, shape: tuple[int, int]) -> None:
    file = _listed(tmp_path, form)
    data = _build(
        **{form: tmp_path, f'{form}_list': file, 'split': 'bag', 'validation_share': 0.3}
    )
    assert (len(data.train), len(data.validation)) == (6, 3)
    assert len({data.validation.sample(index).source for index in range(3)}) == 1
    sample = data.train.sample(2)
    assert sample.name.endswith('rgb_00010')
    assert sample.image.shape[:2] == sample.depth.shape == shape
    assert (sample.depth == 2.5).all()
    assert sample.focal_length_px == pytest.approx(518.8579)
    remarks = [remark for report in data.report for remark in report.remarks]
    assert any('1 lines of list.txt have no depth' in remark for remark in remarks)
    assert any('1 frames of list.txt are not there, such as gone.jpg' in x for x in remarks)
    with pytest.raises(RecordingError, match=f'set data.{form}_list'):
        _build(**{form: tmp_path})
    file.write_text('colour.jpg depth.png\n')
    with pytest.raises(RecordingError, match=r'list\.txt line 1 .* expected COLOUR DEPTH FOCAL'):
        _build(**{form: tmp_path, f'{form}_list': file})
    file.write_text('colour.jpg depth.png 500\n')
    with pytest.raises(RecordingError, match=r'no frame that is there; colour\.jpg is not below'):
        _build(**{form: tmp_path, f'{form}_list': file})


def test_the_labelled_frames_of_nyu(tmp_path: Path) -> None:
    h5py = pytest.importorskip('h5py')
    path = tmp_path / 'nyu_depth_v2_labeled.mat'
    with h5py.File(path, 'w') as file:
        images = np.zeros((6, 3, 64, 48), np.uint8)
        images[:, 0] = np.arange(64)[:, None]
        file['images'] = images
        file['depths'] = np.full((6, 64, 48), 3, np.float32)
    data = _build(nyu=path)
    sample = data.train.sample(1)
    assert sample.image.shape == (48, 64, 3)
    assert sample.image[5, :, 0].tolist() == list(range(64))
    assert (sample.depth == 3).all()
    (tmp_path / 'splits.mat').write_bytes(b'MATLAB 5.0')
    with pytest.raises(RecordingError, match=r'is not nyu_depth_v2_labeled\.mat'):
        _build(nyu=tmp_path / 'splits.mat')


def test_nyu_without_h5py_says_what_to_install(tmp_path: Path) -> None:
    try:
        import h5py  # noqa: F401
    except ImportError:
        (tmp_path / 'nyu.mat').write_bytes(b'')
        with pytest.raises(RecordingError, match='pip install h5py'):
            _build(nyu=tmp_path / 'nyu.mat')
    else:
        pytest.skip('h5py is installed')


def test_a_cut_off_recording_trains_with_salvage(record: Record, aligned: Truth) -> None:
    path = record(aligned)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    with pytest.raises(RecordingError, match=rf'broken at byte \d+ of .*{path.name}|--salvage'):
        _build(bags=[path])
    found = _build(bags=[path], salvage=True)
    assert 2 <= len(found.train) + len(found.validation) <= 6
    assert 'broken at byte' in _printed(found)


def test_a_kitchen_splits_into_its_first_200_and_last_50_frames(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shared_data('redkitchen_7scenes')
    small = tmp_path / 'kitchen'
    (small / 'rgb').mkdir(parents=True)
    (small / 'depth').mkdir()
    shutil.copy(folder / 'camera.json', small)
    for name in ('rgb', 'depth'):
        for file in sorted((folder / name).iterdir())[::10]:
            (small / name / file.name).symlink_to(file)
    pack_folder(small, tmp_path / 'kitchen.mcap')
    data = _build(bags=[tmp_path / 'kitchen.mcap'], split_gap_s=0)
    assert (len(data.train), len(data.validation)) == (20, 5)
    element = data.validation[4]
    assert element['depth'].max() < 5
    assert 0.5 < (element['depth'] > 0).float().mean() < 1


def test_a_real_lidar_agrees_with_its_projected_depth(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shared_data('kitti_raw_seq')
    rows: dict[str, Any] = {}
    for line in (folder / 'calib.txt').read_text().splitlines():
        name, _, values = line.partition(':')
        rows[name] = np.array([float(value) for value in values.split()])
    rectified = np.eye(4)
    rectified[:3, :3] = rows['R0_rect'].reshape(3, 3)
    velodyne = np.eye(4)
    velodyne[:3] = rows['Tr_velo_to_cam'].reshape(3, 4)
    projection = rows['P2'].reshape(3, 4)
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    matrix = shift @ rectified @ velodyne
    # The trace of this rotation is near 0: the largest part of the quaternion is divided by.
    w = np.sqrt(max(0, 1 + np.trace(matrix[:3, :3]))) / 2
    turn = matrix[:3, :3]
    rotation = {
        'x': (turn[2, 1] - turn[1, 2]) / (4 * w),
        'y': (turn[0, 2] - turn[2, 0]) / (4 * w),
        'z': (turn[1, 0] - turn[0, 1]) / (4 * w),
        'w': w,
    }
    camera = PinholeCamera(1242, 375, 721.5377, 721.5377, 609.5593, 172.854)
    path = tmp_path / 'drive.mcap'
    stamped = {
        'header': {'frame_id': 'camera'},
        'child_frame_id': 'velodyne',
        'transform': {
            'translation': dict(zip('xyz', matrix[:3, 3].tolist(), strict=True)),
            'rotation': rotation,
        },
    }
    scans = sorted((folder / 'velodyne').iterdir())[:3]
    with RecordingWriter(path) as writer:
        tf = {'transforms': [stamped]}
        writer.write('/tf_static', 'tf2_msgs/msg/TFMessage', tf, log_ns=1)
        for scan in scans:
            log_ns = 10**9 + int(scan.stem) * 10**8
            bgr = cv2.imread(str(folder / 'rgb' / f'{scan.stem}.jpg'))
            assert bgr is not None
            points = np.fromfile(scan, np.float32).view(
                [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('intensity', '<f4')]
            )
            for topic, kind, fields, frame in (
                ('/image_raw', 'sensor_msgs/msg/Image', image_fields(bgr, 'bgr8'), 'camera'),
                (
                    '/camera_info',
                    'sensor_msgs/msg/CameraInfo',
                    camera_info_fields(camera),
                    'camera',
                ),
                (
                    '/velodyne_points',
                    'sensor_msgs/msg/PointCloud2',
                    cloud_fields(points),
                    'velodyne',
                ),
            ):
                writer.write(topic, kind, fields, log_ns=log_ns, frame_id=frame)
    data = _build(bags=[path], split_gap_s=0)
    for index, scan in enumerate(scans[: len(data.train)]):
        depth = data.train.sample(index).depth
        known = cv2.imread(str(folder / 'depth' / f'{scan.stem}.png'), cv2.IMREAD_UNCHANGED)
        assert known is not None
        expected = known / 256
        both = (depth > 0) & (expected > 0)
        assert both.sum() > 0.9 * (expected > 0).sum()
        assert np.median(np.abs(depth[both] - expected[both])) < 0.01
        # Points survive the way to the network's small picture.
        small = data.train[index]['depth'][0] > 0
        assert small.float().mean() > 0.05

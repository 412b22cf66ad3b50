# SPDX-License-Identifier: Apache-2.0
"""RGB-D folders and the recordings made from them."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import shutil
from typing import Any

from adabins_ros.frames import RgbdFolder
from adabins_ros.recordings import (
    find_camera_topics,
    iterate_frames,
    open_recording,
    pack_folder,
    RecordingError,
)
import cv2
import numpy as np
import pytest


@pytest.fixture
def folder(rgbd_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder that a test may change."""
    return Path(shutil.copytree(rgbd_folder, tmp_path / 'room'))


def _change(folder: Path, **changes: Any) -> None:
    file = folder / 'camera.json'
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.mark.parametrize('compressed', [True, False])
@pytest.mark.parametrize('name', ['room.mcap', 'room_bag'])
def test_a_packed_folder_gives_its_frames_back(
    folder: Path, tmp_path: Path, name: str, compressed: bool
) -> None:
    assert pack_folder(folder, tmp_path / name, compressed=compressed) == 8
    source = RgbdFolder(folder)
    with open_recording(tmp_path / name) as recording:
        suffixes = ('/compressed', '/compressedDepth') if compressed else ('', '')
        assert set(recording.topics) == {
            f'/camera/image_raw{suffixes[0]}',
            f'/camera/depth/image_raw{suffixes[1]}',
            '/camera/camera_info',
            '/tf_static',
        }
        frames = list(iterate_frames(recording, find_camera_topics(recording)))
    for written, frame in zip(source.frames, frames, strict=True):
        assert frame.stamp_ns == written.stamp_ns
        assert frame.camera == written.camera
        colour = source.colour(written)
        np.testing.assert_allclose(frame.rgb, colour, atol=12 if compressed else 0)
        depth = source.depth_mm(written)
        np.testing.assert_array_equal(np.rint(np.nan_to_num(frame.depth) * 1000), depth)
    assert np.diff([frame.stamp_ns for frame in frames]).tolist() == [200_000_000] * 7


def test_the_optical_frame_is_turned_as_rep_103_says(mcap: Path) -> None:
    with open_recording(mcap) as recording:
        (message,) = recording.messages(['/tf_static'])
        assert recording.topics['/tf_static'].latched
        (transform,) = message.decode().transforms
        info = next(recording.messages(['/camera/camera_info'])).decode()
    assert transform.header.frame_id == 'camera_link'
    assert transform.child_frame_id == info.header.frame_id == 'camera_color_optical_frame'
    q = transform.transform.rotation
    assert (q.x, q.y, q.z, q.w) == (-0.5, 0.5, -0.5, 0.5)
    vector = np.array([q.x, q.y, q.z])

    def rotated(v: list[float]) -> list[float]:
        cross = 2 * np.cross(vector, v)
        return (np.array(v) + q.w * cross + np.cross(vector, cross)).tolist()

    # Optical: x right, y down, z forward. Body: x forward, y left, z up.
    assert rotated([0, 0, 1]) == [1, 0, 0]
    assert rotated([1, 0, 0]) == [0, -1, 0]
    assert rotated([0, 1, 0]) == [0, 0, -1]


def test_start_and_stop_and_rate(folder: Path, tmp_path: Path) -> None:
    assert pack_folder(folder, tmp_path / 'a.mcap', start=2, stop=5, rate_hz=50) == 3
    with open_recording(tmp_path / 'a.mcap') as recording:
        frames = list(iterate_frames(recording, find_camera_topics(recording)))
    assert [float(np.nanmin(frame.depth)) for frame in frames] == pytest.approx([1.2, 1.3, 1.4])
    assert np.diff([frame.stamp_ns for frame in frames]).tolist() == [20_000_000] * 2
    with pytest.raises(RecordingError, match='8 frames; none from 8 to 9'):
        pack_folder(folder, tmp_path / 'b.mcap', start=8, stop=9)
    with pytest.raises(RecordingError, match='rate must be positive'):
        pack_folder(folder, tmp_path / 'b.mcap', rate_hz=0)
    assert not (tmp_path / 'b.mcap').exists()


def test_times_in_file_names_are_the_stamps(folder: Path) -> None:
    for kind in ('rgb', 'depth'):
        for index in range(8):
            old = folder / kind / f'{index:03}.png'
            old.rename(folder / kind / f'1305031229.{528748 + 33333 * index:06}.png')
    frames = RgbdFolder(folder).frames
    assert frames[0].stamp_ns == 1_305_031_229_528_748_000
    assert frames[1].stamp_ns - frames[0].stamp_ns == 33_333_000
    assert RgbdFolder(folder, rate_hz=10).frames[1].stamp_ns % 10**9 == 100_000_000


def test_frames_are_sorted_as_people_count(folder: Path) -> None:
    for kind in ('rgb', 'depth'):
        for index in range(8):
            (folder / kind / f'{index:03}.png').rename(folder / kind / f'learn{index * 3}.png')
    assert [frame.stem for frame in RgbdFolder(folder).frames] == [
        f'learn{index * 3}' for index in range(8)
    ]


@pytest.mark.parametrize(('units', 'metres'), [(None, 1.0), (5000, 0.2), (256, 1000 / 256)])
def test_depth_units(folder: Path, units: float | None, metres: float) -> None:
    _change(folder, depth_units_per_metre=units)
    source = RgbdFolder(folder)
    assert source.depth_mm(source.frames[0])[10, 0] == round(metres * 1000)
    assert source.depth_mm(source.frames[0])[0, 0] == 0


def test_depth_beyond_what_millimetres_hold_is_unknown(folder: Path) -> None:
    _change(folder, depth_units_per_metre=10)
    source = RgbdFolder(folder)
    assert source.depth_mm(source.frames[0]).max() == 0


def test_a_camera_for_each_frame(folder: Path) -> None:
    camera = json.loads((folder / 'camera.json').read_text())
    (folder / 'camera.json').unlink()
    cameras = {f'{index:03}': {**camera, 'fx': 50.0 + index} for index in range(8)}
    (folder / 'cameras.json').write_text(json.dumps(cameras))
    assert [frame.camera.fx for frame in RgbdFolder(folder).frames] == list(range(50, 58))
    del cameras['003']
    (folder / 'cameras.json').write_text(json.dumps(cameras))
    with pytest.raises(RecordingError, match='no camera for frame 003'):
        RgbdFolder(folder)
    (folder / 'cameras.json').write_text(json.dumps({**cameras, '000': 5, '003': camera}))
    with pytest.raises(RecordingError, match='no camera for frame 000'):
        RgbdFolder(folder)


def test_a_negative_focal_length_is_written_as_it_is(folder: Path, tmp_path: Path) -> None:
    _change(folder, fy=-51.0)
    pack_folder(folder, tmp_path / 'a.mcap', stop=1)
    with open_recording(tmp_path / 'a.mcap') as recording:
        (frame,) = iterate_frames(recording, find_camera_topics(recording))
    assert frame.camera is not None
    assert frame.camera.fy == -51


def test_a_jpeg_goes_in_as_it_is(folder: Path, tmp_path: Path) -> None:
    for file in (folder / 'rgb').iterdir():
        cv2.imwrite(str(file.with_suffix('.jpg')), cv2.imread(str(file)))
        file.unlink()
    pack_folder(folder, tmp_path / 'a.mcap', stop=1)
    with open_recording(tmp_path / 'a.mcap') as recording:
        message = next(recording.messages(['/camera/image_raw/compressed'])).decode()
    assert message.data.tobytes() == (folder / 'rgb' / '000.jpg').read_bytes()


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:60])


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (lambda x: shutil.rmtree(x), ['is no folder']),
        (lambda x: shutil.rmtree(x / 'depth'), ['no folder depth/']),
        (lambda x: (x / 'camera.json').unlink(), ['neither camera.json nor cameras.json']),
        (lambda x: (x / 'camera.json').write_text('{'), ['camera.json can not be read']),
        (lambda x: (x / 'camera.json').write_text('[]'), ['holds a list']),
        (lambda x: _change(x, fx=None), ["no 'fx'", 'width, height']),
        (lambda x: _change(x, fx=0), ['camera.json', 'fx']),
        (lambda x: _change(x, fx='wide'), ['camera.json']),
        (lambda x: _change(x, fps=0), ['fps = 0']),
        (lambda x: _change(x, fps=1e-300), ['need more than 64 bits', 'rate']),
        (
            lambda x: (x / 'frames.csv').write_text(
                'stem,stamp_ns\n' + ''.join(f'{i:03},{10**30}\n' for i in range(8))
            ),
            ['need more than 64 bits', 'frames.csv'],
        ),
        (lambda x: _change(x, depth_units_per_metre='mm'), ["depth_units_per_metre = 'mm'"]),
        (lambda x: _change(x, width=32), ['000.png is 64x48', '32x48']),
        (lambda x: _truncate(x / 'depth' / '004.png'), ['004.png', 'cut off']),
        (lambda x: (x / 'rgb' / '004.png').write_text('hello'), ['rgb/004.png', 'no JPEG']),
        (
            lambda x: shutil.copy(x / 'rgb' / '001.png', x / 'depth' / '001.png'),
            ['depth/001.png is uint8'],
        ),
        (
            lambda x: [file.unlink() for file in (x / 'rgb').iterdir()],
            ['0 pictures in rgb/', '8 in depth/'],
        ),
    ],
)
def test_a_broken_folder_says_which_file_is_wrong(
    folder: Path, tmp_path: Path, damage: Callable[[Path], Any], words: list[str]
) -> None:
    damage(folder)
    with pytest.raises(RecordingError) as caught:
        pack_folder(folder, tmp_path / 'out.mcap')
    for word in words:
        assert word in str(caught.value)
    assert not list(tmp_path.glob('*out.mcap*'))


@pytest.mark.parametrize(
    'name',
    ['sequence', 'redkitchen_7scenes', 'icl_nuim_synthetic', 'kitti_raw_seq', 'mosd_learn']
    + ['realsense_mixed', 'synthetic_rooms', 'tum_fr1_rpy', 'tum_fr3_cabinet'],
)
def test_every_shared_set_can_be_packed(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = shared_data(name)
    assert pack_folder(folder, tmp_path / 'a.mcap', stop=3) == 3
    source = RgbdFolder(folder)
    with open_recording(tmp_path / 'a.mcap') as recording:
        for frame, written in zip(
            iterate_frames(recording, find_camera_topics(recording)), source.frames, strict=False
        ):
            assert frame.camera == written.camera
            assert frame.depth is not None
            assert 0.2 < float(np.nanmedian(frame.depth)) < 60

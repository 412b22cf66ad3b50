# SPDX-License-Identifier: Apache-2.0
"""Recordings become RGB-D folders once: whole or not at all, and never over what a user made."""

from __future__ import annotations

from collections.abc import Callable
import csv
from dataclasses import replace
import json
import os
from pathlib import Path
import resource
import shutil
import signal
import subprocess
import sys
from typing import Any

from adabins_ros.frames import FolderSource, frames_of, RgbdFolder, SourceConfig
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import (
    camera_info_fields,
    compressed_rgb_fields,
    decode_compressed_rgb,
    image_fields,
)
from adabins_ros.recordings import (
    extract_frames,
    open_recording,
    read_pairs,
    RecordingError,
    RecordingWriter,
    survey,
)
import cv2
import numpy as np
import pytest

Record = Callable[..., Path]
Truth = Callable[[int], list[Any]]
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000


def _table(folder: Path) -> list[dict[str, str]]:
    with (folder / 'frames.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_a_folder_has_what_the_recording_has(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    path = record(aligned)
    told: list[tuple[str, int, int]] = []
    (folder,) = extract_frames([path], tmp_path / 'frames', progress=lambda *x: told.append(x))
    assert folder == tmp_path / 'frames' / 'room'
    assert sorted(x.name for x in folder.iterdir()) == [
        'camera.json', 'depth', 'frames.csv', 'recording.json', 'rgb',
    ]  # fmt: skip
    assert told == [('room', done, 8) for done in range(1, 9)]
    rows = _table(folder)
    assert [int(row['stamp_ns']) for row in rows] == [START_NS + x * STEP_NS for x in range(8)]
    assert {(row['offset_ms'], row['used'], row['reason']) for row in rows} == {('7.000', '1', '')}
    straight = survey(path)
    source = FolderSource(folder, recording=True)
    assert source.report == straight.report
    assert source.stamps_ns.tolist() == straight.stamps_ns.tolist()
    for index, sample in enumerate(read_pairs(path)):
        ours = source[index]
        assert (ours.name, ours.source, ours.camera) == (sample.name, 'room', sample.camera)
        np.testing.assert_array_equal(ours.depth, sample.depth)
        # JPEG of quality 98.
        assert np.abs(ours.image.astype(int) - sample.image).mean() < 2
    # As a folder of its own it is named so.
    assert FolderSource(folder).report.kind == 'folder'


def test_compressed_pictures_stay_the_bytes_they_are(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), (9, 9), 3)
    jpeg = compressed_rgb_fields(picture)
    png = {'format': 'rgb8; png compressed bgr8', 'data': cv2.imencode('.png', picture)[1]}
    path = tmp_path / 'pictures.mcap'
    with RecordingWriter(path) as writer:
        for frame in range(4):
            stamp = START_NS + frame * STEP_NS
            fields = png if frame % 2 else jpeg
            writer.write('/camera/image_raw/compressed', COMPRESSED, fields, log_ns=stamp)
            for topic, kind, depth, *_ in aligned(frame):
                writer.write(topic, kind, depth, log_ns=stamp)
    (folder,) = extract_frames([path], tmp_path / 'frames')
    files = sorted((folder / 'rgb').iterdir())
    assert [x.suffix for x in files] == ['.jpg', '.png', '.jpg', '.png']
    assert files[0].read_bytes() == bytes(jpeg['data'])
    assert files[1].read_bytes() == png['data'].tobytes()
    source = FolderSource(folder)
    # Without calibration the camera is unknown, and the folder says so.
    assert np.isnan(source[0].focal_length_px)
    assert source[0].camera is None
    message = type('Message', (), jpeg)()
    np.testing.assert_array_equal(source[0].image, decode_compressed_rgb(message))


def test_raw_images_can_be_kept_without_loss(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    path = record(aligned)
    (folder,) = extract_frames([path], tmp_path / 'frames', lossless=True)
    assert {x.suffix for x in (folder / 'rgb').iterdir()} == {'.png'}
    np.testing.assert_array_equal(FolderSource(folder)[4].image, survey(path)[4].image)


def test_the_same_is_used_again_and_nothing_of_a_user_is_overwritten(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    path, output = record(aligned), tmp_path / 'frames'
    (folder,) = extract_frames([path], output)
    (folder / 'rgb' / 'note.txt').write_text('mine')
    # Whoever thins a folder keeps what is left of it.
    victim = next((folder / 'rgb').glob('*.jpg'))
    victim.unlink()
    assert extract_frames([path], output, SourceConfig(every=3)) == [folder]
    assert not victim.exists()
    (other,) = extract_frames([path], output, SourceConfig(tolerance_ms=8))
    (thinned,) = extract_frames([path], output, rate=5)
    assert (other.name, thinned.name) == ('room-2', 'room-3')
    assert len(_table(thinned)) == 4
    os.utime(path, ns=(1, 1))
    (newer,) = extract_frames([path], output)
    assert newer.name == 'room-4'
    assert extract_frames([path], output) == [newer]
    assert (folder / 'rgb' / 'note.txt').read_text() == 'mine'
    (tmp_path / 'own' / 'room').mkdir(parents=True)
    assert extract_frames([path], tmp_path / 'own') == [tmp_path / 'own' / 'room-2']
    assert not list((tmp_path / 'own' / 'room').iterdir())


def test_two_recordings_of_one_name_have_a_folder_each(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    first = record(aligned)
    (tmp_path / 'b').mkdir()
    second = Path(shutil.copy(first, tmp_path / 'b'))
    folders = extract_frames([first, second], tmp_path / 'frames')
    assert [x.name for x in folders] == ['room', 'room-2']
    assert extract_frames([second, first], tmp_path / 'frames') == folders[::-1]
    sources = frames_of(SourceConfig(bags=(first, second), every=2), tmp_path / 'frames')
    assert [source.report.name for source in sources] == [str(first), str(second)]
    assert [len(source) for source in sources] == [4, 4]


def test_bad_frames_are_named_and_left_out(record: Record, tmp_path: Path) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        fields = {**depth, 'data': depth['data'][:50]} if frame in (3, 4) else depth
        stamp = START_NS + frame * STEP_NS
        return [('/camera/depth/image_raw', IMAGE, fields, 'optical', stamp)]

    (folder,) = extract_frames([record(truth)], tmp_path / 'frames')
    rows = _table(folder)
    assert [row['used'] for row in rows] == list('11100111')
    assert 'needs 6144 bytes, 50 were given' in rows[3]['reason']
    assert len(RgbdFolder(folder).frames) == 6
    remark = FolderSource(folder, recording=True).report.remarks[-1]
    assert remark.startswith('2 of 8 frames were left out, such as 1700000000.300000000: ')


def test_a_recording_without_a_usable_frame_leaves_no_folder(
    record: Record, tmp_path: Path
) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')
    depth['data'] = depth['data'][:50]
    path = record(
        lambda frame: [
            ('/camera/depth/image_raw', IMAGE, depth, 'optical', START_NS + frame * STEP_NS)
        ]
    )
    with pytest.raises(RecordingError, match=r'none of the 8 frames can be used.*50 were given'):
        extract_frames([path], tmp_path / 'frames')
    assert not list((tmp_path / 'frames').iterdir())


def test_depth_beyond_sixty_five_metres_is_kept(record: Record, tmp_path: Path) -> None:
    depth = np.full((48, 64), 100.0, np.float32)
    depth[:4] = 1.5
    fields = image_fields(depth, '32FC1')
    path = record(
        lambda frame: [
            ('/camera/depth/image_raw', IMAGE, fields, 'optical', START_NS + frame * STEP_NS)
        ]
    )
    (folder,) = extract_frames([path], tmp_path / 'frames')
    np.testing.assert_array_equal(FolderSource(folder)[0].depth, depth)
    assert json.loads((folder / 'camera.json').read_text())['depth_units_per_metre'] == 256


def test_a_camera_that_changes_is_written_for_each_frame(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    camera = PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5, 'plumb_bob', (0.1, 0.0, 0.0, 0.0, 0.0))

    def truth(frame: int) -> list[Any]:
        fields = camera_info_fields(replace(camera, fx=50.0 + frame))
        stamp = START_NS + frame * STEP_NS
        kind = 'sensor_msgs/msg/CameraInfo'
        return [*aligned(frame), ('/camera/camera_info', kind, fields, 'optical', stamp)]

    (folder,) = extract_frames([record(truth, camera=None)], tmp_path / 'frames')
    assert not (folder / 'camera.json').exists()
    source = FolderSource(folder)
    assert [source[index].focal_length_px for index in (0, 7)] == [50, 57]
    assert source[3].camera == replace(camera, fx=53.0)


def test_pairs_of_one_stamp_have_a_name_each(record: Record, tmp_path: Path) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')
    colour = image_fields(np.zeros((48, 64, 3), np.uint8), 'rgb8')
    path = tmp_path / 'twice.mcap'
    with RecordingWriter(path) as writer:
        for log_ns in (START_NS, START_NS + 5):
            for topic, fields in (('/image', colour), ('/depth', depth)):
                writer.write(topic, IMAGE, fields, log_ns=log_ns, stamp_ns=START_NS)
    (folder,) = extract_frames([path], tmp_path / 'frames')
    assert [x.stamp_ns for x in RgbdFolder(folder).frames] == [START_NS, START_NS]


def test_a_salvaged_recording_says_what_is_lost(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    path = record(aligned)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RecordingError, match='--salvage'):
        extract_frames([path], tmp_path / 'frames')
    (folder,) = extract_frames([path], tmp_path / 'frames', SourceConfig(salvage=True))
    report = FolderSource(folder, recording=True).report
    assert 0 < report.frames < 8
    assert 'broken at byte' in report.remarks[0]
    assert 'readable messages, up to 0.' in report.remarks[0]


def test_nothing_is_written_into_the_recording(
    record: Record, convert: Callable[..., Path], tmp_path: Path
) -> None:
    bag = convert('mcap folder')
    before = sorted((x, x.stat().st_mtime_ns) for x in (bag, *bag.rglob('*')))
    with pytest.raises(RecordingError, match='lies in the recording'):
        extract_frames([bag], bag / 'frames')
    extract_frames([bag], tmp_path / 'frames')
    assert sorted((x, x.stat().st_mtime_ns) for x in (bag, *bag.rglob('*'))) == before


_SLOWLY = """
import sys, time
from adabins_ros.recordings import extract_frames
def progress(name, done, count):
    print(done, flush=True)
    time.sleep(60 if done == 3 else 0)
extract_frames([sys.argv[1]], sys.argv[2], progress=progress)
"""


def test_a_killed_extraction_leaves_nothing_that_looks_whole(
    record: Record, aligned: Truth, tmp_path: Path, ros_environment: dict[str, str]
) -> None:
    path, output = record(aligned), tmp_path / 'frames'
    process = subprocess.Popen(
        [sys.executable, '-c', _SLOWLY, str(path), str(output)],
        env=ros_environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == '3':
            break
    (hidden,) = output.iterdir()
    assert hidden.name.startswith('.')
    # Another process leaves the work of one that is alive alone.
    assert extract_frames([path], output, rate=5) == [output / 'room']
    assert hidden.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert extract_frames([path], output) == [output / 'room-2']
    assert sorted(x.name for x in output.iterdir()) == ['room', 'room-2']
    assert len(RgbdFolder(output / 'room-2').frames) == 8


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


def test_a_full_disk_leaves_nothing(
    record: Record, aligned: Truth, tmp_path: Path, ros_environment: dict[str, str]
) -> None:
    output = tmp_path / 'frames'
    rng = np.random.default_rng(0)
    noise = image_fields(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), 'rgb8')
    path = record(aligned, colour=lambda frame: noise)
    process = subprocess.run(
        [sys.executable, '-m', 'adabins_ros.cli', 'extract', str(path), '--output', str(output)],
        env={**ros_environment, 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=_small_files,
    )
    assert process.returncode == 1
    assert f'{output / "room"} can not be written: File too large' in process.stderr
    assert 'Traceback' not in process.stderr
    assert not list(output.iterdir())


def test_the_command_says_what_it_found(
    record: Record, aligned: Truth, tmp_path: Path, ros_environment: dict[str, str]
) -> None:
    path = record(aligned)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-m', 'adabins_ros.cli', 'extract', *words],
            env={**ros_environment, 'COLUMNS': '300'},
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )

    found = run(str(path), '--rate', '5', 'data.tolerance_ms=9')
    assert found.returncode == 0, found.stderr
    assert 'frames/room: 4 frames; colour /camera/image_raw (Image, 8), depth' in found.stdout
    assert '4/4' in found.stderr
    wrong = run(str(path), 'data.cache=/tmp/x')
    assert wrong.returncode == 1
    assert 'recordings become frames once, in the folder that --frames names' in wrong.stderr


def test_reading_pairs_straight_through_names_bad_frames(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        fields = {**depth, 'data': depth['data'][:50]} if frame == 3 else depth
        stamp = START_NS + frame * STEP_NS
        return [('/camera/depth/image_raw', IMAGE, fields, 'optical', stamp)]

    path = record(truth)
    told: list[str] = []
    assert len(list(read_pairs(path, on_bad_frame=told.append))) == 7
    assert str(START_NS + 3 * STEP_NS) in told[0]
    with pytest.raises(RecordingError, match='is unusable'):
        list(read_pairs(path))


def test_a_recording_that_changes_meanwhile_is_no_traceback(
    record: Record, aligned: Truth, tmp_path: Path
) -> None:
    path = record(aligned)
    with open_recording(path) as recording:
        assert recording.message_count
    source = survey(path)
    path.unlink()
    with pytest.raises(RecordingError, match='does not exist'):
        source[0]

# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with a recording, it is told in words, and what can be used is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re
import shutil
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, image_fields
from adabins_ros.model import AdaBinsConfig
from adabins_ros.recordings import RecordingError, RecordingWriter, survey
from adabins_ros.training.config import DataConfig, TrainingConfig
from adabins_ros.training.data import build_data, check_usable, TrainingData
import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

Record = Callable[..., Path]
Truth = Callable[[int], list[Any]]
IMAGE = 'sensor_msgs/msg/Image'
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000


CAMERA = PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5)
NETWORK = AdaBinsConfig(input_size=(24, 32))


def _build(data: DataConfig) -> TrainingData:
    return build_data(TrainingConfig(data=data), NETWORK)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1000:] = bytes(len(data) - 1000)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (_truncated, r'broken at byte \d+ of \d+, after \d+ readable messages.*--salvage'),
        (_overwritten, r'broken at byte \d+ of \d+'),
        (lambda path: path.write_bytes(path.read_bytes()[:10]), 'broken at byte 8 of 10'),
        (lambda path: path.write_bytes(b''), r'is empty \(0 bytes\)'),
        (lambda path: path.write_text('hello'), 'is no mcap file'),
        (lambda path: path.unlink(), 'does not exist'),
    ],
)
def test_a_broken_file_says_where(
    record: Record, aligned: Truth, damage: Callable[[Path], Any], words: str
) -> None:
    path = record(aligned)
    damage(path)
    with pytest.raises(RecordingError, match=words) as caught:
        survey(path)
    assert str(path) in str(caught.value)


@pytest.fixture
def to_sqlite(tmp_path: Path) -> Callable[[Path], Path]:
    """Return a function that writes a recording as rosbag2 with sqlite3."""

    def convert(path: Path, **options: Any) -> Path:
        folder = tmp_path / f'{path.stem}_sqlite'
        types = get_typestore(Stores.ROS2_HUMBLE)
        # Version 8 is what recorders wrote before definitions were stored with the messages.
        writer = Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3)
        connections: dict[str, Any] = {}
        with Reader(path) as reader, writer:
            for source, stamp, raw in reader.messages():
                if source.topic not in connections:
                    connections[source.topic] = writer.add_connection(
                        source.topic, source.msgtype, typestore=types
                    )
                writer.write(connections[source.topic], stamp, raw)
        return folder

    return convert


def test_a_folder_without_metadata_is_read(
    record: Record, aligned: Truth, to_sqlite: Callable[[Path], Path]
) -> None:
    folder = to_sqlite(record(aligned))
    (folder / 'metadata.yaml').unlink()
    assert len(survey(folder)) == 8


def test_rows_behind_damaged_pages_are_salvaged(
    record: Record, aligned: Truth, to_sqlite: Callable[[Path], Path]
) -> None:
    folder = to_sqlite(record(aligned, frames=30))
    file = next(folder.glob('*.db3'))
    data = bytearray(file.read_bytes())
    for page in range(60, 62):
        data[page * 4096] = 0x77
    file.write_bytes(data)
    try:
        whole = len(survey(folder))
    except RecordingError as error:
        assert '--salvage' in str(error)
        whole = 0
    found = survey(folder, DataConfig(salvage=True))
    assert 15 < len(found) <= 30
    assert whole in (0, 30)


def test_a_recording_whose_metadata_is_damaged_is_salvaged(
    record: Record, aligned: Truth, to_sqlite: Callable[[Path], Path]
) -> None:
    folder = to_sqlite(record(aligned))
    for damage in (b'', bytes(range(256)), b'a: 1'):
        (folder / 'metadata.yaml').write_bytes(damage)
        with pytest.raises(RecordingError, match=r'metadata\.yaml is empty or damaged.*--salvage'):
            survey(folder)
        found = survey(folder, DataConfig(salvage=True))
        assert len(found) == 8
        assert 'metadata.yaml' in found.report.remarks[0]
    shutil.copy(next(folder.glob('*.db3')), folder / 'a_part.db3')
    next(folder.glob('room*.db3')).write_bytes(b'')
    found = survey(folder, DataConfig(salvage=True))
    assert len(found) == 8
    assert 'is empty (0 bytes)' in found.report.remarks[1]


def test_a_database_that_is_cut_off_says_so(
    record: Record, aligned: Truth, to_sqlite: Callable[[Path], Path]
) -> None:
    file = next(to_sqlite(record(aligned, frames=30)).glob('*.db3'))
    whole = file.read_bytes()
    for left, words in ((50, r'it has 50 bytes\)'), (len(whole) // 2, rf'of {len(whole)}\)')):
        file.write_bytes(whole[:left])
        with pytest.raises(RecordingError, match=rf'the file is cut off, {words}|{words}'):
            survey(file)


def test_salvage_names_the_loss(record: Record, aligned: Truth) -> None:
    path = record(aligned)
    size = path.stat().st_size
    _truncated(path)
    found = survey(path, DataConfig(salvage=True))
    assert 0 < len(found) < 8
    text = rf'broken at byte (\d+) of {size // 2}, after \d+ readable .*; (\d+) bytes are lost'
    place = re.search(text, found.report.remarks[0])
    assert place is not None
    assert int(place[1]) + int(place[2]) == size // 2


def test_a_depth_topic_that_holds_colour_is_named(record: Record) -> None:
    def truth(frame: int) -> list[Any]:
        picture = image_fields(np.zeros((48, 64, 3), np.uint8), 'rgb8')
        stamp = START_NS + frame * STEP_NS
        return [('/camera/depth/image_raw', IMAGE, picture, 'optical', stamp)]

    path = record(truth)
    with pytest.raises(RecordingError, match="/camera/depth/image_raw holds 'rgb8', not 16UC1"):
        survey(path)
    data = _build(DataConfig(bags=[path], depth_topic='/camera/depth/image_raw'))
    with pytest.raises(RecordingError, match=r'none of the \d frames can be used.*rgb8'):
        check_usable(data, NETWORK)


@pytest.mark.parametrize('offset_ms', [-150, 130, 3_600_000, -1_699_999_000_000])
def test_clocks_that_differ_are_told_with_what_helps(record: Record, offset_ms: int) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS + offset_ms * 1_000_000
        return [('/camera/depth/image_raw', IMAGE, depth, 'optical', stamp)]

    path = record(truth)
    with pytest.raises(RecordingError, match='lies within 20 ms of one on') as caught:
        survey(path)
    advice = re.search(r'data\.time_offset_ms=(-?\d+), which makes 8 pairs', str(caught.value))
    assert advice is not None
    assert int(advice[1]) == -offset_ms
    assert len(survey(path, DataConfig(time_offset_ms=float(advice[1])))) == 8


def test_recording_times_stand_in_for_missing_stamps(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')
    path = record(lambda frame: [('/camera/depth/image_raw', IMAGE, depth, 'optical', 0)])
    source = survey(path)
    assert len(source) == 8
    assert any('/camera/depth/image_raw has no header stamps' in x for x in source.report.remarks)


@pytest.mark.parametrize(
    ('depth', 'encoding', 'words'),
    [
        (np.zeros((48, 64), np.uint16), '16UC1', 'all pixels are unknown.*data.depth_topic'),
        (np.full((48, 64), 1500, np.float32), '32FC1', '1500.0 m.*32FC1 metres'),
    ],
)
def test_a_truth_that_teaches_nothing_ends_before_the_run(
    record: Record, depth: Any, encoding: str, words: str
) -> None:
    fields = image_fields(depth, encoding)

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS
        return [('/camera/depth/image_raw', IMAGE, fields, 'optical', stamp)]

    path = record(truth)
    with pytest.raises(RecordingError, match=words) as caught:
        check_usable(_build(DataConfig(bags=[path])), NETWORK)
    assert str(path) in str(caught.value)


def test_a_colour_topic_of_another_type_is_told(record: Record, aligned: Truth) -> None:
    path = record(aligned)
    with pytest.raises(RecordingError, match='/camera/camera_info is a sensor_msgs/msg/Camera'):
        survey(path, DataConfig(image_topic='/camera/camera_info'))


def test_a_recording_of_other_things_lists_them(tmp_path: Path) -> None:
    path = tmp_path / 'chatter.mcap'
    with RecordingWriter(path) as writer:
        writer.write('/chatter', 'std_msgs/msg/String', {'data': 'x'}, log_ns=1)
    with pytest.raises(RecordingError, match=r'no colour image; it has /chatter \(std_msgs'):
        survey(path)
    with RecordingWriter(tmp_path / 'empty.mcap') as writer:
        writer.add_topic('/camera/image_raw', IMAGE)
    with pytest.raises(RecordingError, match='holds no message'):
        survey(tmp_path / 'empty.mcap')


def test_unreadable_camera_infos_are_counted(record: Record, aligned: Truth) -> None:
    info = {**camera_info_fields(CAMERA), 'd': [float('nan')] * 5}

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS
        kind = 'sensor_msgs/msg/CameraInfo'
        return [*aligned(frame), ('/camera/camera_info', kind, info, 'optical', stamp)]

    source = survey(record(truth, camera=None))
    assert any(
        '8 of 8 messages on /camera/camera_info are damaged' in x for x in source.report.remarks
    )


def test_overwritten_bytes_never_end_in_a_traceback(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS
        return [('/camera/depth/image_raw', IMAGE, depth, 'optical', stamp)]

    path = record(truth)
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    trained = 0
    for round_ in range(40):
        data = bytearray(whole)
        start, length = int(rng.integers(len(data))), int(rng.choice([1, 30, 3000]))
        garbage = rng.integers(0, 256, min(length, len(data) - start), dtype=np.uint8)
        place = slice(start, start + garbage.size)
        data[place] = garbage.tobytes()
        path.write_bytes(data)
        config = DataConfig(bags=[path], salvage=bool(round_ % 2))
        try:
            found = _build(config).train
            for index in range(min(3, len(found))):
                trained += found[index]['image'].shape == (3, 24, 32)
        except RecordingError as error:
            assert 'room' in str(error)
    assert trained > 60

# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with a recording, it is told in words, and what can be used is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from adabins_ros.bags import RecordingError, RecordingWriter
from adabins_ros.datasets.bag_source import BagSource
from adabins_ros.messages import image_fields
from adabins_ros.model import AdaBinsConfig
from adabins_ros.training.config import DataConfig, TrainingConfig
from adabins_ros.training.training_data import build_data
import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

Record = Callable[..., Path]
Truth = Callable[[int], list[Any]]
IMAGE = 'sensor_msgs/msg/Image'
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000


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
        BagSource(path)
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
    assert len(BagSource(folder)) == 8


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
        whole = len(BagSource(folder))
    except RecordingError as error:
        assert '--salvage' in str(error)
        whole = 0
    found = BagSource(folder, DataConfig(salvage=True))
    assert 15 < len(found) <= 30
    assert whole in (0, 30)


def test_a_colour_topic_of_another_type_is_told(record: Record, aligned: Truth) -> None:
    path = record(aligned)
    with pytest.raises(RecordingError, match='/camera/camera_info is a sensor_msgs/msg/Camera'):
        BagSource(path, DataConfig(image_topic='/camera/camera_info'))


def test_a_recording_of_other_things_lists_them(tmp_path: Path) -> None:
    path = tmp_path / 'chatter.mcap'
    with RecordingWriter(path) as writer:
        writer.write('/chatter', 'std_msgs/msg/String', {'data': 'x'}, log_ns=1)
    with pytest.raises(RecordingError, match=r'no colour image; it has /chatter \(std_msgs'):
        BagSource(path)
    with RecordingWriter(tmp_path / 'empty.mcap') as writer:
        writer.add_topic('/camera/image_raw', IMAGE)
    with pytest.raises(RecordingError, match='holds no message'):
        BagSource(tmp_path / 'empty.mcap')


def test_unreadable_camera_infos_are_counted(record: Record, aligned: Truth) -> None:
    info = {'width': 0, 'height': 0}

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS
        kind = 'sensor_msgs/msg/CameraInfo'
        return [*aligned(frame), ('/camera/camera_info', kind, info, 'optical', stamp)]

    source = BagSource(record(truth, camera=None))
    assert any('8 messages on /camera/camera_info are damaged' in x for x in source.report.remarks)


def test_overwritten_bytes_never_end_in_a_traceback(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS
        return [('/camera/depth/image_raw', IMAGE, depth, 'optical', stamp)]

    path = record(truth)
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    network = AdaBinsConfig(input_size=(24, 32))
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
            found = build_data(TrainingConfig(data=config), network).train
            for index in range(min(3, len(found))):
                trained += found[index]['image'].shape == (3, 24, 32)
        except RecordingError as error:
            assert 'room' in str(error)
    assert trained > 60

# SPDX-License-Identifier: Apache-2.0
"""An index gives the same messages as reading in order, whole and broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import pickle
import re

from adabins_ros.bags import find_camera_topics, open_recording, RecordingError
from adabins_ros.bags.bag_index import index_bag
from adabins_ros.datasets.bag_source import BagSource
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import get_typestore, Stores


def test_any_message_can_be_had_in_any_order(convert: Callable[..., Path], kind: str) -> None:
    path = convert(kind)
    index = index_bag(path)
    with open_recording(path) as recording:
        assert index.topics == recording.topics
        assert find_camera_topics(index) == find_camera_topics(recording)
        for topic in recording.topics:
            expected = list(recording.messages([topic]))
            order = np.random.default_rng(0).permutation(len(expected)).tolist()
            found = pickle.loads(pickle.dumps(index))
            for number in order:
                message = found.message(topic, number)
                assert message == expected[number]
                assert message.cdr() == expected[number].cdr()
            if topic != '/tf_static':
                assert index.stamps_ns(topic).tolist() == [x.stamp_ns() for x in expected]
            assert index.log_ns(topic).tolist() == [x.log_ns for x in expected]


@pytest.mark.parametrize('kind', ['bag', 'sqlite3 folder', 'mcap lone', 'mcap zstd message'])
def test_frames_to_train_on_come_from_any_kind(convert: Callable[..., Path], kind: str) -> None:
    source = pickle.loads(pickle.dumps(BagSource(convert(kind))))
    assert len(source) == 8
    for number in (5, 0, 7):
        sample = source[number]
        assert sample.image.shape == (48, 64, 3)
        assert sample.focal_length_px == 50
        assert not sample.depth[:5].any()
        assert float(sample.depth[5:].min()) == pytest.approx(1 + 0.1 * number)
    assert source.report.offset_ms == (0, 0)


@pytest.mark.parametrize('kind', ['bag', 'mcap lone', 'sqlite3 lone', 'mcap folder'])
def test_indexing_and_reading_write_nothing(convert: Callable[..., Path], kind: str) -> None:
    path = convert(kind)
    folder = path.parent
    before = sorted((x, x.stat().st_mtime_ns) for x in folder.rglob('*'))
    index = index_bag(path)
    assert index.message('/camera/camera_info', 0).decode()
    index.close()
    assert sorted((x, x.stat().st_mtime_ns) for x in folder.rglob('*')) == before


@pytest.mark.parametrize(
    ('kind', 'part'),
    [
        *((kind, part) for kind in ('bag', 'mcap lone') for part in (0.4, 0.7, 0.95)),
        ('sqlite3 lone', 0.7),
        ('sqlite3 lone', 0.95),
    ],
)
def test_what_is_left_of_a_cut_off_recording_can_be_used(
    convert: Callable[..., Path], kind: str, part: float
) -> None:
    path = convert(kind)
    whole = index_bag(path)
    expected = {name: list(whole.messages([name])) for name in whole.topics}
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(RecordingError, match=r'(broken at (byte|row) \d+).*--salvage') as caught:
        index_bag(path)
    assert str(path) in str(caught.value)
    index = index_bag(path, salvage=True)
    assert index.damage
    found = 0
    for name in index.topics:
        for number in range(index.topics[name].count):
            try:
                message = index.message(name, number)
            except RecordingError:
                assert kind == 'sqlite3 lone'  # a row whose further pages are missing
                continue
            # SQLite fills up the last page that is left with zeros.
            assert message in expected[name] or kind == 'sqlite3 lone'
            found += message in expected[name]
    lost_share = 0.6 if kind == 'sqlite3 lone' else 0.25
    assert found >= (part - lost_share) * whole.message_count


def test_chunks_behind_a_damaged_one_are_found(convert: Callable[..., Path]) -> None:
    path = convert('mcap lone')
    data = bytearray(path.read_bytes())
    index = index_bag(path)
    place = data.index(index.message('/camera/camera_info', 2).raw)
    record = slice(place - 31, place - 20)
    data[record] = bytes(11)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=f'broken at byte {place - 31} of {len(data)}'):
        index_bag(path)
    assert 0 < index_bag(path, salvage=True).message_count < index.message_count


@pytest.mark.parametrize('compression', [None, Ros1Writer.CompressionFormat.BZ2])
def test_chunks_of_a_ros_1_bag_behind_a_damaged_one_are_found(
    tmp_path: Path, compression: Ros1Writer.CompressionFormat | None
) -> None:
    path = tmp_path / 'text.bag'
    types = get_typestore(Stores.ROS1_NOETIC)
    writer = Ros1Writer(path)
    writer.chunk_threshold = 300
    if compression:
        writer.set_compression(compression)
    with writer:
        connection = writer.add_connection('/text', 'std_msgs/msg/String', typestore=types)
        for number in range(60):
            text = types.types['std_msgs/msg/String'](data=f'{number:04}' + 'x' * 90)
            raw = types.serialize_ros1(text, 'std_msgs/msg/String')
            writer.write(connection, 10**9 + number, raw)
    whole = index_bag(path)
    assert [x.decode().data[:4] for x in whole.messages()] == [f'{x:04}' for x in range(60)]
    data = bytearray(path.read_bytes())
    for chunk in (3, 8):
        start = [x.start() for x in re.finditer(b'compression=', data)][chunk]
        record = slice(start + 40, start + 60)
        data[record] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r'broken at byte .* \(2 such places\)'):
        index_bag(path)
    left = [x.decode().data[:4] for x in index_bag(path, salvage=True).messages()]
    assert 45 < len(left) < 60
    assert left[-1] == '0059'


@pytest.mark.parametrize('kind', ['bag', 'mcap lone', 'sqlite3 lone'])
def test_overwritten_bytes_end_in_no_other_error(convert: Callable[..., Path], kind: str) -> None:
    path = convert(kind)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(30):
        data = bytearray(whole)
        start, length = int(rng.integers(len(data))), int(rng.choice([1, 20, 500]))
        place = slice(start, start + length)
        data[place] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        path.write_bytes(data[: len(whole)])
        try:
            index = index_bag(path, salvage=True)
        except RecordingError as error:
            assert str(path) in str(error)
            continue
        for name in index.topics:
            for number in range(index.topics[name].count):
                try:
                    index.message(name, number).decode()
                except RecordingError as error:
                    assert str(path) in str(error)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.write_bytes(b''), 'is empty'),
        (lambda path: path.mkdir(), 'holds no recording'),
        (lambda path: path.write_text('frames: 1\n'), 'starts with'),
    ],
)
@pytest.mark.parametrize('name', ['room.bag', 'room.mcap', 'room.db3', 'room'])
@pytest.mark.parametrize('salvage', [False, True])
def test_what_is_no_recording_says_so(
    tmp_path: Path, name: str, make: Callable[[Path], object], words: str, salvage: bool
) -> None:
    make(tmp_path / name)
    with pytest.raises(RecordingError, match=words):
        index_bag(tmp_path / name, salvage=salvage)


def test_a_folder_with_a_missing_part_names_it(convert: Callable[..., Path]) -> None:
    path = convert('mcap folder')
    next(path.glob('*.mcap')).unlink()
    with pytest.raises(RecordingError, match=r'room\.mcap is not there'):
        index_bag(path)
    (path / 'metadata.yaml').write_text('rosbag2_bagfile_information: 5')
    with pytest.raises(RecordingError, match=r'metadata\.yaml is empty or damaged'):
        index_bag(path)

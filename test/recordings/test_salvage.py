# SPDX-License-Identifier: Apache-2.0
"""What is left of a damaged recording is read, and what is lost is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re

from adabins_ros.recordings import open_recording, RecordingError, survey
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import get_typestore, Stores


@pytest.mark.parametrize('kind', ['bag', 'sqlite3 folder', 'mcap lone', 'mcap zstd message'])
def test_frames_to_train_on_come_from_any_kind(convert: Callable[..., Path], kind: str) -> None:
    source = survey(convert(kind))
    assert len(source) == 8
    for number in (5, 0, 7):
        sample = source[number]
        assert sample.image.shape == (48, 64, 3)
        assert sample.focal_length_px == 50
        assert not sample.depth[:5].any()
        assert float(sample.depth[5:].min()) == pytest.approx(1 + 0.1 * number)
    assert source.report.offset_ms == (0, 0)


@pytest.mark.parametrize('kind', ['bag', 'mcap lone', 'sqlite3 lone', 'mcap folder'])
def test_reading_writes_nothing(convert: Callable[..., Path], kind: str) -> None:
    path = convert(kind)
    folder = path.parent
    before = sorted((x, x.stat().st_mtime_ns) for x in folder.rglob('*'))
    with open_recording(path) as recording:
        assert next(recording.messages(['/camera/camera_info'])).decode()
    assert len(survey(path)) == 8
    with open_recording(path, salvage=True) as recording:
        assert not recording.damage
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
    with open_recording(path) as recording:
        whole = recording.message_count
        expected = list(recording.messages())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(RecordingError, match=r'(broken at (byte|row) \d+).*--salvage') as caught:
        survey(path)
    assert str(path) in str(caught.value)
    with open_recording(path, salvage=True) as recording:
        assert recording.damage
        found = list(recording.messages())
    # SQLite fills up the last page that is left with zeros.
    assert kind == 'sqlite3 lone' or all(message in expected for message in found)
    lost_share = 0.6 if kind == 'sqlite3 lone' else 0.25
    assert sum(message in expected for message in found) >= (part - lost_share) * whole
    # The time up to which it was read.
    assert re.search(r'readable messages, up to \d+\.\d\d s', recording.damage[0])


def test_chunks_behind_a_damaged_one_are_found(convert: Callable[..., Path]) -> None:
    path = convert('mcap lone')
    data = bytearray(path.read_bytes())
    with open_recording(path) as recording:
        whole = list(recording.messages())
    infos = [message for message in whole if message.topic == '/camera/camera_info']
    place = data.index(infos[2].raw)
    record = slice(place - 31, place - 20)
    data[record] = bytes(11)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=f'broken at byte {place - 31} of {len(data)}'):
        survey(path)
    with open_recording(path, salvage=True) as recording:
        assert 0 < recording.message_count < len(whole)
        left = list(recording.messages())
        # Everything before the damage.
        assert left[: whole.index(infos[2])] == whole[: whole.index(infos[2])]


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
    with open_recording(path) as recording:
        texts = [x.decode().data[:4] for x in recording.messages()]
    assert texts == [f'{x:04}' for x in range(60)]
    data = bytearray(path.read_bytes())
    for chunk in (3, 8):
        start = [x.start() for x in re.finditer(b'compression=', data)][chunk]
        record = slice(start + 40, start + 60)
        data[record] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r'broken at byte .* \(2 such places\)'):
        list(open_recording(path).messages())
    with open_recording(path, salvage=True) as recording:
        left = [x.decode().data[:4] for x in recording.messages()]
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
            with open_recording(path, salvage=True) as recording:
                for message in recording.messages():
                    try:
                        message.decode()
                    except RecordingError as error:
                        assert str(path) in str(error)
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
        open_recording(tmp_path / name, salvage=salvage)


def test_a_folder_with_a_missing_part_names_it(convert: Callable[..., Path]) -> None:
    path = convert('mcap folder')
    next(path.glob('*.mcap')).unlink()
    with pytest.raises(RecordingError, match=r'room\.mcap is not there'):
        open_recording(path)
    (path / 'metadata.yaml').write_text('rosbag2_bagfile_information: 5')
    with pytest.raises(RecordingError, match=r'metadata\.yaml is empty or damaged'):
        open_recording(path)

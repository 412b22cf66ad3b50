# SPDX-License-Identifier: Apache-2.0
"""Opening recordings of every kind, whole and broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil
from typing import Any

from adabins_ros.frames import SourceConfig
from adabins_ros.messages import read_cloud
from adabins_ros.recordings import (
    find_camera_topics,
    iterate_frames,
    open_recording,
    RecordingError,
    survey,
)
from adabins_ros.recordings.recorded_message import RecordedMessage, RecordedType
import numpy as np
import pytest
from rosbags.typesys import get_typestore, Stores


def test_a_recording_of_any_kind_holds_the_same(
    convert: Callable[..., Path], mcap: Path, kind: str
) -> None:
    with open_recording(convert(kind)) as recording, open_recording(mcap) as original:
        assert {x.name: (x.msgtype, x.count) for x in recording.topics.values()} == {
            x.name: (x.msgtype, x.count) for x in original.topics.values()
        }
        assert (recording.start_ns, recording.end_ns) == (original.start_ns, original.end_ns)
        for ours, theirs in zip(recording.messages(), original.messages(), strict=True):
            assert (ours.topic, ours.log_ns) == (theirs.topic, theirs.log_ns)
            assert ours.cdr() == theirs.cdr()
        frames = list(iterate_frames(recording, find_camera_topics(recording)))
        assert [float(np.nanmin(frame.depth)) for frame in frames] == pytest.approx(
            [1 + 0.1 * index for index in range(8)]
        )


def test_a_message_of_a_ros_1_bag_can_be_published_in_ros_2(
    convert: Callable[..., Path],
) -> None:
    types = get_typestore(Stores.ROS2_HUMBLE)
    with open_recording(convert('bag')) as recording:
        assert recording.topics['/tf_static'].latched
        assert not recording.topics['/camera/camera_info'].latched
        message = next(recording.messages(['/camera/camera_info']))
        info: Any = types.deserialize_cdr(message.cdr(), message.msgtype)
        assert info.header.frame_id == 'camera_color_optical_frame'
        assert info.k[0] == 50
        assert message.decode().K[0] == 50


@pytest.mark.parametrize('kind', ['bag', 'mcap lone', 'sqlite3 lone', 'mcap folder'])
def test_looking_and_reading_write_nothing(convert: Callable[..., Path], kind: str) -> None:
    path = convert(kind)
    folder = path.parent
    before = sorted((x, x.stat().st_mtime_ns) for x in folder.rglob('*'))
    assert len(survey(path, SourceConfig())) == 8
    with open_recording(path) as recording:
        assert len(list(iterate_frames(recording, find_camera_topics(recording)))) == 8
    assert sorted((x, x.stat().st_mtime_ns) for x in folder.rglob('*')) == before


def test_reading_can_start_anywhere(mcap: Path) -> None:
    with open_recording(mcap) as recording:
        everything = list(recording.messages())
        middle = everything[len(everything) // 2].log_ns
        later = list(recording.messages(start_ns=middle))
        assert [x.raw for x in later] == [x.raw for x in everything if x.log_ns >= middle]
        one = list(recording.messages(['/camera/camera_info'], start_ns=middle))
        assert {x.topic for x in one} == {'/camera/camera_info'}
        assert list(recording.messages(start_ns=recording.end_ns + 1)) == []
        assert list(recording.messages([])) == []


def test_a_topic_that_is_not_there_is_named_with_those_that_are(mcap: Path) -> None:
    with open_recording(mcap) as recording, pytest.raises(RecordingError) as caught:
        next(recording.messages(['/camera/imu']))
    assert '/camera/imu' in str(caught.value)
    assert '/camera/image_raw/compressed (sensor_msgs/msg/CompressedImage, 8)' in str(caught.value)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda path: None, ['does not exist', '.mcap']),
        (lambda path: path.write_bytes(b''), ['is empty', '0 bytes']),
        (lambda path: path.mkdir(), ['holds no recording', 'metadata.yaml']),
        (lambda path: path.write_text('frames: 1\n'), ['no ', 'starts with', "b'frames: "]),
    ],
)
@pytest.mark.parametrize('name', ['room.bag', 'room.mcap', 'room.db3', 'room', 'room.txt'])
def test_what_is_no_recording_says_so(
    tmp_path: Path, name: str, make: Callable[[Path], Any], words: list[str]
) -> None:
    make(tmp_path / name)
    with pytest.raises(RecordingError) as caught:
        open_recording(tmp_path / name)
    for word in [*words, str(tmp_path / name)]:
        assert word in str(caught.value)


def test_a_recording_under_a_wrong_name_says_how_to_name_it(mcap: Path, tmp_path: Path) -> None:
    for name in ('room.bag', 'room.db3', 'room'):
        with pytest.raises(RecordingError, match=r'is a mcap file; rename .* ends in \.mcap'):
            open_recording(shutil.copy(mcap, tmp_path / name))


@pytest.mark.parametrize('kind', ['bag', 'mcap lone', 'sqlite3 lone', 'mcap folder'])
@pytest.mark.parametrize('part', [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_recording_says_what_to_do(
    convert: Callable[..., Path], kind: str, part: float
) -> None:
    path = convert(kind)
    file = next(path.glob('*.mcap')) if path.is_dir() else path
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(RecordingError) as caught, open_recording(path) as recording:
        for message in recording.messages():
            message.decode()
    text = str(caught.value)
    assert str(path) in text
    assert 'copy it again' in text or 'starts with' in text
    assert 'cut off' in text or 'damaged' in text or 'starts with' in text


def test_damage_in_the_middle_is_reported_where_it_is(convert: Callable[..., Path]) -> None:
    path = convert('sqlite3 lone')
    data = bytearray(path.read_bytes())
    # Whole pages of the table, behind the schema and before the index.
    for page in range(6, len(data) // 4096 - 4, 2):
        data[page * 4096] = 0x77
        data[page * 4096 + 1] = 0x77
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r'damaged'), open_recording(path) as recording:
        for message in recording.messages():
            message.decode()


@pytest.mark.parametrize('kind', ['bag', 'mcap lone', 'sqlite3 lone'])
def test_overwritten_bytes_never_end_in_another_error(
    convert: Callable[..., Path], kind: str
) -> None:
    path = convert(kind)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        start, length = int(rng.integers(len(data))), int(rng.choice([1, 20, 500]))
        garbage = rng.integers(0, 256, min(length, len(data) - start), dtype=np.uint8)
        place = slice(start, start + garbage.size)
        data[place] = garbage.tobytes()
        path.write_bytes(data)
        try:
            with open_recording(path) as recording:
                topics = find_camera_topics(recording)
                left_out: list[str] = []
                for frame in iterate_frames(recording, topics, on_bad_frame=left_out.append):
                    assert frame.rgb.ndim == 3
        except RecordingError as error:
            assert str(path) in str(error)


def test_a_definition_that_lacks_a_field_is_damaged() -> None:
    kind = RecordedType(Path('a.bag'), 'geometry_msgs/Point', 'float64 x\nfloat64 y\nfloat64 w')
    message = RecordedMessage('/place', 'geometry_msgs/msg/Point', 0, bytes(28), kind)
    with pytest.raises(RecordingError, match=r'geometry_msgs/msg/Point .* lacks z'):
        message.decode()


@pytest.mark.parametrize(
    'text', ['', 'not: [yaml', 'rosbag2_bagfile_information: 5', 'rosbag2_bagfile_information: {}']
)
def test_damaged_metadata_is_told(convert: Callable[..., Path], text: str) -> None:
    path = convert('mcap folder')
    (path / 'metadata.yaml').write_text(text)
    with pytest.raises(RecordingError, match='can not be opened'):
        open_recording(path)


def test_an_unknown_storage_is_told(convert: Callable[..., Path]) -> None:
    path = convert('mcap folder')
    metadata = path / 'metadata.yaml'
    metadata.write_text(
        metadata.read_text().replace('storage_identifier: mcap', 'storage_identifier: tape')
    )
    with pytest.raises(RecordingError, match='tape'):
        open_recording(path)


def test_a_part_compressed_with_zstd_points_to_its_folder(convert: Callable[..., Path]) -> None:
    part = next(convert('mcap zstd file').glob('*.zstd'))
    with pytest.raises(RecordingError, match='unzstd'):
        open_recording(part)


def test_qos_that_differs_between_metadata_and_file_hides_no_message(
    convert: Callable[..., Path],
) -> None:
    for kind in ('mcap folder', 'mcap zstd message'):
        path = convert(kind)
        metadata = path / 'metadata.yaml'
        qos = 'offered_qos_profiles:\n      - history: keep_all\n        depth: 3\n'
        times = ''.join(
            f'        {name}:\n          sec: 0\n          nsec: 0\n'
            for name in ('deadline', 'lifespan', 'liveliness_lease_duration')
        )
        qos += '        reliability: reliable\n        durability: volatile\n' + times
        qos += '        liveliness: automatic\n        avoid_ros_namespace_conventions: false'
        text = metadata.read_text()
        assert 'offered_qos_profiles: []' in text
        metadata.write_text(text.replace('offered_qos_profiles: []', qos))
        with open_recording(path) as recording:
            assert sum(1 for _ in recording.messages()) == recording.message_count == 25


def test_public_recordings(shared_data: Callable[[str], Path]) -> None:
    bags = shared_data('bags')
    with open_recording(bags / 'ros2_sample_image.db3') as recording:
        # Old type names, no definitions, no metadata.yaml.
        assert recording.topics['/image'].msgtype == 'sensor_msgs/msg/Image'
        topics = find_camera_topics(recording)
        (frame,) = iterate_frames(recording, topics)
        assert frame.rgb.shape == (480, 640, 3)
        assert (frame.depth, frame.camera) == (None, None)
    with open_recording(bags / 'ros1_aruco_images.bag') as recording:
        topics = find_camera_topics(recording)
        assert topics.camera_info == '/raspicam_node/camera_info'
        (frame,) = iterate_frames(recording, topics)
        assert frame.camera is not None
        assert frame.camera.is_distorted
        assert (frame.camera.width, frame.camera.height) == frame.rgb.shape[1::-1]
    for name in ('ros2_talker', 'ros2_talker_sqlite', 'plotjuggler_rosbag2'):
        with open_recording(bags / name) as recording:
            assert sum(1 for _ in recording.messages()) == recording.message_count > 0
            with pytest.raises(RecordingError, match='no colour image; it has /'):
                find_camera_topics(recording)


def test_clouds_of_a_public_ros_1_recording(shared_data: Callable[[str], Path]) -> None:
    with open_recording(shared_data('bags') / 'ros1_embag_pointcloud2.bag') as recording:
        for message in recording.messages(['/luminar_pointcloud']):
            cloud = read_cloud(message.decode())
            assert cloud.size > 1000
            assert np.isfinite(cloud['x']).any()
            again = get_typestore(Stores.ROS2_JAZZY).deserialize_cdr(
                message.cdr(), message.msgtype
            )
            np.testing.assert_array_equal(read_cloud(again)['x'], cloud['x'])

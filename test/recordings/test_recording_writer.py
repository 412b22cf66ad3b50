# SPDX-License-Identifier: Apache-2.0
"""Recordings that are written: complete, never over another, and readable by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adabins_ros.messages import cloud_fields, decode_rgb, image_fields, read_cloud, ros_fields
from adabins_ros.recordings import open_recording, RecordingError, RecordingWriter
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability

RGB = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
IMAGE = 'sensor_msgs/msg/Image'


def _write(path: Path, count: int = 3, **options: Any) -> None:
    with RecordingWriter(path, **options) as writer:
        for index in range(count):
            writer.write(
                '/image',
                IMAGE,
                image_fields(RGB + index, 'rgb8'),
                log_ns=10**9 * index + 5,
                frame_id='camera',
                stamp_ns=10**9 * index,
            )


@pytest.mark.parametrize('name', ['room.mcap', 'room', 'new/folder/room.mcap'])
@pytest.mark.parametrize('compress', [False, True])
def test_what_is_written_is_read(tmp_path: Path, name: str, compress: bool) -> None:
    _write(tmp_path / name, compress=compress)
    assert (tmp_path / name).is_file() == name.endswith('.mcap')
    with open_recording(tmp_path / name) as recording:
        for index, message in enumerate(recording.messages()):
            decoded = message.decode()
            assert (message.log_ns, message.stamp_ns()) == (10**9 * index + 5, 10**9 * index or 5)
            assert decoded.header.frame_id == 'camera'
            np.testing.assert_array_equal(decode_rgb(decoded), RGB + index)
    leftovers = [x for x in tmp_path.rglob('*') if 'unfinished' in x.name]
    assert not leftovers


@pytest.mark.parametrize('name', ['room.mcap', 'room'])
def test_nothing_is_ever_overwritten(tmp_path: Path, name: str) -> None:
    _write(tmp_path / name)
    before = sorted((x, x.stat().st_mtime_ns) for x in tmp_path.rglob('*'))
    with pytest.raises(RecordingError, match='exists already and is not overwritten'):
        RecordingWriter(tmp_path / name)
    assert sorted((x, x.stat().st_mtime_ns) for x in tmp_path.rglob('*')) == before


@pytest.mark.parametrize('name', ['room.mcap', 'room'])
def test_a_name_that_was_taken_meanwhile_is_left_alone(tmp_path: Path, name: str) -> None:
    writer = RecordingWriter(tmp_path / name)
    (tmp_path / name).write_text('mine')
    with pytest.raises(RecordingError, match='exists already'):
        writer.close()
    assert (tmp_path / name).read_text() == 'mine'
    assert [x.name for x in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize('name', ['room.mcap', 'room'])
def test_an_unfinished_recording_never_has_the_final_name(tmp_path: Path, name: str) -> None:
    writer = RecordingWriter(tmp_path / name)
    writer.write('/image', IMAGE, image_fields(RGB, 'rgb8'), log_ns=1)
    assert not (tmp_path / name).exists()
    assert [x.name.startswith(f'.{name}.unfinished-') for x in tmp_path.iterdir()] == [True]
    writer.close()
    assert [x.name for x in tmp_path.iterdir()] == [name]
    with pytest.raises(KeyError), RecordingWriter(tmp_path / f'b{name}'):
        raise KeyError
    assert [x.name for x in tmp_path.iterdir()] == [name]


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(RecordingError, match='can not be written'):
        RecordingWriter(tmp_path / 'file' / 'room.mcap')


def test_rosbags_reads_the_folder_with_its_metadata_and_latched_topics(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / 'room') as writer:
        writer.write('/tf_static', 'tf2_msgs/msg/TFMessage', {'transforms': []}, log_ns=1)
        writer.write('/image', IMAGE, image_fields(RGB, 'rgb8'), log_ns=2)
        writer.add_topic('/map', 'std_msgs/msg/String', latched=True)
    assert 'storage_identifier: mcap' in (tmp_path / 'room' / 'metadata.yaml').read_text()
    with AnyReader([tmp_path / 'room']) as reader:
        durability = {
            x.topic: x.ext.offered_qos_profiles[0].durability  # type: ignore[union-attr]
            for x in reader.connections
        }
        assert sum(1 for _ in reader.messages()) == 2
    assert durability == {
        '/tf_static': QosDurability.TRANSIENT_LOCAL,
        '/image': QosDurability.VOLATILE,
        '/map': QosDurability.TRANSIENT_LOCAL,
    }
    with open_recording(tmp_path / 'room') as recording:
        assert recording.topics['/tf_static'].latched
        assert not recording.topics['/image'].latched


def test_the_mcap_library_reads_the_file_as_ros_2(tmp_path: Path) -> None:
    reader_module = pytest.importorskip('mcap.reader')
    _write(tmp_path / 'room.mcap')
    with (tmp_path / 'room.mcap').open('rb') as file:
        reader = reader_module.make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == 'ros2'
        messages = list(reader.iter_messages())
    assert len(messages) == 3
    schema, channel, message = messages[0]
    assert (schema.name, schema.encoding) == (IMAGE, 'ros2msg')
    assert b'MSG: std_msgs/Header' in schema.data
    assert channel.message_encoding == 'cdr'
    assert 'offered_qos_profiles' in channel.metadata
    assert message.data[:4] == b'\x00\x01\x00\x00'


def test_messages_of_rclpy_and_its_serialised_bytes_are_written(tmp_path: Path) -> None:
    serialization = pytest.importorskip('rclpy.serialization')
    sensor_msgs = pytest.importorskip('sensor_msgs.msg')
    message = sensor_msgs.Image(**ros_fields(image_fields(RGB, 'rgb8')))
    message.header.frame_id = 'camera'
    info = sensor_msgs.CameraInfo(width=6, d=[0.5], distortion_model='plumb_bob')
    with RecordingWriter(tmp_path / 'room.mcap') as writer:
        writer.write('/image', IMAGE, message, log_ns=1)
        writer.write('/image', IMAGE, serialization.serialize_message(message), log_ns=2)
        writer.write('/info', 'sensor_msgs/msg/CameraInfo', info, log_ns=3)
    with open_recording(tmp_path / 'room.mcap') as recording:
        first, second, third = recording.messages()
        for written in (first, second):
            back = serialization.deserialize_message(written.cdr(), sensor_msgs.Image)
            assert back == message
        assert serialization.deserialize_message(third.cdr(), sensor_msgs.CameraInfo) == info


def test_clouds_and_arrays_are_written_from_plain_fields(tmp_path: Path) -> None:
    cloud = np.zeros((2, 3), [('x', '<f4'), ('y', '<f4'), ('z', '<f4')])
    cloud['x'] = 4
    with RecordingWriter(tmp_path / 'room.mcap') as writer:
        writer.write(
            '/points', 'sensor_msgs/msg/PointCloud2', cloud_fields(cloud), log_ns=7, frame_id='c'
        )
        array = {'data': np.array([1, 2.5])}
        writer.write('/bins', 'std_msgs/msg/Float32MultiArray', array, log_ns=8)
    with open_recording(tmp_path / 'room.mcap') as recording:
        points, bins = (message.decode() for message in recording.messages())
    np.testing.assert_array_equal(read_cloud(points), cloud)
    assert points.header.stamp.nanosec == 7
    assert bins.data.tolist() == [1, 2.5]


@pytest.mark.parametrize(
    ('msgtype', 'message', 'words'),
    [
        ('my_msgs/msg/Thing', {}, 'my_msgs/msg/Thing is unknown'),
        (IMAGE, {'colour': 1}, 'no field colour'),
        (IMAGE, {'height': 'tall'}, 'no sensor_msgs/msg/Image'),
        (IMAGE, {'height': -1}, 'no sensor_msgs/msg/Image'),
        (IMAGE, object(), 'no sensor_msgs/msg/Image'),
        ('sensor_msgs/msg/CameraInfo', {'k': [1.0, 2.0]}, '2 values for an array of 9'),
    ],
)
def test_a_message_that_does_not_fit_is_refused(
    tmp_path: Path, msgtype: str, message: Any, words: str
) -> None:
    with RecordingWriter(tmp_path / 'room.mcap') as writer:
        with pytest.raises(RecordingError, match=words):
            writer.write('/a', msgtype, message, log_ns=1)
        writer.write('/b', IMAGE, image_fields(RGB, 'rgb8'), log_ns=2)
        with pytest.raises(RecordingError, match='/b is a sensor_msgs/msg/Image'):
            writer.write('/b', 'std_msgs/msg/String', {}, log_ns=3)
    with open_recording(tmp_path / 'room.mcap') as recording:
        assert recording.message_count == 1

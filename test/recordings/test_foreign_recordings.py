# SPDX-License-Identifier: Apache-2.0
"""Recordings as others write them: read as they are, or told in one sentence what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
import shutil
import sqlite3
import struct
from typing import Any

from adabins_ros.frames import SourceConfig
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, cloud_fields, image_fields
from adabins_ros.recordings import (
    find_camera_topics,
    open_recording,
    RecordingError,
    RecordingWriter,
    survey,
)
from mcap.writer import IndexType
from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer

Rewrite = Callable[..., Path]
Record = Callable[..., Path]
Case = Callable[[str], Path]
PROTOBUF = ('/log', 'protobuf', 'foxglove.Log', 'protobuf')
JSON = ('/log', 'json', 'Log', 'jsonschema')
IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000


@pytest.mark.parametrize('salvage', [False, True])
@pytest.mark.parametrize(
    'other',
    [
        {'profile': ''},
        {'others': (PROTOBUF,)},
        {'others': (JSON, PROTOBUF)},
        {'chunk_size': 2000, 'others': (PROTOBUF,)},
        {'use_chunking': False, 'others': (JSON,)},
    ],
)
def test_an_mcap_of_another_writer_is_read(
    rewrite: Rewrite, other: dict[str, Any], salvage: bool
) -> None:
    path = rewrite(**other)
    with open_recording(path, salvage=salvage) as recording:
        assert '/log' not in recording.topics
        assert recording.message_count == sum(1 for _ in recording.messages()) == 25
        assert not recording.damage
    source = survey(path, SourceConfig(salvage=salvage))
    assert len(source) == 8
    assert float(source[3].depth[10, 0]) == pytest.approx(1.3)


@pytest.mark.parametrize('salvage', [False, True])
def test_messages_that_lie_out_of_order_are_told_apart(
    rewrite: Rewrite, tmp_path: Path, salvage: bool
) -> None:
    """An mcap without chunks is read as it lies; each frame keeps its depth all the same."""
    with open_recording(rewrite()) as recording:
        messages = list(recording.messages())
    path = tmp_path / 'shuffled.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file, use_chunking=False)
        writer.start('ros2', 'test')
        channels = {}
        for number in np.random.default_rng(0).permutation(len(messages)).tolist():
            message = messages[number]
            if message.topic not in channels:
                schema = writer.register_schema(message.msgtype, 'ros2msg', b'')
                channels[message.topic] = writer.register_channel(message.topic, 'cdr', schema)
            writer.add_message(
                channels[message.topic], message.log_ns, message.raw, message.log_ns
            )
        writer.finish()
    if salvage:
        path.write_bytes(path.read_bytes()[:-8])
    source = survey(path, SourceConfig(salvage=salvage))
    depths = [float(source[index].depth[10, 0]) for index in range(8)]
    assert depths == pytest.approx([1 + 0.1 * index for index in range(8)])


def test_private_records_are_skipped(rewrite: Rewrite) -> None:
    path = rewrite(
        index_types=IndexType.NONE, use_statistics=False, repeat_channels=False,
        repeat_schemas=False, use_summary_offsets=False,
    )  # fmt: skip
    data = path.read_bytes()
    # Behind the header, whose length follows magic and opcode.
    place = 17 + struct.unpack_from('<Q', data, 9)[0]
    path.write_bytes(data[:place] + b'\x85' + struct.pack('<Q', 5) + b'hello' + data[place:])
    assert len(survey(path)) == 8
    with open_recording(path, salvage=True) as recording:
        assert not recording.damage


def test_an_mcap_made_from_a_ros_1_bag_is_read(
    rewrite: Rewrite, convert: Callable[..., Path]
) -> None:
    bag = convert('bag')
    path = rewrite(bag, ros1=True, profile='ros1')
    with open_recording(path) as recording, open_recording(bag) as original:
        assert [x.cdr() for x in recording.messages()] == [x.cdr() for x in original.messages()]
    assert len(survey(path)) == 8


@pytest.mark.parametrize('salvage', [False, True])
def test_an_mcap_without_ros_messages_says_so(tmp_path: Path, salvage: bool) -> None:
    path = tmp_path / 'pure.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file)
        writer.start('', 'test')
        topic, encoding, kind, schema_encoding = PROTOBUF
        schema = writer.register_schema(kind, schema_encoding, b'x')
        number = writer.register_channel(topic, encoding, schema)
        writer.add_message(number, START_NS, b'x', START_NS)
        writer.finish()
    words = r'holds no ROS messages, but /log in protobuf \(foxglove\.Log\)'
    with pytest.raises(RecordingError, match=words):
        open_recording(path, salvage=salvage)


@pytest.mark.parametrize('salvage', [False, True])
def test_a_definition_may_hold_any_byte(tmp_path: Path, salvage: bool) -> None:
    path = tmp_path / 'latin1.bag'
    with Ros1Writer(path) as writer:
        kind, text = 'std_msgs/msg/String', 'string data # in aa\n'
        connection = writer.add_connection('/note', kind, msgdef=text, md5sum='0' * 32)
        writer.write(connection, START_NS, b'\5\0\0\0hello')
    path.write_bytes(path.read_bytes().replace(b'# in aa', b'# in \xb0\xa1'))
    with open_recording(path, salvage=salvage) as recording:
        assert [x.decode().data for x in recording.messages()] == ['hello']
        assert not recording.damage


def test_a_bag_that_was_never_closed_is_read_without_its_index(
    convert: Callable[..., Path],
) -> None:
    path = convert('bag')
    data = path.read_bytes()
    place = data.index(b'index_pos=') + 10
    (index,) = struct.unpack_from('<Q', data, place)
    # Neither the index nor where it is.
    path.write_bytes((data[:place] + bytes(8) + data.removeprefix(data[:place])[8:])[:index])
    source = survey(path)
    assert len(source) == 8
    assert 'was never closed' in source.report.remarks[0]


@pytest.mark.parametrize('kind', ['sqlite3 folder', 'sqlite3 lone', 'mcap folder', 'bag'])
@pytest.mark.parametrize('name', ['run #3', 'what?', 'a%20b', 'sala de espera ñ'])
def test_names_with_signs_that_addresses_use(
    convert: Callable[..., Path], tmp_path: Path, kind: str, name: str
) -> None:
    path = convert(kind)
    (tmp_path / name).mkdir()
    moved = Path(shutil.move(path, tmp_path / name / path.name))
    assert len(survey(moved)) == 8
    with open_recording(moved) as recording:
        assert sum(1 for _ in recording.messages()) == 25


@pytest.mark.parametrize('salvage', [False, True])
def test_what_lies_in_a_write_ahead_log_is_read(
    convert: Callable[..., Path], tmp_path: Path, salvage: bool
) -> None:
    path = convert('sqlite3 lone')
    killed = tmp_path / 'killed.db3'
    with closing(sqlite3.connect(path)) as database:
        database.execute('PRAGMA journal_mode=WAL')
        database.execute('PRAGMA wal_autocheckpoint=0')
        rows = database.execute('SELECT topic_id, timestamp, data FROM messages').fetchall()
        database.executemany(
            'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ? + 10000000000, ?)', rows
        )
        database.commit()
        # As they lie there while the recorder still runs.
        for end in ('', '-wal'):
            shutil.copy(f'{path}{end}', f'{killed}{end}')
    before = sorted((x, x.stat().st_mtime_ns, x.stat().st_size) for x in tmp_path.iterdir())
    with open_recording(killed, salvage=salvage) as recording:
        assert recording.message_count == sum(1 for _ in recording.messages()) == 50
    assert len(survey(killed, SourceConfig(salvage=salvage))) == 16
    after = sorted((x, x.stat().st_mtime_ns, x.stat().st_size) for x in tmp_path.iterdir())
    assert after == before


@pytest.mark.parametrize('kind', ['mcap folder', 'sqlite3 folder', 'mcap zstd file'])
def test_metadata_that_was_written_on_windows(convert: Callable[..., Path], kind: str) -> None:
    path = convert(kind)
    file = path / 'metadata.yaml'
    text = file.read_text()
    name = next(x.name for x in path.iterdir() if x.name != file.name)
    assert f'- {name}' in text
    text = text.replace(f'- {name}', rf'- bags\run\{name}').replace('\n', '\r\n')
    file.write_bytes(text.encode())
    with open_recording(path) as recording:
        assert sum(1 for _ in recording.messages()) == 25


@pytest.mark.parametrize(
    'name', ['/segway/front/image_raw', '/theater/image_raw', '/seg/image', '/person_seg/image']
)
def test_a_robot_named_segway_has_a_camera(tmp_path: Path, name: str) -> None:
    """Its depth is found although `seg` tells masks; real masks are not taken for depth."""
    depth = image_fields(np.full((4, 6), 1500, np.uint16), '16UC1')
    with RecordingWriter(tmp_path / 'a.mcap') as writer:
        colour = image_fields(np.zeros((4, 6, 3), np.uint8), 'rgb8')
        writer.write('/other/picture', IMAGE, colour, log_ns=START_NS)
        writer.write(name, IMAGE, depth, log_ns=START_NS)
    with open_recording(tmp_path / 'a.mcap') as recording:
        found = find_camera_topics(recording).depth
    assert found == (None if name.startswith(('/seg/', '/person')) else name)


OWN = PinholeCamera(96, 54, 45.0, 45.0, 47.5, 26.5)


def _depth_of(camera: PinholeCamera, frame_id: str = 'optical', info: bool = True, **names: str):
    """Return the truth of the board as a camera at the same place sees it."""
    topic = names.get('topic', '/camera/depth/image_rect_raw')
    info_topic = names.get('info_topic', '/camera/depth/camera_info')

    def truth(frame: int) -> list[Any]:
        stamp = START_NS + frame * STEP_NS
        columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        across = np.abs(2 * (columns - camera.cx) / camera.fx)
        board = (across < 0.4) & (np.abs(2 * (rows - camera.cy) / camera.fy) < 0.3)
        depth = np.where(board, 2000, 4000).astype(np.uint16)
        encoding = names.get('encoding', '16UC1')
        messages = [(topic, IMAGE, image_fields(depth, encoding), frame_id, stamp)]
        if info:
            messages.append((info_topic, INFO, camera_info_fields(camera), frame_id, stamp))
        return messages

    return truth


def _is_the_board(depth: Any) -> bool:
    """Tell whether depth has the board where the colour camera of `record` sees it."""
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    across, down = np.abs(2 * (columns - 31.5) / 50), np.abs(2 * (rows - 23.5) / 50)
    inner = (across < 0.34) & (down < 0.24)
    outer = (across > 0.46) | (down > 0.36)
    known = depth > 0
    return bool(
        (depth[inner & known] == 2).all()
        and (depth[outer & known] == 4).all()
        and known[inner].mean() > 0.9
    )


def test_depth_of_one_frame_but_another_camera_is_reprojected(record: Record) -> None:
    camera = PinholeCamera(64, 48, 30.0, 30.0, 31.5, 23.5)
    source = survey(record(_depth_of(camera)))
    assert any('fx = 30.0 for 64x48 px' in x and 'reprojected' in x for x in source.report.remarks)
    assert _is_the_board(source[2].depth)
    same = survey(record(_depth_of(PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5)), name='b.mcap'))
    assert not same.report.remarks
    assert _is_the_board(same[2].depth)


def test_depth_of_another_shape_is_reprojected_or_refused(record: Record) -> None:
    space = '/camera/aligned_depth_to_color'
    truth = _depth_of(OWN, topic=f'{space}/image_raw', info_topic=f'{space}/camera_info')
    source = survey(record(truth))
    assert any('of another shape' in remark for remark in source.report.remarks)
    assert _is_the_board(source[2].depth)
    path = record(_depth_of(OWN, info=False), name='b.mcap')
    words = r'is 96x54 and /camera/image_raw 64x48, of another shape.*depth_camera_info_topic'
    with pytest.raises(RecordingError, match=words):
        survey(path)
    with pytest.raises(RecordingError, match=r'leave data\.alignment to auto'):
        survey(path, SourceConfig(alignment='aligned'))


def test_a_bag_of_the_realsense_viewer(record: Record) -> None:
    path = record(
        _depth_of(
            PinholeCamera(64, 48, 30.0, 30.0, 31.5, 23.5),
            topic='/device_0/sensor_0/Depth_0/image/data',
            info_topic='/device_0/sensor_0/Depth_0/info/camera_info',
            encoding='mono16',
        )
    )
    source = survey(path)
    assert 'depth /device_0/sensor_0/Depth_0/image/data' in source.report.topics
    assert _is_the_board(source[0].depth)


@pytest.mark.parametrize(
    ('model', 'coefficients'),
    [('kannala_brandt', (0.2, -0.1, 0.05, -0.01)), ('double_sphere', (-0.2, 0.6))],
)
def test_a_lens_that_is_not_known_is_named(
    record: Record, lidar: Any, aligned: Any, model: str, coefficients: tuple[float, ...]
) -> None:
    camera = replace(
        PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5),
        distortion_model=model,
        distortion=coefficients,
    )
    connected = (('optical', 'velodyne', (-0.5, 0.0, 0.0)),)
    with pytest.raises(RecordingError, match=f'distortion model {model!r} is unknown'):
        survey(record(lidar, camera=camera, transforms=connected))
    beside = _depth_of(PinholeCamera(64, 48, 30.0, 30.0, 31.5, 23.5))
    with pytest.raises(RecordingError, match=f'distortion model {model!r} is unknown'):
        survey(record(beside, name='b.mcap', camera=camera))
    # Depth that is aligned needs no lens.
    sample = survey(record(aligned, name='c.mcap', camera=camera))[0]
    assert sample.camera == camera


def test_a_rectified_camera_without_projection_takes_its_matrix(tmp_path: Path) -> None:
    camera = PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5)
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')
    colour = image_fields(np.zeros((48, 64, 3), np.uint8), 'rgb8')
    fields = {**camera_info_fields(camera), 'p': np.zeros(12)}
    with RecordingWriter(tmp_path / 'a.mcap') as writer:
        writer.write('/camera/color/image_rect', IMAGE, colour, log_ns=START_NS)
        writer.write('/camera/color/camera_info', INFO, fields, log_ns=START_NS)
        writer.write('/camera/depth/image_raw', IMAGE, depth, log_ns=START_NS)
    source = survey(tmp_path / 'a.mcap')
    assert source[0].focal_length_px == 50
    assert not source.report.remarks


def test_a_lidar_above_the_camera_does_not_put_the_wall_onto_the_board(record: Record) -> None:
    """The board of 2.4 m stands at 3 m before a wall at 6 m; the lidar sits 0.5 m higher."""
    above = np.array([0, -0.5, 0])
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(-40, 30, 90)), np.radians(np.linspace(-40, 40, 200)), indexing='ij'
    )
    rays = np.stack(
        [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation),
         np.cos(azimuth) * np.cos(elevation)], -1,
    ).reshape(-1, 3)  # fmt: skip

    def seen(distance: float) -> Any:
        return above + rays * (distance / rays[:, 2:])

    board = (np.abs(seen(3)[:, 0]) < 1.2) & (np.abs(seen(3)[:, 1]) < 0.9)
    points = np.where(board[:, None], seen(3), seen(6)) - above
    cloud = np.zeros(len(points), [('x', '<f4'), ('y', '<f4'), ('z', '<f4')])
    for index, name in enumerate('xyz'):
        cloud[name] = points[:, index]
    kind = 'sensor_msgs/msg/PointCloud2'
    source = survey(
        record(
            lambda frame: [
                ('/points', kind, cloud_fields(cloud), 'lidar', START_NS + frame * STEP_NS)
            ],
            transforms=(('optical', 'lidar', (0.0, -0.5, 0.0)),),
        )
    )
    depth = source[0].depth
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    on_board = (np.abs(3 * (columns - 31.5) / 50) < 1.15) & (np.abs(3 * (rows - 23.5) / 50) < 0.85)
    found = depth[on_board & (depth > 0)]
    assert found.size > 200
    assert np.mean(found > 4) < 0.005
    assert np.count_nonzero(depth == 6) > 100


@pytest.mark.parametrize(
    ('name', 'frames'),
    [
        ('M01/noprofile.mcap', 6),
        ('M02/mixed_protobuf.mcap', 6),
        ('M03/mixed_json.mcap', 6),
        ('M04/private_record.mcap', 6),
        ('M05/ros1.mcap', 6),
        ('R01/latin1.bag', 6),
        ('R03/run #3', 6),
        ('R04/wal', 6),
        ('S01/realsense_viewer.bag', 6),
        ('S03/same_frame', 6),
        ('T01/hyphen', 6),
        ('T02/p_zero', 6),
    ],
)
@pytest.mark.parametrize('salvage', [False, True])
def test_the_cases_of_others_are_read(
    shared_case: Case, name: str, frames: int, salvage: bool
) -> None:
    source = survey(shared_case(name), SourceConfig(salvage=salvage))
    assert len(source) == frames
    assert source[frames - 1].focal_length_px == pytest.approx(83.138, abs=1e-3)
    assert (source[0].depth > 0).mean() > 0.7
    assert ('reprojected' in source.report.topics) == name.startswith('S')


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('M06/foxglove_protobuf.mcap', 'holds no ROS messages'),
        ('L01/kannala_brandt', "distortion model 'kannala_brandt' is unknown"),
        ('L01/double_sphere', "distortion model 'double_sphere' is unknown"),
    ],
)
def test_the_cases_of_others_are_explained(shared_case: Case, name: str, words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        survey(shared_case(name))

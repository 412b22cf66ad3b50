# SPDX-License-Identifier: Apache-2.0
"""Small real recordings of every kind, written by rosbags."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
from typing import Any

from adabins_ros.recordings import pack_folder
from adabins_ros.recordings.recorded_message import with_ros2_header
import cv2
from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    Reader,
    StoragePlugin,
)
from rosbags.rosbag2 import (
    Writer as Ros2Writer,
)
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

FRAMES = 8
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def rgbd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an RGB-D folder of eight frames: a slope whose depth grows with the frame."""
    folder = tmp_path_factory.mktemp('rgbd') / 'room'
    (folder / 'rgb').mkdir(parents=True)
    (folder / 'depth').mkdir()
    camera = {'fx': 50.0, 'fy': 51.0, 'cx': 31.5, 'cy': 23.5, 'width': 64, 'height': 48}
    (folder / 'camera.json').write_text(json.dumps({**camera, 'fps': 5}))
    columns = np.linspace(0, 255, 64, dtype=np.uint8)
    for index in range(FRAMES):
        colour = np.zeros((48, 64, 3))
        colour[..., 0] = columns
        colour[..., 1] = 30 * index
        colour[..., 2] = columns[:48, None]
        cv2.imwrite(str(folder / 'rgb' / f'{index:03}.png'), colour.astype(np.uint8))
        depth = (np.tile(1000 + np.arange(64), (48, 1)) + 100 * index).astype(np.uint16)
        depth[:5] = 0
        cv2.imwrite(str(folder / 'depth' / f'{index:03}.png'), depth)
    return folder


@pytest.fixture(scope='session')
def mcap(rgbd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder as one compressed .mcap."""
    path = tmp_path_factory.mktemp('mcap') / 'room.mcap'
    pack_folder(rgbd_folder, path)
    return path


@pytest.fixture(scope='session')
def convert(mcap: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes the same recording in another format."""

    def write(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind.replace('.', ''))
        if kind == 'bag':
            return _as_ros1(mcap, folder / 'room.bag')
        writer = Ros2Writer(
            folder / 'room',
            version=9,
            storage_plugin=StoragePlugin.SQLITE3 if 'sqlite3' in kind else StoragePlugin.MCAP,
        )
        if 'zstd' in kind:
            mode = CompressionMode.FILE if 'file' in kind else CompressionMode.MESSAGE
            writer.set_compression(mode, CompressionFormat.ZSTD)
        types = get_typestore(Stores.ROS2_HUMBLE)
        connections: dict[str, Any] = {}
        with Reader(mcap) as reader, writer:
            for source, stamp, raw in reader.messages():
                if source.topic not in connections:
                    connections[source.topic] = writer.add_connection(
                        source.topic, source.msgtype, typestore=types
                    )
                writer.write(connections[source.topic], stamp, raw)
        if 'lone' in kind:
            return next((folder / 'room').glob('room.*'))
        if 'bare' in kind:
            (folder / 'room' / 'metadata.yaml').unlink()
        return folder / 'room'

    return write


def _as_ros1(mcap: Path, path: Path) -> Path:
    types = get_typestore(Stores.ROS1_NOETIC)
    transforms = 'geometry_msgs/TransformStamped[] transforms'
    types.register(get_types_from_msg(transforms, 'tf2_msgs/msg/TFMessage'))
    without_sequence_number = with_ros2_header(types)
    connections: dict[str, Any] = {}
    with Reader(mcap) as reader, Ros1Writer(path) as writer:
        for source, stamp, raw in reader.messages():
            if source.topic not in connections:
                connections[source.topic] = writer.add_connection(
                    source.topic,
                    source.msgtype,
                    typestore=types,
                    latching=1 if source.topic == '/tf_static' else None,
                )
            writer.write(
                connections[source.topic],
                stamp,
                without_sequence_number.cdr_to_ros1(raw, source.msgtype),
            )
    return path


@pytest.fixture(
    params=[
        'bag',
        'mcap folder',
        'mcap lone',
        'mcap bare',
        'sqlite3 folder',
        'sqlite3 lone',
        'sqlite3 bare',
        'mcap zstd file',
        'mcap zstd message',
        'sqlite3 zstd file',
        'sqlite3 zstd message',
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """Return each kind of recording in turn, as `convert` names it."""
    return str(request.param)


@pytest.fixture(scope='session')
def shared_case() -> Callable[[str], Path]:
    """
    Return a function that finds a failing input of others by its name, or skips the test.

    They are no part of the repository: ../shared/cases beside it, or beside the folder that the
    environment variable ADABINS_SHARED_DATA names.
    """
    data = os.environ.get('ADABINS_SHARED_DATA')
    folder = (Path(data) if data else REPOSITORY.parent / 'shared' / 'data').parent / 'cases'

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f'case {name} is not in {folder}')
        return path

    return find


@pytest.fixture
def rewrite(mcap: Path, tmp_path: Path) -> Callable[..., Path]:
    """
    Return a function that writes the recording by the mcap package, with other things in it.

    `others` are channels beside: (topic, encoding of the messages, schema, its encoding).
    """

    def write(
        source: Path = mcap,
        *,
        profile: str = 'ros2',
        ros1: bool = False,
        others: tuple[tuple[str, str, str, str], ...] = (),
        name: str = 'other.mcap',
        **options: Any,
    ) -> Path:
        path = tmp_path / name
        with path.open('wb') as file, (Ros1Reader if ros1 else Reader)(source) as reader:
            writer = McapWriter(file, **options)
            writer.start(profile, 'test')
            channels: dict[str, int] = {}
            for topic, encoding, kind, schema_encoding in others:
                schema = writer.register_schema(kind, schema_encoding, b'x')
                channel = writer.register_channel(topic, encoding, schema)
                writer.add_message(channel, 10**18, b'{}', 10**18)
            for found, log_ns, raw in reader.messages():
                if found.topic not in channels:
                    text = found.msgdef.data.encode()
                    form = ('ros1msg', 'ros1') if ros1 else ('ros2msg', 'cdr')
                    schema = writer.register_schema(found.msgtype, form[0], text)
                    channels[found.topic] = writer.register_channel(found.topic, form[1], schema)
                writer.add_message(channels[found.topic], log_ns, bytes(raw), log_ns)
            writer.finish()
        return path

    return write

# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every part of the test suite shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import random
import signal
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, cloud_fields, image_fields, stamp_from_ns
from adabins_ros.recordings import RecordingWriter
from hypothesis import HealthCheck, settings
import numpy as np
from numpy.typing import NDArray
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# A machine that does other work as well is no failure.
settings.register_profile('adabins', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('adabins')

# A synthetic room in which the true depth from every place is known, recorded to order.
CAMERA = PinholeCamera(64, 48, 50.0, 50.0, 31.5, 23.5)
START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where pytest-xdist shares the tests out: a file's stay together, and so do all of ROS's."""
    if not config.pluginmanager.hasplugin('xdist'):
        return
    for item in items:
        folder = item.path.relative_to(REPOSITORY / 'test').parts[0]
        group = folder if folder == 'ros' else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope='session', autouse=True)
def ctrl_c_ends_programs() -> Iterator[None]:
    """Have Ctrl-C end this and child processes, also where a shell started us by `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope='session', autouse=True)
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep engines that are built, here and in child processes, out of the user's cache."""
    folder = tmp_path_factory.mktemp('engine_cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ADABINS_CACHE', str(folder))
        yield folder


@pytest.fixture(scope='session')
def repository() -> Path:
    """Return the root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope='session')
def shared_data() -> Callable[[str], Path]:
    """
    Return a function that finds a data set by its name, or skips the test.

    The sets are not part of the repository. They are looked for in the folder that the
    environment variable ADABINS_SHARED_DATA names, else in ../shared/data beside the repository.
    """
    folder = Path(os.environ.get('ADABINS_SHARED_DATA') or REPOSITORY.parent / 'shared' / 'data')

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f'data set {name} is not in {folder}')
        return path

    return find


@pytest.fixture(scope='session')
def ros_environment(engine_cache: Path) -> dict[str, str]:
    """
    Return an environment for child processes in which they meet only each other over DDS.

    The domain is random, another one for each of pytest-xdist's processes, discovery stays on this
    machine, and the shipped Fast DDS profile is set. Children find this source tree first, whether
    the package is installed or not.
    """
    environment = dict(os.environ)
    # The rclpy wheels set it to restart each interpreter only once; a child that inherits it
    # from another virtual environment would never set up its own libraries.
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    profile = str(REPOSITORY / 'config' / 'fastdds.xml')
    run = os.environ.get('PYTEST_XDIST_TESTRUNUID')
    worker = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
    domain = 1 + (random.Random(run).randrange(101) + worker) % 101
    environment.update(
        ROS_DOMAIN_ID=str(domain),
        ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST',
        FASTDDS_DEFAULT_PROFILES_FILE=profile,
        FASTRTPS_DEFAULT_PROFILES_FILE=profile,
        PYTHONUNBUFFERED='1',
        PYTHONPATH=os.pathsep.join(
            [str(REPOSITORY), *filter(None, [environment.get('PYTHONPATH')])]
        ),
    )
    return environment


def room_depth(camera: PinholeCamera, x: float = 0.0) -> NDArray[np.float32]:
    """Return the depth of a wall at 4 m behind a board at 2 m, from `x` m to the right."""
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    across = 2 * (columns - camera.cx) / camera.fx + x
    down = 2 * (rows - camera.cy) / camera.fy
    board = (np.abs(across) < 0.4) & (np.abs(down) < 0.3)
    return np.where(board, 2, 4).astype(np.float32)


def room_colour(frame: int) -> NDArray[np.uint8]:
    """Return a picture that tells its frame: red is ten times its number."""
    picture = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    picture[..., 0] = 10 * frame % 250
    picture[..., 1] = np.arange(CAMERA.width)
    return picture


Fields = dict[str, Any]
Message = tuple[str, str, Fields, str, int]


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """
    Return a function that records frames of the room.

    `truth(frame)` gives the messages with the truth, (topic, type, fields, frame id, stamp);
    `transforms` are (parent, child, translation).
    """

    def write(
        truth: Callable[[int], list[Message]],
        *,
        frames: int = 8,
        name: str = 'room.mcap',
        camera: PinholeCamera | None = CAMERA,
        transforms: tuple[tuple[str, str, tuple[float, float, float]], ...] = (),
        colour: Callable[[int], Fields] | None = None,
    ) -> Path:
        path = tmp_path / name
        with RecordingWriter(path) as writer:
            for parent, child, translation in transforms:
                moved = {'translation': dict(zip('xyz', translation, strict=True))}
                sec, nanosec = stamp_from_ns(START_NS)
                stamped = {
                    'header': {'stamp': {'sec': sec, 'nanosec': nanosec}, 'frame_id': parent},
                    'child_frame_id': child,
                    'transform': {**moved, 'rotation': {'w': 1.0}},
                }
                writer.write(
                    '/tf_static',
                    'tf2_msgs/msg/TFMessage',
                    {'transforms': [stamped]},
                    log_ns=START_NS,
                )
            for frame in range(frames):
                stamp = START_NS + frame * STEP_NS
                picture = colour(frame) if colour else image_fields(room_colour(frame), 'rgb8')
                messages: list[Message] = [
                    ('/camera/image_raw', 'sensor_msgs/msg/Image', picture, 'optical', stamp)
                ]
                if camera is not None:
                    info = camera_info_fields(camera)
                    kind = 'sensor_msgs/msg/CameraInfo'
                    messages.append(('/camera/camera_info', kind, info, 'optical', stamp))
                for topic, kind, fields, frame_id, at in [*messages, *truth(frame)]:
                    writer.write(
                        topic, kind, fields, log_ns=stamp + 1000, frame_id=frame_id, stamp_ns=at
                    )
        return path

    return write


@pytest.fixture
def aligned() -> Callable[[int], list[Message]]:
    """Return the truth of aligned depth images, 7 ms later than the colour."""

    def truth(frame: int) -> list[Message]:
        depth = (room_depth(CAMERA) * 1000).astype(np.uint16)
        depth[0, 0] = 0
        fields = image_fields(depth, '16UC1')
        stamp = START_NS + frame * STEP_NS + 7_000_000
        return [('/camera/depth/image_raw', 'sensor_msgs/msg/Image', fields, 'optical', stamp)]

    return truth


@pytest.fixture
def lidar() -> Callable[[int], list[Message]]:
    """Return the truth of a lidar half a metre to the left; every fifth point is behind it."""

    def truth(frame: int) -> list[Message]:
        depth = room_depth(CAMERA)[::4, ::2]
        rows, columns = np.mgrid[0:48:4, 0:64:2]
        cloud = np.zeros(depth.shape, [('x', '<f4'), ('y', '<f4'), ('z', '<f4')])
        cloud['x'] = (columns - CAMERA.cx) / CAMERA.fx * depth + 0.5
        cloud['y'] = (rows - CAMERA.cy) / CAMERA.fy * depth
        cloud['z'] = depth
        cloud['z'][:, ::5] *= -1
        cloud['x'][0, 1] = np.nan
        fields = cloud_fields(cloud)
        stamp = START_NS + frame * STEP_NS
        return [('/velodyne_points', 'sensor_msgs/msg/PointCloud2', fields, 'velodyne', stamp)]

    return truth

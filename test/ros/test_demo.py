# SPDX-License-Identifier: Apache-2.0
"""The demo: what it writes, what its table says, and that nothing of it stays behind."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from adabins_ros.demo.processes import ProcessError, Processes, separate_environment
from adabins_ros.demo.run import UNTRAINED
from adabins_ros.evaluation.depth_errors import average, depth_errors
from adabins_ros.messages import decode_compressed_rgb, decode_depth, image_fields, read_cloud
from adabins_ros.package_files import package_file
from adabins_ros.recordings import (
    find_camera_topics,
    iterate_frames,
    open_recording,
    Recording,
    RecordingWriter,
)
import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytestmark = pytest.mark.slow

SAMPLE_FRAMES = 60
OUTPUTS = {
    '/depth/image': 'sensor_msgs/msg/Image',
    '/depth/std': 'sensor_msgs/msg/Image',
    '/depth/color': 'sensor_msgs/msg/Image',
    '/depth/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/depth/status': 'diagnostic_msgs/msg/DiagnosticArray',
    '/depth/bin_centers': 'std_msgs/msg/Float32MultiArray',
    '/points': 'sensor_msgs/msg/PointCloud2',
    '/camera/image_raw/compressed': 'sensor_msgs/msg/CompressedImage',
    '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/tf_static': 'tf2_msgs/msg/TFMessage',
}


def start_demo(environment: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    """Start `adabins demo`; its lines are not wrapped."""
    return subprocess.Popen(
        [sys.executable, '-m', 'adabins_ros.cli', 'demo', *map(str, arguments)],
        env={**environment, 'COLUMNS': '300'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def table_of(text: str) -> dict[str, str]:
    """Return the rows of the printed table."""
    rows = re.findall(r'^│ (.+?) +│ (.*?) +│$', text, re.MULTILINE)
    return dict(rows)


def numbers(text: str) -> list[float]:
    """Return the numbers in a text."""
    return [float(number) for number in re.findall(r'\d+\.\d+|\d+', text)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Return an output folder that somebody has used before."""
    folder = tmp_path_factory.mktemp('demo') / 'output'
    folder.mkdir()
    (folder / 'contact_sheet.png').write_text('of an earlier demo')
    (folder / 'notes.txt').write_text('mine')
    return folder


@pytest.fixture(scope='module')
def table(folder, ros_environment) -> dict[str, str]:
    """Return the table of the demo on the sample recording."""
    process = start_demo(ros_environment, '--output', folder)
    text = process.communicate(timeout=240)[0]
    assert process.returncode == 0, text
    return table_of(text)


@pytest.fixture
def published(table, folder) -> Iterator[Recording]:
    """Return the recording of what the node has published."""
    with open_recording(folder / 'outputs.mcap') as recording:
        yield recording


def test_every_frame_is_accounted_for(table):
    assert int(table['frames sent']) == SAMPLE_FRAMES
    assert int(table['frames received']) == SAMPLE_FRAMES
    assert int(table['frames bad']) == 0
    assert int(table['frames published']) + int(table['frames dropped']) == SAMPLE_FRAMES
    assert int(table['frames published']) > 5
    median, high = numbers(
        table['latency, camera to publish'].replace('p50', '').replace('p99', '')
    )
    assert 1 < median <= high < 10_000
    assert 1 < numbers(table['depth rate'])[0] <= 16


def test_an_untrained_network_is_called_so(table):
    assert ('untrained' in table['network']) == (table.get('note') == UNTRAINED)


def test_the_folder_holds_the_products_and_what_was_there(table, folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {'contact_sheet.png', 'outputs.mcap', 'notes.txt'}
    assert (folder / 'notes.txt').read_text() == 'mine'
    sheet = cv2.imread(str(folder / 'contact_sheet.png'))
    assert sheet.shape[1] == 2000
    assert sheet.shape[0] > 1000
    for name in ('contact_sheet.png', 'outputs.mcap'):
        megabytes = (folder / name).stat().st_size / 1e6
        assert table[name].endswith(f'{name} ({megabytes:.1f} MB)')


def test_the_outputs_are_complete(table, published):
    assert {name: info.msgtype for name, info in published.topics.items()} == OUTPUTS
    assert published.topics['/tf_static'].latched
    for name in OUTPUTS:
        if name.startswith(('/depth', '/points')):
            assert published.topics[name].count == int(table['frames published']), name
    assert published.topics['/camera/image_raw/compressed'].count == SAMPLE_FRAMES


def test_the_outputs_carry_the_stamps_and_sizes_of_the_camera(published):
    with open_recording(package_file('samples/living_room.mcap')) as sample:
        stamps = {message.log_ns for message in sample.messages(['/camera/camera_info'])}
    by_topic = {
        name: [message.log_ns for message in published.messages([name])] for name in OUTPUTS
    }
    assert set(by_topic['/depth/image']) <= stamps
    assert by_topic['/points'] == by_topic['/depth/image'] == by_topic['/depth/bin_centers']
    for name in ('/depth/image', '/depth/std'):
        image = next(published.messages([name])).decode()
        assert (image.width, image.height, image.encoding) == (320, 240, '32FC1')
        assert image.header.frame_id == 'camera_color_optical_frame'
    cloud = read_cloud(next(published.messages(['/points'])).decode())
    assert cloud.shape == (120, 160)
    assert {'x', 'y', 'z', 'rgb', 'std'} == set(cloud.dtype.names)
    bins = next(published.messages(['/depth/bin_centers'])).decode().data
    assert (np.diff(bins) > 0).all()


def test_the_errors_in_the_table_are_those_of_the_published_depth(table, published):
    predicted = {
        message.log_ns: decode_depth(message.decode())
        for message in published.messages(['/depth/image'])
    }
    with open_recording(package_file('samples/living_room.mcap')) as sample:
        errors = average(
            depth_errors(predicted[frame.stamp_ns], frame.depth, 1e-3, 80)
            for frame in iterate_frames(sample, find_camera_topics(sample))
            if frame.stamp_ns in predicted
        )
    assert errors.images == int(table['frames published'])
    assert table['ground truth'].endswith(f'{errors.images} frames compared')
    found = [table[name] for name in ('d1 (share within 25 %)', 'REL', 'd1, scale corrected')]
    assert found == [f'{x:.3f}' for x in (errors.d1, errors.abs_rel, errors.d1_scaled)]
    assert table['RMS'] == f'{errors.rms:.3f} m'


def test_a_raw_recording_without_depth_and_intrinsics_works_too(ros_environment, tmp_path):
    bag, output = tmp_path / 'plain.mcap', tmp_path / 'out'
    rng = np.random.default_rng(0)
    with RecordingWriter(bag) as writer:
        for index in range(8):
            rgb = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            stamp = 1_700_000_000_000_000_000 + index * 100_000_000
            fields = image_fields(rgb, 'rgb8')
            writer.write('/eye', 'sensor_msgs/msg/Image', fields, log_ns=stamp, frame_id='eye')
    process = start_demo(ros_environment, '--bag', bag, '--output', output)
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 0, text
    table = table_of(text)
    assert table['ground truth'] == 'none recorded'
    assert 'RMS' not in table
    assert int(table['frames received']) == 8
    with open_recording(output / 'outputs.mcap') as recording:
        assert '/points' not in recording.topics
        seen = decode_compressed_rgb(next(recording.messages(['/eye/compressed'])).decode())
        assert seen.shape == (60, 80, 3)
        assert recording.topics['/depth/image'].count == int(table['frames published'])


def test_a_camera_whose_topic_ros_2_forbids_is_played_under_the_nearest_name(
    ros_environment, tmp_path
):
    bag, output = tmp_path / 'hyphen.mcap', tmp_path / 'out'
    with RecordingWriter(bag) as writer:
        for index in range(4):
            fields = image_fields(np.full((60, 80, 3), 50 * index, np.uint8), 'rgb8')
            stamp = 1_700_000_000_000_000_000 + index * 100_000_000
            topic = '/cam-front/image_raw'
            writer.write(topic, 'sensor_msgs/msg/Image', fields, log_ns=stamp, frame_id='eye')
    process = start_demo(ros_environment, '--bag', bag, '--output', output)
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 0, text
    assert '/cam-front/image_raw is played as /cam_front/image_raw' in text
    assert int(table_of(text)['frames received']) == 4
    with open_recording(output / 'outputs.mcap') as recording:
        assert '/cam_front/image_raw/compressed' in recording.topics


def test_a_model_that_can_not_be_loaded_is_explained(ros_environment, folder, table):
    before = (folder / 'outputs.mcap').stat().st_mtime_ns
    process = start_demo(ros_environment, '--output', folder, '--model', 'nix.pt')
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert 'adabins demo: not configured: ' in text and 'nix.pt' in text
    assert 'Traceback' not in text
    assert (folder / 'outputs.mcap').stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ('number', 'while_it_is', 'processes'),
    [(signal.SIGINT, 'playing', 3), (signal.SIGTERM, 'loading', 2)],
)
def test_a_signal_stops_every_process(ros_environment, tmp_path, number, while_it_is, processes):
    process = start_demo(ros_environment, '--output', tmp_path / 'out')
    for line in process.stdout:
        if line.startswith(while_it_is):
            break
    while len(children := _children(process.pid)) < processes:
        assert process.poll() is None
        time.sleep(0.001)
    start = time.monotonic()
    process.send_signal(number)
    text = process.communicate(timeout=30)[0]
    assert process.returncode == 130, text
    assert time.monotonic() - start < 6
    assert not [pid for pid in children if _is_running(pid)]
    assert not list((tmp_path / 'out').iterdir())


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    threads = Path(f'/proc/{pid}/task').glob('*/children')
    return [int(child) for thread in threads for child in thread.read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        return 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False


def test_a_process_that_fails_is_quoted_and_the_others_are_ended():
    others = set(_children(os.getpid()))
    with Processes(os.environ) as processes:
        processes.start('server', 'http.server', '0', '--bind', '127.0.0.1')
        processes.wait_for_line('server', 'Serving HTTP', timeout_s=30)
        (server,) = set(_children(os.getpid())) - others
        processes.start('reader', 'json.tool', 'nix.json')
        with pytest.raises(ProcessError, match='the reader has ended too early') as caught:
            processes.wait_for_line('server', 'never', timeout_s=30)
    assert 'nix.json' in str(caught.value)
    assert not _is_running(server)


def test_a_process_that_hangs_is_not_waited_for_forever():
    with Processes(os.environ) as processes:
        processes.start('server', 'http.server', '0', '--bind', '127.0.0.1')
        with pytest.raises(ProcessError, match='the server takes too long'):
            processes.wait_for_end('server', timeout_s=0.5)


def test_the_users_own_dds_settings_are_kept():
    own = {'ROS_DOMAIN_ID': '7', 'FASTDDS_DEFAULT_PROFILES_FILE': 'mine.xml'}
    result = separate_environment({**own, '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'})
    assert {name: result[name] for name in own} == own
    assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in result
    assert 'FASTRTPS_DEFAULT_PROFILES_FILE' not in result


@pytest.mark.parametrize(
    ('release', 'variable'),
    [
        ('jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ('', 'FASTDDS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_the_shipped_dds_profile_is_set_as_the_release_reads_it(release, variable):
    result = separate_environment({'ROS_DISTRO': release})
    assert result[variable] == str(package_file('config/fastdds.xml'))
    assert 1 <= int(result['ROS_DOMAIN_ID']) <= 101
    assert result['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'

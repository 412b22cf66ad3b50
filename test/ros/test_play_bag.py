# SPDX-License-Identifier: Apache-2.0
"""A played recording reaches its subscribers: every byte, at its time, under the wanted name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

from adabins_ros.messages import decode_compressed_rgb, stamp_ns
from adabins_ros.recordings import open_recording, RecordingWriter
from mcap.writer import Writer
import numpy as np
import pytest

pytest.importorskip('rclpy')

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage  # noqa: E402
from std_msgs.msg import String  # noqa: E402

IMAGE, INFO, NOTE = '/cam/image_raw/compressed', '/cam/camera_info', '/note'
FRAMES, PERIOD_NS = 20, 50_000_000
START_NS = 1_700_000_000_000_000_000
DURATION_S = (FRAMES - 1) * PERIOD_NS / 1e9
SLACK_S = 0.15
"""How much later than it should a message may come on a busy computer."""


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    """Return one second of a 20 Hz camera, with a latched note at its beginning."""
    path = tmp_path_factory.mktemp('bag') / 'camera.mcap'
    rng = np.random.default_rng(0)
    with RecordingWriter(path) as writer:
        writer.add_topic(NOTE, 'std_msgs/msg/String', latched=True)
        writer.write(NOTE, 'std_msgs/msg/String', {'data': 'calibrated'}, log_ns=START_NS)
        for index in range(FRAMES):
            stamp = START_NS + index * PERIOD_NS
            data = rng.integers(0, 256, 5000, dtype=np.uint8)
            fields = {'format': 'jpeg', 'data': data}
            kind = 'sensor_msgs/msg/CompressedImage'
            writer.write(IMAGE, kind, fields, log_ns=stamp, frame_id='camera')
            writer.write(INFO, 'sensor_msgs/msg/CameraInfo', {'width': index}, log_ns=stamp)
        # Of a type that no ROS installation has.
        writer.write('/plan', 'nav_msgs/msg/Path', {}, log_ns=START_NS)
    return path


class Arrival(NamedTuple):
    """A message as it came, and when, seconds."""

    time_s: float
    message: Any


class Listener:
    """Subscribes in the test's process, and keeps what arrives."""

    def __init__(self, context: Any) -> None:
        self.node = rclpy.create_node('listener', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.received: dict[str, list[Arrival]] = {}

    def listen(
        self, kind: type, topic: str, *, raw: bool = False, latched: bool = False
    ) -> list[Arrival]:
        """Subscribe to a topic; return the list that its messages come into."""
        arrivals: list[Arrival] = []
        quality = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        self.node.create_subscription(
            kind, topic, lambda m: arrivals.append(Arrival(time.monotonic(), m)), quality, raw=raw
        )
        return arrivals

    def spin_until(self, reached: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Take messages until something is true; fail when the time runs out."""
        end = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < end, f'not reached within {timeout_s} s'
            self._executor.spin_once(timeout_sec=0.02)

    def destroy(self) -> None:
        """Leave the graph."""
        self._executor.remove_node(self.node)
        self.node.destroy_node()


@pytest.fixture
def listener(ros_context) -> Iterator[Listener]:
    """Return a listener."""
    listener = Listener(ros_context)
    yield listener
    listener.destroy()


@pytest.fixture
def play(start_module: Any) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts the player."""
    return partial(start_module, 'play_bag')


def output_of(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for the end of a process; return what it has printed."""
    text = process.communicate(timeout=60)[0]
    assert process.returncode == status, text
    return text


def wait_for_line(process: subprocess.Popen[str], start: object) -> None:
    """Read the output of a process up to the line that starts like this."""
    for line in process.stdout:
        if line.startswith(str(start)):
            return
    raise AssertionError(f'the player has ended without saying {start}')


def span_s(arrivals: list[Arrival]) -> float:
    """Return the time from the first to the last arrival, seconds."""
    return arrivals[-1].time_s - arrivals[0].time_s


def recorded(bag: Path, topic: str) -> list[bytes]:
    """Return the messages of a topic as they are recorded."""
    with open_recording(bag) as recording:
        return [message.raw for message in recording.messages([topic])]


def test_every_message_arrives_as_recorded_and_at_its_pace(bag, play, listener, tmp_path):
    images = listener.listen(CompressedImage, IMAGE, raw=True)
    infos = listener.listen(CameraInfo, INFO)
    report = tmp_path / 'report.json'
    player = play(bag, '--report', report)
    listener.spin_until(lambda: len(images) == len(infos) == FRAMES)
    assert [bytes(arrival.message) for arrival in images] == recorded(bag, IMAGE)
    assert [arrival.message.width for arrival in infos] == list(range(FRAMES))
    assert span_s(images) == pytest.approx(DURATION_S, abs=SLACK_S)
    due = images[0].time_s + np.arange(FRAMES) * PERIOD_NS / 1e9
    late = np.array([arrival.time_s for arrival in images]) - due
    assert np.median(np.abs(late)) < 0.02, 'the pace is that of the recording'

    text = output_of(player)
    assert f'{FRAMES} {IMAGE} (sensor_msgs/msg/CompressedImage)' in text
    assert '/plan is not played: the message type nav_msgs/msg/Path is not installed' in text
    found = json.loads(report.read_text())
    assert found['published'] == {IMAGE: FRAMES, INFO: FRAMES, NOTE: 1}
    assert 0 <= found['lateness_p99_s'] < 1


def test_rate_plays_faster(bag, play, listener):
    images = listener.listen(CompressedImage, IMAGE)
    play(bag, '--rate', 4)
    listener.spin_until(lambda: len(images) == FRAMES)
    assert span_s(images) == pytest.approx(DURATION_S / 4, abs=SLACK_S)


def test_loop_goes_on_at_the_same_pace_until_it_is_interrupted(bag, play, listener):
    images = listener.listen(CompressedImage, IMAGE, raw=True)
    player = play(bag, '--loop', '--rate', 4)
    listener.spin_until(lambda: len(images) > 2.5 * FRAMES)
    period_s = PERIOD_NS / 1e9 / 4
    assert span_s(images[: 2 * FRAMES + 1]) == pytest.approx(2 * FRAMES * period_s, abs=SLACK_S)
    assert bytes(images[FRAMES].message) == bytes(images[0].message)
    start = time.monotonic()
    player.send_signal(signal.SIGINT)
    text = output_of(player)
    assert time.monotonic() - start < 2
    assert 'messages published' in text


def test_start_skips_the_beginning_but_not_what_was_latched(bag, play, listener):
    images = listener.listen(CompressedImage, IMAGE)
    notes = listener.listen(String, NOTE, latched=True)
    play(bag, '--start', 0.7)
    listener.spin_until(lambda: len(images) >= 6 and bool(notes))
    stamps = [stamp_ns(arrival.message.header.stamp) for arrival in images]
    assert stamps[0] == START_NS + 700_000_000
    assert notes[0].message.data == 'calibrated'


def test_a_late_subscriber_gets_what_was_latched(bag, play, listener):
    images = listener.listen(CompressedImage, IMAGE)
    # So slowly that the note is not published again before the test ends.
    play(bag, '--loop', '--rate', 0.01)
    listener.spin_until(lambda: len(images) >= 1)
    notes = listener.listen(String, NOTE, latched=True)
    listener.spin_until(lambda: bool(notes))
    assert notes[0].message.data == 'calibrated'


def test_topics_are_renamed_and_left_out(bag, play, listener):
    moved = listener.listen(CompressedImage, '/front/image/compressed')
    infos = listener.listen(CameraInfo, INFO)
    text = output_of(
        play(bag, '--rate', 10, '--topic', IMAGE, '--remap', f'{IMAGE}:=/front/image/compressed')
    )
    listener.spin_until(lambda: len(moved) == FRAMES)
    assert not infos
    assert INFO not in text


def test_topics_that_ros_2_forbids_are_played_under_the_nearest_name(tmp_path, play, listener):
    bag = tmp_path / 'hyphens.mcap'
    with RecordingWriter(bag) as writer:
        for index, topic in enumerate(('/cam-front/info', '/cam_front/info', '/2nd//info/')):
            fields = {'width': 10 + index}
            writer.write(topic, 'sensor_msgs/msg/CameraInfo', fields, log_ns=START_NS)
    played = {'/cam_front/info_': 10, '/cam_front/info': 11, '/_2nd/info': 12}
    heard = {topic: listener.listen(CameraInfo, topic) for topic in played}
    text = output_of(play(bag, '--wait', 20, '--subscribers', 1))
    listener.spin_until(lambda: all(heard.values()))
    assert {topic: arrivals[0].message.width for topic, arrivals in heard.items()} == played
    assert '/cam-front/info is played as /cam_front/info_: ROS 2 does not allow its name' in text
    refused = output_of(play(bag, '--remap', '/cam-front/info:=/my-info', '--wait', 0), 1)
    assert '/cam-front/info can not be played as /my-info: ROS 2 allows letters' in refused
    assert 'Traceback' not in refused


def test_a_type_that_a_recording_names_imports_nothing(tmp_path, ros_environment):
    trap, told = tmp_path / 'trap_msgs', tmp_path / 'imported'
    (trap / 'msg').mkdir(parents=True)
    (trap / '__init__.py').write_text(f'open({str(told)!r}, "w")\n')
    (trap / 'msg' / '__init__.py').write_text('class Bang:\n    pass\n')
    bag = tmp_path / 'trap.mcap'
    with bag.open('wb') as file:
        writer = Writer(file)
        writer.start('ros2', 'test')
        for topic, kind in (('/bang', 'trap_msgs/msg/Bang'), ('/note', 'std_msgs/msg/String')):
            schema = writer.register_schema(kind, 'ros2msg', b'string data')
            channel = writer.register_channel(topic, 'cdr', schema)
            writer.add_message(channel, START_NS, b'\0\1\0\0\2\0\0\0x\0', START_NS)
        writer.finish()
    paths = os.pathsep.join([str(tmp_path), ros_environment['PYTHONPATH']])
    text = subprocess.run(
        [sys.executable, '-m', 'adabins_ros.ros.play_bag', str(bag), '--wait', '0'],
        env={**ros_environment, 'PYTHONPATH': paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert '/bang is not played: the message type trap_msgs/msg/Bang is not installed' in text
    assert '1 /note (std_msgs/msg/String)' in text
    assert not told.exists()


def test_arguments_for_ros_reach_ros(bag, play, listener):
    moved = listener.listen(CompressedImage, '/elsewhere')
    remap = ['-r', f'{IMAGE}:=/elsewhere', '-r', '__ns:=/robot']
    play(bag, '--rate', 10, '--topic', IMAGE, '--ros-args', *remap)
    listener.spin_until(lambda: len(moved) == FRAMES)


def test_clock_tells_the_time_of_the_recording(bag, play, listener):
    clocks = listener.listen(Clock, '/clock')
    images = listener.listen(CompressedImage, IMAGE)
    play(bag, '--clock', '--rate', 0.5)
    listener.spin_until(lambda: len(images) == FRAMES)
    times = np.array([stamp_ns(arrival.message.clock) for arrival in clocks])
    assert times[0] == START_NS
    assert (np.diff(times) > 0).all()
    # 40 Hz of real time are 12.5 ms of a recording at half its rate.
    assert np.median(np.diff(times)) == pytest.approx(12.5e6, rel=0.01)
    assert times[-1] == pytest.approx(START_NS + DURATION_S * 1e9, abs=SLACK_S * 1e9)
    for arrival in images:
        before = [clock for clock in clocks if clock.time_s <= arrival.time_s]
        now = stamp_ns(before[-1].message.clock)
        assert abs(now - stamp_ns(arrival.message.header.stamp)) < SLACK_S * 1e9


def test_the_first_message_waits_for_the_subscriber(bag, play, listener):
    player = play(bag, '--rate', 10, '--wait', 30)
    wait_for_line(player, bag)
    images = listener.listen(CompressedImage, IMAGE)
    listener.spin_until(lambda: len(images) == FRAMES)


def test_it_can_wait_for_more_than_one_subscriber(bag, play, listener):
    only = ['--topic', IMAGE, '--subscribers', 2]
    player = play(bag, '--rate', 10, '--wait', 30, *only)
    first = listener.listen(CompressedImage, IMAGE)
    wait_for_line(player, bag)
    listener.spin_until(lambda: listener.node.count_publishers(IMAGE) == 1)
    second = listener.listen(CompressedImage, IMAGE)
    listener.spin_until(lambda: len(first) == len(second) == FRAMES)


def test_it_can_wait_for_one_node_however_long_others_listen(bag, play, listener, ros_context):
    early = listener.listen(CompressedImage, IMAGE)
    player = play(bag, '--rate', 10, '--wait', 60, '--for', '/robot/depth_node')
    wait_for_line(player, bag)
    listener.spin_until(lambda: listener.node.count_publishers(IMAGE) == 1)
    end = time.monotonic() + 1.5
    listener.spin_until(lambda: time.monotonic() > end)
    assert not early
    node = rclpy.create_node('depth_node', namespace='robot', context=ros_context)
    node.create_subscription(CompressedImage, IMAGE, lambda _: None, 10)
    listener.spin_until(lambda: len(early) == FRAMES, 60)
    node.destroy_node()
    text = output_of(play(bag, '--wait', 0.5, '--for', '/robot/nobody'), 1)
    assert f'/robot/nobody does not listen to {IMAGE} after 0.5 s' in text


def test_nobody_listens_and_it_plays_all_the_same(bag, play):
    text = output_of(play(bag, '--rate', 10, '--wait', 0.2))
    assert 'no subscriber is there after 0.2 s' in text
    assert f'{FRAMES} {IMAGE}' in text


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting_too(bag, play, number):
    player = play(bag, '--wait', 60)
    wait_for_line(player, bag)
    start = time.monotonic()
    player.send_signal(number)
    output_of(player)
    assert time.monotonic() - start < 2


def test_a_ros_1_bag_arrives_as_ros_2_messages(shared_data, play, listener):
    path = shared_data('bags') / 'ros1_aruco_images.bag'
    images = listener.listen(CompressedImage, '/raspicam_node/image/compressed')
    infos = listener.listen(CameraInfo, '/raspicam_node/camera_info')
    play(path)
    listener.spin_until(lambda: len(images) == 1 and len(infos) == 15)
    assert decode_compressed_rgb(images[0].message).ndim == 3
    assert infos[0].message.k[0] > 100


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        (['nix.mcap'], 1, 'nix.mcap does not exist'),
        ([__file__], 1, 'is no recording'),
        (['{bag}', '--remap', '/nix:=/a'], 1, 'has no topic /nix; it has /cam/camera_info'),
        (['{bag}', '--topic', '/plan'], 1, 'nav_msgs/msg/Path is not installed'),
        (['{bag}', '--start', '100'], 1, 'lasts 0.9 s; it can not start at 100 s'),
        (['{bag}', '--rate', '-1'], 2, 'must be positive'),
        (['{bag}', '--remap', '/a'], 2, 'is not OLD:=NEW'),
    ],
)
def test_what_can_not_be_played_is_said_in_a_sentence(bag, play, arguments, status, words):
    text = output_of(play(*(word.format(bag=bag) for word in arguments)), status)
    assert words in text
    assert 'Traceback' not in text

# SPDX-License-Identifier: Apache-2.0
"""The doctor finds what is wrong with a driver, in a sentence with its remedy, and only that."""

from __future__ import annotations

from collections.abc import Callable
import shutil
import subprocess
import sys
from typing import Any

from adabins_ros.doctor.checks import (
    Check,
    check_computer,
    check_robot,
    Observation,
    Stream,
)
import pytest

pytest.importorskip('rclpy')

from adabins_ros.ros.observing import observe  # noqa: E402, I100
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

RELIABLE = QoSProfile(depth=5)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
K = [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]


def camera(driver: Any, name: str = '/camera', **changes: Any) -> None:
    """Publish the images of a camera, and its camera_info."""
    fields = {'encoding': 'rgb8', 'frame': 'optical', 'k': K, 'info_frame': 'optical'}
    fields |= changes
    size = {'height': 48, 'width': 64}
    image = Image(**size, encoding=fields['encoding'], step=192, data=bytes(48 * 192))
    driver.publish(f'{name}/image_raw', image, False, fields['frame'])
    if fields['k']:
        info = CameraInfo(**size, k=fields['k'])
        driver.publish(f'{name}/camera_info', info, frame=fields['info_frame'])


def tf(driver: Any, quality: QoSProfile = LATCHED) -> None:
    """Publish something on /tf_static; the type of TF is none of pip's."""
    driver.node.create_publisher(String, '/tf_static', quality)


@pytest.fixture
def examine(driver: Any) -> Callable[..., list[Check]]:
    """Return a function that starts the robot and returns what is found."""

    def look(*topics: str | None, transport: str = 'raw', seconds: float = 2.0) -> list[Check]:
        driver.start()
        asked = [*topics, None, None][:2]
        return check_robot(observe([], *asked, transport, seconds))

    return look


def wrong(checks: list[Check]) -> str:
    """Return what was found wrong, in one text."""
    return '\n'.join(f'{x.subject}: {x.text}; {x.remedy}' for x in checks if x.is_wrong)


def test_nothing_is_found_where_all_is_well(driver, examine):
    camera(driver)
    tf(driver)
    checks = examine()
    assert wrong(checks) == ''
    texts = {check.subject: check.text for check in checks}
    assert texts['camera'] == ('the one camera is /camera/image_raw, with /camera/camera_info')
    assert '64x48' in texts['rate']
    assert texts['camera_info'] == '/camera/camera_info: fx 50.0 px'


def test_it_finds_a_subscription_whose_qos_does_not_match(driver, examine):
    camera(driver)
    tf(driver, RELIABLE)
    driver.node.create_subscription(Image, '/camera/image_raw', lambda image: None, RELIABLE)
    found = wrong(examine())
    assert 'QoS: /driver can not hear /driver on /camera/image_raw: ' in found
    assert 'qos_overrides' in found
    assert 'QoS: /driver publishes /tf_static without transient local' in found
    assert found.count('\n') == 1


def test_it_finds_a_camera_info_with_zero_k(driver, examine):
    camera(driver, k=[0.0] * 9)
    tf(driver)
    found = wrong(examine())
    assert found.startswith('camera_info: ')
    assert 'has K with fx = 0, fy = 0 (uncalibrated); calibrate' in found
    assert 'horizontal_fov_deg' in found


def test_it_finds_images_without_a_camera_info(driver, examine):
    camera(driver, k=None)
    tf(driver)
    assert '/camera/image_raw has no camera_info beside it: calibrate' in wrong(examine())
    found = wrong(check_robot(observe([], '/camera/image_raw', None, 'raw', 1.0)))
    assert 'nobody publishes /camera/camera_info, so there are no points' in found
    assert 'horizontal_fov_deg' in found


def test_it_finds_two_publishers_of_one_camera_info(driver, examine):
    camera(driver)
    tf(driver)
    driver.publish('/camera/camera_info', CameraInfo(height=48, width=64, k=K))
    found = wrong(examine())
    assert found.startswith('camera_info: 2 publishers on /camera/camera_info: /driver, /driver')
    assert 'stop all but one' in found


def test_it_finds_that_there_is_no_tf(driver, examine):
    camera(driver)
    found = wrong(examine())
    assert found.startswith('frames: there is no TF, so nobody knows where optical is')
    assert 'static_transform_publisher --frame-id base_link --child-frame-id optical' in found


@pytest.mark.parametrize(
    ('clock_s', 'words'),
    [
        (30.0, 's ahead by the clock of this computer; one clock is wrong: synchronise'),
        (-30.0, 's old by the clock of this computer; synchronise both computers'),
        (-1e8, 'play the recording with --clock and set use_sim_time'),
    ],
)
def test_it_finds_a_clock_that_is_behind_or_ahead(driver, examine, clock_s, words):
    driver.clock_s = clock_s
    camera(driver)
    tf(driver)
    found = wrong(examine())
    assert found.startswith('clock: images are ')
    assert words in found


def test_it_finds_an_encoding_that_nobody_knows(driver, examine):
    camera(driver, encoding='rgb9')
    tf(driver)
    found = wrong(examine())
    assert found.startswith('images: /camera/image_raw can not be used: ')
    assert 'rgb9' in found
    assert 'set the camera driver to rgb8' in found


def test_it_finds_a_rate_below_one_hertz(driver, examine):
    driver.rate_hz = 0.6
    camera(driver)
    tf(driver)
    found = wrong(examine(seconds=5.0))
    assert found.startswith('rate: /camera/image_raw: 64x48, 0.')
    assert 'raise the frame rate' in found


def test_it_finds_a_model_that_is_not_there():
    found = wrong(check_computer('/no/such.onnx'))
    assert found.startswith('model: model file /no/such.onnx')
    assert 'adabins-lite' in found


def command(*options: str) -> list[str]:
    return [sys.executable, '-m', 'adabins_ros.doctor.doctor_command', '--seconds', '1', *options]


def test_it_finds_a_tiny_shared_memory(ros_environment, domain):
    run = 'mount -t tmpfs -o size=4m none /dev/shm && '
    if (
        not shutil.which('unshare')
        or subprocess.run(
            ['unshare', '--mount', 'sh', '-c', f'{run} true'], capture_output=True
        ).returncode
    ):
        pytest.skip('no other /dev/shm can be mounted here')
    done = subprocess.run(
        ['unshare', '--mount', 'sh', '-c', f'{run} exec "$@"', 'sh', *command()],
        env={**ros_environment, 'ROS_DOMAIN_ID': domain, 'COLUMNS': '500'},
        capture_output=True,
        text=True,
    )
    (line,) = (line for line in done.stdout.splitlines() if 'shared memory' in line)
    assert 'wrong' in line
    assert '/dev/shm has 4 MiB free' in line
    assert '--shm-size' in line
    assert done.returncode == 1


def test_the_exit_status_says_whether_something_was_found(driver, ros_environment, domain):
    camera(driver)
    tf(driver)
    driver.start()
    environment = {**ros_environment, 'ROS_DOMAIN_ID': domain, 'COLUMNS': '300'}
    well, ill = (
        subprocess.run(command(*options), env=environment, capture_output=True, text=True)
        for options in ((), ('--model', 'adabins-moon'))
    )
    assert well.returncode == 0, well.stdout + well.stderr
    assert 'nothing of ' in well.stdout
    assert ill.returncode == 1
    assert "'adabins-moon' is not a preset" in ill.stdout


def test_several_cameras_are_listed(driver, examine):
    camera(driver, '/left')
    camera(driver, '/right')
    found = wrong(examine())
    assert 'there are 2 cameras (/left/image_raw, /right/image_raw)' in found


def test_compressed_images_are_looked_at_too(driver, examine):
    tf(driver)
    image = CompressedImage(format='jpeg', data=b'no picture')
    driver.publish('/wifi/image_raw/compressed', image)
    driver.publish('/wifi/camera_info', CameraInfo(height=48, width=64, k=K))
    found = wrong(examine(transport='compressed'))
    assert found.startswith('images: /wifi/image_raw/compressed can not be used: ')


def test_frames_that_differ_and_images_that_do_not_come_are_found(driver, examine):
    tf(driver)
    camera(driver, info_frame='other')
    driver.node.create_publisher(Image, '/silent/image_raw', 5)
    assert "frames: images are in 'optical', their camera_info is in 'other'" in wrong(examine())
    found = wrong(check_robot(observe([], '/silent/image_raw', None, 'raw', 0.5)))
    assert '/silent/image_raw is published, but nothing came in 0.5 s' in found


def test_a_topic_that_nobody_publishes_or_that_carries_something_else_is_found(driver, examine):
    camera(driver)
    tf(driver)
    driver.publish('/camera/image', CompressedImage(format='jpeg'))
    found = wrong(examine('/nowhere/image', '/camera/camera_info'))
    assert 'images: nobody publishes /nowhere/image; start the camera, or name its topic' in found
    assert 'the one camera is /camera/image_raw' in found
    found = wrong(check_robot(observe([], '/camera/image', None, 'raw', 1.0)))
    assert (
        'QoS: /doctor expects sensor_msgs/msg/Image on /camera/image, /driver publishes '
        'sensor_msgs/msg/CompressedImage'
    ) in found


@pytest.mark.parametrize(
    ('transforms', 'words'),
    [
        ({('base_link', 'mast'), ('mast', 'optical')}, ''),
        (
            {('base_link', 'mast'), ('lens', 'optical')},
            'TF does not connect optical with base_foo',
        ),
        (set(), 'TF does not connect optical with base_footprint or base_link'),
    ],
)
def test_a_tree_of_transforms_is_followed_from_the_camera_to_the_base(transforms, words):
    image = Image(header=Header(frame_id='optical'), height=1, width=1, encoding='mono8', step=1)
    image.data = bytes(1)
    stream = Stream('/image', ['/driver'], [5.0] * 9, [5.0] * 9, image)
    seen = Observation(1.0, image=stream, tf_publishers=1, transforms=transforms)
    (frames,) = (check for check in check_robot(seen) if check.subject == 'frames')
    assert words in frames.text
    assert frames.is_wrong == bool(words)

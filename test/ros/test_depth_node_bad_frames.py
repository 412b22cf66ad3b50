# SPDX-License-Identifier: Apache-2.0
"""Whatever arrives, the node says what is wrong with it and publishes the next good frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

WIDTH, HEIGHT = 64, 48
PIXELS = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def image(**changes: object) -> Image:
    """Return a good image with some fields changed."""
    message = Image(
        height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH, data=PIXELS.tobytes()
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def camera_info(**changes: object) -> CameraInfo:
    """Return a good camera_info with some fields changed."""
    message = CameraInfo(
        height=HEIGHT, width=WIDTH, k=[55.0, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0]
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def jpeg() -> bytes:
    """Return the good image as a JPEG file."""
    return cv2.imencode('.jpg', PIXELS[..., ::-1])[1].tobytes()


BAD_IMAGES = {
    'an unknown encoding': (image(encoding='rgb9'), 'rgb9'),
    'a depth encoding': (image(encoding='32FC1', step=4 * WIDTH), '32FC1'),
    'no encoding': (image(encoding=''), 'encoding'),
    'short data': (image(data=PIXELS.tobytes()[:-1]), 'bytes'),
    'no data': (image(data=b''), 'bytes'),
    'zero size': (image(height=0, width=0, step=0, data=b''), '0x0'),
    'no rows': (image(height=0, data=b''), '64x0'),
    'a step shorter than a row': (image(step=10), 'step'),
    'an absurd size': (image(height=2**31, width=2**31, step=2**32 - 1), 'pixels'),
    'odd chroma': (image(encoding='nv12', width=63, height=47, step=63), '63x47'),
}
BAD_FILES = {
    'no bytes': b'',
    'noise': bytes(range(256)) * 8,
    'half a file': jpeg()[: len(jpeg()) // 2],
    'a header alone': jpeg()[:20],
    'text': b'<html>404 not found</html>',
}


def bad_frames(values: dict[str, str]) -> int:
    """Return how many frames the diagnostics count as bad."""
    return int(values['frames bad'])


def test_a_bad_image_is_warned_of_once_and_not_for_every_frame(station, depth_node):
    station.exchange(image(), camera_info(), 'depth/image', 'points')
    bad = image(encoding='unheard_of')
    station.diagnostics_until(
        lambda _, values: station.publish(bad, None) and bad_frames(values) >= 2
    )
    station.exchange(image(), camera_info())
    assert depth_node.log.count("'unheard_of'") == 1
    station.diagnostics_until()


@pytest.mark.parametrize('name', BAD_IMAGES)
def test_a_bad_image_is_named_and_counted_and_the_next_one_is_published(station, depth_node, name):
    bad, word = BAD_IMAGES[name]
    station.exchange(image(), camera_info())
    values = station.last_values or station.diagnostics_until()[1]
    station.publish(bad, camera_info())
    status, after = station.diagnostics_until(
        lambda _, after: bad_frames(after) == bad_frames(values) + 1
    )
    assert any('hint' in key and word in value for key, value in after.items()), after
    assert word in status.message
    answer = station.exchange(image(), camera_info(), 'depth/image')['depth/image']
    assert (answer.width, answer.height) == (WIDTH, HEIGHT)
    assert 'Traceback' not in depth_node.log


@pytest.mark.parametrize('name', BAD_FILES)
def test_a_bad_compressed_image_is_counted_and_the_next_one_is_published(compressed_station, name):
    station = compressed_station
    good = CompressedImage(format='jpeg', data=jpeg())
    station.exchange(good, camera_info())
    values = station.last_values or station.diagnostics_until()[1]
    station.publish(CompressedImage(format='jpeg', data=BAD_FILES[name]), camera_info())
    station.diagnostics_until(lambda _, after: bad_frames(after) == bad_frames(values) + 1)
    answer = station.exchange(good, camera_info())['depth/image']
    assert (answer.width, answer.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ('bad', 'word'),
    [
        (camera_info(k=[0.0] * 9), 'horizontal_fov_deg'),
        (camera_info(k=[float('nan')] * 9), 'nan'),
        (camera_info(k=[-1.0, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0]), 'horizontal_fov_deg'),
        (camera_info(height=0), f'{WIDTH}x0'),
        (camera_info(binning_x=1000), 'binning'),
        (camera_info(width=48), 'shape'),
    ],
    ids=['zero K', 'NaN', 'negative focal length', 'no height', 'absurd binning', 'other shape'],
)
def test_a_bad_camera_info_leaves_depth_without_points_and_is_named(
    station, depth_node, bad, word
):
    station.exchange(image(), camera_info(), 'points', 'depth/image')
    answer = station.exchange(image(), bad, 'depth/image')['depth/image']
    station.diagnostics_until(
        lambda status, _: station.publish(image(), bad) and word in status.message
    )
    good = station.exchange(image(), camera_info(), 'points')['points']
    assert (good.width, good.height) == (WIDTH // 2, HEIGHT // 2)
    stamps = [cloud.header.stamp for cloud in station.received['points']]
    assert answer.header.stamp not in stamps
    assert 'Traceback' not in depth_node.log


def test_a_camera_info_without_a_size_is_that_of_the_image(station):
    answer = station.exchange(
        image(), camera_info(height=0, width=0), 'points', 'depth/camera_info'
    )
    assert (answer['points'].width, answer['points'].height) == (WIDTH // 2, HEIGHT // 2)
    assert answer['depth/camera_info'].k[0] == camera_info().k[0]


def test_horizontal_fov_deg_stands_in_for_an_uncalibrated_camera(station):
    (result,) = station.set_parameters(horizontal_fov_deg=60.0)
    assert result.successful
    answer = station.exchange(image(), camera_info(k=[0.0] * 9), 'points', 'depth/camera_info')
    station.set_parameters(horizontal_fov_deg=0.0)
    assert answer['depth/camera_info'].k[0] == pytest.approx(WIDTH / 2 / np.tan(np.pi / 6))


def test_the_frame_of_camera_info_may_be_another_one_but_that_is_said(station, depth_node):
    info, picture = camera_info(), image()
    picture.header.frame_id, info.header.frame_id = 'camera_a', 'camera_b'

    def is_said() -> bool:
        station.images.publish(picture)
        station.camera_infos.publish(info)
        return "'camera_b'" in depth_node.log

    station.spin_until(is_said)


def test_stamps_that_jump_back_or_are_zero_disturb_nothing(station):
    picture = image()
    station.exchange(picture, camera_info())
    for seconds in (100, 0, 50, 2_000_000_000, 7):
        picture.header.stamp.sec, picture.header.stamp.nanosec = seconds, 5 if seconds else 0

        def is_answered(sec: int = seconds) -> bool:
            station.images.publish(picture)
            return any(m.header.stamp.sec == sec for m in station.received['depth/image'])

        station.spin_until(is_answered)
    _, values = station.diagnostics_until()
    assert float(values['frame age p50 (ms)']) >= 0


@pytest.mark.parametrize(('width', 'height'), [(1, 1), (2000, 3), (3, 2000), (33, 17)])
def test_images_of_strange_sizes_have_depth_of_their_size(station, width, height):
    if width * height == 1 and cv2.__version__.startswith('4.5'):
        pytest.skip('OpenCV 4.5 takes no array of one pixel')
    strange = image(
        width=width, height=height, encoding='mono8', step=width, data=bytes(width * height)
    )
    answer = station.exchange(strange, None)['depth/image']
    assert (answer.width, answer.height) == (width, height)
    station.exchange(image(), camera_info(), 'points')

# SPDX-License-Identifier: Apache-2.0
"""Messages: what a camera sends, what is said of it, and the depth of the good frame after it."""

from __future__ import annotations

import time
from typing import Any
import zlib

from adabins_ros.messages import read_cloud
from adabins_ros.messages.still_pictures import encode_picture
import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402, I100

WIDTH, HEIGHT = 64, 48
RGB = np.random.default_rng(5).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
JPEG = encode_picture(RGB[..., ::-1], '.jpg').tobytes()
PNG = encode_picture(RGB[..., ::-1], '.png').tobytes()
EMPTY_SEGMENTS = 700_000 * b'\xff\xe0\0\2'
EMPTY_CHUNKS = 250_000 * (b'\0\0\0\0teXt' + zlib.crc32(b'teXt').to_bytes(4, 'big'))
NAN = float('nan')


def image(**changes: Any) -> Image:
    """Return a good image with some fields changed."""
    fields = {'height': HEIGHT, 'width': WIDTH, 'step': 3 * WIDTH, 'encoding': 'rgb8'}
    return Image(**{**fields, 'data': RGB.tobytes(), **changes})


def compressed(data: bytes, said: str = 'jpeg') -> CompressedImage:
    """Return a compressed image."""
    return CompressedImage(format=said, data=data)


def info(**changes: Any) -> CameraInfo:
    """Return a good camera_info with some fields changed."""
    k = [55.0, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0]
    return CameraInfo(**{'height': HEIGHT, 'width': WIDTH, 'k': k, **changes})


def infinite(value: float) -> CameraInfo:
    """Return a camera_info whose focal length is no number."""
    return info(k=[value, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0])


def region(*values: int) -> CameraInfo:
    """Return a camera_info with a region of interest."""
    message = info()
    roi = message.roi
    roi.x_offset, roi.y_offset, roi.width, roi.height = values
    return message


BAD_IMAGES = {
    'unknown encoding': (image(encoding='rgb9'), "'rgb9'"),
    'depth for colour': (image(encoding='32FC1', step=4 * WIDTH), '32FC1'),
    'no pixels': (image(height=0, width=0, step=0, data=b''), '0x0'),
    'absurd size': (image(height=2**31, width=2**31, step=2**32 - 1), 'claims'),
    'short step': (image(step=10), 'a step of 10 bytes'),
    'short data': (image(data=RGB.tobytes()[:-1]), 'bytes'),
    'odd chroma': (image(encoding='nv12', width=63, height=47, step=63), 'must be even'),
    'odd pairs': (image(encoding='yuyv', width=63, step=126), 'must be even'),
    'a sliver of Bayer': (image(encoding='bayer_rggb8', width=2, step=2), 'at least'),
    'cut-off JPEG': (compressed(JPEG[:700]), 'is cut off'),
    'erased flash': (compressed(JPEG[:700] + 300_000 * b'\xff'), 'is cut off'),
    'JPEG in pieces': (compressed(JPEG[:2] + EMPTY_SEGMENTS + JPEG[2:]), 'segments'),
    'JPEG with pieces behind': (compressed(JPEG[:-2] + EMPTY_SEGMENTS + JPEG[-2:]), 'segments'),
    'PNG in pieces': (compressed(PNG[:33] + EMPTY_CHUNKS + PNG[33:], 'png'), 'segments'),
    'no bytes': (compressed(b''), 'has no data'),
    'video in place of pictures': (compressed(b'\0\0\0\1\x67\x42' * 50, 'h264'), 'h264'),
    'depth in its own format': (compressed(JPEG, '16UC1; compressedDepth png'), 'compressedDepth'),
}
BAD_CAMERAS = {
    'zero K': (info(k=[0.0] * 9), 'horizontal_fov_deg'),
    'NaN in K': (infinite(NAN), 'nan'),
    'infinite K': (infinite(float('inf')), 'inf'),
    'negative focal length': (infinite(-55.0), 'uncalibrated'),
    'NaN in D': (info(d=[NAN, 0.0, 0.0, 0.0, 0.0], distortion_model='plumb_bob'), 'not finite'),
    'no height': (info(height=0), f'{WIDTH}x0'),
    'absurd sensor': (info(height=2**31, width=2**31), 'claims'),
    'no pixel left': (info(binning_x=1000), 'binning'),
    'region outside': (region(60, 0, 64, 48), 'region of interest'),
    'another shape': (info(width=48), 'shape'),
}
UNRECTIFIED = {
    'unknown lens': (
        info(d=[0.2, -0.1, 0.05, -0.01], distortion_model='kannala_brandt'),
        "'kannala_brandt'",
    ),
    'too many coefficients': (info(d=[0.1] * 15, distortion_model='plumb_bob'), 'coefficients'),
}


@pytest.fixture(scope='module')
def good(frame_way: Any) -> tuple[bytes, np.ndarray]:
    """Return depth and points of the good frame, before anything went wrong."""
    said, made = frame_way.show(image(), info())
    assert not said
    return bytes(made['image'].data), read_cloud(made['points'])


def is_good(frame_way: Any, good: tuple[bytes, np.ndarray]) -> bool:
    """Show the good frame again; tell whether it has the same depth and points, without a word."""
    said, made = frame_way.show(image(), info())
    points = read_cloud(made['points'])
    return (
        not said
        and bytes(made['image'].data) == good[0]
        and np.array_equal(points.view(np.uint8), good[1].view(np.uint8))
    )


@pytest.mark.parametrize('name', BAD_IMAGES)
def test_a_wrong_image_is_named_at_once_and_the_next_has_its_depth(
    frame_way: Any, good: Any, name: str
) -> None:
    message, words = BAD_IMAGES[name]
    start = time.process_time()
    said, made = frame_way.show(message, info())
    assert time.process_time() - start < 0.5
    assert not made and len(said) == 1
    (text,) = said.values()
    assert words in text and not any(cause.startswith('internal') for cause in said)
    assert is_good(frame_way, good)


@pytest.mark.parametrize('name', BAD_CAMERAS)
def test_a_wrong_camera_is_named_and_leaves_depth_without_points(
    frame_way: Any, good: Any, name: str
) -> None:
    message, words = BAD_CAMERAS[name]
    said, made = frame_way.show(image(), message)
    assert words in ' '.join(said.values()) and words in frame_way.cameras.problem
    assert set(made) == {'image'}
    assert is_good(frame_way, good) and frame_way.cameras.problem is None


@pytest.mark.parametrize('name', UNRECTIFIED)
def test_a_lens_that_can_not_be_undone_is_named_and_the_next_frame_is_right(
    frame_way: Any, good: Any, name: str
) -> None:
    message, words = UNRECTIFIED[name]
    said, made = frame_way.show(image(), message)
    assert words in ' '.join(said.values()) and words in frame_way.cameras.problem
    assert 'image' in made
    assert is_good(frame_way, good)


def test_an_error_of_our_own_is_counted_and_the_next_frame_is_right(
    frame_way: Any, good: Any
) -> None:
    said, made = frame_way.show(object(), info())
    assert any(cause.startswith('internal') for cause in said) and not made
    assert is_good(frame_way, good)

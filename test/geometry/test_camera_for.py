# SPDX-License-Identifier: Apache-2.0
"""Which camera took an image: whatever drivers leave out of camera_info, or say in other words."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.camera_for import camera_for, is_rectified
from adabins_ros.geometry.projection import project
from adabins_ros.geometry.rectification import Rectifier
import numpy as np
import pytest

K = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
P = [400.0, 0.0, 310.0, -20.0, 0.0, 405.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]
BENT = [0.1, -0.2, 0.0, 0.0, 0.05]
IMAGE = (480, 640)
RAW = PinholeCamera(640, 480, 500.0, 510.0, 320.0, 240.0)
RECTIFIED = PinholeCamera(640, 480, 400.0, 405.0, 310.0, 230.0)


def info(**changes: Any) -> SimpleNamespace:
    """Return a camera_info of a calibrated camera with a bent lens, changed."""
    fields: dict[str, Any] = {'width': 640, 'height': 480, 'distortion_model': 'plumb_bob'}
    fields |= {'k': K, 'd': BENT, 'p': P, 'binning_x': 0, 'binning_y': 0}
    roi = {'x_offset': 0, 'y_offset': 0, 'width': 0, 'height': 0} | changes.pop('roi', {})
    return SimpleNamespace(roi=SimpleNamespace(**roi), **fields | changes)


def test_a_rectified_image_has_the_focal_length_of_p_and_no_distortion():
    """With K it was 2.77 m where 3.83 m was right."""
    assert camera_for(info(), IMAGE, '/camera/image_rect_color') == RECTIFIED
    raw = replace(RAW, distortion_model='plumb_bob', distortion=tuple(BENT))
    assert camera_for(info(), IMAGE, '/camera/image_raw') == raw


@pytest.mark.parametrize(
    ('topic', 'expected'),
    [
        ('/camera/image_rect', True),
        ('image_rect_color', True),
        ('/camera/color/image_rect/compressed', True),
        ('/camera/depth/image_rect_raw', True),
        ('/camera/depth/image_rect_raw/compressedDepth', True),
        ('/stereo/left/image_rectified', True),
        ('/zed/zed_node/rgb/rect/image', True),
        ('/zed/zed_node/rgb/color/rect/image/compressed', True),
        ('/camera/image_raw', False),
        ('/camera/rect/image_raw', False),
        ('/rect_camera/image_color', False),
        ('/camera/direct/image', False),
        ('/camera/rectangle/image', False),
        ('/camera/unrectified/image', False),
        ('image', False),
        ('', False),
    ],
)
def test_the_name_of_a_topic_tells_whether_its_images_are_rectified(topic, expected):
    assert is_rectified(topic) is expected


@pytest.mark.parametrize(('said', 'camera'), [('true', RECTIFIED), ('false', RAW)])
def test_the_user_has_the_last_word(said, camera):
    for way in (said, said.title(), said == 'true'):
        for topic in ('image_raw', 'image_rect'):
            found = camera_for(info(), IMAGE, topic, rectified=way)
            assert found.rectified() == camera
    with pytest.raises(ValueError, match=r"rectified = 'perhaps'.*'auto', 'true' and 'false'"):
        camera_for(info(), IMAGE, rectified='perhaps')


def test_a_rectified_image_of_a_driver_that_leaves_p_empty_has_k():
    assert camera_for(info(p=[0.0] * 12), IMAGE, 'image_rect') == RAW


def test_without_k_and_p_a_camera_is_uncalibrated():
    for topic, name in (('image_rect', 'K and P'), ('image_raw', 'K')):
        with pytest.raises(CameraError, match=f'^camera_info has {name} with fx = 0') as caught:
            camera_for(info(k=[0.0] * 9, p=[0.0] * 12), IMAGE, topic)
        assert caught.value.cause == 'uncalibrated'


def test_a_camera_info_without_a_size_speaks_of_the_image_as_it_is():
    assert camera_for(info(width=0, height=0, d=[]), IMAGE) == RAW
    part = {'x_offset': 100, 'y_offset': 40, 'width': 320, 'height': 240}
    found = camera_for(info(width=0, height=0, d=[], roi=part), (240, 320))
    assert found == RAW.cropped(100, 40, 320, 240)
    binned = camera_for(info(width=0, height=0, d=[], binning_x=2, binning_y=2), (240, 320))
    assert binned == RAW.binned(2, 2)
    with pytest.raises(CameraError, match='640x0: it has no pixels'):
        camera_for(info(height=0), IMAGE)


@pytest.mark.parametrize('size', [(240, 320), (1080, 1440), (477, 640)])
def test_another_size_of_the_same_shape_is_scaled(size):
    assert camera_for(info(d=[]), size) == RAW.scaled(size[1], size[0])


def test_another_shape_is_refused_with_both_sizes_and_what_to_do():
    with pytest.raises(CameraError, match=r'^camera_info on /c/camera_info is for 640x480') as at:
        camera_for(info(), (720, 1280), info_topic='/c/camera_info')
    assert at.value.cause == 'size'
    for part in ('1280x720', 'another shape', 'publish the camera_info', 'horizontal_fov_deg'):
        assert part in str(at.value)


def test_a_field_of_view_stands_in_for_what_is_missing_or_unusable():
    expected = PinholeCamera.from_horizontal_fov(640, 480, 60)
    for message in (None, info(k=[0.0] * 9), info(width=100), info(d=[float('nan')])):
        assert camera_for(message, IMAGE, horizontal_fov_deg=60) == expected
    assert camera_for(info(d=[]), IMAGE, horizontal_fov_deg=60) == RAW
    with pytest.raises(CameraError, match='no camera_info on /c/camera_info: publish it') as at:
        camera_for(None, IMAGE, info_topic='/c/camera_info')
    assert at.value.cause == 'missing'
    with pytest.raises(ValueError, match='horizontal_fov_deg = 200'):
        camera_for(None, IMAGE, horizontal_fov_deg=200)


@pytest.mark.parametrize(
    ('place', 'name', 'value'),
    [(0, 'fx', 1e308), (0, 'fx', 1e-300), (4, 'fy', 1e38), (2, 'cx', -1e38), (5, 'cy', 1e308)],
)
def test_a_lens_that_no_camera_has_is_refused(place, name, value):
    k = [500.0, 0, 320, 0, 500.0, 240, 0, 0, 1]
    k[place] = value
    absurd = info(k=k, d=[])
    with pytest.raises(CameraError, match=f'^camera_info: camera {name} = ') as caught:
        camera_for(absurd, IMAGE)
    assert caught.value.cause == 'data'
    expected = PinholeCamera.from_horizontal_fov(640, 480, 60)
    assert camera_for(absurd, IMAGE, horizontal_fov_deg=60) == expected


def test_a_coefficient_that_is_no_number_is_named_where_it_matters():
    damaged = info(d=[0.1, float('nan'), 0.0, 0.0])
    with pytest.raises(CameraError, match=r'D = \[0.1, nan, 0, 0\]') as caught:
        camera_for(damaged, IMAGE, 'image_raw')
    assert caught.value.cause == 'distortion'
    assert camera_for(damaged, IMAGE, 'image_rect') == RECTIFIED


@pytest.mark.parametrize(
    ('model', 'coefficients'),
    [
        ('kannala_brandt', [0.1, 0.2, 0.3, 0.4]),
        ('kannala_brandt', [0.0] * 4),
        ('double_sphere', [0.5, 0.6]),
        ('thin_prism', [0.1, 0.0, 0.0, 0.0]),
        ('Inverse Brown Conrady', BENT),
        ('', BENT),
    ],
)
def test_an_unknown_lens_is_refused_by_name_where_the_lens_matters(model, coefficients):
    camera = camera_for(info(distortion_model=model, d=coefficients), IMAGE)
    assert (camera.fx, camera.distortion_model) == (500.0, model)
    for needs_the_lens in (Rectifier, lambda each: project(np.ones((3, 3)), each)):
        known = f"'{model}' is unknown; known are plumb_bob, .*equidistant"
        with pytest.raises(CameraError, match=known) as at:
            needs_the_lens(camera)
        assert at.value.cause == 'distortion'
    # A rectified image came through no lens any more.
    rectified = camera_for(info(distortion_model=model, d=coefficients), IMAGE, 'image_rect')
    assert not rectified.is_distorted


@pytest.mark.parametrize(
    ('model', 'coefficients', 'same'),
    [
        ('fisheye', [0.1] * 4, ('equidistant', (0.1,) * 4)),
        ('Brown Conrady', BENT, ('plumb_bob', tuple(BENT))),
        ('none', BENT, ('', ())),
        ('None', [0.0] * 5, ('', ())),
        ('', [], ('', ())),
        ('plumb_bob', [0.0] * 5, ('', ())),
        ('Modified Brown Conrady', [0.0] * 5, ('', ())),
        ('equidistant', [], ('equidistant', ())),
    ],
)
def test_what_a_lens_is_called(model, coefficients, same):
    camera = camera_for(info(distortion_model=model, d=coefficients), IMAGE)
    assert (camera.distortion_model, camera.distortion) == same

# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as a user meets them: described, checked, and live where that is said."""

from __future__ import annotations

from adabins_ros.messages.clouds import read_cloud
from adabins_ros.ros.parameters import DepthNodeSettings, ParameterError, ROWS
import numpy as np
import pytest
from rcl_interfaces.msg import ParameterType
from sensor_msgs.msg import CameraInfo, Image

WIDTH, HEIGHT = 64, 48
PARAMETER_TYPES = {
    str: ParameterType.PARAMETER_STRING,
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
}


@pytest.fixture(scope='module')
def scene() -> tuple[Image, CameraInfo]:
    """Return an image with its camera_info."""
    pixels = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image = Image(
        height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH, data=pixels.tobytes()
    )
    info = CameraInfo(
        height=HEIGHT, width=WIDTH, k=[55.0, 0.0, 31.5, 0.0, 55.0, 23.5, 0.0, 0.0, 1.0]
    )
    return image, info


def depth_of(answer: dict[str, Image]) -> np.ndarray:
    """Return the depth image of an answer, metres."""
    return np.frombuffer(answer['depth/image'].data, '<f4').reshape(HEIGHT, WIDTH)


def test_every_parameter_is_described_and_typed(station):
    described = station.describe(list(ROWS))
    for name, descriptor in zip(ROWS, described, strict=True):
        assert len(descriptor.description) > 10, name
        default = ROWS[name].default
        if not isinstance(default, tuple):
            assert descriptor.type == PARAMETER_TYPES[type(default)], name
        assert descriptor.read_only == (name in ('autostart', 'exit_on_failure'))


def test_ranges_and_choices_are_told(station):
    depth, stride, transport = station.describe(['max_depth', 'point_stride', 'image_transport'])
    assert depth.floating_point_range[0].to_value == 1000.0
    assert (stride.integer_range[0].from_value, stride.integer_range[0].to_value) == (1, 64)
    assert transport.additional_constraints == 'one of raw, compressed'


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'point_stride': 0}, ['point_stride', '0', '64']),
        ({'point_stride': 1000}, ['point_stride', '1000', '64']),
        ({'point_stride': 2.5}, ['point_stride = 2.5', 'a whole number']),
        ({'max_depth': 'far'}, ["max_depth = 'far'", 'a decimal number']),
        ({'max_depth': -1}, ['max_depth = -1', '1000']),
        ({'max_depth': -1.0}, ['max_depth', '-1.0']),
        ({'max_depth': float('nan')}, ['max_depth', 'nan']),
        ({'horizontal_fov_deg': 180.0}, ['horizontal_fov_deg', '180.0', '179']),
        ({'horizontal_fov_deg': 1e-300}, ['horizontal_fov_deg = 1e-300', '0.01 to 179, or 0']),
        ({'rectify': 'yes'}, ["rectify = 'yes'", 'true or false']),
        ({'autostart': False}, ['read-only']),
        ({'model': 'adabins-nyu'}, ['model', 'weights are not here', 'fetch adabins-nyu']),
        ({'device': 'cuda'}, ['device', 'deactivate and clean up']),
        ({'image_transport': 'compressed'}, ['image_transport', 'deactivate and clean up']),
    ],
)
def test_a_bad_value_is_rejected_with_a_reason_and_the_old_one_stays(station, values, words):
    ((name, _),) = values.items()
    before = station.get_parameter(name)
    (result,) = station.set_parameters(**values)
    assert not result.successful
    for word in words:
        assert word in result.reason
    assert station.get_parameter(name) == before


def test_a_parameter_file_of_what_is_loaded_already_is_accepted(station):
    results = station.set_parameters(
        model='adabins-lite', device='auto', inference_size=[128, 160], depth_range=[0, 0]
    )
    assert all(result.successful for result in results)


def test_two_values_that_contradict_each_other_are_rejected(station):
    assert station.set_parameters(min_depth=2.0)[0].successful
    (result,) = station.set_parameters(max_depth=1.0)
    station.set_parameters(min_depth=0.0)
    assert not result.successful
    assert 'min_depth = 2 m with max_depth = 1 m' in result.reason


def test_the_range_is_live_and_marked_with_infinities(station, scene):
    topics = ('depth/image', 'depth/image_raw', 'points')
    depth = depth_of(station.exchange(*scene, *topics))
    low, high = (float(quantile) for quantile in np.quantile(depth, (0.2, 0.8)))
    station.set_parameters(max_depth=high)
    station.set_parameters(min_depth=low)
    answer = station.exchange(*scene, *topics)
    station.set_parameters(min_depth=0.0)
    station.set_parameters(max_depth=0.0)
    marked = depth_of(answer)
    np.testing.assert_array_equal(marked == np.inf, depth > np.float32(high))
    np.testing.assert_array_equal(marked == -np.inf, depth < np.float32(low))
    inside = np.isfinite(marked)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_array_equal(marked[inside], depth[inside])
    millimetres = np.frombuffer(answer['depth/image_raw'].data, '<u2').reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(millimetres == 0, ~inside)
    cloud = read_cloud(answer['points'])
    np.testing.assert_array_equal(np.isfinite(cloud['z']), inside[::2, ::2])
    assert not answer['points'].is_dense
    np.testing.assert_array_equal(depth_of(station.exchange(*scene, *topics)), depth)


def test_a_whole_number_is_good_enough_for_a_decimal_one(station, scene):
    (result,) = station.set_parameters(min_depth=1000)
    assert result.successful
    assert (depth_of(station.exchange(*scene)) == -np.inf).all()
    station.set_parameters(min_depth=0)


def test_the_stride_of_the_points_is_live(station, scene):
    sizes = []
    for stride in (1, 3, 4, 2):
        station.set_parameters(point_stride=stride)
        points = station.exchange(*scene, 'points')['points']
        sizes.append((points.height, points.width))
        assert points.row_step == points.width * points.point_step
        assert len(points.data) == points.height * points.row_step
    assert sizes == [(48, 64), (16, 22), (12, 16), (24, 32)]


def test_uncertain_points_are_dropped_when_that_is_asked_for(station, scene):
    answer = station.exchange(*scene, 'points')
    everything = read_cloud(answer['points'])
    ratio = everything['std'] / everything['z']
    limit = float(np.median(ratio))
    station.set_parameters(max_std_ratio=limit)
    gated = read_cloud(station.exchange(*scene, 'points')['points'])
    station.set_parameters(max_std_ratio=0.0)
    assert np.isfinite(everything['z']).all()
    dropped = np.isnan(gated['z'])
    sure = np.abs(ratio - limit) > 1e-4
    np.testing.assert_array_equal(dropped[sure], (ratio > limit)[sure])


def test_what_is_published_is_live(station, scene):
    station.exchange(*scene, 'depth/image', 'depth/std')
    station.set_parameters(publish_std=False)
    answer = station.exchange(*scene, 'depth/image')
    following = station.exchange(*scene, 'depth/image')
    stamps = [message.header.stamp for message in station.received['depth/std']]
    station.set_parameters(publish_std=True)
    assert answer['depth/image'].header.stamp not in stamps
    assert following['depth/image'].header.stamp not in stamps
    station.exchange(*scene, 'depth/std')


def test_the_far_end_of_the_colours_is_live(station, scene):
    before = station.exchange(*scene, 'depth/color')['depth/color'].data
    station.set_parameters(color_max_depth=1.0)
    after = station.exchange(*scene, 'depth/color')['depth/color'].data
    station.set_parameters(color_max_depth=0.0)
    assert before != after


def test_settings_refuse_sizes_and_ranges_that_make_no_sense():
    settings = DepthNodeSettings()
    for name, value in (
        ('inference_size', (480,)),
        ('inference_size', (480, 0)),
        ('depth_range', (10.0, 1.0)),
        ('depth_range', (0.0, 10.0)),
        ('precision', 'int8'),
        ('depth_range', 5.0),
        ('model', 5),
    ):
        with pytest.raises(ParameterError, match=name):
            settings.with_values({name: value})
    assert settings.with_values({'depth_range': [0.1, 5.0]}).depth_range == (0.1, 5.0)

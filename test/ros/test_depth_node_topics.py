# SPDX-License-Identifier: Apache-2.0
"""What the node publishes about a frame, over DDS from its own process."""

from __future__ import annotations

from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages.clouds import read_cloud
from adabins_ros.messages.compressed import compressed_rgb_fields, decode_compressed_rgb
from adabins_ros.messages.compressed_depth import decode_compressed_depth
from adabins_ros.messages.fields import stamp_ns
from adabins_ros.messages.images import decode_depth, decode_rgb, RGB_ENCODINGS
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

COLOR = (200, 120, 40)
WIDTH, HEIGHT = 64, 48
CAMERA = PinholeCamera(WIDTH, HEIGHT, 55.0, 56.0, 31.0, 24.5)
EVERYTHING = (
    'depth/image',
    'depth/image_raw',
    'depth/camera_info',
    'depth/std',
    'depth/color',
    'points',
    'depth/bin_centers',
)


def metres(message: Image) -> np.ndarray:
    """Return the pixels of a 32FC1 image, read by hand."""
    assert message.encoding == '32FC1'
    assert message.step == 4 * message.width
    return np.frombuffer(message.data, '<f4').reshape(message.height, message.width)


def solid_image(encoding: str) -> Image:
    """Return an image of COLOR, its bytes made by hand; rows are padded, 16 bits big-endian."""
    red, green, blue = COLOR
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    # BT.601, limited range, as OpenCV's YUV conversions have it
    y = round(16 + (65.738 * red + 129.057 * green + 25.064 * blue) / 256)
    u = round(128 + (-37.945 * red - 74.494 * green + 112.439 * blue) / 256)
    v = round(128 + (112.439 * red - 94.154 * green - 18.285 * blue) / 256)
    bits = 16 if '16' in encoding else 8
    channels = {
        'rgb': COLOR,
        'bgr': (blue, green, red),
        'rgba': (*COLOR, 255),
        'bgra': (blue, green, red, 255),
        'mono': (luma,),
        '8UC1': (luma,),
        '8UC3': (blue, green, red),
        '8UC4': (blue, green, red, 255),
    }
    rows = HEIGHT
    if encoding in ('yuv422', 'uyvy'):
        pixels = np.tile(np.array([u, y, v, y]), (HEIGHT, WIDTH // 2))
    elif encoding in ('yuv422_yuy2', 'yuyv'):
        pixels = np.tile(np.array([y, u, y, v]), (HEIGHT, WIDTH // 2))
    elif encoding in ('nv12', 'nv21'):
        pair = [u, v] if encoding == 'nv12' else [v, u]
        chroma = np.tile(np.array(pair), (HEIGHT // 2, WIDTH // 2))
        pixels = np.vstack([np.full((HEIGHT, WIDTH), y), chroma])
        rows = pixels.shape[0]
    elif encoding.startswith('bayer_'):
        letters = encoding.removeprefix('bayer_')[:4]
        values = [{'r': red, 'g': green, 'b': blue}[letter] for letter in letters]
        pixels = np.tile(np.array(values).reshape(2, 2), (HEIGHT // 2, WIDTH // 2))
    else:
        name = encoding if encoding in channels else encoding.rstrip('0123456789')
        pixels = np.tile(np.array(channels[name]), (HEIGHT, WIDTH))
    dtype = '>u2' if bits == 16 else 'u1'
    pixels = np.rint(pixels * (257 if bits == 16 else 1)).astype(dtype)
    padding = np.zeros((rows, 10 // pixels.itemsize), dtype)
    padded = np.hstack([pixels, padding]).astype(dtype)  # concatenation is in native order
    return Image(
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=int(bits == 16),
        step=padded.shape[1] * padded.itemsize,
        data=padded.tobytes(),
    )


def info_of(camera: PinholeCamera, **changes: Any) -> CameraInfo:
    """Return a CameraInfo written by hand."""
    info = CameraInfo(
        width=camera.width,
        height=camera.height,
        distortion_model=camera.distortion_model or 'plumb_bob',
        d=list(camera.distortion),
        k=[camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    for name, value in changes.items():
        target = info.roi if hasattr(info.roi, name) else info
        setattr(target, name, value)
    return info


@pytest.fixture(scope='module')
def answers(station) -> dict[str, Any]:
    """Return everything that the node says about one frame, and its header."""
    image = solid_image('rgb8')
    return {
        **station.exchange(image, info_of(CAMERA), *EVERYTHING),
        'frame_id': image.header.frame_id,
    }


def test_every_message_carries_stamp_and_frame_of_the_image(answers):
    for topic in EVERYTHING[:-1]:
        assert answers[topic].header.frame_id == answers['frame_id'], topic
        assert answers[topic].header.stamp == answers['depth/image'].header.stamp, topic


def test_depth_is_in_metres_and_inside_the_range_of_the_model(answers):
    depth = metres(answers['depth/image'])
    assert depth.shape == (HEIGHT, WIDTH)
    assert np.isfinite(depth).all()
    assert (depth > 0).all()
    scale = 160 / WIDTH * CAMERA.fx / 277.128
    assert depth.max() <= 10 * scale + 1e-5


def test_the_raw_depth_is_the_same_in_millimetres(answers):
    message = answers['depth/image_raw']
    assert (message.encoding, message.step) == ('16UC1', 2 * WIDTH)
    millimetres = np.frombuffer(message.data, '<u2').reshape(HEIGHT, WIDTH)
    np.testing.assert_allclose(
        millimetres, metres(answers['depth/image']) * 1000, rtol=0, atol=0.51
    )


def test_the_standard_deviation_is_positive_and_in_metres(answers):
    std = metres(answers['depth/std'])
    assert std.shape == (HEIGHT, WIDTH)
    assert (std > 0).all()
    assert (std < 10).all()


def test_the_colour_view_is_an_rgb8_image(answers):
    colors = decode_rgb(answers['depth/color'])
    assert answers['depth/color'].encoding == 'rgb8'
    assert colors.shape == (HEIGHT, WIDTH, 3)
    assert colors.max() > 0


def test_the_bins_are_labelled_and_increase(answers):
    message = answers['depth/bin_centers']
    (dimension,) = message.layout.dim
    assert (dimension.label, dimension.size) == ('bin_centers', len(message.data))
    assert len(message.data) == 64
    assert (np.diff(message.data) > 0).all()


def test_the_cloud_is_organised_and_every_second_point_of_the_depth(answers):
    message = answers['points']
    assert [field.name for field in message.fields] == ['x', 'y', 'z', 'rgb', 'std']
    assert (message.height, message.width) == (HEIGHT // 2, WIDTH // 2)
    cloud = read_cloud(message)
    depth = metres(answers['depth/image'])[::2, ::2]
    rows, columns = np.mgrid[0:HEIGHT:2, 0:WIDTH:2]
    np.testing.assert_allclose(cloud['z'], depth, rtol=1e-6)
    np.testing.assert_allclose(cloud['x'], (columns - CAMERA.cx) / CAMERA.fx * depth, rtol=1e-4)
    np.testing.assert_allclose(cloud['y'], (rows - CAMERA.cy) / CAMERA.fy * depth, rtol=1e-4)
    np.testing.assert_array_equal(cloud['std'], metres(answers['depth/std'])[::2, ::2])
    packed = np.ascontiguousarray(cloud['rgb']).view('<u4')
    assert (packed == (COLOR[0] << 16 | COLOR[1] << 8 | COLOR[2])).all()


def test_the_published_intrinsics_are_those_of_the_camera(answers):
    info = answers['depth/camera_info']
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(info.k, CAMERA.matrix.reshape(-1))
    assert list(info.p[:4]) == [CAMERA.fx, 0, CAMERA.cx, 0]


@pytest.mark.parametrize('encoding', RGB_ENCODINGS)
def test_every_encoding_arrives_in_its_colours(station, encoding):
    cloud = read_cloud(
        station.exchange(solid_image(encoding), info_of(CAMERA), 'points')['points']
    )
    bits = np.ascontiguousarray(cloud['rgb']).view('<u4')
    seen = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=-1).astype(int)
    grey = encoding in ('mono8', 'mono16', '8UC1')
    expected = [round(0.299 * COLOR[0] + 0.587 * COLOR[1] + 0.114 * COLOR[2])] * 3
    tolerance = 2 if 'yuv' in encoding or 'uy' in encoding or 'nv' in encoding else 1
    np.testing.assert_allclose(
        seen, np.broadcast_to(expected if grey else COLOR, seen.shape), atol=tolerance
    )


def test_an_image_without_padding_or_with_odd_sides_arrives_too(station):
    rgb = np.full((37, 51, 3), COLOR, np.uint8)
    image = Image(height=37, width=51, encoding='rgb8', step=153, data=rgb.tobytes())
    depth = station.exchange(image, None)['depth/image']
    assert metres(depth).shape == (37, 51)


def test_the_region_of_interest_and_binning_of_camera_info_are_applied(station):
    full = PinholeCamera(256, 192, 200.0, 201.0, 130.0, 90.0)
    info = info_of(full, x_offset=64, y_offset=32, width=128, height=96, binning_x=2, binning_y=2)
    info.width, info.height = 256, 192
    info.roi.width, info.roi.height = 128, 96
    image = solid_image('rgb8')
    answer = station.exchange(image, info, 'depth/camera_info', 'points', 'depth/image')
    published = answer['depth/camera_info']
    assert (published.width, published.height) == (WIDTH, HEIGHT)
    expected = full.cropped(64, 32, 128, 96).binned(2, 2)
    np.testing.assert_allclose(published.k, expected.matrix.reshape(-1))
    assert published.roi.width in (0, WIDTH)
    assert published.binning_x in (0, 1)
    cloud, depth = read_cloud(answer['points']), metres(answer['depth/image'])
    corner = depth[0, 0] * (0 - expected.cx) / expected.fx
    assert cloud['x'][0, 0] == pytest.approx(corner, rel=1e-5)


def test_each_image_gets_the_camera_info_of_its_stamp_also_one_that_comes_later(station):
    station.listen('depth/camera_info')
    image, expected = solid_image('rgb8'), {}
    station.exchange(image, info_of(CAMERA), 'depth/camera_info')
    for number in range(8):
        camera = PinholeCamera(WIDTH, HEIGHT, 50.0 + number, 56.0, 31.0, 24.5)
        stamp = station.publish(image, None)
        expected[stamp] = camera.fx
        station.spin_for(lambda: False, 0.02)
        info = info_of(camera)
        info.header = image.header
        station.camera_infos.publish(info)
        station.spin_for(lambda at=stamp: station.answer('depth/camera_info', at), 2.0)
    got = {
        stamp_ns(message.header.stamp): message.k[0]
        for message in station.received['depth/camera_info']
    }
    answered = expected.keys() & got.keys()
    assert len(answered) > 5  # a best-effort image can be lost
    assert {stamp: got[stamp] for stamp in answered} == {s: expected[s] for s in answered}
    _, values = station.diagnostics_until()
    assert values['camera_info'] == 'of the stamp of the image'


def test_camera_info_without_stamps_is_taken_as_it_comes_and_that_is_said(station, depth_node):
    info = info_of(CAMERA)
    station.camera_infos.publish(info)
    for _ in range(8):
        answer = station.exchange(solid_image('rgb8'), None, 'depth/camera_info')
        station.camera_infos.publish(info)
    assert answer['depth/camera_info'].k[0] == CAMERA.fx
    station.diagnostics_until(lambda _, values: values['camera_info'].startswith('the latest'))
    assert 'does not have the stamps of the images: the latest one counts' in depth_node.log


def test_camera_info_of_another_resolution_is_scaled_to_the_image(station):
    answer = station.exchange(
        solid_image('rgb8'), info_of(CAMERA.scaled(4 * WIDTH, 4 * HEIGHT)), 'depth/camera_info'
    )
    np.testing.assert_allclose(answer['depth/camera_info'].k, CAMERA.matrix.reshape(-1), rtol=1e-9)


def test_camera_info_of_another_shape_gives_depth_without_points(station):
    station.exchange(solid_image('rgb8'), info_of(CAMERA), 'points')
    other = PinholeCamera(64, 64, 55.0, 55.0, 31.5, 31.5)
    answer = station.exchange(solid_image('rgb8'), info_of(other), 'depth/image')
    stamp = answer['depth/image'].header.stamp
    following = station.exchange(solid_image('rgb8'), info_of(CAMERA), 'points')
    assert following['points'].header.stamp != stamp
    assert all(cloud.header.stamp != stamp for cloud in station.received['points'])


def test_depth_scales_with_the_focal_length_unless_that_is_switched_off(station):
    # Or the images of the tests before would count.
    station.set_parameters(temporal_smoothing=0.0)
    image = solid_image('rgb8')
    longer = PinholeCamera(WIDTH, HEIGHT, 2 * CAMERA.fx, 2 * CAMERA.fy, CAMERA.cx, CAMERA.cy)
    short = metres(station.exchange(image, info_of(CAMERA))['depth/image'])
    long = metres(station.exchange(image, info_of(longer))['depth/image'])
    np.testing.assert_allclose(long, 2 * short, rtol=1e-4)
    (result,) = station.set_parameters(focal_correction=False)
    assert result.successful
    plain = metres(station.exchange(image, info_of(longer))['depth/image'])
    station.set_parameters(focal_correction=True)
    station.set_parameters(temporal_smoothing=0.5)
    scale = 160 / WIDTH * CAMERA.fx / 277.128
    np.testing.assert_allclose(plain * scale, short, rtol=1e-4)


def test_rectify_removes_the_distortion_from_image_and_intrinsics(station):
    bent = PinholeCamera(WIDTH, HEIGHT, 55.0, 55.0, 31.5, 23.5, 'plumb_bob', (0.5, 0.0, 0, 0, 0))
    image = solid_image('rgb8')
    plain = station.exchange(image, info_of(bent), 'depth/camera_info', 'points')
    assert list(plain['depth/camera_info'].d) == [0.5, 0, 0, 0, 0]
    station.set_parameters(rectify=True)
    straight = station.exchange(image, info_of(bent), 'depth/camera_info', 'points')
    station.set_parameters(rectify=False)
    assert list(straight['depth/camera_info'].d) == [0] * 5
    np.testing.assert_allclose(straight['depth/camera_info'].k, bent.matrix.reshape(-1))
    # The rectified corners show what the lens did not see: black, and no point.
    corners = {
        name: read_cloud(answer['points'])[0, 0]
        for name, answer in (('plain', plain), ('straight', straight))
    }
    assert corners['straight']['rgb'].view('<u4') == 0
    assert np.isnan(corners['straight']['z'])
    assert corners['plain']['rgb'].view('<u4') != 0
    assert np.isfinite(corners['plain']['z'])


@pytest.mark.parametrize('rectify', [False, True])
def test_every_depth_has_the_picture_that_the_network_saw(station, rectify):
    topics = ('depth/image', 'depth/camera_info', 'color/image', 'color/camera_info')
    bent = PinholeCamera(WIDTH, HEIGHT, 55.0, 55.0, 31.5, 23.5, 'plumb_bob', (0.5, 0.0, 0, 0, 0))
    image, info = solid_image('rgb8'), info_of(bent)
    station.set_parameters(rectify=rectify)
    answer = station.exchange(image, info, *topics)
    seen = decode_rgb(answer['color/image'])
    assert tuple(seen[HEIGHT // 2, WIDTH // 2]) == COLOR
    assert tuple(seen[0, 0]) == ((0, 0, 0) if rectify else COLOR)
    assert answer['color/camera_info'] == answer['depth/camera_info']
    for topic in topics:
        station.received[topic].clear()
    for _ in range(90):
        station.publish(image, info)
        station.spin_for(lambda: False, 1 / 30)

    def frames(topic: str) -> list[tuple[int, str, int, int]]:
        return [
            (stamp_ns(m.header.stamp), m.header.frame_id, m.width, m.height)
            for m in station.received[topic]
        ]

    last = station.exchange(image, info, *topics)['depth/image'].header.stamp
    station.set_parameters(rectify=False)
    depths = frames('depth/image')
    assert len(depths) > 20
    assert depths[-1] == (stamp_ns(last), image.header.frame_id, WIDTH, HEIGHT)
    for topic in topics[1:]:
        assert frames(topic) == depths, topic


def test_a_scan_is_level_at_the_camera_once_its_height_is_known(station, depth_node):
    image, info = solid_image('rgb8'), info_of(CAMERA)
    station.set_parameters(camera_height=0.0)
    station.listen('depth/scan')
    station.exchange(image, info)
    station.spin_until(
        lambda: 'set the parameters camera_height and camera_pitch' in depth_node.log
    )
    assert not station.received['depth/scan']
    (refused,) = station.set_parameters(scan_min_height=2.0)
    assert 'scan_max_height' in refused.reason
    # Whatever is seen is an obstacle.
    station.set_parameters(camera_height=20.0, scan_min_height=-5.0, scan_max_height=60.0)
    answer = station.exchange(image, info, 'depth/scan', 'depth/image')
    scan, depth = answer['depth/scan'], metres(answer['depth/image'])
    assert scan.header.frame_id == 'camera_color_optical_frame_level'
    assert scan.header.stamp == answer['depth/image'].header.stamp
    assert scan.range_min < np.nanmin(scan.ranges) <= np.nanmax(scan.ranges) <= scan.range_max
    assert scan.angle_min == pytest.approx(-np.arctan((62 - CAMERA.cx) / CAMERA.fx))
    assert scan.angle_max == pytest.approx(
        np.arctan(CAMERA.cx / CAMERA.fx), abs=scan.angle_increment
    )
    # The mean of what lies within 7 % of the nearest point.
    last = depth[::2, 62]
    front = last[last <= 1.07 * last.min()].mean()
    slope = (62 - CAMERA.cx) / CAMERA.fx
    assert scan.ranges[0] == pytest.approx(front * np.hypot(1, slope), rel=1e-4)
    station.spin_until(
        lambda: '--child-frame-id camera_color_optical_frame_level' in depth_node.log
    )
    station.set_parameters(camera_height=0.0, scan_min_height=0.1, scan_max_height=1.0)
    station.ignore('depth/scan')


def test_compressed_forms_hold_what_the_plain_images_hold(station):
    columns, rows = np.arange(WIDTH, dtype=np.uint8), np.arange(HEIGHT, dtype=np.uint8)
    rgb = np.dstack(
        [3 * np.add.outer(rows, columns), *np.broadcast_arrays(rows[:, None], columns)]
    )
    image = Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH, data=rgb.tobytes())
    plain = ('depth/image_raw', 'depth/color', 'color/image')
    coded = (f'{plain[0]}/compressedDepth', *(f'{topic}/compressed' for topic in plain[1:]))
    answer = station.exchange(image, info_of(CAMERA), *plain, *coded)
    for topic in coded:
        assert answer[topic].header == answer['depth/image_raw'].header, topic
    depth = answer[coded[0]]
    assert depth.format == '16UC1; compressedDepth png'
    assert bytes(depth.data[:20]) == bytes(12) + b'\x89PNG\r\n\x1a\n'
    np.testing.assert_array_equal(decode_compressed_depth(depth), decode_depth(answer[plain[0]]))
    for topic in plain[1:]:
        compressed = answer[f'{topic}/compressed']
        assert compressed.format == 'rgb8; jpeg compressed bgr8'
        wrong = decode_compressed_rgb(compressed).astype(int) - decode_rgb(answer[topic])
        assert np.abs(wrong).mean() < 4, topic
        assert abs(wrong.mean(axis=(0, 1))).max() < 2, topic


@pytest.mark.parametrize('format_', ['jpeg', 'png'])
def test_compressed_images_arrive_in_their_colours(compressed_station, format_):
    rgb = np.full((HEIGHT, WIDTH, 3), COLOR, np.uint8)
    fields = compressed_rgb_fields(rgb, format_)
    image = CompressedImage(format=fields['format'], data=bytes(fields['data']))
    answer = compressed_station.exchange(image, info_of(CAMERA), 'points', 'depth/image')
    assert metres(answer['depth/image']).shape == (HEIGHT, WIDTH)
    bits = int(np.ascontiguousarray(read_cloud(answer['points'])['rgb']).view('<u4')[5, 5])
    assert np.allclose([bits >> 16 & 255, bits >> 8 & 255, bits & 255], COLOR, atol=3)


def test_a_rectified_image_is_measured_with_p_of_its_camera_info(start_node, make_station):
    # As image_proc publishes it: the topic's name says that K and D do not describe the picture.
    process = start_node(
        'rectified', remaps={'image_raw': 'cam/image_rect'}, inference_size=[128, 160]
    )
    station = make_station('rectified')
    station.images = station.node.create_publisher(Image, 'cam/image_rect', 5)
    station.wait_until_active()
    longer = PinholeCamera(WIDTH, HEIGHT, 76.0, 77.0, 33.0, 22.0)
    info = info_of(CAMERA, d=[-0.3, 0.1, 0.0, 0.0, 0.0], p=list(info_of(longer).p))
    topics = ('depth/image', 'depth/camera_info', 'points')

    def seen(**parameters: Any) -> tuple[dict[str, Any], float]:
        assert all(result.successful for result in station.set_parameters(**parameters))
        answer = station.exchange(solid_image('rgb8'), info, *topics)
        return answer, float(np.nanmedian(metres(answer['depth/image'])))

    answer, by_p = seen()
    assert list(answer['depth/camera_info'].d) == [0] * 5
    np.testing.assert_allclose(answer['depth/camera_info'].k, longer.matrix.reshape(-1))
    first = read_cloud(answer['points'])[0, 0]
    assert first['x'] / first['z'] == pytest.approx((0 - longer.cx) / longer.fx, rel=1e-5)
    answer, by_k = seen(rectified_input='false')
    np.testing.assert_allclose(answer['depth/camera_info'].k, CAMERA.matrix.reshape(-1))
    assert by_p == pytest.approx(by_k * longer.fx / CAMERA.fx, rel=1e-4)
    assert seen(rectified_input=True)[1] == pytest.approx(by_p, rel=1e-6)
    station.destroy()
    process.end()

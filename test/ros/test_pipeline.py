# SPDX-License-Identifier: Apache-2.0
"""From an image message and a known depth to the messages that are published."""

from __future__ import annotations

from itertools import islice
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages.clouds import read_cloud
import numpy as np
import pytest

pytest.importorskip('rclpy')

from adabins_ros import DepthPredictor  # noqa: E402, I100
from adabins_ros.inference.estimate import DepthEstimate  # noqa: E402
from adabins_ros.model.config import PRESETS  # noqa: E402
from adabins_ros.recordings import (  # noqa: E402
    find_camera_topics,
    iterate_frames,
    open_recording,
)
from adabins_ros.ros import depth_node  # noqa: E402
from adabins_ros.ros.camera_source import CameraSource  # noqa: E402
from adabins_ros.ros.diagnostics import FrameStatistics  # noqa: E402
from adabins_ros.ros.parameters import DepthNodeSettings  # noqa: E402
from adabins_ros.ros.pipeline import DepthPipeline  # noqa: E402
from adabins_ros.ros.products import PRODUCTS  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

CAMERA = PinholeCamera(160, 120, 130.0, 131.0, 80.5, 58.0)
DISTANCE_M = 2.0
EVERYTHING = {'image', 'image_raw', 'std', 'color', 'points', 'bin_centers', 'camera_info'}


class Renderer:
    """An estimator that knows the scene: it renders the depth of a plane."""

    config = PRESETS['adabins-lite']

    def __init__(self, normal: tuple[float, float, float], camera: PinholeCamera) -> None:
        self.normal = np.array(normal) / np.linalg.norm(normal)
        self.camera = camera
        self.focal_lengths: list[float | None] = []

    def predict(
        self, image: np.ndarray, focal_length_px: float | None = None, **_options: Any
    ) -> DepthEstimate:
        """Intersect the ray of every pixel with the plane; the distribution is 10 % wide."""
        self.focal_lengths.append(focal_length_px)
        camera = self.camera
        assert image.shape == (camera.height, camera.width, 3)
        v, u = np.indices((camera.height, camera.width))
        rays = np.stack(
            [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], axis=-1
        )
        depth = (DISTANCE_M / (rays @ self.normal)).astype(np.float32)
        centers = np.linspace(0.1, 10, 64, dtype=np.float32)
        return DepthEstimate(depth, depth * np.float32(0.1), centers, (240, 320))


def info_of(camera: PinholeCamera) -> CameraInfo:
    """Return the camera_info of a camera."""
    return CameraInfo(
        width=camera.width,
        height=camera.height,
        k=[camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0],
    )


def run(
    estimator: Any, info: CameraInfo | None, wanted: set[str] = EVERYTHING, **parameters: Any
) -> dict[str, Any]:
    """Return the messages about one grey image of the estimator's camera."""
    camera = estimator.camera
    cameras = CameraSource('/camera_info', lambda cause, text: None)
    if info is not None:
        cameras.update(info)
    pipeline = DepthPipeline(estimator, cameras, FrameStatistics(), lambda cause, text: None)
    size = camera.width * camera.height
    image = Image(
        height=camera.height,
        width=camera.width,
        encoding='mono8',
        step=camera.width,
        data=bytes([128]) * size,
    )
    image.header.frame_id = 'optical'
    settings = DepthNodeSettings().with_values(parameters)
    return {made.name: message for made, message in pipeline.messages(image, wanted, settings)}


def finite_points(message: Any) -> np.ndarray:
    """Return the finite points of a cloud, (N, 3)."""
    cloud = read_cloud(message)
    points = np.stack([cloud[name] for name in 'xyz'], axis=-1).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]


@pytest.mark.parametrize('stride', [1, 2, 3, 5, 8])
@pytest.mark.parametrize('normal', [(0, 0, 1), (0.3, -0.2, 1), (0, 0.9, 1)])
def test_a_plane_at_two_metres_comes_back_as_that_plane(normal, stride):
    estimator = Renderer(normal, CAMERA)
    message = run(estimator, info_of(CAMERA), {'points'}, point_stride=stride)['points']
    assert (message.height, message.width) == (-(-120 // stride), -(-160 // stride))
    points = finite_points(message)
    assert len(points) > 0.9 * message.height * message.width
    np.testing.assert_allclose(points @ estimator.normal, DISTANCE_M, atol=1e-4)


def test_the_plane_seen_through_a_binned_region_of_interest_is_the_same_plane():
    full = PinholeCamera(640, 480, 500.0, 505.0, 330.0, 250.0)
    seen = full.cropped(100, 60, 320, 240).binned(2, 2)
    info = info_of(full)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 60, 320, 240
    info.binning_x = info.binning_y = 2
    estimator = Renderer((0.1, 0.2, 1), seen)
    messages = run(estimator, info)
    points = finite_points(messages['points'])
    np.testing.assert_allclose(points @ estimator.normal, DISTANCE_M, atol=1e-4)
    np.testing.assert_allclose(messages['camera_info'].k, seen.matrix.reshape(-1))
    assert estimator.focal_lengths == [pytest.approx(250.0)]


def test_points_keep_their_gates():
    estimator = Renderer((0, 0.9, 1), CAMERA)
    depth = np.frombuffer(run(estimator, info_of(CAMERA))['image'].data, '<f4')
    middle = float(np.median(depth))
    everything = finite_points(run(estimator, info_of(CAMERA))['points'])
    near = finite_points(run(estimator, info_of(CAMERA), max_depth=middle)['points'])
    far = finite_points(run(estimator, info_of(CAMERA), min_depth=middle)['points'])
    assert near[:, 2].max() <= middle <= far[:, 2].min()
    assert len(near) + len(far) == pytest.approx(len(everything), abs=100)
    assert len(finite_points(run(estimator, info_of(CAMERA), max_std_ratio=0.11)['points']))
    assert not len(finite_points(run(estimator, info_of(CAMERA), max_std_ratio=0.09)['points']))


def test_a_cloud_says_whether_points_are_missing():
    estimator = Renderer((0, 0, 1), CAMERA)
    for farthest, is_dense in ((0.0, True), (DISTANCE_M / 2, False)):
        cloud = run(estimator, info_of(CAMERA), {'points'}, max_depth=farthest)['points']
        assert cloud.is_dense == is_dense
        assert (len(finite_points(cloud)) == cloud.width * cloud.height) == is_dense


def test_flying_pixels_between_two_planes_are_no_points():
    class Step(Renderer):
        """A near wall before a far one, with the smooth edge of a network between them."""

        def predict(self, image: Any, *options: Any, **more: Any) -> DepthEstimate:
            estimate = super().predict(image, *options, **more)
            ramp = np.interp(np.arange(160), [77, 83], [1.0, 3.0]).astype(np.float32)
            depth = np.broadcast_to(ramp, (120, 160)).copy()
            return DepthEstimate(depth, estimate.std, estimate.bin_centers, (240, 320))

    for stride in (1, 2, 4):
        points = finite_points(
            run(Step((0, 0, 1), CAMERA), info_of(CAMERA), point_stride=stride)['points']
        )
        between = (points[:, 2] > 1.2) & (points[:, 2] < 2.6)
        assert not between.any()
        assert len(points) > 0.85 * (120 // stride) * (160 // stride)


def test_without_intrinsics_there_is_depth_but_no_points_and_no_correction():
    estimator = Renderer((0, 0, 1), CAMERA)
    assert set(run(estimator, None)) == EVERYTHING - {'points', 'camera_info'}
    assert estimator.focal_lengths == [None]
    assert run(estimator, None, {'points', 'camera_info'}) == {}
    assert len(estimator.focal_lengths) == 1


def test_what_needs_no_network_comes_first_and_does_not_run_it():
    estimator = Renderer((0, 0, 1), CAMERA)
    assert list(run(estimator, info_of(CAMERA), {'camera_info'})) == ['camera_info']
    assert not estimator.focal_lengths
    assert next(iter(run(estimator, info_of(CAMERA)))) == 'camera_info'
    assert len(estimator.focal_lengths) == 1


def test_a_frame_that_has_no_depth_has_no_colours_either():
    pairs, came = {'image', 'color_image', 'color_camera_info'}, []

    class Broken(Renderer):
        """A network that fails."""

        def predict(self, image: Any, *options: Any, **more: Any) -> DepthEstimate:
            """Fail."""
            raise RuntimeError('out of memory')

    with pytest.raises(RuntimeError, match='out of memory'):
        came += run(Broken((0, 0, 1), CAMERA), info_of(CAMERA), pairs)
    assert not came
    assert set(run(Renderer((0, 0, 1), CAMERA), None, pairs)) == {'image', 'color_image'}


def test_every_product_has_its_switch_and_its_line_in_the_help(capsys):
    with pytest.raises(SystemExit):
        depth_node.main(['--help'])
    lines = capsys.readouterr().out.splitlines()
    for product in PRODUCTS:
        assert any(line.split()[:1] == [product.topic] for line in lines), product.topic
        assert DepthNodeSettings().publishes(product.name)
        assert not DepthNodeSettings(**{f'publish_{product.name}': False}).publishes(product.name)


def test_a_field_of_view_stands_in_for_intrinsics():
    camera = PinholeCamera.from_horizontal_fov(160, 120, 70.0)
    estimator = Renderer((0.2, 0, 1), camera)
    messages = run(estimator, None, horizontal_fov_deg=70.0)
    points = finite_points(messages['points'])
    np.testing.assert_allclose(points @ estimator.normal, DISTANCE_M, atol=1e-4)
    assert estimator.focal_lengths == [pytest.approx(camera.fx)]


def test_focal_correction_can_be_switched_off_while_points_stay_right():
    estimator = Renderer((0, 0, 1), CAMERA)
    messages = run(estimator, info_of(CAMERA), focal_correction=False)
    assert estimator.focal_lengths == [None]
    assert len(finite_points(messages['points']))


class Ends(Renderer):
    """A network that sees from 0.1 to 10 m, through a lens of twice its own focal length."""

    def predict(self, image: Any, *options: Any, **more: Any) -> DepthEstimate:
        estimate = super().predict(image, *options, **more)
        rows = np.repeat(np.array([0.1, 0.102, 5.0, 9.89, 9.95, 10.0], np.float32), 20)
        depth = np.repeat(2 * rows[:, np.newaxis], 160, axis=1)
        return DepthEstimate(depth, estimate.std, estimate.bin_centers, (240, 320), 2.0)


def test_depth_at_an_end_of_the_models_range_is_out_of_range_and_no_point():
    estimator = Ends((0, 0, 1), CAMERA)
    messages = run(estimator, info_of(CAMERA), point_stride=1, edge_ratio=0.0)
    marked = np.frombuffer(messages['image'].data, '<f4').reshape(120, 160)[::20, 0]
    np.testing.assert_allclose(marked, [-np.inf, 0.204, 10.0, 19.78, np.inf, np.inf], rtol=1e-6)
    raw = np.frombuffer(messages['image_raw'].data, '<u2').reshape(120, 160)[::20, 0]
    np.testing.assert_array_equal(raw, [0, 204, 10000, 19780, 0, 0])
    is_point = np.isfinite(read_cloud(messages['points'])['z'])[::20, 0]
    np.testing.assert_array_equal(is_point, [False, True, True, True, False, False])
    nearer = run(estimator, info_of(CAMERA), {'image'}, max_depth=9.0)['image']
    assert (np.frombuffer(nearer.data, '<f4').reshape(120, 160)[40:] == np.inf).all()


def test_rays_beyond_the_range_are_free_up_to_it_and_too_near_ones_tell_nothing():
    parameters = {'point_stride': 1, 'edge_ratio': 0.0}
    for reach in (15.0, 1000.0):
        asked = {**parameters, 'clear_range': reach}
        made = run(Ends((0, 0, 1), CAMERA), info_of(CAMERA), {'points_clearing'}, **asked)
        points = finite_points(made['points_clearing'])
        assert len(points) == 5 * 20 * 160
        far = np.linalg.norm(points, axis=1).reshape(5, 20, 160)
        np.testing.assert_allclose(points[:, 2].reshape(5, -1)[0], 0.204, rtol=1e-5)
        ends = np.minimum(19.8 * far / points[:, 2].reshape(far.shape), reach)
        np.testing.assert_allclose(far[3:], ends[3:], rtol=1e-5)


def test_what_the_lens_did_not_see_is_unknown_once_it_is_rectified():
    bent = PinholeCamera(160, 120, 130.0, 131.0, 80.5, 58.0, 'plumb_bob', (0.5, 0.0, 0, 0, 0))
    info = info_of(bent)
    info.distortion_model, info.d = bent.distortion_model, list(bent.distortion)
    estimator = Renderer((0, 0, 1), bent)
    as_it_comes = run(estimator, info, {'image', 'points'}, point_stride=1)
    assert np.isfinite(np.frombuffer(as_it_comes['image'].data, '<f4')).all()
    messages = run(estimator, info, rectify=True, point_stride=1, edge_ratio=0.0)
    depth = np.frombuffer(messages['image'].data, '<f4').reshape(120, 160)
    seen = np.isfinite(depth)
    assert 0.5 < seen.mean() < 1
    assert seen[20:100, 30:130].all()
    assert np.isnan(depth[[0, 0, -1, -1], [0, -1, 0, -1]]).all()
    raw = np.frombuffer(messages['image_raw'].data, '<u2').reshape(120, 160)
    np.testing.assert_array_equal(raw == 0, ~seen)
    np.testing.assert_array_equal(np.isfinite(read_cloud(messages['points'])['z']), seen)
    std = np.frombuffer(messages['std'].data, '<f4').reshape(120, 160)
    np.testing.assert_array_equal(np.isnan(std), ~seen)


def test_depth_goes_on_from_the_last_frame_until_the_parameter_says_no(repository):
    with open_recording(repository / 'adabins_ros/samples/living_room.mcap') as recording:
        first, *_, last = islice(iterate_frames(recording, find_camera_topics(recording)), 10)
    predictor = DepthPredictor.from_pretrained('adabins-lite', device='cpu', engine='onnx')
    cameras = CameraSource('/camera_info', lambda cause, text: None)
    pipeline = DepthPipeline(predictor, cameras, FrameStatistics(), lambda cause, text: None)

    def depth(rgb: np.ndarray, nanosec: int, **parameters: Any) -> np.ndarray:
        image = Image(height=240, width=320, encoding='rgb8', step=960, data=rgb.tobytes())
        image.header.stamp.nanosec = nanosec
        settings = DepthNodeSettings().with_values(parameters)
        ((_, message),) = pipeline.messages(image, {'image'}, settings)
        return np.frombuffer(message.data, '<f4').reshape(240, 320)

    alone = predictor.predict(last.rgb).depth
    depth(first.rgb, 0)
    assert not np.array_equal(depth(last.rgb, 100_000_000), alone)
    np.testing.assert_array_equal(depth(last.rgb, 200_000_000, temporal_smoothing=0.0), alone)
    # Neither does it remember what it saw before it was switched off, nor are stamps needed.
    np.testing.assert_array_equal(depth(last.rgb, 300_000_000), alone)
    for rgb in (first.rgb, last.rgb):
        np.testing.assert_array_equal(depth(rgb, 0), predictor.predict(rgb).depth)
    predictor.close()

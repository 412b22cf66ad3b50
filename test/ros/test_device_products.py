# SPDX-License-Identifier: Apache-2.0
"""Messages made where the network runs are those made on the CPU."""

from __future__ import annotations

from dataclasses import replace
import functools
from pathlib import Path
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages.clouds import read_cloud
import numpy as np
import pytest

pytest.importorskip('rclpy')
torch = pytest.importorskip('torch')

from adabins_ros import DepthPredictor  # noqa: E402, I100
from adabins_ros.inference.transfers import Download, StagedDownloads  # noqa: E402
from adabins_ros.model import AdaBins, AdaBinsConfig  # noqa: E402
from adabins_ros.ros.camera_source import CameraSource  # noqa: E402
from adabins_ros.ros.device_arrays import DeviceArrays  # noqa: E402
from adabins_ros.ros.frame_arrays import ProductLimits  # noqa: E402
from adabins_ros.ros.frame_statistics import FrameStatistics  # noqa: E402
from adabins_ros.ros.parameters import DepthNodeSettings, PRODUCTS  # noqa: E402
from adabins_ros.ros.pipeline import DepthPipeline, estimate_together  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

TINY = Path(__file__).parents[1] / 'training' / 'tiny_network.json'
WIDTH, HEIGHT = 161, 121


@functools.cache
def predictor() -> DepthPredictor:
    torch.manual_seed(0)
    network = AdaBins(AdaBinsConfig.model_validate_json(TINY.read_text())).eval()
    return DepthPredictor(network, device='cpu', engine='torch')


def photo() -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image = Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH)
    image.data = pixels.tobytes()
    image.header.frame_id = 'optical'
    return image


def messages(
    on_device: bool, wanted: set[str], **parameters: Any
) -> tuple[dict[str, Any], FrameStatistics]:
    cameras = CameraSource('/camera_info', lambda cause, text: None)
    k = [130.0, 0.0, 80.5, 0.0, 131.0, 58.0, 0.0, 0.0, 1.0]
    cameras.update(CameraInfo(width=WIDTH, height=HEIGHT, k=k))
    statistics = FrameStatistics()
    pipeline = DepthPipeline(
        predictor(), cameras, statistics, lambda cause, text: None, on_device=on_device
    )
    settings = DepthNodeSettings().with_values(parameters)
    for _ in range(2):  # the second frame finds memory in use
        made = dict(pipeline.messages(photo(), wanted, settings))
    return made, statistics


@pytest.mark.parametrize(
    ('parameters', 'is_dense'),
    [
        ({}, True),
        ({'point_stride': 1, 'edge_ratio': 0.0}, True),
        ({'point_stride': 3, 'min_depth': 4.59, 'max_depth': 4.6}, False),
        ({'point_stride': 4, 'edge_ratio': 0.001, 'color_max_depth': 4.65}, False),
        ({'max_std_ratio': 0.3805}, False),
    ],
    ids=['default', 'dense', 'range', 'edges', 'std'],
)
def test_a_device_publishes_what_the_cpu_publishes(
    parameters: dict[str, Any], is_dense: bool
) -> None:
    wanted = {*PRODUCTS, 'camera_info'}
    expected, _ = messages(False, wanted, **parameters)
    actual, statistics = messages(True, wanted, **parameters)
    assert list(actual) == list(expected)
    for name in ('image', 'image_raw', 'std', 'color'):
        assert actual[name].encoding == expected[name].encoding
        assert actual[name].data.tobytes() == expected[name].data.tobytes()
    for name in ('camera_info', 'bin_centers'):
        assert actual[name] == expected[name]
    ours, theirs = actual['points'], expected['points']
    assert ours.is_dense == theirs.is_dense == is_dense
    assert ours.fields == theirs.fields
    assert np.isfinite(read_cloud(ours)['z']).any()
    for name in ('x', 'y', 'z', 'rgb', 'std'):
        np.testing.assert_array_equal(read_cloud(ours)[name], read_cloud(theirs)[name])
    stages = {'resize', 'network', 'upsample', 'points'}
    assert stages <= set(statistics.report().latency_s)


def test_what_nobody_wants_is_not_downloaded() -> None:
    class Recorded(StagedDownloads):
        """Downloads that remember what they were asked for."""

        def start(self, name: str, result: torch.Tensor) -> Download:
            started.append(name)
            return super().start(name, result)

    started: list[str] = []
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left = predictor().predict_on_device(rgb)
    limits = ProductLimits(DepthNodeSettings(), 6.0)
    downloads = Recorded(torch.device('cpu'))
    arrays = DeviceArrays(rgb, None, left, limits, {'std', 'camera_info', 'image'}, downloads)
    assert started == ['image', 'std']
    np.testing.assert_array_equal(arrays.std(), left.std.numpy())


def test_the_uploaded_image_colours_the_cloud() -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    camera = PinholeCamera(WIDTH, HEIGHT, 130.0, 131.0, 80.5, 58.0)
    uploaded = torch.full((HEIGHT, WIDTH, 3), 0x12, dtype=torch.uint8)
    left = replace(predictor().predict_on_device(rgb), image=uploaded)
    limits = ProductLimits(DepthNodeSettings(), 6.0)
    downloads = StagedDownloads(torch.device('cpu'))
    arrays = DeviceArrays(rgb, camera, left, limits, {'points'}, downloads)
    cloud, is_dense = arrays.points()
    assert cloud.shape == (-(-HEIGHT // 2), -(-WIDTH // 2))
    colours = np.ascontiguousarray(cloud['rgb']).view(np.uint32)
    assert (colours == 0x121212).all()
    assert is_dense == np.isfinite(cloud['z']).all()


@pytest.mark.parametrize('on_device', [False, True])
def test_frames_of_several_cameras_share_a_batch(on_device: bool) -> None:
    settings, wanted = DepthNodeSettings(), set(PRODUCTS)
    alone = [messages(on_device, wanted)[0] for _ in range(2)]
    cameras = CameraSource('/camera_info', lambda cause, text: None)
    k = [130.0, 0.0, 80.5, 0.0, 131.0, 58.0, 0.0, 0.0, 1.0]
    cameras.update(CameraInfo(width=WIDTH, height=HEIGHT, k=k))
    pipelines = [
        DepthPipeline(
            predictor(), cameras, FrameStatistics(), lambda cause, text: None, on_device=on_device
        )
        for _ in range(2)
    ]
    frames = [pipeline.prepare(photo(), wanted, settings) for pipeline in pipelines]
    estimates = estimate_together(predictor(), frames, on_device)
    for pipeline, frame, estimate, expected in zip(
        pipelines, frames, estimates, alone, strict=True
    ):
        made = dict(pipeline.products(frame, estimate))
        assert set(made) == wanted
        depth, reference = (np.frombuffer(each['image'].data, '<f4') for each in (made, expected))
        np.testing.assert_allclose(depth, reference, rtol=0, atol=1e-4)

# SPDX-License-Identifier: Apache-2.0
"""Several cameras share a batch, and each gets what it would get alone."""

from pathlib import Path

from adabins_ros import DepthPredictor
from adabins_ros.inference.engines.engine import is_installed
from adabins_ros.model import AdaBins, AdaBinsConfig
import numpy as np
import pytest
import torch
from torch import nn

TINY = Path(__file__).parents[1] / 'training' / 'tiny_network.json'
ENGINES = ['torch', *(name for name in ('onnx', 'openvino') if is_installed(name))]


@pytest.fixture(scope='module')
def network() -> AdaBins:
    torch.manual_seed(0)
    made = AdaBins(AdaBinsConfig.model_validate_json(TINY.read_text())).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.mark.parametrize('flip_average', [False, True])
@pytest.mark.parametrize('engine', ENGINES)
def test_cameras_together_see_what_each_sees_alone(
    network: AdaBins, engine: str, flip_average: bool
) -> None:
    predictor = DepthPredictor(
        network, device='cpu', engine=engine, flip_average=flip_average, pixel_budget=64 * 96
    )
    # The first, third and fourth are of one size for the network, the second is not.
    images = pictures((64, 96), (90, 70), (128, 192), (64, 96))
    focals = [110.0, None, 90.0, 55.0]
    together = predictor.predict_batch(images, focals)
    sizes = [estimate.inference_size for estimate in together]
    assert sizes[0] == sizes[2] == sizes[3] != sizes[1]
    for image, focal, estimate in zip(images, focals, together, strict=True):
        alone = predictor.predict(image, focal)
        assert estimate.depth.shape == image.shape[:2]
        assert estimate.inference_size == alone.inference_size
        assert estimate.focal_scale == alone.focal_scale
        for name in ('depth', 'std', 'bin_centers'):
            ours, theirs = getattr(estimate, name), getattr(alone, name)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4, err_msg=name)
    predictor.close()


def test_no_camera_gives_no_estimate_and_a_missing_focal_length_is_said(network: AdaBins) -> None:
    predictor = DepthPredictor(network, device='cpu', engine='torch')
    assert predictor.predict_batch([]) == []
    with pytest.raises(ValueError, match='1 focal_lengths_px for 2 images'):
        predictor.predict_batch(pictures((64, 96), (64, 96)), [110.0])
    with pytest.raises(ValueError, match=r'image must be .* not \(64, 96\)'):
        predictor.predict_batch([*pictures((64, 96)), np.zeros((64, 96), np.uint8)])


def test_an_estimate_left_on_the_device_is_the_same_and_stays(network: AdaBins) -> None:
    predictor = DepthPredictor(network, device='cpu', engine='torch')
    first, second = pictures((64, 96), (80, 120))
    left = predictor.predict_on_device(first, 55.0)
    predictor.predict_on_device(second)
    expected = predictor.predict(first, 55.0)
    assert not predictor.on_gpu
    assert set(left.times.seconds()) == {'resize', 'network', 'upsample'}
    np.testing.assert_array_equal(left.depth.numpy(), expected.depth)
    np.testing.assert_array_equal(left.std.numpy(), expected.std)
    np.testing.assert_array_equal(left.on_host().bin_centers, expected.bin_centers)

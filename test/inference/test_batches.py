# SPDX-License-Identifier: Apache-2.0
"""Several cameras are estimated together, and each gets what it would get alone."""

from pathlib import Path

from adabins_ros import DepthPredictor
from adabins_ros.inference.engines.engine import Arrays, is_installed
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


class Counting:
    """An engine that notes the shapes that come, on a device to order."""

    name = description = 'counting'
    input_names = frozenset({'image'})

    def __init__(self, device: str) -> None:
        self.device = device
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Arrays) -> Arrays:
        batch, height, width, _ = inputs['image'].shape
        self.shapes.append(inputs['image'].shape)
        maps = np.ones((2, batch, height // 2, width // 2), np.float32)
        centers = np.ones((batch, 4), np.float32)
        return {'depth': maps[0], 'std': maps[1], 'bin_centers': centers}

    def close(self) -> None:
        pass


@pytest.mark.parametrize('cameras', [1, 2, 3, 4])
def test_a_processor_gets_cameras_one_by_one_and_a_gpu_together(
    network: AdaBins, cameras: int
) -> None:
    predictor = DepthPredictor(network, device='cpu', engine='torch')
    for device, shapes in (
        ('cpu', [(1, 64, 96, 3)] * cameras),
        ('cuda:0', [(cameras, 64, 96, 3)]),
    ):
        engine = predictor._running.engine = Counting(device)
        predictor.predict_batch(pictures(*[(64, 96)] * cameras))
        assert engine.shapes == shapes


@pytest.mark.skipif(not is_installed('onnx'), reason='needs onnxruntime')
def test_the_number_of_cameras_builds_no_engine_anew(network: AdaBins) -> None:
    predictor = DepthPredictor(network, device='cpu', engine='onnx')
    sessions = predictor._running.engine._sessions
    before = dict(sessions)
    predictor.predict(pictures((64, 96))[0])
    for cameras in (3, 1, 4, 2, 3):
        predictor.predict_batch(pictures(*[(64, 96)] * cameras))
    assert list(sessions) == list(before) == [(1, 64, 96)]

# SPDX-License-Identifier: Apache-2.0
"""Recordings of a network: which shapes have one, and what a user sees where none can be made."""

import logging
from pathlib import Path

from adabins_ros import DepthPredictor
from adabins_ros.inference.engines import Place
from adabins_ros.inference.engines.recording import RecordedNetwork, Runs
from adabins_ros.inference.engines.torch_engine import deployed, TorchEngine
from adabins_ros.model import AdaBins, AdaBinsConfig
from adabins_ros.model.adabins import DepthDistribution
import numpy as np
import pytest
import torch

TINY = Path(__file__).parents[1] / 'training' / 'tiny_network.json'
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs an NVIDIA GPU')


def brightness(pixels: torch.Tensor) -> DepthDistribution:
    depth = pixels.float().mean(-1)[:, None, ::2, ::2]
    return DepthDistribution(depth, depth, pixels.new_empty((len(pixels), 0)))


class Recorder:
    """Record into fixed memory, as a CUDA graph does, but on the CPU."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, run: Runs, pixels: torch.Tensor) -> Runs:
        self.shapes.append(tuple(pixels.shape[1:3]))
        memory = pixels.float()

        def replay(pixels: torch.Tensor) -> DepthDistribution:
            memory.copy_(pixels)
            return run(memory)

        return replay


def frame(height: int, width: int, value: int = 7) -> torch.Tensor:
    return torch.full((1, height, width, 3), value, dtype=torch.uint8)


def test_a_shape_is_recorded_once_and_each_frame_gets_its_own_result() -> None:
    recorder = Recorder()
    network = RecordedNetwork(brightness, recorder)
    results = [network(frame(4, 6, value)) for value in (1, 2, 3)]
    assert [float(result.depth.mean()) for result in results] == [1, 2, 3]
    network(frame(8, 6))
    network(frame(4, 6))
    assert recorder.shapes == [(4, 6), (8, 6)]


def test_the_least_used_recording_makes_room_for_a_shape_that_stays() -> None:
    recorder = Recorder()
    network = RecordedNetwork(brightness, recorder)
    for size in ((4, 6), (8, 6), (4, 6), (10, 6), (10, 6), (4, 6), (8, 6), (8, 6)):
        assert network(frame(*size)).depth.shape == (1, 1, size[0] // 2, 3)
    assert recorder.shapes == [(4, 6), (8, 6), (10, 6), (8, 6)]


def test_cameras_of_three_sizes_in_turns_do_not_record_for_each_frame() -> None:
    recorder = Recorder()
    network = RecordedNetwork(brightness, recorder)
    for _ in range(5):
        for size in ((4, 6), (8, 6), (10, 6)):
            network(frame(*size))
    assert recorder.shapes == [(4, 6), (8, 6)]


def test_without_recordings_the_network_runs_and_one_warning_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(run: Runs, pixels: torch.Tensor) -> Runs:
        raise RuntimeError('operation not permitted when stream is capturing\nmore')

    network = RecordedNetwork(brightness, fail)
    with caplog.at_level(logging.WARNING):
        for value in (1, 2):
            assert float(network(frame(4, 6, value)).depth.mean()) == value
    (record,) = caplog.records
    assert record.getMessage() == (
        'no CUDA graph could be made (operation not permitted when stream is capturing); the '
        'network runs without'
    )


def tiny_network() -> AdaBins:
    torch.manual_seed(0)
    return AdaBins(AdaBinsConfig.model_validate_json(TINY.read_text())).eval()


def test_an_engine_may_be_closed_twice() -> None:
    cpu = torch.device('cpu')
    engine = TorchEngine(deployed(tiny_network(), cpu), Place(cpu))
    engine(frame(64, 96))
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match='closed'):
        engine(frame(64, 96))


@NEEDS_GPU
@pytest.mark.parametrize('precision', ['float32', 'float16', 'bfloat16'])
def test_a_gpu_gives_the_depth_of_the_cpu(
    precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    allowed_m = {'float32': 2e-3, 'float16': 1e-2, 'bfloat16': 1e-1}[precision]
    network = tiny_network()
    on_cpu = DepthPredictor(network, device='cpu', engine='torch')
    on_gpu = DepthPredictor(network, device='cuda', engine='torch', precision=precision)
    random = np.random.default_rng(0)
    with caplog.at_level(logging.WARNING):
        for size in ((64, 96), (64, 96), (128, 192), (90, 70), (64, 96)):
            image = random.integers(0, 256, (*size, 3), np.uint8)
            expected, actual = on_cpu.predict(image, 100.0), on_gpu.predict(image, 100.0)
            np.testing.assert_allclose(actual.depth, expected.depth, rtol=0, atol=allowed_m)
            np.testing.assert_allclose(actual.std, expected.std, rtol=0, atol=allowed_m)
    assert not caplog.records

# SPDX-License-Identifier: Apache-2.0
"""
Between upload and download nothing leaves the GPU, or waits for it.

Checked without a GPU, by tensors that know their shape, type and device but hold no numbers
(torch's FakeTensorMode): mixing devices raises, and so does asking for a number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.on_device.cloud import packed_cloud
from adabins_ros.geometry.on_device.filtering import valid_points
from adabins_ros.geometry.on_device.images import depth_colors, mark_range, millimetres
from adabins_ros.inference.deployment import deploy
from adabins_ros.inference.engines.pixel_network import PixelNetwork
from adabins_ros.inference.estimate import merge_flipped
from adabins_ros.inference.half_weights import hold_weights_in
from adabins_ros.inference.resizing import resized_on_device
from adabins_ros.inference.rewrites import rewrites_for
from adabins_ros.model import AdaBins, AdaBinsConfig
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional

TINY = Path(__file__).parents[1] / 'training' / 'tiny_network.json'
# Not the first GPU: what is kept for a device must not be fake for one that a machine has.
GPU = torch.device('cuda', 7)
HEIGHT, WIDTH = 121, 161


@contextmanager
def fake_gpu(dtype: torch.dtype) -> Iterator[None]:
    """Let tensors be fake, and half precision be autocast although there is no GPU."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        torch.set_autocast_enabled('cuda', dtype != torch.float32)
        torch.set_autocast_dtype('cuda', torch.float16)
        try:
            yield
        finally:
            torch.set_autocast_enabled('cuda', False)


def move_to_gpu(network: torch.nn.Module) -> None:
    for module in network.modules():
        for kept in (module._parameters, module._buffers):
            for name, tensor in kept.items():
                if tensor is not None:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)
                    kept[name] = (
                        torch.nn.Parameter(fake, requires_grad=False)
                        if kept is module._parameters
                        else fake
                    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=['single', 'half'])
@pytest.mark.parametrize('strategy', ['adaptive', 'uniform', 'regression'])
def test_a_frame_is_resized_estimated_and_upsampled_on_the_gpu(
    strategy: str, dtype: torch.dtype
) -> None:
    config = AdaBinsConfig.model_validate_json(TINY.read_text())
    config = config.model_copy(update={'bin_strategy': strategy})
    graph = deploy(AdaBins(config).eval(), rewrites_for(GPU))
    network = PixelNetwork(graph, config, torch.channels_last).eval()
    if dtype != torch.float32:
        hold_weights_in(network, dtype)
    with fake_gpu(dtype):
        move_to_gpu(network)
        image = torch.empty(HEIGHT, WIDTH, 3, dtype=torch.uint8, device=GPU)
        pixels = resized_on_device(image, (64, 96))
        output = network(torch.cat([pixels, pixels.flip(2)]))
        moments = merge_flipped(output)
        full = functional.interpolate(moments, (HEIGHT, WIDTH), mode='bilinear')
    for tensor in (*output, full):
        assert tensor.device == GPU
        assert tensor.dtype == torch.float32
    assert full.shape == (1, 2, HEIGHT, WIDTH)


@pytest.mark.parametrize('size', [(HEIGHT, WIDTH), (1081, 1919)])
def test_products_are_made_on_the_gpu(size: tuple[int, int]) -> None:
    camera = PinholeCamera(size[1], size[0], 130.0, 131.0, 80.5, 58.0)
    gates = {'min_depth': 0.5, 'max_depth': 5.0, 'max_std_ratio': 0.1, 'edge_ratio': 0.05}
    with fake_gpu(torch.float32):
        image = torch.empty(*size, 3, dtype=torch.uint8, device=GPU)
        depth, std = torch.empty(2, *size, device=GPU)
        marked = mark_range(depth, 0.5, 5.0)
        valid = valid_points(depth, std, **gates)
        made = (
            millimetres(marked),
            depth_colors(marked, 0.0, 5.0),
            packed_cloud(depth, image, std, valid, camera, 1),
        )
    assert all(tensor.device == GPU and tensor.is_contiguous() for tensor in (marked, *made))


def test_this_check_notices_what_waits_or_mixes() -> None:
    with fake_gpu(torch.float32):
        there = torch.empty(3, device=GPU)
        with pytest.raises(DataDependentOutputException):
            there.sum().item()
        with pytest.raises(RuntimeError, match='device'):
            there + torch.empty(3)

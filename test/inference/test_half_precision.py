# SPDX-License-Identifier: Apache-2.0
"""Half precision is for the network's products; what adds up over the bins stays in float32."""

import functools
from pathlib import Path

from adabins_ros.inference.engines.engine import Place
from adabins_ros.inference.engines.torch_engine import TorchEngine
from adabins_ros.model import AdaBins, AdaBinsConfig
from adabins_ros.model.bins import bin_centers, depth_and_std, normalized_widths
import numpy as np
import pytest
import torch
from torch import nn

STRATEGIES = ['adaptive', 'uniform', 'log', 'trained', 'regression']
TINY = Path(__file__).parents[1] / 'training' / 'tiny_network.json'


@functools.cache
def tiny_network(strategy: str) -> AdaBins:
    torch.manual_seed(0)
    config = AdaBinsConfig.model_validate_json(TINY.read_text())
    changes = {'bin_strategy': strategy, 'num_bins': 64, 'max_depth': 10.0}
    network = AdaBins(config.model_copy(update=changes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def engine(strategy: str, precision: str) -> TorchEngine:
    return TorchEngine(tiny_network(strategy), Place('cpu', precision))


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_depth_from_half_precision_scores_is_as_good_as_the_scores(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (4 * torch.randn(2, 128, 8, 9, generator=generator)).to(dtype)
    centers = torch.linspace(0.1, 10, 128).expand(2, -1)
    exact, exact_std = depth_and_std(scores.double(), centers.double())
    with torch.autocast('cpu', dtype):
        depth, std = depth_and_std(scores, centers)
        coarse = torch.softmax(scores, 1)
        in_half = torch.einsum('bnhw,bn->bhw', coarse.to(dtype), centers.to(dtype))[:, None]
    assert depth.dtype == std.dtype == torch.float32
    allowed_m = 1e-5
    assert float((depth - exact).abs().max()) < allowed_m
    # The root magnifies rounding where the spread is small.
    assert float((std - exact_std).abs().max()) < 10 * allowed_m
    # The bound tells: the same in half precision is off by a hundred times as much.
    assert float((in_half - exact).abs().max()) > 100 * allowed_m


def test_bins_from_half_precision_widths_end_where_the_range_ends() -> None:
    raw = torch.rand(2, 256, generator=torch.Generator().manual_seed(0)).bfloat16()
    widths = normalized_widths(raw, 1e-3)
    exact = bin_centers(normalized_widths(raw.double(), 1e-3), 0.1, 10.0)
    assert float((bin_centers(widths, 0.1, 10.0) - exact).abs().max()) < 1e-5


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_a_network_in_half_precision_gives_the_depth_of_single(strategy: str) -> None:
    inputs = {'image': picture()}
    single, half = (engine(strategy, name).run(inputs) for name in ('float32', 'float16'))
    assert single.keys() == half.keys()
    for name, ours in half.items():
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, single[name], atol=2e-3, rtol=0)
    if strategy != 'regression':
        assert (np.diff(half['bin_centers']) > 0).all()


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_weights_are_held_in_half_precision_but_those_of_the_bins(strategy: str) -> None:
    network = engine(strategy, 'float16')._network
    sizes: dict[torch.dtype, int] = {}
    for name, weight in network.named_parameters():
        sizes[weight.dtype] = sizes.get(weight.dtype, 0) + weight.numel()
        if 'regressor' in name:
            assert weight.dtype == torch.float32
    assert sizes[torch.float16] > 10 * sizes.get(torch.float32, 0)

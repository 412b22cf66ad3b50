# SPDX-License-Identifier: Apache-2.0
"""The deployed graph gives the network's depth, faster."""

import copy
import functools

from adabins_ros.inference.deployment import AS_WRITTEN, deploy, PixelNetwork, Rewrites
from adabins_ros.model import AdaBins, AdaBinsConfig, load_model, PRESETS
import pytest
import torch
from torch import nn
from torch.nn import functional

STRATEGIES = ['regression', 'uniform', 'log', 'trained', 'adaptive']
SIZES = [(1, 96, 128), (2, 97, 131), (1, 161, 95), (3, 64, 200)]
# Every rewrite, however few channels there are.
ALL = Rewrites(low_resolution_from=1, add_separable=True)
ALONE = {
    'norms': Rewrites(True, False, None),
    'bottleneck': Rewrites(False, True, None),
    'low_resolution': Rewrites(False, False, 1),
    'sums': Rewrites(False, False, None, add_separable=True),
    'none': AS_WRITTEN,
    'default': Rewrites(),
}
KINDS = {
    'separable': {'decoder_convolution': 'separable', 'bottleneck_padding': 0},
    'full': {'decoder_convolution': 'full', 'bottleneck_padding': 0},
    'full_with_head': {'encoder': 'tinynet_e', 'encoder_head': True},
    'separable_with_head': {
        'encoder': 'tinynet_e',
        'encoder_head': True,
        'decoder_convolution': 'separable',
    },
}


def smooth_images(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 3, 5, 6, generator=generator)
    return functional.interpolate(coarse, (height, width), mode='bicubic')


@functools.cache
def seen_network(kind: str, strategy: str) -> AdaBins:
    """Make a random network whose batch norms hold its own statistics, off by up to 20 %."""
    torch.manual_seed(0)
    config = AdaBinsConfig(
        **{
            'encoder': 'mobilenetv3_small_050',
            'encoder_head': False,
            'decoder_channels': (320, 16, 16, 8, 8),
            'decoded_channels': 8,
            'bin_strategy': strategy,
            'num_bins': 8,
            'patch_size': 8,
            'embedding_dim': 16,
            'num_kernels': 8,
            'num_layers': 1,
            'num_heads': 2,
            'mlp_dim': 16,
            'regressor_dim': 16,
            'max_tokens': 200,
            'input_size': (96, 128),
            'std_factor': 1.3,
            **KINDS[kind],
        }
    )
    network = AdaBins(config)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.8, 1.2)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(smooth_images(8, 160, 192, seed=1))
        for norm in norms:
            # A channel that hardly varied would magnify rounding in the next image.
            norm.running_var.clamp_(min=norm.running_var.mean() / 4)
            spread = norm.running_var.sqrt()
            norm.running_mean += spread * torch.empty_like(spread).uniform_(-0.2, 0.2)
            norm.running_var *= torch.empty_like(spread).uniform_(0.8, 1.2)
    return network.eval()


@torch.no_grad()
def assert_same(network: AdaBins, deployed: nn.Module, tolerance_m: float) -> None:
    dtype = next(network.parameters()).dtype
    for size in SIZES:
        image = smooth_images(*size).to(dtype)
        expected, actual = network(image), deployed(image)
        assert type(actual) is type(expected)
        assert expected.depth.std() > 1e-3
        options = {'rtol': 0, 'equal_nan': True}
        torch.testing.assert_close(actual.depth, expected.depth, atol=tolerance_m, **options)
        torch.testing.assert_close(
            actual.bin_centers, expected.bin_centers, atol=tolerance_m, **options
        )
        # Where all probability is in one bin, the root magnifies the rounding of a zero.
        torch.testing.assert_close(
            actual.std.square(), expected.std.square(), atol=10 * tolerance_m, **options
        )


@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('kind', KINDS)
def test_every_network_keeps_its_depth(kind: str, strategy: str) -> None:
    network = seen_network(kind, strategy)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for rewrites in (ALL, None):
        assert_same(network, deploy(network, rewrites), 1e-4)
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    # In double precision only what is not exact could remain.
    precise = copy.deepcopy(network).double()
    assert_same(precise, deploy(precise, ALL), 1e-9)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('rewrite', ALONE)
def test_each_rewrite_alone_is_exact(kind: str, rewrite: str) -> None:
    network = copy.deepcopy(seen_network(kind, 'adaptive')).double()
    assert_same(network, deploy(network, ALONE[rewrite]), 1e-9)


@torch.no_grad()
@pytest.mark.parametrize('kind', KINDS)
def test_the_first_convolution_takes_the_scale_of_the_pixels(kind: str) -> None:
    network = seen_network(kind, 'adaptive')
    folded = PixelNetwork(copy.deepcopy(network), fold_scale=True)
    assert folded.folded
    image = (smooth_images(2, 97, 131) * 40 + 100).clamp(0, 255).byte().permute(0, 2, 3, 1)
    for was, now in zip(PixelNetwork(network)(image), folded(image), strict=True):
        torch.testing.assert_close(now, was, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', ['separable', 'full_with_head'])
def test_the_graph_can_be_exported(kind: str) -> None:
    network = seen_network(kind, 'adaptive')
    image = smooth_images(1, 97, 131)
    deployed = deploy(network, ALL)
    with torch.no_grad():
        exported = torch.export.export(deployed, (image,)).module()
        torch.testing.assert_close(exported(image), deployed(image), rtol=0, atol=1e-5)


def with_random_norms(network: AdaBins) -> AdaBins:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.mark.parametrize(
    ('encoder', 'strategy'),
    [
        ('tf_efficientnet_lite0', 'adaptive'),
        ('resnet18', 'adaptive'),
        ('mobilenetv3_small_050', 'regression'),
        ('mobilenetv3_small_050', 'uniform'),
        ('mobilenetv3_small_050', 'log'),
        ('mobilenetv3_small_050', 'trained'),
    ],
)
def test_depth_stays_within_a_tenth_of_a_millimetre(encoder: str, strategy: str) -> None:
    config = PRESETS['adabins-lite'].model_copy(
        update={'encoder': encoder, 'bin_strategy': strategy}
    )
    network = with_random_norms(AdaBins(config))
    folded = deploy(network, Rewrites(True, False, None))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    for size in ((240, 320), (207, 333)):
        image = torch.rand(2, 3, *size)
        with torch.no_grad():
            expected, actual = network(image), folded(image)
        torch.testing.assert_close(actual.depth, expected.depth, rtol=0, atol=1e-4)
        torch.testing.assert_close(actual.std, expected.std, rtol=0, atol=1e-3, equal_nan=True)


def test_the_network_itself_is_left_as_it_was() -> None:
    network = load_model('adabins-lite')
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    deploy(network, Rewrites(True, False, None))
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

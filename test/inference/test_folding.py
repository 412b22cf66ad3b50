# SPDX-License-Identifier: Apache-2.0
"""Folded batch norms change the speed, not the depth."""

from adabins_ros.inference.folding import fold_batch_norms
from adabins_ros.model import AdaBins, load_model, PRESETS
import pytest
import torch
from torch import nn


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
    folded = fold_batch_norms(network)
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
    fold_batch_norms(network)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

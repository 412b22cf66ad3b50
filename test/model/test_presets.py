# SPDX-License-Identifier: Apache-2.0
"""The presets have the size and the arithmetic that they promise."""

from adabins_ros.model import AdaBins, load_model, PRESETS
from adabins_ros.model.mini_vit import MiniViT
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_papers_mini_vit_has_5_8_million_parameters() -> None:
    assert 5.8e6 <= parameters(MiniViT(128, 256)) <= 5.9e6


def test_the_authors_network_has_78_million_parameters() -> None:
    with torch.device('meta'):
        network = AdaBins(PRESETS['adabins-nyu'])
    assert parameters(network.mini_vit) == pytest.approx(5.9e6, rel=0.01)
    assert parameters(network.decoder) == pytest.approx(44.0e6, rel=0.01)
    # The authors' 78.26 M hold the encoder's last norm too, which nothing uses.
    assert parameters(network) == pytest.approx(78.25e6, rel=1e-3)


def test_lite_keeps_its_budget() -> None:
    network = load_model('adabins-lite')
    assert parameters(network) <= 6e6
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(1, 3, 240, 320))
    multiplications = counter.get_total_flops() / 2
    assert multiplications <= 2.5e9
    assert network.config.encoder == 'tf_efficientnet_lite0'
    assert network.config.patch_size == 8


def test_an_untrained_preset_is_the_same_every_time() -> None:
    first, second = load_model('adabins-lite'), load_model('adabins-lite')
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_loading_a_preset_leaves_the_users_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_model('adabins-lite')
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize('name', ['adabins-nyu', 'adabins-kitti'])
def test_the_authors_sizes_are_legal(name: str) -> None:
    config = PRESETS[name]
    assert all(config.is_legal_size(*s) for s in [(480, 640), (416, 544), (352, 1216), (352, 384)])
    assert not any(config.is_legal_size(*s) for s in [(224, 224), (320, 384), (512, 1024)])
    assert config.bin_eps == 0.1

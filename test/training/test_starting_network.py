# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: presets, files, other bins, other encoder weights."""

import json
from pathlib import Path

from adabins_ros.model import AdaBins, AdaBinsConfig, load_model, ModelError, save_checkpoint
from adabins_ros.training.config import NetworkConfig
from adabins_ros.training.starting_network import starting_network
import pytest
from safetensors.torch import save_file
import torch


@pytest.fixture
def model(tmp_path: Path) -> Path:
    text = (Path(__file__).parent / 'tiny_network.json').read_text()
    torch.manual_seed(1)
    path = tmp_path / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate(json.loads(text))), path)
    return path


def test_a_file_is_started_from_as_it_is(model: Path) -> None:
    network = starting_network(NetworkConfig(model=str(model)), (96, 128))
    loaded = load_model(model)
    assert network.config == loaded.config.model_copy(update={'input_size': (96, 128)})
    for name, tensor in loaded.state_dict().items():
        assert network.state_dict()[name].equal(tensor), name


@pytest.mark.parametrize('strategy', ['regression', 'uniform', 'log', 'trained'])
def test_other_bins_keep_the_encoder_and_the_depth_range_follows(
    model: Path, strategy: str
) -> None:
    config = NetworkConfig.model_validate(
        {'model': str(model), 'bin_strategy': strategy, 'num_bins': 12, 'max_depth': 9.0}
    )
    network = starting_network(config)
    assert network.config.bin_strategy == strategy
    assert (network.config.num_bins, network.config.max_depth) == (12, 9.0)
    before = load_model(model).state_dict()
    for name, tensor in network.state_dict().items():
        if name.startswith(('encoder.', 'decoder.up.')):
            assert tensor.equal(before[name]), name


def test_from_scratch_only_the_architecture_is_kept(model: Path) -> None:
    before = load_model(model)
    known = {'trained': True, 'provenance': 'a kitchen', 'std_factor': 1.5}
    before.config = before.config.model_copy(update=known)
    save_checkpoint(before, model, overwrite=True)
    network = starting_network(NetworkConfig(model=str(model), from_scratch=True), seed=3)
    assert not network.config.trained
    assert network.config.model_copy(update=known) == before.config
    weight = 'decoder.bottleneck.weight'
    assert not network.state_dict()[weight].equal(before.state_dict()[weight])


def test_the_encoder_can_start_from_a_file_of_timms(model: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    config = load_model(model).config
    backbone = AdaBins(config).encoder.backbone.state_dict()
    weights = tmp_path / 'encoder.safetensors'
    save_file({**backbone, 'classifier.weight': torch.zeros(3)}, weights)
    network = starting_network(NetworkConfig(model=str(model), encoder_weights=str(weights)))
    for name, tensor in backbone.items():
        assert network.encoder.backbone.state_dict()[name].equal(tensor), name


def test_encoder_weights_of_another_library_are_taken_in_their_order(
    model: Path, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    backbone = AdaBins(load_model(model).config).encoder.backbone.state_dict()
    names = {f'_layer{number}.{name}': name for number, name in enumerate(backbone)}
    others = {other: backbone[name] for other, name in names.items()}
    weights = tmp_path / 'encoder.pth'
    torch.save({**others, '_fc.weight': torch.zeros(3)}, weights)
    network = starting_network(NetworkConfig(model=str(model), encoder_weights=str(weights)))
    for name, tensor in backbone.items():
        assert network.encoder.backbone.state_dict()[name].equal(tensor), name
    torch.save(dict(reversed(others.items())), weights)
    with pytest.raises(ModelError, match='missing or misshapen'):
        starting_network(NetworkConfig(model=str(model), encoder_weights=str(weights)))


def test_another_encoder_starts_with_its_own_normalisation_and_the_rest_is_kept(
    model: Path,
) -> None:
    config = NetworkConfig(model=str(model), encoder='convnext_atto.d2_in1k')
    network = starting_network(config)
    assert network.config.encoder == 'convnext_atto.d2_in1k'
    assert (network.config.mean, network.config.trained) == ((0.485, 0.456, 0.406), False)
    before = load_model(model).state_dict()
    for name, tensor in network.mini_vit.state_dict().items():
        assert tensor.equal(before[f'mini_vit.{name}']), name
    names = {
        group['name']: {id(parameter) for parameter in group['params']}
        for group in network.parameter_groups(1e-3)
    }
    assert {id(each) for each in network.encoder.stem.parameters() if each.ndim > 1} <= names[
        'rest'
    ]
    with pytest.raises(ModelError, match='timm has no encoder'):
        starting_network(NetworkConfig(model=str(model), encoder='convnext_gigantic'))


@pytest.mark.parametrize('content', [b'', b'nothing of the kind', None])
def test_encoder_weights_that_do_not_fit_are_named(
    content: bytes | None, model: Path, tmp_path: Path
) -> None:
    weights = tmp_path / 'encoder.safetensors'
    if content is None:
        save_file({'conv_stem.weight': torch.zeros(2)}, weights)
    else:
        weights.write_bytes(content)
    with pytest.raises(ModelError, match=r'encoder\.safetensors'):
        starting_network(NetworkConfig(model=str(model), encoder_weights=str(weights)))


def test_sizes_and_ranges_that_cannot_be_are_refused(model: Path) -> None:
    with pytest.raises(ModelError, match=r'32x32.*change data\.size'):
        starting_network(NetworkConfig(model=str(model)), (32, 32))
    with pytest.raises(ModelError, match='depth range'):
        starting_network(NetworkConfig(model=str(model), min_depth=7.0))

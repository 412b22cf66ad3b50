# SPDX-License-Identifier: Apache-2.0
"""One behaviour suite over all five bin strategies, on a tiny encoder."""

from pathlib import Path

from adabins_ros.model import AdaBins, AdaBinsConfig, load_model, ModelError, save_checkpoint
from adabins_ros.model.encoder import Encoder, STRIDES
import pytest
import torch

STRATEGIES = ['regression', 'uniform', 'log', 'trained', 'adaptive']
SIZES = [(96, 128), (97, 131), (160, 96), (64, 200)]


def tiny_config(strategy: str) -> AdaBinsConfig:
    return AdaBinsConfig(
        name=f'tiny-{strategy}',
        encoder='mobilenetv3_small_050',
        encoder_head=False,
        decoder_channels=(24, 16, 16, 8, 8),
        decoder_convolution='separable',
        bottleneck_padding=0,
        decoded_channels=8,
        bin_strategy=strategy,
        num_bins=8,
        min_depth=0.2,
        max_depth=6.0,
        patch_size=8,
        embedding_dim=16,
        num_kernels=8,
        num_layers=1,
        num_heads=2,
        mlp_dim=16,
        regressor_dim=16,
        max_tokens=200,
        input_size=(96, 128),
        training_focal_length_px=110.0,
    )


@pytest.fixture(params=[*STRATEGIES, 'test_convnext'])
def network(request: pytest.FixtureRequest) -> AdaBins:
    torch.manual_seed(0)
    if request.param in STRATEGIES:
        return AdaBins(tiny_config(request.param))
    # Without stride 2.
    return AdaBins(tiny_config('adaptive').model_copy(update={'encoder': request.param}))


@pytest.mark.parametrize('size', SIZES)
def test_any_size_goes_through_at_half_resolution(network: AdaBins, size: tuple[int, int]) -> None:
    network.eval()
    with torch.no_grad():
        depth, std, centers = network(torch.rand(2, 3, *size))
    assert depth.shape == std.shape == (2, 1, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert depth.min() >= 0.2
    assert depth.max() <= 6.0
    if network.config.bin_strategy == 'regression':
        assert std.isnan().all()
        assert centers.shape == (2, 0)
    else:
        assert (std > 0).all()
        assert (std <= (6.0 - 0.2) / 2).all()
        assert centers.shape == (2, 8)
        assert (centers.diff(dim=1) > 0).all()


def test_every_parameter_gets_a_gradient(network: AdaBins) -> None:
    output = network.train()(torch.rand(2, 3, 96, 128))
    loss = output.depth.log().mean() + output.bin_centers.square().sum()
    loss.backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not torch.isfinite(parameter.grad).all()
    ]
    # Learned positions beyond this image's 48 patches get zeros, not nothing.
    assert silent == []


def test_only_adaptive_bins_depend_on_the_image(network: AdaBins) -> None:
    network.eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        centers = network(torch.rand(2, 3, 96, 128, generator=generator) * 4).bin_centers
    differ = not torch.equal(centers[0], centers[1])
    assert differ == (network.config.bin_strategy == 'adaptive')


def test_saved_and_loaded_it_says_the_same(network: AdaBins, tmp_path: Path) -> None:
    network.eval()
    image = torch.rand(1, 3, 96, 128)
    path = tmp_path / 'run.safetensors'
    save_checkpoint(network, path)
    loaded = load_model(path)
    assert loaded.config == network.config
    assert not loaded.training
    with torch.no_grad():
        for expected, actual in zip(network(image), loaded(image), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def test_half_precision_files_load_as_float32(network: AdaBins, tmp_path: Path) -> None:
    network.eval()
    path, half_path = tmp_path / 'full.safetensors', tmp_path / 'half.safetensors'
    save_checkpoint(network, path)
    save_checkpoint(network, half_path, half=True)
    assert half_path.stat().st_size < 0.75 * path.stat().st_size
    loaded = load_model(half_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image).depth, network(image).depth, rtol=0, atol=0.05)


def test_a_checkpoint_is_never_replaced_by_accident(network: AdaBins, tmp_path: Path) -> None:
    path = tmp_path / 'run.safetensors'
    save_checkpoint(network, path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r'run\.safetensors'):
        save_checkpoint(network, path)
    assert path.read_bytes() == before
    save_checkpoint(network, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ['run.safetensors']


def test_a_depth_range_of_the_user_replaces_the_files(tmp_path: Path) -> None:
    path = tmp_path / 'run.safetensors'
    torch.manual_seed(0)
    save_checkpoint(AdaBins(tiny_config('adaptive')), path)
    loaded = load_model(path, depth_range=(1.0, 3.0))
    assert (loaded.config.min_depth, loaded.config.max_depth) == (1.0, 3.0)
    with torch.no_grad():
        depth = loaded(torch.rand(1, 3, 96, 128)).depth
    assert 1.0 <= depth.min() <= depth.max() <= 3.0


@pytest.mark.parametrize('strategy', ['uniform', 'log'])
def test_fixed_bins_follow_the_users_depth_range(strategy: str, tmp_path: Path) -> None:
    path = tmp_path / 'run.safetensors'
    save_checkpoint(AdaBins(tiny_config(strategy)), path)
    loaded = load_model(path, depth_range=(1.0, 3.0))
    with torch.no_grad():
        centers = loaded(torch.rand(1, 3, 96, 128)).bin_centers
    assert 1.0 < centers.min() < centers.max() < 3.0


def test_too_small_and_too_large_images_say_what_fits() -> None:
    network = AdaBins(tiny_config('adaptive')).eval()
    with pytest.raises(ValueError, match='has 4 patches, but the mini-ViT needs 9 to 200'):
        network(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match='has 400 patches'):
        network(torch.rand(1, 3, 320, 320))


def test_an_unknown_encoder_is_named() -> None:
    config = tiny_config('adaptive').model_copy(update={'encoder': 'efficientnet_b99'})
    with pytest.raises(ValueError, match='efficientnet_b99'):
        AdaBins(config)


@pytest.mark.parametrize('size', SIZES)
def test_an_encoder_of_windows_takes_any_size(size: tuple[int, int]) -> None:
    with torch.device('meta'):
        encoder = Encoder('swin_tiny_patch4_window7_224')
        features = encoder.eval()(torch.rand(1, 3, *size))
    for feature, channels, stride in zip(features, encoder.channels, STRIDES, strict=True):
        expected = (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert feature.shape == expected


def test_an_encoder_without_the_strides_is_refused() -> None:
    config = tiny_config('adaptive').model_copy(update={'encoder': 'test_vit'})
    with pytest.raises(ValueError, match='strides'):
        AdaBins(config)


def test_a_wrong_configuration_says_which_value() -> None:
    with pytest.raises(ValueError, match='depth range 5'):
        AdaBinsConfig(min_depth=5.0, max_depth=2.0)
    with pytest.raises(ValueError, match='num_kernels 600'):
        AdaBinsConfig(num_kernels=600)
    with pytest.raises(ValueError, match='embedding_dim 100'):
        AdaBinsConfig(embedding_dim=100, num_heads=3)
    with pytest.raises(ValueError, match='bin_strategy'):
        AdaBinsConfig(bin_strategy='quantile')


def test_wrong_depth_ranges_are_refused() -> None:
    for wrong in ((0.0, 10.0), (3.0, 1.0), (1.0, float('nan')), (1.0, float('inf'))):
        with pytest.raises(ModelError, match='depth_range'):
            load_model('adabins-lite', depth_range=wrong)

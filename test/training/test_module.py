# SPDX-License-Identifier: Apache-2.0
"""A step of training: groups, rates, freezing, and all five bin strategies."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adabins_ros.model import AdaBins, AdaBinsConfig
from adabins_ros.training.config import load_config, TrainingConfig
from adabins_ros.training.learning_pictures import batch_picture
from adabins_ros.training.metrics import StdCalibration
from adabins_ros.training.module import BATCH_NORMS, DepthTraining
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

STRATEGIES = ['regression', 'uniform', 'log', 'trained', 'adaptive']


def tiny_network(strategy: str = 'adaptive') -> AdaBins:
    torch.manual_seed(0)
    text = (Path(__file__).parent / 'tiny_network.json').read_text()
    config = AdaBinsConfig.model_validate({**json.loads(text), 'bin_strategy': strategy})
    return AdaBins(config)


def batch(size: int = 2, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    corners = 0.5 + 4.0 * torch.rand(size, 1, 2, 2, generator=generator)
    truth = nn.functional.interpolate(corners, size=(64, 96), mode='bilinear', align_corners=True)
    image = truth.expand(-1, 3, -1, -1) - 2.5
    return {'image': image, 'depth': truth, 'focal_scale': torch.full((size,), 1.25)}


class Recorder(pl.Callback):
    """Keep each step's rates and momentum, as they are when it begins, and its loss."""

    def __init__(self) -> None:
        self.rates: list[dict[str, float]] = []
        self.momenta: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *arguments: Any) -> None:
        groups = trainer.optimizers[0].param_groups
        self.rates.append({group['name']: group['lr'] for group in groups})
        self.momenta.append(groups[0]['betas'][0])

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        self.losses.append(float(arguments[1]['loss']))


def train(
    network: AdaBins, config: TrainingConfig, batches: list[dict[str, Any]], epochs: int = 1
) -> tuple[DepthTraining, Recorder]:
    module, recorder = DepthTraining(network, config), Recorder()
    trainer = pl.Trainer(
        accelerator='cpu',
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=config.optimiser.clip_norm,
        callbacks=[recorder],
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return module, recorder


def test_each_parameter_is_in_one_group_and_only_weights_decay() -> None:
    network = tiny_network()
    groups = {
        group['name']: group
        for group in network.parameter_groups(1e-3, encoder_factor=0.1, weight_decay=0.02)
    }
    assert {name: (group['lr'], group['weight_decay']) for name, group in groups.items()} == {
        'encoder': (1e-4, 0.02),
        'encoder_no_decay': (1e-4, 0.0),
        'rest': (1e-3, 0.02),
        'rest_no_decay': (1e-3, 0.0),
    }
    grouped = [id(p) for group in groups.values() for p in group['params']]
    assert len(grouped) == len(set(grouped)) == len(list(network.parameters()))
    decaying = {id(p) for name in ('encoder', 'rest') for p in groups[name]['params']}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_norm = isinstance(module, (*BATCH_NORMS, nn.LayerNorm))
            spared = is_norm or 'bias' in name or name == 'positional_encodings'
            assert (id(parameter) in decaying) != spared, (type(module), name)


def test_encoder_and_rest_follow_their_own_cycles_step_by_step() -> None:
    config = load_config(None, ['optimiser.learning_rate=1e-3'])
    _, recorder = train(tiny_network(), config, [batch()] * 10, epochs=2)
    rest = [rates['rest'] for rates in recorder.rates]
    encoder = [rates['encoder'] for rates in recorder.rates]
    assert max(rest) == pytest.approx(1e-3)
    assert max(encoder) == pytest.approx(1e-4)
    assert rest.index(max(rest)) == encoder.index(max(encoder)) == 5
    assert encoder == pytest.approx([rate / 10 for rate in rest])
    assert min(recorder.momenta) == pytest.approx(0.85)
    assert recorder.momenta.index(min(recorder.momenta)) == 5
    assert rest[0] == pytest.approx(1e-3 / 25)
    assert rest[-1] == pytest.approx(1e-3 / 25 / 100)
    assert recorder.momenta[-1] == pytest.approx(0.95)


def test_the_std_factor_brings_a_normal_share_within_one_standard_deviation() -> None:
    """Errors are drawn 2.5 times as large as the standard deviation says; one image has none."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.full((3, 1, 60, 80), 4.0)
    truth[2] = 0
    std = 0.01 + 0.05 * torch.rand(truth.shape, generator=generator)
    prediction = truth + 2.5 * std * torch.randn(truth.shape, generator=generator)
    calibration = StdCalibration(0.1, 10.0)
    assert calibration.compute().isnan()
    for image in range(3):
        part = slice(image, image + 1)
        calibration.update(prediction[part], std[part], truth[part])
    assert float(calibration.compute()) == pytest.approx(2.5, rel=0.03)


def test_rates_come_down_in_the_time_that_is_given() -> None:
    """A thousand steps are planned, but the clock allows four."""
    module = DepthTraining(tiny_network(), load_config(None, []))
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        estimated_stepping_batches=1000, global_step=0
    )
    setup = module.configure_optimizers()
    optimizer, schedule = setup['optimizer'], setup['lr_scheduler']['scheduler']
    rates = []
    for step, share in enumerate((0.15, 0.3, 0.65, 0.9991), 1):
        optimizer.step()
        module.trainer.global_step = step
        module.time_share = lambda share=share: share
        module.lr_scheduler_step(schedule, None)
        rates.append(optimizer.param_groups[-1]['lr'])
    assert rates[1] == max(rates) == pytest.approx(3.57e-4, rel=1e-3)
    assert rates[0] == pytest.approx(rates[2], rel=0.2)
    assert rates[3] == pytest.approx(3.57e-4 / 25 / 100, rel=0.05)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_every_bin_strategy_learns(strategy: str) -> None:
    config = load_config(None, ['optimiser.learning_rate=1e-2'])
    module, recorder = train(tiny_network(strategy), config, [batch()] * 20)
    assert recorder.losses[-1] < 0.8 * recorder.losses[0]
    output = module(batch()['image'])
    parts = module.losses(output, batch()['depth'])
    assert ('chamfer' in parts) == (strategy in ('trained', 'adaptive'))
    total = parts['silog'] + 0.1 * parts.get('chamfer', torch.zeros(()))
    torch.testing.assert_close(parts['loss'], total)


@pytest.mark.parametrize('size', [1, 2])
def test_a_batch_without_truth_changes_no_weight_to_nan(size: int) -> None:
    empty = batch(size)
    empty['depth'] = torch.zeros_like(empty['depth'])
    module, recorder = train(tiny_network(), TrainingConfig(), [empty, batch(size)])
    assert recorder.losses[0] == 0.0
    assert all(tensor.isfinite().all() for tensor in module.state_dict().values())


def test_a_frozen_encoder_keeps_its_weights_and_statistics() -> None:
    network = tiny_network()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    train(network, load_config(None, ['network.freeze_encoder=true']), [batch()] * 3)
    changed = {name for name, t in network.state_dict().items() if not t.equal(before[name])}
    assert not [name for name in changed if name.startswith('encoder.')]
    assert any(name.startswith('decoder.') for name in changed)


def test_frozen_batch_norms_keep_theirs_and_the_rest_learns() -> None:
    network = tiny_network()
    norms = [name for name, m in network.named_modules() if isinstance(m, BATCH_NORMS)]
    before = {name: t.clone() for name, t in network.state_dict().items()}
    train(network, load_config(None, ['network.freeze_batch_norm=true']), [batch()] * 3)
    changed = {name for name, t in network.state_dict().items() if not t.equal(before[name])}
    assert norms
    assert not [name for name in changed if name.rpartition('.')[0] in norms]
    assert any(name.startswith('encoder.') for name in changed)


def test_the_batch_norms_of_trained_weights_stay_unless_they_are_to_learn() -> None:
    trained = {'trained': True}
    for asked, fresh, changes in (
        ('null', {}, True),
        ('null', trained, False),
        ('false', trained, True),
    ):
        network = tiny_network()
        network.config = network.config.model_copy(update=fresh)
        before = network.state_dict()['decoder.up.0.block.1.running_mean'].clone()
        train(network, load_config(None, [f'network.freeze_batch_norm={asked}']), [batch()])
        after = network.state_dict()['decoder.up.0.block.1.running_mean']
        assert after.equal(before) != changes


def test_validation_errors_are_of_true_metres() -> None:
    module = DepthTraining(tiny_network(), TrainingConfig()).eval()
    one = batch(1)
    output = module.validation_step(one, 0)
    prediction = nn.functional.interpolate(
        output['depth'], size=(64, 96), mode='bilinear', align_corners=True
    )
    expected = (prediction - one['depth']).square().mean().sqrt() / 1.25
    assert float(module.errors.compute()['rms']) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize('strategy', ['adaptive', 'regression'])
def test_the_picture_shows_every_image_of_the_batch(strategy: str) -> None:
    network = tiny_network(strategy).eval()
    frames = batch(2)
    frames['depth'][0, 0, :10] = 0.0
    with torch.no_grad():
        picture = batch_picture(frames, network(frames['image']), network.config)
    assert picture.dtype.name == 'uint8'
    assert picture.shape == (2 * (64 + 12), 4 * 96, 3)
    truth = picture[:10, 96:192]
    assert (truth == truth[0, 0]).all()
    strip = picture[64:76]
    assert (strip != 24).any() == (strategy == 'adaptive')

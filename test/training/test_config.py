# SPDX-License-Identifier: Apache-2.0
"""The configuration: where values come from, and what is said about wrong ones."""

from pathlib import Path

from adabins_ros.settings import ConfigError
from adabins_ros.training.config import load_config, save_config, setting_names, TrainingConfig
import pytest
import yaml


def test_overrides_go_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / 'run.yaml'
    file.write_text('seed: 3\noptimiser:\n  learning_rate: 1e-3\n  clip_norm: 5\n')
    config = load_config(file, ['optimiser.learning_rate=2e-4', 'data.bags=[a.bag, b.mcap]'])
    assert config.seed == 3
    assert config.optimiser.learning_rate == 2e-4
    assert config.optimiser.clip_norm == 5.0
    assert config.optimiser.weight_decay == TrainingConfig().optimiser.weight_decay
    assert config.data.bags == (Path('a.bag'), Path('b.mcap'))


def test_every_value_is_saved_and_read_back(tmp_path: Path) -> None:
    config = load_config(None, ['data.size=[64, 96]', 'trainer.devices=2', 'seed=7'])
    file = tmp_path / 'config.yaml'
    save_config(config, file)
    assert load_config(file) == config
    saved = yaml.safe_load(file.read_text())
    for name in setting_names():
        section: object = saved
        for part in name.split('.'):
            assert isinstance(section, dict)
            assert part in section, name
            section = section[part]


def test_the_shipped_file_holds_the_defaults(repository: Path) -> None:
    assert load_config(repository / 'config' / 'training.yaml') == TrainingConfig()


def test_the_shipped_file_names_every_setting_once(repository: Path) -> None:
    values = yaml.safe_load((repository / 'config' / 'training.yaml').read_text())
    named = [
        f'{section}.{name}' if isinstance(content, dict) else section
        for section, content in values.items()
        for name in (content if isinstance(content, dict) else [section])
    ]
    assert sorted(named) == sorted(setting_names())


@pytest.mark.parametrize(
    ('override', 'words'),
    [
        ('optimiser.learnign_rate=1', ['did you mean optimiser.learning_rate?', 'clip_norm']),
        ('optimizer.learning_rate=1', ['optimizer', 'did you mean optimiser?', 'trainer']),
        ('learning_rate=1', ['did you mean optimiser.learning_rate?']),
        ('optimiser.learning_rate=fast', ["'fast'", 'number', 'default 0.000357']),
        ('optimiser.learning_rate=-1', ['-1', 'greater than 0']),
        ('optimiser.learning_rate=1e300', ['1e300', 'less than or equal to 1']),
        ('data.horizontal_fov_deg=1e-9', ['1e-9', 'greater than or equal to 0.01']),
        ('data.split_gap_s=1e300', ['1e300', 'less than or equal to']),
        ('data.batch_size=1.5', ['data.batch_size', '1.5', 'integer']),
        ('trainer.precision=8', ["'32-true', '16-mixed' or 'bf16-mixed'"]),
        ('network.bin_strategy=quantile', ["'quantile'", "'adaptive'"]),
        ('data.size=[1]', ['data.size', 'height, width']),
        ('data.bags=3', ['data.bags', '3']),
        ('optimiser=3', ['optimiser = 3', 'learning_rate']),
        ('seed', ['KEY=VALUE']),
        ('seed=[', ['not YAML']),
    ],
)
def test_a_wrong_value_says_which_and_what_is_allowed(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'words'),
    [('- 1\n', 'expected sections'), ('a: [\n', 'not YAML'), (None, "can't be read")],
)
def test_a_file_that_is_no_configuration_is_named(
    text: str | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / 'run.yaml'
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(file)
    assert str(file) in str(caught.value)


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ['seed=x', 'data.batch_size=0'])
    assert len(str(caught.value).splitlines()) == 2

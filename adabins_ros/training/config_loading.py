# SPDX-License-Identifier: Apache-2.0
"""The configuration of a run from YAML and KEY=VALUE words, and back into YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adabins_ros import settings
from adabins_ros.settings import ConfigError
from adabins_ros.training.config import TrainingConfig
import yaml

__all__ = ['ConfigError', 'load_config', 'save_config', 'setting', 'setting_names']


def load_config(file: Path | None = None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """
    Make the configuration of a run: the defaults, then the file's values, then the overrides.

    Parameters
    ----------
    file : Path, optional
        YAML with any of the keys of TrainingConfig.
    overrides : sequence of str
        KEY=VALUE with dots in the key, 'optimiser.learning_rate=1e-4'; the value is YAML.

    Returns
    -------
    TrainingConfig

    Raises
    ------
    ConfigError
        If a key is unknown, a value is wrong or the file can't be read.

    """
    values = {} if file is None else settings.read_settings_file(TrainingConfig, file)
    return settings.load_settings(TrainingConfig, values, overrides)


def save_config(config: TrainingConfig, file: Path) -> None:
    """Write every value of the configuration as YAML that `load_config` reads."""
    values = config.model_dump(mode='json')
    file.write_text(yaml.safe_dump(values, sort_keys=False, width=99), encoding='utf-8')


def setting_names() -> list[str]:
    """Return all keys with their dots, 'data.batch_size' for one."""
    return settings.setting_names(TrainingConfig)


def setting(config: TrainingConfig, key: str) -> Any:
    """Return the value of a key with dots, 'data.batch_size' for one."""
    value: Any = config
    for part in key.split('.'):
        value = getattr(value, part)
    return value

# SPDX-License-Identifier: Apache-2.0
"""Read the configuration from YAML and KEY=VALUE words, with errors that say what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from adabins_ros.training.config import TrainingConfig
from pydantic import BaseModel, ValidationError
import yaml


class ConfigError(ValueError):
    """A configuration that can't be used; the text is for people."""


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
    values = {} if file is None else _read(file)
    for override in overrides:
        _set(values, override)
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors(include_url=False)]
        raise ConfigError('\n'.join(lines)) from None


def save_config(config: TrainingConfig, file: Path) -> None:
    """Write every value of the configuration as YAML that `load_config` reads."""
    values = config.model_dump(mode='json')
    file.write_text(yaml.safe_dump(values, sort_keys=False, width=99), encoding='utf-8')


def setting_names(section: type[BaseModel] = TrainingConfig, prefix: str = '') -> list[str]:
    """Return all keys with their dots, 'data.batch_size' for one."""
    names = []
    for name, field in section.model_fields.items():
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            names += setting_names(below, f'{prefix}{name}.')
        else:
            names.append(prefix + name)
    return names


def setting(config: TrainingConfig, key: str) -> Any:
    """Return the value of a key with dots, 'data.batch_size' for one."""
    value: Any = config
    for part in key.split('.'):
        value = getattr(value, part)
    return value


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f"configuration {file} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'configuration {file} is not YAML: {error}') from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f'configuration {file} holds a {type(values).__name__}; expected sections such as '
            f'{", ".join(TrainingConfig.model_fields)}'
        )
    return values


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition('=')
    if not equals or not key:
        raise ConfigError(f'{override!r} is not KEY=VALUE, such as optimiser.learning_rate=1e-4')
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f'the value of {override!r} is not YAML: {error}') from error
    *sections, name = key.strip().split('.')
    for section in sections:
        below = values.get(section)
        if not isinstance(below, dict):
            below = values[section] = {}
        values = below
    values[name] = value


def _explain(problem: Any) -> str:
    place = [str(part) for part in problem['loc']]
    key = '.'.join(place)
    if problem['type'] == 'extra_forbidden':
        return _unknown(key, place)
    wrong = f'{key} = {problem["input"]!r} is wrong: {problem["msg"]}'
    allowed = _description(place)
    return wrong + (f' ({allowed})' if allowed else '')


def _unknown(key: str, place: list[str]) -> str:
    names = setting_names()
    near = get_close_matches(key, [*names, *TrainingConfig.model_fields], n=2, cutoff=0.75)
    last = place[-1]
    near += [name for name in names if name.split('.')[-1] == last and name not in near]
    hint = f'did you mean {" or ".join(near)}? ' if near else ''
    section = '.'.join(place[:-1])
    there = [
        name.removeprefix(f'{section}.')
        for name in (names if section else TrainingConfig.model_fields)
        if name.startswith(f'{section}.' if section else '')
    ]
    where = f'in {section}' if section else 'at the top'
    return f'{key} is not a setting; {hint}{where} there is: {", ".join(there)}'


def _description(place: list[str]) -> str:
    """Return what is known of the setting: its default, and what it is for."""
    section: type[BaseModel] = TrainingConfig
    for part in place:
        field = section.model_fields.get(part)
        if field is None:
            return ''
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            section = below
            continue
        default = f'default {field.get_default(call_default_factory=True)!r}'
        return f'{field.description}; {default}' if field.description else default
    return f'a section with {", ".join(section.model_fields)}'

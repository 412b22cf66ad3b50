# SPDX-License-Identifier: Apache-2.0
"""Typed settings from YAML and KEY=VALUE words, with errors that say what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
import yaml

Settings = TypeVar('Settings', bound=BaseModel)


class ConfigError(ValueError):
    """A configuration that can't be used; the text is for people."""


def load_settings(
    kind: type[Settings], values: dict[str, Any], overrides: Sequence[str] = ()
) -> Settings:
    """
    Make settings: the defaults, then the values, then the overrides.

    Parameters
    ----------
    kind : type
        Which settings; its fields are sections, or values at the top.
    values : dict
        By section and name; changed by the overrides.
    overrides : sequence of str
        KEY=VALUE with dots in the key, 'optimiser.learning_rate=1e-4'; the value is YAML.

    Raises
    ------
    ConfigError
        A key is unknown or a value wrong.

    """
    for override in overrides:
        _set(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = [_explain(kind, problem) for problem in error.errors(include_url=False)]
        raise ConfigError('\n'.join(lines)) from None


def read_settings_file(kind: type[BaseModel], file: Path) -> dict[str, Any]:
    """
    Read the values of a YAML file, for `load_settings`.

    Raises
    ------
    ConfigError
        It can't be read, or holds no sections.

    """
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
            f'{", ".join(kind.model_fields)}'
        )
    return values


def setting_names(section: type[BaseModel], prefix: str = '') -> list[str]:
    """Return all keys with their dots, 'data.batch_size' for one."""
    names = []
    for name, field in section.model_fields.items():
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            names += setting_names(below, f'{prefix}{name}.')
        else:
            names.append(prefix + name)
    return names


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


def _explain(kind: type[BaseModel], problem: Any) -> str:
    place = [str(part) for part in problem['loc']]
    key = '.'.join(place)
    if problem['type'] == 'extra_forbidden':
        return _unknown(kind, key, place)
    wrong = f'{key} = {problem["input"]!r} is wrong: {problem["msg"]}'
    allowed = _description(kind, place)
    return wrong + (f' ({allowed})' if allowed else '')


def _unknown(kind: type[BaseModel], key: str, place: list[str]) -> str:
    names = setting_names(kind)
    near = get_close_matches(key, [*names, *kind.model_fields], n=2, cutoff=0.75)
    last = place[-1]
    near += [name for name in names if name.split('.')[-1] == last and name not in near]
    hint = f'did you mean {" or ".join(near)}? ' if near else ''
    section = '.'.join(place[:-1])
    there = [
        name.removeprefix(f'{section}.')
        for name in (names if section else kind.model_fields)
        if name.startswith(f'{section}.' if section else '')
    ]
    where = f'in {section}' if section else 'at the top'
    return f'{key} is not a setting; {hint}{where} there is: {", ".join(there)}'


def _description(kind: type[BaseModel], place: list[str]) -> str:
    """Return what is known of the setting: its default, and what it is for."""
    section = kind
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

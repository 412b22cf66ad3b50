# SPDX-License-Identifier: Apache-2.0
"""
The AdaBins network (Bhat, Alhashim, Wonka, CVPR 2021, arXiv 2011.14141) in torch and timm.

The names below are loaded on first use: configuration, errors and what a model file says of itself
need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adabins_ros.model.adabins import AdaBins, DepthDistribution
    from adabins_ros.model.checkpoint import load_model, save_checkpoint
    from adabins_ros.model.config import AdaBinsConfig, PRESETS
    from adabins_ros.model.errors import ModelError
    from adabins_ros.model.model_file import find_model, ModelFile

__all__ = [
    'PRESETS',
    'AdaBins',
    'AdaBinsConfig',
    'DepthDistribution',
    'ModelError',
    'ModelFile',
    'find_model',
    'load_model',
    'save_checkpoint',
]

_HOMES = {
    'AdaBins': 'adabins',
    'AdaBinsConfig': 'config',
    'DepthDistribution': 'adabins',
    'ModelError': 'errors',
    'ModelFile': 'model_file',
    'PRESETS': 'config',
    'find_model': 'model_file',
    'load_model': 'checkpoint',
    'save_checkpoint': 'checkpoint',
}


def __getattr__(name: str) -> object:
    """Import a name from its module when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
    """List the lazily loaded names with the others."""
    return sorted([*globals(), *_HOMES])

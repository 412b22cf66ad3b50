# SPDX-License-Identifier: Apache-2.0
"""
Metric depth with uncertainty from one camera, for ROS 2 and for plain Python.

`DepthPredictor` and what belongs to it are loaded on first use, so that importing the package does
not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthEstimate, DepthPredictor, Smoothing

__all__ = ['DepthEstimate', 'DepthPredictor', 'Smoothing', '__version__']
__version__ = '0.1.0'


def __getattr__(name: str) -> object:
    """Import the predictor when one of its names is first asked for (PEP 562)."""
    if name in ('DepthEstimate', 'DepthPredictor', 'Smoothing'):
        return getattr(import_module('adabins_ros.inference.predictor'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    """List the lazily loaded names with the others."""
    return sorted({*globals(), *__all__})

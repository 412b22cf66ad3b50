# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as a loaded model, and what to say when that fails."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from adabins_ros.ros.parameters import DepthNodeSettings

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor


class ConfigurationError(RuntimeError):
    """The node can't be configured as its parameters say; the text is for people."""


def load_predictor(settings: DepthNodeSettings) -> DepthPredictor:
    """
    Load the model that the parameters name, and let it plan for frames of the training size.

    It runs with what can run at once; the node changes over to a faster engine when it is built.

    Raises
    ------
    ConfigurationError
        If a package is missing, the model can't be used, or memory does not suffice.

    """
    try:
        # Not at the top: runtimes take a while to import, and meanwhile nobody would know why.
        from adabins_ros import DepthPredictor
        from adabins_ros.model.errors import ModelError

        predictor = DepthPredictor.from_pretrained(
            settings.model,
            depth_range=settings.depth_range if any(settings.depth_range) else None,
            device=settings.device,
            precision=settings.precision,
            engine=settings.engine,
            flip_average=settings.flip_average,
            inference_size=settings.inference_size if any(settings.inference_size) else None,
            pixel_budget=settings.pixel_budget or None,
            wait=False,
        )
        predictor.warm_up()
    except ImportError as error:
        raise ConfigurationError(
            f'the network can not be run ({error}); install what is missing with pip for this '
            'Python'
        ) from error
    except Exception as error:
        if out_of_memory(error):
            raise ConfigurationError(
                f'out of memory: {settings.model} does not fit ({error}); use a smaller model, or '
                'another device'
            ) from error
        if isinstance(error, ModelError):
            raise ConfigurationError(str(error)) from error
        raise
    return predictor


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory, the computer's or the GPU's, did not suffice."""
    text = f'{type(error).__name__} {error}'.lower()
    words = ('outofmemoryerror', 'out of memory', 'allocate memory')
    return isinstance(error, MemoryError) or any(each in text for each in words)


def free_cached_memory() -> None:
    """Give the GPU memory that torch, where it runs, keeps for later use back to the device."""
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()

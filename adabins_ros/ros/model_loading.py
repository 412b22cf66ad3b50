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

    Raises
    ------
    ConfigurationError
        If torch is missing, the model can't be used, or memory does not suffice.

    """
    # Not at the top: torch takes seconds to import, and meanwhile nobody would know why.
    try:
        from adabins_ros import DepthPredictor
        from adabins_ros.model.errors import ModelError
    except ImportError as error:
        raise _not_installed(error) from error
    try:
        predictor = DepthPredictor.from_pretrained(
            settings.model,
            depth_range=settings.depth_range if any(settings.depth_range) else None,
            device=settings.device,
            precision=settings.precision,
            engine=settings.engine,
            flip_average=settings.flip_average,
            inference_size=settings.inference_size if any(settings.inference_size) else None,
            pixel_budget=settings.pixel_budget or None,
        )
        predictor.warm_up()
    except ModelError as error:
        raise ConfigurationError(str(error)) from error
    except ImportError as error:  # timm, which only a network that has to be built needs
        raise _not_installed(error) from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ConfigurationError(
            f'out of memory: {settings.model} does not fit ({error}); use a smaller model, or '
            'another device'
        ) from error
    return predictor


def _not_installed(error: ImportError) -> ConfigurationError:
    return ConfigurationError(
        f'the network can not be imported ({error}); install torch, torchvision and timm with pip '
        'for this Python'
    )


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory, the computer's or the GPU's, did not suffice."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == 'OutOfMemoryError'
        or (isinstance(error, RuntimeError) and 'allocate memory' in text)
        or (isinstance(error, RuntimeError) and 'out of memory' in text)
    )


def free_cached_memory() -> None:
    """Give the GPU memory that torch keeps for later use back to the device."""
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()

# SPDX-License-Identifier: Apache-2.0
"""PyTorch as an engine: eager, or compiled by torch.compile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adabins_ros.inference.deployment import deploy, InSinglePrecision, PixelNetwork, Rewrites
from adabins_ros.inference.engines.engine import Arrays, Place, without_denormals
from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.errors import ModelError
import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn

# A GPU has its own fast 3x3 convolutions, and products before up-sampling were not measured there.
_ON_GPU = Rewrites(low_resolution_from=None)
_MULTIPLYING = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


class TorchEngine:
    """
    Run a network with torch, in channels-last memory.

    A GPU gets the small uint8 images and gives back the maps at half their size.

    Parameters
    ----------
    network : AdaBins
        On the CPU; left as it is.
    place : Place
        Half precisions are autocast, and the network's weights held in them.
    rewrites : Rewrites, optional
        Of the graph; those that pay by default.
    compiled : bool
        Let torch.compile make kernels for each shape at its first frame, which takes a minute and
        needs a C++ compiler; the training size is compiled at once.

    Raises
    ------
    ModelError
        If it does not fit into the device's memory, or this machine can't compile.

    """

    def __init__(
        self,
        network: AdaBins,
        place: Place,
        *,
        rewrites: Rewrites | None = None,
        compiled: bool = False,
    ) -> None:
        self.name = 'torch_compile' if compiled else 'torch'
        self.device = f'cuda:{place.gpu_index}' if place.on_gpu else 'cpu'
        self._dtype = getattr(torch, place.precision)
        if place.on_gpu and place.gpu_index >= torch.cuda.device_count():
            raise ModelError(
                f'device {place.device!r} does not exist: there are {torch.cuda.device_count()} '
                'CUDA devices'
            )
        graph = _deployed(network, self.device, rewrites or (_ON_GPU if place.on_gpu else None))
        if self._dtype != torch.float32:
            hold_weights_in(graph, self._dtype)
        self.input_names = frozenset(graph.input_names)
        self._output_names = graph.output_names
        self._network: Any = torch.compile(graph, dynamic=False) if compiled else graph
        what = 'compiled ' if compiled else ''
        as_written = '' if rewrites is None else ', as written'
        self.description = (
            f'torch {torch.__version__} {what}on {self.device} in {place.precision}{as_written}'
        )
        if compiled:
            self._compile(network.config.input_size)

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the network; see ``Engine.run``."""
        if self._network is None:
            raise RuntimeError('this engine is closed')
        # Writeable, for torch warns of arrays that are not, such as a message's image.
        given = {
            name: torch.from_numpy(np.require(inputs[name], None, ['C', 'W'])).to(self.device)
            for name in inputs
        }
        half, kind = self._dtype != torch.float32, self.device.partition(':')[0]
        with without_denormals(), torch.autocast(kind, self._dtype, enabled=half):
            outputs = self._network(**given)
        return {
            name: output.float().cpu().numpy()
            for name, output in zip(self._output_names, outputs, strict=True)
        }

    def close(self) -> None:
        """Free the network and the device's memory."""
        self._network = None
        if self.device != 'cpu':
            torch.cuda.empty_cache()

    def _compile(self, size: tuple[int, int]) -> None:
        try:
            self.run({'image': np.zeros((1, *size, 3), np.uint8)})
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"engine 'torch_compile' can't compile here ({reason}); install a C++ compiler "
                "(Debian and Ubuntu: sudo apt install g++ python3-dev), or use engine 'torch'"
            ) from error


def hold_weights_in(module: nn.Module, dtype: torch.dtype) -> None:
    """
    Convert, in place, the weights that autocast would convert at every frame.

    It keeps such copies for training only. The products are the same; reading the weights takes
    half the time and memory, and what autocast computes in float32 keeps its own.
    """
    for child in module.children():
        if isinstance(child, _MULTIPLYING):
            child.to(dtype)
        elif not isinstance(child, InSinglePrecision):
            hold_weights_in(child, dtype)


def _deployed(network: AdaBins, device: str, rewrites: Rewrites | None) -> PixelNetwork:
    try:
        graph = deploy(network, rewrites).to(memory_format=torch.channels_last)
        return PixelNetwork(graph, torch.channels_last).to(device)
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise ModelError(
            f'{network.config.name} does not fit into the memory of {device}: '
            f'{str(error).splitlines()[0]}; close what else uses it, or use adabins-lite or '
            'device cpu'
        ) from error

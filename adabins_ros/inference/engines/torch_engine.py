# SPDX-License-Identifier: Apache-2.0
"""PyTorch as an engine: eager, or compiled by torch.compile."""

from __future__ import annotations

from functools import partial

from adabins_ros.inference.deployment import deploy
from adabins_ros.inference.engines.engine import Place, without_denormals
from adabins_ros.inference.engines.pixel_network import PixelNetwork
from adabins_ros.inference.engines.recording import CudaGraph, RecordedNetwork, Runs
from adabins_ros.inference.half_weights import hold_weights_in
from adabins_ros.inference.rewrites import rewrites_for
from adabins_ros.model.adabins import AdaBins, DepthDistribution
from adabins_ros.model.errors import ModelError
import torch


class TorchEngine:
    """
    Run a network with torch; on a GPU from CUDA graphs, made at a shape's first frame.

    Parameters
    ----------
    network : PixelNetwork
        On the device of ``place``.
    place : Place
        Half precisions are autocast, and the network's weights held in them.
    compiled : bool
        Let torch.compile make kernels for each size at its first frame, which takes a minute and
        needs a C++ compiler.

    """

    def __init__(self, network: PixelNetwork, place: Place, *, compiled: bool = False) -> None:
        self.name = 'torch_compile' if compiled else 'torch'
        self.device = place.device
        if place.dtype != torch.float32:
            hold_weights_in(network, place.dtype)
        runs: Runs = torch.compile(network, dynamic=False) if compiled else network
        run = partial(_computed, runs, place)
        on_gpu = self.device.type == 'cuda'
        self._run: Runs | None = (
            RecordedNetwork(run, CudaGraph) if on_gpu and not compiled else run
        )
        precision = str(place.dtype).removeprefix('torch.')
        what = 'compiled ' if compiled else ''
        self.description = f'torch {torch.__version__} {what}on {place.device} in {precision}'

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> DepthDistribution:
        """Run the network on (B, h, w, 3) pixels of its device."""
        if self._run is None:
            raise RuntimeError('this engine is closed')
        with without_denormals():
            return self._run(pixels)

    def compile_for(self, pixels: torch.Tensor) -> None:
        """
        Compile for a size, before its first frame.

        Raises
        ------
        ModelError
            If this machine can't compile.

        """
        try:
            self(pixels)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"engine 'torch_compile' can't compile here ({reason}); install a C++ compiler "
                "(Debian and Ubuntu: sudo apt install g++ python3-dev), or use engine 'torch'"
            ) from error

    def close(self) -> None:
        """Free the network and the device's memory."""
        self._run = None
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()


def deployed(network: AdaBins, device: torch.device) -> PixelNetwork:
    """
    Give the form of a network that torch runs, on its device.

    Raises
    ------
    ModelError
        If it does not fit into the device's memory.

    """
    memory_format = torch.channels_last
    try:
        graph = deploy(network, rewrites_for(device)).to(memory_format=memory_format)
        return PixelNetwork(graph, network.config, memory_format).to(device).eval()
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise ModelError(
            f'{network.config.name} does not fit into the memory of {device}: '
            f'{str(error).splitlines()[0]}; close what else uses it, or use adabins-lite or '
            'device cpu'
        ) from error


def _computed(network: Runs, place: Place, pixels: torch.Tensor) -> DepthDistribution:
    half, kind = place.dtype != torch.float32, place.device.type
    # What autocast caches would be gone when a recording is replayed.
    with torch.autocast(kind, place.dtype, enabled=half, cache_enabled=False):
        depth, std, centers = network(pixels)
    return DepthDistribution(depth.float(), std.float(), centers.float())

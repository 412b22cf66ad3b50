# SPDX-License-Identifier: Apache-2.0
"""
A network's kernels recorded once for each shape, and launched together for each frame.

A small network on a fast GPU waits for Python to launch its hundreds of kernels; a CUDA graph is
one launch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
import logging

from adabins_ros.model.adabins import DepthDistribution
import torch

log = logging.getLogger(__name__)

Runs = Callable[[torch.Tensor], DepthDistribution]
RECORDINGS = 2
_WARM_UPS = 3


class CudaGraph:
    """
    A recording of a network for pixels of one shape.

    Parameters
    ----------
    run : callable
        From (B, h, w, 3) pixels to a DepthDistribution, all on one GPU, without waiting for it.
    pixels : torch.Tensor
        Of the shape, on that GPU.

    """

    def __init__(self, run: Runs, pixels: torch.Tensor) -> None:
        benchmark = torch.backends.cudnn.benchmark
        # A side stream first, on which libraries choose and allocate: torch, notes on CUDA graphs.
        with torch.cuda.device(pixels.device):
            self._pixels = pixels.to(torch.float32, copy=True)
            torch.backends.cudnn.benchmark = True
            try:
                side, current = torch.cuda.Stream(), torch.cuda.current_stream()
                side.wait_stream(current)
                with torch.cuda.stream(side):
                    for _ in range(_WARM_UPS):
                        run(self._pixels)
                current.wait_stream(side)
                self._graph = torch.cuda.CUDAGraph()
                # The rest of the process may use the GPU meanwhile.
                with torch.cuda.graph(self._graph, capture_error_mode='thread_local'):
                    self._output = run(self._pixels)
            finally:
                torch.backends.cudnn.benchmark = benchmark

    def __call__(self, pixels: torch.Tensor) -> DepthDistribution:
        """Replay it; uint8 pixels become float32 on the way."""
        self._pixels.copy_(pixels, non_blocking=True)
        self._graph.replay()
        # The next frame overwrites the recording's own.
        return DepthDistribution(*(tensor.clone() for tensor in self._output))


class RecordedNetwork:
    """
    Run a network from recordings, of the last two shapes.

    A shape is recorded when it first comes, while there is room. Later it must come twice in a
    row, so that many shapes in turns (cameras of different sizes) do not record for each frame.

    Parameters
    ----------
    run : callable
        The network itself, which also runs what is not recorded.
    record : callable
        Makes a recording of it for some pixels; ``CudaGraph`` but for tests. Where that fails, a
        warning says so once, and the network runs unrecorded from then on.

    """

    def __init__(self, run: Runs, record: Callable[[Runs, torch.Tensor], Runs]) -> None:
        self._run = run
        self._record = record
        self._recordings: OrderedDict[tuple[int, ...], Runs] = OrderedDict()
        self._previous: tuple[int, ...] | None = None
        self._can_record = True

    def __call__(self, pixels: torch.Tensor) -> DepthDistribution:
        """Run the network on (B, h, w, 3) pixels."""
        shape, previous = tuple(pixels.shape), self._previous
        self._previous = shape
        if shape in self._recordings:
            self._recordings.move_to_end(shape)
        elif len(self._recordings) < RECORDINGS or shape == previous:
            self._add(shape, pixels)
        return self._recordings.get(shape, self._run)(pixels)

    def _add(self, shape: tuple[int, ...], pixels: torch.Tensor) -> None:
        if not self._can_record:
            return
        if len(self._recordings) >= RECORDINGS:
            self._recordings.popitem(last=False)
        try:
            self._recordings[shape] = self._record(self._run, pixels)
        except RuntimeError as error:
            self._can_record = False
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning('no CUDA graph could be made (%s); the network runs without', reason)

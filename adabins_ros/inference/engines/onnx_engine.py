# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as an engine, on the CPU or through its CUDA and TensorRT providers."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from adabins_ros.inference.engines.engine import check_engine, Place, without_denormals
from adabins_ros.inference.engines.onnx_file import OnnxModel
from adabins_ros.model.adabins import DepthDistribution
from adabins_ros.model.errors import ModelError
import torch

# A session holds the weights once more; two let a predictor warm up with another size.
_SESSIONS = 2


class OnnxEngine:
    """
    Run an ONNX file with ONNX Runtime.

    A session is made for each size that comes, and the last two are kept: with the sizes known,
    the runtime plans as well as for a file of one size (measured: 27 ms against 38 ms).

    The runtime's memory options stay as they are. adabins-lite at 240x320 takes 73 to 79 MiB; 79
    to 103 without the arena; 68 to 85, and a fifth more time, without the memory pattern too; and
    as much with initializers from the device's allocator, with an arena that grows by what is
    asked for, and without prepacking.

    Parameters
    ----------
    model : OnnxModel
        The file.
    place : Place
        For a GPU the package onnxruntime-gpu is needed. Half precision is TensorRT's alone; the
        CUDA provider computes in float32.
    cache : Path, optional
        Where TensorRT keeps what it builds.

    Raises
    ------
    ModelError
        If the runtime is not installed, has no provider for the device or can't use the file.

    """

    name = 'onnx'

    def __init__(self, model: OnnxModel, place: Place, cache: Path | None = None) -> None:
        check_engine(self.name)
        import onnxruntime

        self._runtime = onnxruntime
        self._model: OnnxModel | None = model
        self._place = place
        self._providers = _providers(place, onnxruntime.get_available_providers(), cache)
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        # Frames are small once they are resized: the runtime itself copies them to a GPU.
        self.device = torch.device('cpu')
        where = self._providers[0][0].removesuffix('ExecutionProvider')
        self.description = f'ONNX Runtime {onnxruntime.__version__} ({where})'

    def __call__(self, pixels: torch.Tensor) -> DepthDistribution:
        """Run the network on (B, h, w, 3) uint8 pixels on the CPU."""
        with without_denormals():
            outputs = self._session(pixels.shape[:3]).run(None, {'pixels': pixels.numpy()})
        return DepthDistribution(*(torch.from_numpy(output) for output in outputs))

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()
        self._model = None

    def _session(self, shape: tuple[int, ...]) -> Any:
        session = self._sessions.get(shape)
        if session is None:
            if len(self._sessions) >= _SESSIONS:
                self._sessions.popitem(last=False)
            session = self._sessions[shape] = self._opened(shape)
        self._sessions.move_to_end(shape)
        return session

    def _opened(self, shape: tuple[int, ...]) -> Any:
        if self._model is None:
            raise RuntimeError('this engine is closed')
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._place.threads
        options.log_severity_level = 3
        options.add_session_config_entry('session.set_denormal_as_zero', '1')
        # Its threads wait for the next frame asleep: spinning, they take the cores from the camera
        # and the subscribers (node on two cores: p99 35 instead of 72 ms, a third less processor).
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        for name, length in zip(self._model.free_dimensions, shape, strict=False):
            options.add_free_dimension_override_by_name(name, length)
        try:
            return self._runtime.InferenceSession(
                str(self._model.path), options, providers=self._providers
            )
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime can't use {self._model.path}: {str(error).splitlines()[0]}"
            ) from error


def _providers(
    place: Place, available: list[str], cache: Path | None
) -> list[tuple[str, dict[str, Any]]]:
    """Choose what ONNX Runtime computes with, best first."""
    cpu: tuple[str, dict[str, Any]] = ('CPUExecutionProvider', {})
    if place.device.type == 'cpu':
        return [cpu]
    if 'CUDAExecutionProvider' not in available:
        raise ModelError(
            f"engine 'onnx' on {place.device} needs ONNX Runtime with CUDA, and this one has "
            f'{", ".join(available)}; install it with: pip install onnxruntime-gpu (in place of '
            "onnxruntime), or use engine 'torch'"
        )
    number = {'device_id': place.device.index or 0}
    chosen = [('CUDAExecutionProvider', number), cpu]
    if 'TensorrtExecutionProvider' in available and _has_tensorrt():
        options: dict[str, Any] = {**number, 'trt_fp16_enable': place.dtype == torch.float16}
        if cache is not None:
            options.update(trt_engine_cache_enable=True, trt_engine_cache_path=str(cache))
        chosen.insert(0, ('TensorrtExecutionProvider', options))
    return chosen


def _has_tensorrt() -> bool:
    """Tell whether TensorRT itself is there: the runtime lists its provider without it, too."""
    from importlib.util import find_spec

    return find_spec('tensorrt') is not None

# SPDX-License-Identifier: Apache-2.0
"""OpenVINO as an engine, on the CPU or on Intel's GPU."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from adabins_ros.inference.engines.engine import check_engine, Place, without_denormals
from adabins_ros.inference.engines.onnx_file import OnnxModel
from adabins_ros.model.adabins import DepthDistribution
from adabins_ros.model.errors import ModelError
import numpy as np
import torch

_REQUESTS = 2
_PRECISIONS = {torch.float32: 'f32', torch.float16: 'f16', torch.bfloat16: 'bf16'}


class OpenVinoEngine:
    """
    Run an ONNX file with OpenVINO.

    It is compiled for each size that comes, and the last two are kept.

    Parameters
    ----------
    model : OnnxModel
        The file.
    place : Place
        OpenVINO has no NVIDIA GPU; an Intel one is taken if ``prefers_gpu``.

    Raises
    ------
    ModelError
        If OpenVINO is not installed or can't use the device or the file.

    """

    name = 'openvino'

    def __init__(self, model: OnnxModel, place: Place) -> None:
        check_engine(self.name)
        if place.device.type != 'cpu':
            raise ModelError(
                f"engine 'openvino' can't run on {place.device}; use device cpu, or engine torch"
            )
        import openvino

        self._core = openvino.Core()
        self._model: OnnxModel | None = model
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        gpu = place.prefers_gpu and 'GPU' in self._core.available_devices
        self._where = 'GPU' if gpu else 'CPU'
        self._options: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            # Otherwise it would take half precision wherever the hardware has it.
            'INFERENCE_PRECISION_HINT': _PRECISIONS[place.dtype],
        }
        if not gpu:
            self._options['INFERENCE_NUM_THREADS'] = place.threads
            self._options['CPU_DENORMALS_OPTIMIZATION'] = True
        self.device = torch.device('cpu')
        version = openvino.__version__.split('-')[0]
        self.description = f'OpenVINO {version} ({self._where})'

    def __call__(self, pixels: torch.Tensor) -> DepthDistribution:
        """Run the network on (B, h, w, 3) uint8 pixels on the CPU."""
        with without_denormals():
            request = self._request(tuple(pixels.shape))
            request.infer({0: np.ascontiguousarray(pixels.numpy())}, share_inputs=True)
        # Copies: the next frame is computed into the same buffers.
        outputs = [np.array(request.get_output_tensor(index).data) for index in range(3)]
        return DepthDistribution(*(torch.from_numpy(output) for output in outputs))

    def close(self) -> None:
        """Free what was compiled."""
        self._requests.clear()
        self._model = None

    def _request(self, shape: tuple[int, ...]) -> Any:
        request = self._requests.get(shape)
        if request is None:
            if len(self._requests) >= _REQUESTS:
                self._requests.popitem(last=False)
            request = self._requests[shape] = self._compiled(shape)
        self._requests.move_to_end(shape)
        return request

    def _compiled(self, shape: tuple[int, ...]) -> Any:
        if self._model is None:
            raise RuntimeError('this engine is closed')
        try:
            network = self._core.read_model(str(self._model.path))
            network.reshape({0: list(shape)})
            return self._core.compile_model(
                network, self._where, self._options
            ).create_infer_request()
        except Exception as error:
            raise ModelError(
                f"OpenVINO can't use {self._model.path}: {str(error).strip().splitlines()[-1]}"
            ) from error

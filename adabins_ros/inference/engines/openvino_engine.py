# SPDX-License-Identifier: Apache-2.0
"""OpenVINO as an engine, on the CPU or on Intel's GPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from adabins_ros.inference.engines.engine import (
    Arrays,
    check_engine,
    Place,
    with_zeros,
    without_denormals,
)
from adabins_ros.inference.onnx_file import FIRST_FORMAT, OnnxModel
from adabins_ros.model.errors import ModelError
import numpy as np
from numpy.typing import NDArray

_REQUESTS = 2
_PRECISIONS = {'float32': 'f32', 'float16': 'f16', 'bfloat16': 'bf16'}


class OpenVinoEngine:
    """
    Run an ONNX file with OpenVINO.

    It is compiled for each shape that comes, and the last two are kept.

    Parameters
    ----------
    model : OnnxModel
        The file.
    place : Place
        OpenVINO has no NVIDIA GPU; an Intel one is taken if ``prefers_gpu``.
    shape : (int, int, int), optional
        Batch, height and width of the images to be ready for; one of the training size by default.

    Raises
    ------
    ModelError
        If OpenVINO is not installed or can't use the device or the file.

    """

    name = 'openvino'
    device = 'cpu'

    def __init__(
        self, model: OnnxModel, place: Place, shape: tuple[int, int, int] | None = None
    ) -> None:
        check_engine(self.name)
        if place.on_gpu:
            raise ModelError(
                f"engine 'openvino' can't run on {place.device}; use device cpu, or engine torch"
            )
        import openvino

        self._core = openvino.Core()
        self._model: OnnxModel | None = model
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._outputs: list[str] = []
        gpu = place.prefers_gpu and 'GPU' in self._core.available_devices
        self._where = 'GPU' if gpu else 'CPU'
        self._options: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            # Otherwise it would take half precision wherever the hardware has it.
            'INFERENCE_PRECISION_HINT': _PRECISIONS[place.precision],
        }
        if not gpu:
            self._options['INFERENCE_NUM_THREADS'] = place.threads
            self._options['CPU_DENORMALS_OPTIMIZATION'] = True
        self._image = 'pixels' if model.file_format == FIRST_FORMAT else 'image'
        request = self._request(shape or model.usual_shape)
        names = {each.get_any_name() for each in request.get_compiled_model().inputs}
        self.input_names = frozenset(names - {self._image} | {'image'})
        version = openvino.__version__.split('-')[0]
        self.description = f'OpenVINO {version} ({self._where})'

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the network; see ``Engine.run``."""
        request = self._request(inputs['image'].shape[:3])
        feeds = {self._image if name == 'image' else name: inputs[name] for name in inputs}
        taken = request.get_compiled_model().inputs
        shapes = {each.get_any_name(): tuple(each.shape) for each in taken}
        feeds = with_zeros(feeds, shapes, len(inputs['image']))
        with without_denormals():
            request.infer(feeds, share_inputs=True)
        # Copies: the next frame is computed into the same buffers.
        arrays = {
            name: np.array(request.get_output_tensor(index).data)
            for index, name in enumerate(self._outputs)
        }
        if self._image == 'pixels':
            arrays.update({name: arrays[name][:, 0] for name in ('depth', 'std')})
        return arrays

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
            with without_denormals():
                network = self._core.read_model(str(self._model.path))
                # Compiled, they have further names.
                self._outputs = [output.get_any_name() for output in network.outputs]
                shapes = {
                    each.get_any_name(): [shape[0], *list(each.partial_shape)[1:]]
                    for each in network.inputs
                }
                network.reshape({**shapes, self._image: [*shape, 3]})
                return self._core.compile_model(
                    network, self._where, self._options
                ).create_infer_request()
        except Exception as error:
            raise ModelError(
                f"OpenVINO can't use {self._model.path}: {str(error).strip().splitlines()[-1]}"
            ) from error

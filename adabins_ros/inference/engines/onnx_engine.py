# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as an engine, on the CPU or through its CUDA and TensorRT providers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
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
from numpy.typing import NDArray

# A session holds the weights once more; two let a predictor warm up with another size.
_SESSIONS = 2
_SPIN_US = 50


class OnnxEngine:
    """
    Run an ONNX file with ONNX Runtime.

    On the CPU a session is made for each shape that comes, and the last two are kept: with the
    sizes known, the runtime plans as well as for a file of one size (measured: 27 ms against 38
    ms).

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
    shape : (int, int, int), optional
        Batch, height and width of the images to be ready for; one of the training size by default.
    cache : Path, optional
        Where TensorRT keeps what it builds.

    Raises
    ------
    ModelError
        If the runtime is not installed, has no provider for the device or can't use the file.

    """

    name = 'onnx'

    def __init__(
        self,
        model: OnnxModel,
        place: Place,
        shape: tuple[int, int, int] | None = None,
        cache: Path | None = None,
    ) -> None:
        check_engine(self.name)
        import onnxruntime

        self._runtime = onnxruntime
        self._model: OnnxModel | None = model
        self._place = place
        self._providers = _providers(place, cuda_providers(), cache)
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        # Held: a session for another size must be of this file, whatever takes its name meanwhile.
        self._file = open(model.path, 'rb')  # noqa: SIM115
        session = self._session(shape or model.usual_shape)
        self._image = 'pixels' if model.file_format == FIRST_FORMAT else 'image'
        names = {each.name for each in session.get_inputs()}
        self.input_names = frozenset(names - {self._image} | {'image'})
        where = session.get_providers()[0].removesuffix('ExecutionProvider')
        if place.on_gpu and where == 'CPU':
            # It falls back by itself where CUDA's libraries are missing, and only logs that.
            raise ModelError(
                f"ONNX Runtime {onnxruntime.__version__} can't start its CUDA provider here; "
                'install the CUDA and cuDNN that it names: '
                "pip install 'onnxruntime-gpu[cuda,cudnn]', or use engine 'torch' or device cpu"
            )
        self.device = f'cuda:{place.gpu_index}' if place.on_gpu else 'cpu'
        self.description = f'ONNX Runtime {onnxruntime.__version__} ({where})'

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the network; see ``Engine.run``."""
        session = self._session(inputs['image'].shape[:3])
        feeds = {self._image if name == 'image' else name: inputs[name] for name in inputs}
        shapes = {each.name: each.shape for each in session.get_inputs()}
        feeds = with_zeros(feeds, shapes, len(inputs['image']))
        with without_denormals():
            outputs = session.run(None, feeds)
        names = [made.name for made in session.get_outputs()]
        arrays = dict(zip(names, outputs, strict=True))
        if self._image == 'pixels':
            arrays.update({name: arrays[name][:, 0] for name in ('depth', 'std')})
        return arrays

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()
        self._file.close()
        self._model = None

    def _session(self, shape: tuple[int, ...]) -> Any:
        # A GPU's kernels are chosen for each shape as it comes, in one session.
        key = () if self._place.on_gpu else shape
        session = self._sessions.get(key)
        if session is None:
            if len(self._sessions) >= _SESSIONS:
                self._sessions.popitem(last=False)
            session = self._sessions[key] = self._opened(key)
        self._sessions.move_to_end(key)
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
        # Between two operators of a frame they spin for a moment, where the runtime can be told
        # for how long: a frame takes a seventh less time, and no more processor.
        spins = '1' if _version(self._runtime) >= (1, 26) else '0'
        options.add_session_config_entry('session.intra_op.allow_spinning', spins)
        options.add_session_config_entry('session.intra_op.spin_duration_us', str(_SPIN_US))
        for name, length in zip(self._model.free_dimensions, shape, strict=False):
            options.add_free_dimension_override_by_name(name, length)
        try:
            with without_denormals():
                return self._runtime.InferenceSession(
                    self._path(), options, providers=self._providers
                )
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime can't use {self._model.path}: {str(error).splitlines()[0]}"
            ) from error

    def _path(self) -> str:
        assert self._model is not None
        held = Path(f'/proc/self/fd/{self._file.fileno()}')
        # A GPU has one session, and TensorRT names what it keeps after the path.
        return str(held if held.exists() and not self._place.on_gpu else self._model.path)


def _version(runtime: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in runtime.__version__.split('.')[:2])


def cuda_providers() -> list[str]:
    """Name the providers for NVIDIA GPUs that the installed ONNX Runtime was built with."""
    if find_spec('onnxruntime') is None:
        return []
    import onnxruntime

    built = onnxruntime.get_available_providers()
    wanted = ['CUDAExecutionProvider']
    # The runtime lists TensorRT's provider where TensorRT itself is not installed, too.
    if find_spec('tensorrt') is not None:
        wanted.insert(0, 'TensorrtExecutionProvider')
    return [name for name in wanted if name in built]


def _providers(
    place: Place, for_gpu: list[str], cache: Path | None
) -> list[tuple[str, dict[str, Any]]]:
    """Choose what ONNX Runtime computes with, best first."""
    cpu: tuple[str, dict[str, Any]] = ('CPUExecutionProvider', {})
    if not place.on_gpu:
        return [cpu]
    if 'CUDAExecutionProvider' not in for_gpu:
        raise ModelError(
            f"engine 'onnx' on {place.device} needs ONNX Runtime with CUDA, and the installed one "
            'is for the CPU; install it with: pip uninstall onnxruntime; pip install '
            "onnxruntime-gpu, or use engine 'torch'"
        )
    options: dict[str, dict[str, Any]] = {name: {'device_id': place.gpu_index} for name in for_gpu}
    if 'TensorrtExecutionProvider' in options:
        options['TensorrtExecutionProvider']['trt_fp16_enable'] = place.precision == 'float16'
        if cache is not None:
            options['TensorrtExecutionProvider'].update(
                trt_engine_cache_enable=True, trt_engine_cache_path=str(cache)
            )
    return [*options.items(), cpu]

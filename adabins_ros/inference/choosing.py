# SPDX-License-Identifier: Apache-2.0
"""Which engine runs a model, and the change to a faster one when that is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import logging
from pathlib import Path
import shutil
import tempfile
from typing import TypeVar
import weakref

from adabins_ros.inference.building import build, open_exported, OtherProcess, Work
from adabins_ros.inference.checking import allowed_difference_m, largest_difference_m
from adabins_ros.inference.device import (
    check_device,
    choose_precision,
    clash_of_runtimes,
    find_gpu,
    gpu_unused,
    torch_finds_gpu,
)
from adabins_ros.inference.engines.engine import check_engine, Engine, is_installed, Place
from adabins_ros.inference.engines.onnx_engine import cuda_providers
from adabins_ros.inference.finding import Model, WITH_TORCH
from adabins_ros.inference.input_size import inference_size
from adabins_ros.inference.kept import Kept, key_of_file, key_of_network, key_of_place
from adabins_ros.inference.onnx_file import is_onnx
from adabins_ros.model.errors import ModelError
from adabins_ros.package_files import cache_folder

log = logging.getLogger(__name__)
Found = TypeVar('Found')


@dataclass
class Running:
    """
    A model with the engine that runs it now.

    Parameters
    ----------
    model : Model
        What to run.
    name, device, precision : str
        As ``DepthPredictor.from_pretrained`` takes engine, device and precision.
    shape : (int, int, int)
        Batch, height and width of the images to be ready for.
    wait : bool
        Whether to wait for the final engine.
    still_wanted : callable, optional
        As ``DepthPredictor.from_pretrained`` takes it.

    Raises
    ------
    ModelError
        If an option is unknown, or nothing here can run the model as asked.

    """

    model: Model
    name: str
    device: str
    precision: str
    shape: tuple[int, int, int]
    wait: bool = True
    still_wanted: Callable[[], bool] | None = None
    notices: list[str] = field(default_factory=list, init=False)
    engine: Engine = field(init=False)
    _elsewhere: OtherProcess | None = field(default=None, init=False)
    _work: Work | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_engine(self.name)
        check_device(self.device)
        choose_precision(self.precision, on_gpu=True)
        if self.name in WITH_TORCH and self.model.load is None:
            raise ModelError(
                f'engine {self.name!r} can not run the ONNX file {self.model.file}; use engine '
                'onnx or openvino, or the checkpoint that it was made from'
            )
        gpu = find_gpu() if self.device != 'cpu' else None
        if self.device == 'cpu' or not self._open_on_gpu(gpu):
            self._open_at(self._place('cpu'))
        clash = clash_of_runtimes()
        if clash and gpu and not cuda_providers():
            self.notices.append(clash)
        elif clash:
            log.info('%s', clash)
        if self.wait:
            for notice in self.notices:
                log.warning('%s', notice)

    @property
    def notice(self) -> str | None:
        """Say what a user should know: a GPU that is not used, an engine that was refused."""
        return '; '.join(self.notices) or None

    def settle(self) -> bool:
        """
        Change over to the engine that was built meanwhile, if it is ready.

        Returns
        -------
        bool
            Whether the engine is another one now.

        """
        if self._elsewhere is None or not self._elsewhere.is_done():
            return False
        problem = self._elsewhere.problem
        self._elsewhere = None
        if problem:
            self.notices.append(f'{problem}; {self.engine.description} runs on')
            return False
        before = self.engine
        try:
            self.engine = self._chosen(before)
        except ModelError as error:
            self.notices.append(f'{error}; {before.description} runs on')
        if self.engine is before:
            return False
        before.close()
        return True

    def close(self) -> None:
        """End what is being built, and free the engine."""
        if self._elsewhere is not None:
            self._elsewhere.end()
            self._elsewhere = None
        self.engine.close()

    def _place(self, device: str) -> Place:
        on_gpu = device != 'cpu'
        precision = choose_precision(self.precision, on_gpu=on_gpu)
        return Place(device, precision, prefers_gpu=self.device == 'auto')

    def _open_on_gpu(self, gpu: str | None) -> bool:
        """Open an engine on a GPU, ONNX Runtime's first; False if the CPU is to be taken."""
        asked = self.device != 'auto'
        if not (gpu or asked) or (self.name == 'openvino' and not asked):
            return False
        place = self._place(self.device if asked else 'cuda')
        reasons = []
        if self.name == 'openvino':
            reasons.append("engine 'openvino' has no NVIDIA GPU")
        if self.name in ('auto', 'onnx'):
            try:
                if cuda_providers():
                    self._open_at(place)
                    return True
                reasons.append('ONNX Runtime here is for the CPU')
            except ModelError as error:
                reasons.append(str(error))
        if self.name in ('auto', *WITH_TORCH):
            try:
                if self.model.load is None:
                    reasons.append('torch can not run an ONNX file')
                elif torch_finds_gpu():
                    self.engine = self._torch(place)
                    return True
                else:
                    torch_is_there = is_installed('torch')
                    finds_none = 'finds no CUDA device' if torch_is_there else 'is not installed'
                    reasons.append(f'torch {finds_none}')
            except ModelError as error:
                reasons.append(str(error))
        unused = gpu_unused(gpu or 'an NVIDIA GPU', ', and '.join(reasons))
        if asked:
            raise ModelError(
                f'device {self.device!r} can not be used: {unused}. Or use device cpu or auto'
            )
        self.notices.append(unused)
        return False

    def _open_at(self, place: Place) -> None:
        """Open the engine of a place, or what runs until that is built."""
        model, names = self.model, self._candidates(place)
        if not names or (self.name == 'auto' and model.file is None and not model.exported):
            self.engine = self._torch(place)
            return
        given = model.exported is not None and model.kept is None
        if given and len(names) == 1:
            self.engine = open_exported(names[0], _found(model.exported), place, self.shape)
            return
        kept = self._kept()
        self._work = Work(
            kept.key,
            str(kept.folder),
            names,
            place,
            str(model.file.absolute()) if model.file else '',
            model.depth_range,
        )
        known = kept.measured(key_of_place(place, names))
        # Also of a network that can't be exported, so that each start does not try again.
        if not known or not (model.exported or known.get('engine') == '' or kept.exported()):
            at_once = self.still_wanted is None or model.exported or kept.exported()
            if not self.wait and model.file is not None and at_once:
                self.engine = self._first(place, names)
                self._start_elsewhere()
                return
            self._build_and_wait()
        self.engine = self._chosen(None)

    def _candidates(self, place: Place) -> list[str]:
        """Name the engines of exported networks to choose from, the simplest first."""
        if self.name in WITH_TORCH:
            return []
        if self.name != 'auto':
            return [self.name]
        names = ('onnx',) if place.on_gpu else ('onnx', 'openvino')
        return [name for name in names if is_installed(name)]

    def _kept(self) -> Kept:
        """Find what is kept of the model, in a folder that both processes can use."""
        model = self.model
        if model.kept is None:
            key = (
                key_of_file(model.file, model.depth_range)
                if model.file is not None
                else key_of_network(_found(model.load)())
            )
            model.kept = Kept(key, cache_folder())
        if model.kept.folder is None:
            folder = tempfile.mkdtemp(prefix='adabins_ros_')
            # Removed with the engine that needs it.
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            model.kept = Kept(model.kept.key, Path(folder))
        return model.kept

    def _first(self, place: Place, names: list[str]) -> Engine:
        """Open what can run at once."""
        exported = self.model.exported or _found(self.model.kept).exported()
        if exported is not None:
            return open_exported(names[0], exported, place, self.shape)
        return self._torch(place)

    def _start_elsewhere(self) -> None:
        try:
            self._elsewhere = OtherProcess(_found(self._work))
        except OSError as error:
            self.notices.append(f'no process to build engines in: {error.strerror}')

    def _build_and_wait(self) -> None:
        """Build in another process if there is a file to start from, else in this one."""
        work = _found(self._work)
        if self.model.file is None:
            build(work, _found(self.model.load)())
            return
        try:
            process = OtherProcess(work)
        except OSError as error:
            log.warning('no process to build engines in: %s; this one does it', error.strerror)
            build(work)
            return
        process.wait(self.still_wanted)
        if process.problem is None:
            return
        if process.could_not_start:
            log.warning('%s; this one does it', process.problem)
            build(work)
        elif self.name != 'auto':
            raise ModelError(process.problem)
        else:
            instead = 'ONNX Runtime' if self.model.exported else 'torch'
            self.notices.append(f'{process.problem}; {instead} runs instead')

    def _chosen(self, current: Engine | None) -> Engine:
        """Open what was measured to be best; ``current`` if it is that, or torch if nothing is."""
        work, kept = _found(self._work), _found(self.model.kept)
        known = kept.measured(key_of_place(work.place, work.engines))
        name = known.get('engine')
        given = self.model.exported if is_onnx(work.file) else None
        exported = given or kept.exported()
        refused = known.get('refused')
        for reason in refused.values() if isinstance(refused, dict) else ():
            if name not in work.engines:
                self.notices.append(f'{reason}; torch runs instead')
            else:
                log.info('%s', reason)
        if name in work.engines and exported is not None:
            if current is not None and current.name == name:
                return current
            return open_exported(name, exported, work.place, self.shape)
        if current is not None:
            return current
        if given is not None:
            return open_exported(work.engines[0], given, work.place, self.shape)
        return self._torch(work.place)

    def _torch(self, place: Place) -> Engine:
        """
        Let torch run the network, as it is written if the rewritten graph differs from it.

        Raises
        ------
        ModelError
            If the network can't be loaded, or torch can't run it at the place.

        """
        if self.model.load is None:
            raise ModelError(
                f'the ONNX file {self.model.file} needs ONNX Runtime or OpenVINO; install one '
                'with: pip install onnxruntime'
            )
        network = self.model.load()
        from adabins_ros.inference.deployment import AS_WRITTEN
        from adabins_ros.inference.engines.torch_engine import TorchEngine

        if place.on_gpu and not torch_finds_gpu():
            # It runs the network until an engine for the GPU is built.
            place = self._place('cpu')
        config = self.model.config
        if not self.wait and self.name == 'auto' and not place.on_gpu:
            # It only stands in: to make the faster graph and to check it would take longer.
            return TorchEngine(network, place, rewrites=AS_WRITTEN)
        compiled = self.name == 'torch_compile'
        engine = TorchEngine(network, place, compiled=compiled)
        # The smallest legal size: the check costs two frames, of a large network seconds.
        size = config.input_size
        if not compiled:
            size = inference_size(size, config, pixel_budget=1)
        plain = TorchEngine(network, Place(place.device), rewrites=AS_WRITTEN)
        difference = largest_difference_m(engine.run, plain.run, [(1, *size)])
        plain.close()
        allowed = allowed_difference_m(place.precision, config)
        if difference <= allowed:
            return engine
        self.notices.append(
            f'the faster graph of {config.name} differs from the network by {difference:.2g} m, '
            f'and {allowed:.2g} m are allowed; torch runs the network as it is written'
        )
        engine.close()
        return TorchEngine(network, place, rewrites=AS_WRITTEN)


def _found(value: Found | None) -> Found:
    assert value is not None
    return value

# SPDX-License-Identifier: Apache-2.0
"""Engines of a trained network: built once, checked against torch once, then from the cache."""

from __future__ import annotations

from functools import partial
from importlib import metadata
import logging
from pathlib import Path
import shutil
import tempfile
import weakref

from adabins_ros import __version__
from adabins_ros.inference.engines.cache import EngineCache, short_hash
from adabins_ros.inference.engines.checking import allowed_difference_m, largest_difference_m
from adabins_ros.inference.engines.engine import check_engine, Engine, Place
from adabins_ros.inference.engines.onnx_engine import OnnxEngine
from adabins_ros.inference.engines.onnx_file import (
    FORMAT,
    OnnxModel,
    OPSET,
    REWRITES,
    write_onnx,
)
from adabins_ros.inference.engines.openvino_engine import OpenVinoEngine
from adabins_ros.inference.engines.pixel_network import PixelNetwork
from adabins_ros.inference.engines.source import NetworkSource
from adabins_ros.inference.engines.torch_engine import deployed, TorchEngine
from adabins_ros.model.adabins import DepthDistribution
from adabins_ros.model.errors import ModelError
from adabins_ros.provenance import sha256
import torch

log = logging.getLogger(__name__)


class EngineRefused(ModelError):
    """An engine differs from torch by more than its precision allows."""


class EngineBuilder:
    """
    Make any engine of one network, which is built only if it must be.

    Parameters
    ----------
    source : NetworkSource
        Where the network comes from; it is left as it is.
    place : Place
        Where it is to run.
    cache : EngineCache
        What was built before.

    """

    def __init__(self, source: NetworkSource, place: Place, cache: EngineCache) -> None:
        self.source, self.place, self.cache = source, place, cache
        made_with = (FORMAT, str(OPSET), str(REWRITES), __version__, torch.__version__)
        self.network_key = short_hash(source.key, *made_with)
        self._onnx: OnnxModel | None = None

    def torch(self) -> TorchEngine:
        """Return torch itself, which needs no check."""
        return TorchEngine(deployed(self.source.network, self.place.device), self.place)

    def build(self, name: str) -> Engine:
        """
        Make an engine, and check it unless the cache says that it was.

        Raises
        ------
        EngineRefused
            If it differs from torch by more than its precision allows.
        ModelError
            If it is not installed or can't run here.

        """
        check_engine(name)
        if name == 'torch':
            return self.torch()
        engine = self._unchecked(name)
        try:
            self._check(engine)
        except ModelError:
            engine.close()
            raise
        return engine

    def key(self, *more: object) -> str:
        """Return the cache's key for something that depends on network and place."""
        place = self.place
        return short_hash(self.network_key, place, place.threads, *more)

    def is_known(self, name: str) -> bool:
        """Tell whether an engine was checked before and its file, if it has one, is there."""
        if self.cache.read(self._check_key(name)) is None:
            return False
        self._onnx = self._onnx or self._cached()
        return self._onnx is not None

    def _unchecked(self, name: str) -> Engine:
        if name == 'torch_compile':
            graph = deployed(self.source.network, self.place.device)
            engine = TorchEngine(graph, self.place, compiled=True)
            height, width = self.source.config.input_size
            blank = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=self.place.device)
            engine.compile_for(blank)
            return engine
        if name == 'onnx':
            return OnnxEngine(self._exported(), self.place, self.cache.folder)
        return OpenVinoEngine(self._exported(), self.place)

    def _check(self, engine: Engine) -> None:
        key = self._check_key(engine.name)
        known = self.cache.read(key) or {}
        difference = known.get('difference_m')
        if not isinstance(difference, float):
            plain = PixelNetwork(self.source.network, self.source.config)
            shape = (1, *self.source.config.input_size)
            difference = largest_difference_m(
                lambda pixels: _on_cpu(engine(pixels.to(engine.device))), plain, [shape]
            )
            self.cache.write(key, {'engine': engine.description, 'difference_m': difference})
        allowed = allowed_difference_m(self.place.dtype, self.source.config)
        if not difference <= allowed:
            raise EngineRefused(
                f'{engine.description} differs from torch by {difference:.2g} m, and '
                f'{allowed:.2g} m are allowed for {self.source.config.name}'
            )

    def _check_key(self, name: str) -> str:
        return f'{self.network_key}-{self.key("check", name, version(name))}'

    def _exported(self) -> OnnxModel:
        """Return the network as ONNX, from the cache or written now."""
        if self._onnx is None:
            self._onnx = self._cached()
        if self._onnx is None:
            if self.cache.read(self.network_key) is not None:
                log.warning('%s.onnx in the cache is damaged; it is made again', self.network_key)
            self._onnx = self._written()
        return self._onnx

    def _cached(self) -> OnnxModel | None:
        """Return what was exported before, if it is whole."""
        known = self.cache.read(self.network_key)
        if known is None or self.cache.folder is None:
            return None
        path = self.cache.folder / f'{self.network_key}.onnx'
        try:
            whole = sha256(path) == known.get('sha256')
        except OSError:
            return None
        if not whole:
            return None
        return OnnxModel(path, self.source.config, None, self.source.parameter_count)

    def _written(self) -> OnnxModel:
        if self.cache.folder is not None:
            path = self.cache.folder / f'{self.network_key}.onnx'
            try:
                model = write_onnx(self.source.network, path)
                self.cache.write(self.network_key, {'sha256': sha256(path)})
                return model
            except OSError as error:
                log.warning('%s can not be kept: %s', path, error.strerror)
        folder = tempfile.mkdtemp(prefix='adabins_ros_')
        # Removed with the last engine that needs it.
        removed = partial(shutil.rmtree, folder, ignore_errors=True)
        try:
            model = write_onnx(self.source.network, Path(folder) / 'network.onnx')
        except BaseException:
            removed()
            raise
        weakref.finalize(model, removed)
        return model


def version(name: str) -> str:
    """Return the version of what an engine runs with."""
    if name in ('torch', 'torch_compile'):
        return torch.__version__
    packages = {'onnx': ('onnxruntime', 'onnxruntime-gpu'), 'openvino': ('openvino',)}[name]
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return 'unknown'


def _on_cpu(distribution: DepthDistribution) -> DepthDistribution:
    return DepthDistribution(*(tensor.cpu() for tensor in distribution))

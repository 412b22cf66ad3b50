# SPDX-License-Identifier: Apache-2.0
"""Open an engine by its name, or the fastest one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import logging
from statistics import median
from time import perf_counter

from adabins_ros.inference.engines.building import EngineBuilder, EngineRefused, version
from adabins_ros.inference.engines.cache import cache_folder, EngineCache, machine
from adabins_ros.inference.engines.checking import sample_pictures
from adabins_ros.inference.engines.engine import check_engine, Engine, is_installed, Place
from adabins_ros.inference.engines.onnx_engine import OnnxEngine
from adabins_ros.inference.engines.onnx_file import OnnxModel
from adabins_ros.inference.engines.openvino_engine import OpenVinoEngine
from adabins_ros.inference.engines.preparing import (
    Preparation,
    prepare_elsewhere,
    read_preparation,
    RuntimeCrashed,
)
from adabins_ros.inference.engines.source import NetworkSource
from adabins_ros.inference.engines.torch_engine import deployed, TorchEngine
from adabins_ros.model.errors import ModelError
import torch

log = logging.getLogger(__name__)

BUILT_AT_ONCE = 10_000_000
"""Most parameters of a network for which 'auto' builds engines while it is loaded."""
_ROUNDS = 5
_WORTHWHILE = 0.9


def open_engine(
    name: str,
    source: NetworkSource,
    place: Place,
    *,
    cache: EngineCache | None = None,
    patient: bool = False,
) -> Engine:
    """
    Make a trained network ready to run.

    'auto' takes what is fastest of torch and the engines that are installed, as measured here by a
    few interleaved runs (``preferred``). The choice is cached with what was built, and later
    starts only read it. Without a cached choice, a small network (``BUILT_AT_ONCE``; adabins-lite)
    is exported, checked and measured at once with ONNX Runtime, or with OpenVINO if only that is
    installed: trying both would take twice as long and 200 MB more. A large one would keep its
    user waiting: it starts with torch. `adabins benchmark` tries everything once, for all later
    starts. torch.compile, which takes a minute at each start, is never chosen.

    A network from a file is exported, checked and measured in another process if its engine can be
    handed over through the cache; here it is not built at all unless torch runs it.

    Parameters
    ----------
    name : str
        One of ``ENGINES``.
    source : NetworkSource
        Where the network comes from.
    place : Place
        Where it is to run.
    cache : EngineCache, optional
        The user's by default.
    patient : bool
        Let 'auto' try everything that is installed, for a large network too.

    Returns
    -------
    Engine
        torch, with a warning, in place of one that differs from torch by more than the precision
        allows, and of what 'auto' would choose if that crashes.

    Raises
    ------
    ModelError
        If the engine was asked for by name and is unknown, not installed or can't run here, or the
        file is damaged.

    """
    check_engine(name)
    cache = EngineCache(cache_folder()) if cache is None else cache
    # Its key takes a hash of all weights, which torch does not need.
    if name == 'torch' or (name == 'auto' and not candidates(place)):
        return TorchEngine(deployed(source.network, place.device), place)
    builder = EngineBuilder(source, place, cache)
    preparation = Preparation.of(name, source, place, cache, patient)
    if preparation is not None and _takes_building(builder, name, patient):
        try:
            prepare_elsewhere(preparation)
        except RuntimeCrashed as error:
            if name != 'auto':
                raise
            log.warning('%s; torch runs instead', error)
            return builder.torch()
    return _opened(builder, name, patient)


def build_for_another_process(text: str) -> None:
    """Fill the cache with what ``open_engine`` of the process that sent this will look for."""
    preparation = read_preparation(text)
    builder = EngineBuilder(preparation.source(), preparation.place(), preparation.cache())
    _opened(builder, preparation.engine, preparation.patient).close()


def open_file(name: str, model: OnnxModel, place: Place) -> Engine:
    """
    Make an exported file ready to run; 'auto' takes ONNX Runtime where it is installed.

    Raises
    ------
    ModelError
        If no engine for it is installed, the engine can't run such files, or the file is damaged.

    """
    if name == 'auto':
        name = 'openvino' if is_installed('openvino') and not is_installed('onnx') else 'onnx'
    check_engine(name)
    if name not in ('onnx', 'openvino'):
        raise ModelError(
            f'engine {name!r} can not run the ONNX file {model.path}; use engine onnx or '
            'openvino, or the checkpoint that it was made from'
        )
    engine = OnnxEngine(model, place) if name == 'onnx' else OpenVinoEngine(model, place)
    height, width = model.fixed_size or model.config.input_size
    # So that a damaged file is found now and not at the first frame.
    engine(torch.zeros(1, height, width, 3, dtype=torch.uint8))
    return engine


def candidates(place: Place) -> list[str]:
    """Name the engines beside torch that are installed and that 'auto' may take at a place."""
    if place.device.type == 'cpu':
        return [name for name in ('onnx', 'openvino') if is_installed(name)]
    if not is_installed('onnx'):
        return []
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    return ['onnx'] if 'CUDAExecutionProvider' in providers else []


def measure_and_choose(builder: EngineBuilder, names: Sequence[str]) -> Engine:
    """Build engines, time them against torch, remember and return the fastest."""
    engines: dict[str, Engine] = {'torch': builder.torch()}
    for name in names:
        try:
            engines[name] = builder.build(name)
        except ModelError as error:
            log.warning('%s; it is left out', error)
    seconds = _timed(engines, builder.source.config.input_size)
    fastest = preferred(seconds)
    milliseconds = {name: round(1e3 * value, 2) for name, value in seconds.items()}
    record = {'engine': fastest, 'tried': ['torch', *names], 'milliseconds': milliseconds}
    builder.cache.write(_choice_key(builder), record)
    log.info('fastest engine for %s: %s (%s)', builder.source.config.name, fastest, milliseconds)
    for name, engine in engines.items():
        if name != fastest:
            engine.close()
    return engines[fastest]


def preferred(seconds: Mapping[str, float]) -> str:
    """
    Choose by times, simplest engine first: a later one must gain a tenth on the one before.

    So noise does not decide between equals, and the memory of another runtime has to pay.
    """
    best, *others = seconds
    for name in others:
        if seconds[name] < _WORTHWHILE * seconds[best]:
            best = name
    return best


def _takes_building(builder: EngineBuilder, name: str, patient: bool) -> bool:
    """Tell whether anything has to be exported, checked or measured."""
    if name == 'auto':
        chosen = _known_choice(builder, patient)
        if chosen is None:
            return bool(_worth_trying(builder, patient))
        name = chosen
    # What torch.compile makes can't be handed over.
    return not (name in ('torch', 'torch_compile') or builder.is_known(name))


def _opened(builder: EngineBuilder, name: str, patient: bool) -> Engine:
    if name == 'auto':
        return _fastest(builder, patient)
    try:
        return builder.build(name)
    except EngineRefused as error:
        log.warning('%s; torch runs instead', error)
        return builder.torch()


def _fastest(builder: EngineBuilder, patient: bool) -> Engine:
    name = _known_choice(builder, patient)
    if name is not None:
        try:
            return builder.build(name)
        except ModelError as error:
            log.warning('%s; torch runs instead', error)
            return builder.torch()
    names = _worth_trying(builder, patient)
    return measure_and_choose(builder, names) if names else builder.torch()


def _known_choice(builder: EngineBuilder, patient: bool) -> str | None:
    names = candidates(builder.place)
    known = builder.cache.read(_choice_key(builder)) or {}
    name, tried = known.get('engine'), known.get('tried')
    complete = isinstance(tried, list) and set(names) <= set(tried)
    return name if name in ('torch', *names) and (complete or not patient) else None


def _worth_trying(builder: EngineBuilder, patient: bool) -> list[str]:
    names = candidates(builder.place)
    if patient:
        return names
    return names[:1] if builder.source.parameter_count <= BUILT_AT_ONCE else []


def _choice_key(builder: EngineBuilder) -> str:
    versions = [f'{name} {version(name)}' for name in ('torch', *candidates(builder.place))]
    return f'{builder.network_key}-{builder.key("auto", machine(), *versions)}'


def _timed(engines: Mapping[str, Engine], size: tuple[int, int]) -> dict[str, float]:
    """Return the median time of each for a picture, seconds, in rounds over all of them."""
    pixels = sample_pictures((1, *size))
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(_ROUNDS + 1):
        for name, engine in engines.items():
            there = pixels.to(engine.device)
            start = perf_counter()
            engine(there).depth.cpu()
            # The first run of an engine also plans and allocates.
            if turn:
                seconds[name].append(perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}

# SPDX-License-Identifier: Apache-2.0
"""A preset or a model file, found without torch where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import os
from pathlib import Path
from typing import TYPE_CHECKING

from adabins_ros.extras import require
from adabins_ros.inference.kept import Kept, key_of_file
from adabins_ros.inference.onnx_file import is_onnx, OnnxModel, read_onnx
from adabins_ros.model.config import AdaBinsConfig, PRESETS
from adabins_ros.model.errors import ModelError
from adabins_ros.model.model_file import (
    check_model,
    find_model,
    model_path,
    require_torch,
    WEIGHTS,
)
from adabins_ros.package_files import cache_folder

if TYPE_CHECKING:
    from adabins_ros.model.adabins import AdaBins

WITH_TORCH = ('torch', 'torch_compile')
"""Engines that run a checkpoint as it is."""


@dataclass
class Model:
    """A model as it was found: a network that torch can run, an exported one, or both."""

    config: AdaBinsConfig
    parameter_count: int
    exported: OnnxModel | None = None
    load: Callable[[], AdaBins] | None = None
    """Gives the network, on the CPU in evaluation mode; None for an ONNX file."""
    file: Path | None = None
    """What another process can build engines from: a checkpoint, or else an ONNX file."""
    depth_range: tuple[float, float] | None = None
    kept: Kept | None = None
    """What is kept of it, if it was looked up already."""


def find(
    model: str | os.PathLike[str],
    depth_range: tuple[float, float] | None = None,
    engine: str = 'auto',
    *,
    untrained: bool = False,
) -> Model:
    """
    Find a preset or a model file, without torch where that is possible.

    Parameters
    ----------
    model, depth_range, engine, untrained
        As ``DepthPredictor.from_pretrained`` takes them.

    Raises
    ------
    ModelError
        If there is no such model, it was not fetched yet, or what it says of itself can't be used.

    """
    name = os.fspath(model)
    if untrained:
        require('train', 'torch', 'timm', what=f'model {name}')
        from adabins_ros.model.checkpoint import load_model

        return of_network(load_model(name, depth_range, untrained=True))
    path = model_path(name)
    if is_onnx(path):
        exported = _read_exported(path, depth_range)
        return Model(exported.config, exported.parameter_count, exported, file=exported.path)
    embedded = WEIGHTS / f'{name}.onnx'
    if name in PRESETS and depth_range is None and embedded.is_file():
        exported = read_onnx(embedded)
        load = find_model(name).load
        return Model(exported.config, exported.parameter_count, exported, load, embedded)
    if path.is_file() and engine not in WITH_TORCH:
        kept = Kept(key_of_file(path, depth_range), cache_folder())
        known = kept.exported()
        if known is not None:
            # The checkpoint, which torch alone may be able to read, is opened at need.
            return Model(
                known.config,
                known.parameter_count,
                known,
                lambda: find_model(path, depth_range).load(),
                path,
                depth_range,
                kept,
            )
    found = find_model(name, depth_range)
    # Said at once, and not when the network is loaded.
    require_torch(found.path)
    return Model(found.config, found.parameter_count, None, found.load, found.path, depth_range)


def check_head(
    model: str | os.PathLike[str], depth_range: tuple[float, float] | None = None
) -> None:
    """
    Refuse what the first look at a model shows to be none: at once, and without torch.

    Raises
    ------
    ModelError
        If there is no such model, it was not fetched yet, or is damaged or not of this package.

    """
    path = model_path(model)
    if is_onnx(path):
        _read_exported(path, depth_range)
    else:
        check_model(model, depth_range)


def _read_exported(path: Path, depth_range: tuple[float, float] | None) -> OnnxModel:
    if depth_range is not None:
        raise ModelError(
            f'model file {path} holds its depth range: leave depth_range {depth_range} out, or '
            'export it anew'
        )
    return read_onnx(path)


def of_network(network: AdaBins) -> Model:
    """Take a network that is in memory; it is put into evaluation mode."""
    network.eval().requires_grad_(False)
    count = sum(parameter.numel() for parameter in network.parameters())
    return Model(network.config, count, load=lambda: network)

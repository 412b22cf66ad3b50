# SPDX-License-Identifier: Apache-2.0
"""Models for other runtimes: exported, compared with torch, and only then named."""

from __future__ import annotations

from dataclasses import dataclass, replace
import os
from pathlib import Path
import tempfile

from adabins_ros.inference.engines import check_engine, is_onnx, OnnxModel, Place
from adabins_ros.inference.engines.checking import allowed_difference_m, largest_difference_m
from adabins_ros.inference.engines.onnx_engine import OnnxEngine
from adabins_ros.inference.engines.onnx_file import write_onnx
from adabins_ros.inference.engines.pixel_network import PixelNetwork
from adabins_ros.inference.sizing import check_legal
from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.checkpoint import load_model, save_checkpoint
import torch


class ExportError(ValueError):
    """A model can't be exported as asked; the text says what to change."""


@dataclass(frozen=True)
class Export:
    """What was written, and how far it is from torch."""

    model: OnnxModel
    difference_m: float
    """Largest difference of depth and bin centres to torch, metres."""


def export_onnx(
    model: str | os.PathLike[str],
    output: Path,
    *,
    size: tuple[int, int] | None = None,
    depth_range: tuple[float, float] | None = None,
) -> Export:
    """
    Write a model as ONNX; nothing is left of one that differs from torch.

    Parameters
    ----------
    model : str or path
        As for DepthPredictor.from_pretrained.
    output : Path
        Ends in .onnx; it must not exist.
    size : (int, int), optional
        Height and width of the only images that it will take.
    depth_range : (float, float), optional
        As for DepthPredictor.from_pretrained.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        If the output exists or is of another name, the size is not legal, or the file differs
        from torch by more than 1e-4 m (more for depths beyond 10 m).
    ModelError
        If the model can't be loaded, or onnx or onnxruntime is missing.

    """
    if not is_onnx(output):
        raise ExportError(f'{output} must end in .onnx, by which such files are known')
    _check_new(output)
    if is_onnx(model):
        raise ExportError(f'{model} is exported already; name the checkpoint that it is made from')
    check_engine('onnx')
    network = load_model(model, depth_range)
    try:
        if size is not None:
            check_legal(size, network.config)
    except ValueError as error:
        raise ExportError(str(error)) from None
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f'.{output.name}.') as folder:
        unfinished = Path(folder) / output.name
        written = write_onnx(network, unfinished, size)
        difference = _difference(network, written)
        allowed = allowed_difference_m(torch.float32, network.config)
        if not difference <= allowed:
            raise ExportError(
                f'{output} was not written: ONNX Runtime would differ from torch by '
                f'{difference:.2g} m for {network.config.name}, and {allowed:.2g} m are allowed'
            )
        _check_new(output)
        os.replace(unfinished, output)
    return Export(replace(written, path=output), difference)


def export_safetensors(
    model: str | os.PathLike[str],
    output: Path,
    *,
    depth_range: tuple[float, float] | None = None,
) -> str:
    """
    Write a checkpoint in half precision, named after its file.

    Parameters
    ----------
    model : str or path
        A preset or checkpoint.
    output : Path
        Ends in .safetensors; it must not exist.
    depth_range : (float, float), optional
        As for DepthPredictor.from_pretrained.

    Returns
    -------
    str
        The name that the model got.

    Raises
    ------
    ExportError
        If the output exists or is of another name, or the model is an .onnx.
    ModelError
        If the model can't be loaded.

    """
    if output.suffix != '.safetensors':
        raise ExportError(f'{output} must end in .safetensors')
    _check_new(output)
    if is_onnx(model):
        raise ExportError(f'{model} is exported already; name the checkpoint that it is made from')
    network = load_model(model, depth_range)
    network.config = network.config.model_copy(update={'name': output.stem})
    output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, output, half=True)
    return network.config.name


def _difference(network: AdaBins, written: OnnxModel) -> float:
    height, width = written.fixed_size or network.config.input_size
    shapes = [(1, height, width), (2, height, width)]
    if written.fixed_size is None:
        # As many patches, so it is legal, and odd at every stride.
        shapes[1] = (2, height + 1, width + 1)
    engine = OnnxEngine(written, Place(torch.device('cpu')))
    difference = largest_difference_m(engine, PixelNetwork(network, network.config), shapes)
    engine.close()
    return difference


def _check_new(output: Path) -> None:
    if os.path.lexists(output):
        raise ExportError(f'{output} exists already; choose another name, files are not replaced')

# SPDX-License-Identifier: Apache-2.0
"""Models for other runtimes: exported by torch, compared with the network, and only then named."""

from __future__ import annotations

import copy
from dataclasses import dataclass
import inspect
import json
import os
from pathlib import Path
from typing import Any
import warnings

from adabins_ros.extras import require
from adabins_ros.inference.checking import allowed_difference_m, largest_difference_m, Runs
from adabins_ros.inference.deployment import deploy, make_traceable, PixelNetwork, Rewrites
from adabins_ros.inference.engines.engine import Place
from adabins_ros.inference.engines.onnx_engine import OnnxEngine
from adabins_ros.inference.input_size import check_legal
from adabins_ros.inference.onnx_file import DIMENSIONS, FORMAT, is_onnx, OnnxModel, PREFIX
from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.checkpoint import load_model, save_checkpoint
from adabins_ros.model.errors import ModelError
from adabins_ros.whole_files import unfinished_folder
import numpy as np
import torch

OPSET = 17
"""What ONNX Runtime 1.12, OpenVINO 2022.3, TensorRT 8.6 and newer ones read."""
# Smaller ones are not worth a node that converts them.
_LEAST_HALVED = 256


class ExportError(ModelError):
    """A model can't be exported as asked; the text says what to change."""


@dataclass(frozen=True)
class Export:
    """What was written, and how far it is from torch."""

    model: OnnxModel
    difference_m: float
    """Largest difference of depth and bin centres to the network as it was trained, metres."""


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

    Raises
    ------
    ExportError
        If the output exists or is of another name, the size is not legal, or as ``write_onnx``.
    ModelError
        If the model can't be loaded, or a package is missing.

    """
    if not is_onnx(output):
        raise ExportError(f'{output} must end in .onnx, by which such files are known')
    _check_new(output)
    network = _checkpoint(model, depth_range)
    output.parent.mkdir(parents=True, exist_ok=True)
    return write_onnx(network, output, size, overwrite=False)


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
    network = _checkpoint(model, depth_range)
    network.config = network.config.model_copy(update={'name': output.stem})
    output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, output, half=True)
    return network.config.name


@torch.no_grad()
def write_onnx(
    network: AdaBins,
    path: Path,
    fixed_size: tuple[int, int] | None = None,
    *,
    overwrite: bool = True,
) -> Export:
    """
    Write a network as ONNX, compare it with the network, and only then give it its name.

    Weights that half precision holds exactly, as those of a published checkpoint, are stored so;
    the runtimes convert them when they load the file. torch's older exporter is taken: it follows
    the sizes through the whole network and takes less than a second for adabins-lite, where the
    newer one takes half a minute.

    Parameters
    ----------
    network : AdaBins
        On any device, in any mode; left as it is.
    path : Path
        The file.
    fixed_size : (int, int), optional
        Height and width of the only images that it will take, for runtimes that want that. By
        default it takes any legal size, as fast: the engines here plan for each size that comes;
        with an encoder of windows (Swin) the size of training alone.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    ExportError
        If the size is not legal, torch can't export, or the result differs from the network by
        more than 1e-4 m (more for depths beyond 10 m).
    MissingExtra
        If the package onnx is missing.

    """
    require('train', 'onnx', what='an export to ONNX')
    network = copy.deepcopy(network).cpu().eval()
    if fixed_size is None and not network.encoder.any_size:
        fixed_size = network.config.input_size
    if fixed_size is not None:
        try:
            check_legal(fixed_size, network.config)
        except ValueError as error:
            raise ExportError(str(error)) from None
    with unfinished_folder(path) as folder:
        partial = folder / path.name
        half = _is_half(network)
        # Folded weights are no halves: those of a published checkpoint are left to the runtimes,
        # which fold them just so when they load the file.
        rewritten = deploy(network, Rewrites(fold_norms=not half, add_separable=True))
        _export(PixelNetwork(make_traceable(rewritten), fold_scale=True), partial, fixed_size)
        count = sum(parameter.numel() for parameter in network.parameters())
        _finish(partial, network, fixed_size, count, half)
        model = OnnxModel(partial, network.config, fixed_size, count)
        difference = _difference(network, model)
        allowed = allowed_difference_m('float32', network.config)
        if not difference <= allowed:
            raise ExportError(
                f'{path} was not written: ONNX Runtime would differ from torch by '
                f'{difference:.2g} m for {network.config.name}, and {allowed:.2g} m are allowed'
            )
        if not overwrite:
            _check_new(path)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    return Export(OnnxModel(path, network.config, fixed_size, count), difference)


def network_run(network: AdaBins) -> Runs:
    """Return what runs a network as it was trained, with the inputs and outputs of an engine."""
    plain = PixelNetwork(network).eval()

    @torch.inference_mode()
    def run(inputs: Any) -> dict[str, Any]:
        outputs = plain(**{name: torch.from_numpy(inputs[name]) for name in inputs})
        names = plain.output_names
        return {name: made.numpy() for name, made in zip(names, outputs, strict=True)}

    return run


def _export(graph: PixelNetwork, path: Path, fixed_size: tuple[int, int] | None) -> None:
    height, width = fixed_size or graph.network.config.input_size
    axes = dict(enumerate(DIMENSIONS[:1] if fixed_size else DIMENSIONS))
    halves = {0: 'batch'} if fixed_size else {0: 'batch', 1: 'half_height', 2: 'half_width'}
    config = graph.network.config
    last = (
        torch.zeros(1, config.num_bins),
        torch.zeros(1, config.num_kernels, config.embedding_dim),
        torch.zeros(1),
    )
    names = graph.input_names, graph.output_names
    options: dict[str, Any] = {}
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            torch.onnx.export(
                graph.eval(),
                (
                    torch.zeros(1, height, width, 3, dtype=torch.uint8),
                    *(last if graph.adaptive else ()),
                ),
                str(path),
                opset_version=OPSET,
                # Of evaluation, but without the exporter's own folding of norms.
                training=torch.onnx.TrainingMode.PRESERVE,
                input_names=list(names[0]),
                output_names=list(names[1]),
                dynamic_axes={
                    **{name: {0: 'batch'} for name in (*names[0], *names[1])},
                    'image': axes,
                    'depth': halves,
                    'std': halves,
                },
                **options,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"torch {torch.__version__} can't export {graph.network.config.name} to ONNX: {reason}"
        ) from error


def _finish(
    path: Path, network: AdaBins, fixed_size: tuple[int, int] | None, count: int, half: bool
) -> None:
    """Halve the weights of an exported file where that loses nothing, and say what it holds."""
    import onnx

    proto = onnx.load_model(str(path))
    if half:
        _halve_weights(proto.graph)
    said = {
        'format': FORMAT,
        'config': network.config.model_dump_json(),
        'fixed_size': json.dumps(fixed_size),
        'parameters': str(count),
        'opset': str(OPSET),
        'torch': torch.__version__,
    }
    onnx.helper.set_model_props(proto, {PREFIX + name: text for name, text in said.items()})
    onnx.save_model(proto, str(path))


def _halve_weights(graph: Any) -> None:
    from onnx import helper, numpy_helper, TensorProto

    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        halves = values.astype(np.float16)
        if values.size < _LEAST_HALVED or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halves, f'{name}.half'))
        casts.append(helper.make_node('Cast', [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _is_half(network: AdaBins) -> bool:
    """Tell whether half precision holds all weights exactly."""
    tensors = [each for each in network.state_dict().values() if each.is_floating_point()]
    return all(torch.equal(each.half().to(each.dtype), each) for each in tensors)


def _difference(network: AdaBins, written: OnnxModel) -> float:
    _, height, width = written.usual_shape
    shapes = [(1, height, width), (2, height, width)]
    if written.fixed_size is None:
        # As many patches, so it is legal, and odd at every stride.
        shapes[1] = (2, height + 1, width + 1)
    engine = OnnxEngine(written, Place(), shapes[0])
    difference = largest_difference_m(engine.run, network_run(network), shapes)
    engine.close()
    return difference


def _checkpoint(model: str | os.PathLike[str], depth_range: tuple[float, float] | None) -> AdaBins:
    if is_onnx(model):
        raise ExportError(f'{model} is exported already; name the checkpoint that it is made from')
    return load_model(model, depth_range)


def _check_new(output: Path) -> None:
    if os.path.lexists(output):
        raise ExportError(f'{output} exists already; choose another name, files are not replaced')

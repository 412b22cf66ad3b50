# SPDX-License-Identifier: Apache-2.0
"""ONNX files that carry their configuration: written from a network, opened again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import inspect
import json
import os
from pathlib import Path
import tempfile
from typing import Any
import warnings

from adabins_ros.inference.deployment import deploy
from adabins_ros.inference.engines.pixel_network import PixelNetwork
from adabins_ros.inference.engines.traceable import make_traceable
from adabins_ros.inference.rewrites import Rewrites
from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.config import AdaBinsConfig
from adabins_ros.model.errors import ModelError
from pydantic import ValidationError
import torch

FORMAT = 'adabins_ros onnx 1'
OPSET = 17
"""What ONNX Runtime 1.12, OpenVINO 2022.3, TensorRT 8.6 and newer ones read."""
PREFIX = 'adabins_ros.'
# The runtimes' own 3x3 convolutions are faster than Winograd's written with tensor operations;
# multiplying before up-sampling pays there too (adabins-nyu, 480x640, one core, four rounds in
# turns: ONNX Runtime 1.12 times as fast, 1.11 to 1.25; OpenVINO 1.19).
REWRITES = Rewrites(winograd_from=None)
_DIMENSIONS = ('batch', 'height', 'width')


@dataclass(frozen=True)
class OnnxModel:
    """
    An ONNX file of this package.

    The file takes ``pixels``, (batch, height, width, 3) uint8 RGB, and gives ``depth`` and
    ``std``, (batch, 1, ceil(height / 2), ceil(width / 2)) in metres, and ``bin_centers``, (batch,
    N) in metres. Pixels, and not a normalised image, because a caller in any language then needs
    to know nothing about the network, and a GPU gets a quarter of the bytes; it is as fast.
    """

    path: Path
    config: AdaBinsConfig
    fixed_size: tuple[int, int] | None = None
    """Height and width, if the file takes no others."""
    parameter_count: int = 0

    @property
    def free_dimensions(self) -> tuple[str, ...]:
        """Names of the input's dimensions that a caller chooses, from the first on."""
        return _DIMENSIONS[:1] if self.fixed_size else _DIMENSIONS


def is_onnx(model: str | os.PathLike[str]) -> bool:
    """Tell by its name whether a model is an ONNX file, which has no mark at its start."""
    return Path(model).suffix.lower() == '.onnx'


def read_onnx(path: str | os.PathLike[str]) -> OnnxModel:
    """
    Open an ONNX file and read its configuration.

    Raises
    ------
    ModelError
        If there is no such file, the package onnx is missing, or the file is damaged or foreign.

    """
    path = Path(path).expanduser()
    onnx = _onnx()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            proto = onnx.load_model(str(path), load_external_data=False)
    except OSError as error:
        raise ModelError(f"model file {path} can't be read: {error.strerror}") from error
    except Exception as error:
        raise ModelError(f'model file {path} is damaged or not ONNX; copy it again') from error
    said = {entry.key: entry.value for entry in proto.metadata_props}
    if said.get(f'{PREFIX}format') != FORMAT:
        raise ModelError(
            f'model file {path} does not carry the configuration of this package (its format is '
            f'{said.get(f"{PREFIX}format")!r}, expected {FORMAT!r}): make it with `adabins export`'
            ', or copy it again'
        )
    try:
        config = AdaBinsConfig.model_validate_json(said.get(f'{PREFIX}config', ''))
        size = json.loads(said[f'{PREFIX}fixed_size'])
        count = int(said[f'{PREFIX}parameters'])
    except (ValidationError, KeyError, ValueError) as error:
        raise ModelError(f'model file {path} has a wrong configuration: {error}') from error
    return OnnxModel(path, config, tuple(size) if size else None, count)


@torch.no_grad()
def write_onnx(
    network: AdaBins, path: Path, fixed_size: tuple[int, int] | None = None
) -> OnnxModel:
    """
    Write a network as ONNX, whole or not at all; an existing file is replaced.

    torch's older exporter is taken: it follows the sizes through the whole network and takes less
    than a second for adabins-lite, where the newer one takes half a minute.

    Parameters
    ----------
    network : AdaBins
        On the CPU in evaluation mode; left as it is.
    path : Path
        The file.
    fixed_size : (int, int), optional
        Height and width of the only images that it will take, for runtimes that want that. By
        default it takes any legal size, as fast: the engines here plan for each size that comes.

    Raises
    ------
    ModelError
        If the package onnx is missing or torch can't export.

    """
    onnx = _onnx()
    graph = PixelNetwork(make_traceable(deploy(network, REWRITES)), network.config).eval()
    height, width = fixed_size or network.config.input_size
    names = dict(enumerate(_DIMENSIONS[:1] if fixed_size else _DIMENSIONS))
    halves = {0: 'batch'} if fixed_size else {0: 'batch', 2: 'half_height', 3: 'half_width'}
    options: dict[str, Any] = {}
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False
    count = sum(parameter.numel() for parameter in network.parameters())
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.') as folder:
        partial = Path(folder) / path.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                torch.onnx.export(
                    graph,
                    (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
                    str(partial),
                    opset_version=OPSET,
                    input_names=['pixels'],
                    output_names=['depth', 'std', 'bin_centers'],
                    dynamic_axes={
                        'pixels': names,
                        'depth': halves,
                        'std': halves,
                        'bin_centers': {0: 'batch'},
                    },
                    **options,
                )
        except (torch.onnx.OnnxExporterError, RuntimeError, TypeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"torch {torch.__version__} can't export {network.config.name} to ONNX: {reason}"
            ) from error
        proto = onnx.load_model(str(partial))
        onnx.helper.set_model_props(
            proto,
            {
                f'{PREFIX}format': FORMAT,
                f'{PREFIX}config': network.config.model_dump_json(),
                f'{PREFIX}fixed_size': json.dumps(fixed_size),
                f'{PREFIX}parameters': str(count),
                f'{PREFIX}opset': str(OPSET),
                f'{PREFIX}torch': torch.__version__,
            },
        )
        onnx.save_model(proto, str(partial))
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    return OnnxModel(path, network.config, fixed_size, count)


def _onnx() -> Any:
    with suppress(ModuleNotFoundError):
        import onnx

        return onnx
    raise ModelError('ONNX files need the Python package onnx; install it with: pip install onnx')

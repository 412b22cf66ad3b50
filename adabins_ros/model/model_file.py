# SPDX-License-Identifier: Apache-2.0
"""
What a model file says of itself, read without torch.

Ours are safetensors that carry their configuration; the authors' are known by their content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
import json
import math
import operator
import os
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adabins_ros.extras import MissingExtra, require
from adabins_ros.model.config import AdaBinsConfig, PRESETS
from adabins_ros.model.errors import ModelError
from adabins_ros.model.known_weights import fetched
from pydantic import ValidationError

if TYPE_CHECKING:
    from adabins_ros.model.adabins import AdaBins

FORMAT = 'adabins_ros 1'
WEIGHTS = Path(__file__).resolve().parent.parent / 'weights'
_NOT_AS_EXPECTED = (ValueError, KeyError, TypeError, AttributeError, IndexError)
_NOT_LEARNED = ('running_mean', 'running_var', 'num_batches_tracked')
# More than any header: a file that claims a longer one is damaged, or keeps its reader busy.
_LONGEST_HEADER = 10_000_000


@dataclass(frozen=True)
class ModelFile:
    """What a model file says of itself; the network is built by ``load``, which needs torch."""

    path: Path
    config: AdaBinsConfig
    parameter_count: int
    load: Callable[[], AdaBins]
    """Builds the network with the file's weights, on the CPU in evaluation mode."""


def find_model(
    model: str | os.PathLike[str], depth_range: tuple[float, float] | None = None
) -> ModelFile:
    """
    Find a model and read what it is, which takes little time and memory.

    Parameters
    ----------
    model, depth_range
        As for ``load_model``.

    Returns
    -------
    ModelFile

    Raises
    ------
    ModelError
        As ``load_model``, which also looks at the weights.
    MissingExtra
        If it is an authors' file, and torch, which alone can read it, is not installed.

    """
    path, is_ours = _first_look(model, depth_range)
    return (_describe_ours if is_ours else _describe_official)(path, depth_range)


def check_model(
    model: str | os.PathLike[str], depth_range: tuple[float, float] | None = None
) -> None:
    """
    Refuse what a first look shows to be no model; an authors' file would take torch and seconds.

    Raises
    ------
    ModelError, MissingExtra
        As ``find_model``.

    """
    path, is_ours = _first_look(model, depth_range)
    if is_ours:
        _describe_ours(path, depth_range)
    else:
        require_torch(path)


def _first_look(
    model: str | os.PathLike[str], depth_range: tuple[float, float] | None
) -> tuple[Path, bool]:
    """Return the file of a model, and whether it is ours; the other kind is the authors'."""
    check_range(depth_range)
    path = model_path(model)
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise ModelError(
            f'model {os.fspath(model)!r} is not a preset ({", ".join(PRESETS)}) and as a file it '
            f'{what}'
        )
    try:
        with path.open('rb') as file:
            start = file.read(9)
    except OSError as error:
        raise ModelError(f"model file {path} can't be read: {error.strerror}") from error
    if len(start) == 9 and start[8:9] == b'{':
        return path, True
    if start[:2] == b'PK' or start[:1] == b'\x80':
        return path, False
    raise ModelError(
        f'model file {path} is neither safetensors nor a torch checkpoint (it starts with '
        f'{start!r}); an interrupted download or a Git LFS pointer looks like this'
    )


def is_embedded(model: str) -> bool:
    """Tell whether a name is that of a preset whose weights come with the package."""
    return model in PRESETS and (WEIGHTS / f'{model}.safetensors').is_file()


def model_path(model: str | os.PathLike[str]) -> Path:
    """
    Return where the file of a model is: a preset, fetched weights or a path, which need not exist.

    Raises
    ------
    ModelError
        If they are weights that were not fetched yet, with the command that does.

    """
    name = os.fspath(model)
    if is_embedded(name):
        return WEIGHTS / f'{name}.safetensors'
    path = Path(name).expanduser()
    if name not in PRESETS and path.is_file():
        return path
    return fetched(name) or path


def require_torch(path: Path) -> None:
    """
    Refuse a checkpoint where torch is not installed.

    Raises
    ------
    MissingExtra
        With the command that installs it, and the exported file beside the checkpoint, if there is
        one.

    """
    try:
        require('train', 'torch', 'timm', 'safetensors', what=f'the checkpoint {path}')
    except MissingExtra as error:
        exported = path.with_suffix('.onnx')
        if not exported.is_file():
            raise
        raise MissingExtra(f'{error}; or take {exported} beside it, which needs none') from None


def learned_count(shapes: Iterable[tuple[str, Sequence[int]]]) -> int:
    """Count the learned numbers of a file by its tensors' names and shapes."""
    return sum(math.prod(shape) for name, shape in shapes if not name.endswith(_NOT_LEARNED))


def damaged(path: Path, error: object) -> ModelError:
    """Return the error of a file that can't be read to its end."""
    return ModelError(f'model file {path} is damaged: {error}; copy it again')


def with_range(config: AdaBinsConfig, depth_range: tuple[float, float] | None) -> AdaBinsConfig:
    """Replace the configuration's depth range, metres, if another is given."""
    if depth_range is None:
        return config
    return config.model_copy(update={'min_depth': depth_range[0], 'max_depth': depth_range[1]})


def _describe_ours(path: Path, depth_range: tuple[float, float] | None) -> ModelFile:
    header = _header(path)
    metadata = header.pop('__metadata__', {})
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get('format') != FORMAT:
        raise ModelError(
            f'model file {path} is not of this package: its format is '
            f'{metadata.get("format")!r}, expected {FORMAT!r}'
        )
    try:
        config = AdaBinsConfig.model_validate(json.loads(metadata.get('config', '')))
        config = with_range(config, depth_range)
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f'model file {path} has a wrong configuration: {error}') from error
    count = learned_count((name, tensor['shape']) for name, tensor in header.items())
    if count < config.least_parameters:
        raise ModelError(
            f'model file {path} does not fit: it holds {count} numbers, and a network of its '
            f'configuration has more than {config.least_parameters}'
        )

    def load() -> AdaBins:
        require_torch(path)
        from adabins_ros.model.checkpoint import load_ours

        return load_ours(path, config)

    return ModelFile(path, config, count, load)


def _header(path: Path) -> dict[str, Any]:
    """
    Read the header of a safetensors file: the metadata, and dtype, shape and place of each tensor.

    https://huggingface.co/docs/safetensors, "Format": eight bytes of length, JSON, then the data.
    """
    try:
        with path.open('rb') as file:
            length = int.from_bytes(file.read(8), 'little')
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        tensors = [tensor for name, tensor in header.items() if name != '__metadata__']
        ends = [int(tensor['data_offsets'][1]) for tensor in tensors]
        if any(operator.index(side) < 0 for tensor in tensors for side in tensor['shape']):
            raise ValueError('a tensor has a side below 0')
        size, expected = path.stat().st_size, 8 + length + max(ends, default=0)
    except (OSError, RecursionError, *_NOT_AS_EXPECTED) as error:
        raise damaged(path, error) from error
    if size != expected:
        raise damaged(path, f'it holds {size} of {expected} bytes')
    return header


def _describe_official(path: Path, depth_range: tuple[float, float] | None) -> ModelFile:
    require_torch(path)
    from adabins_ros.model.official_checkpoint import describe_official, load_official

    config, count = describe_official(path, depth_range)
    return ModelFile(path, config, count, lambda: load_official(path, depth_range))


def check_range(depth_range: tuple[float, float] | None) -> None:
    """Refuse a depth range, metres, that is none."""
    if depth_range is not None and not 0 < depth_range[0] < depth_range[1] < float('inf'):
        raise ModelError(
            f'depth_range {depth_range} m must be (min, max) with 0 < min < max, such as '
            '(0.001, 10.0)'
        )

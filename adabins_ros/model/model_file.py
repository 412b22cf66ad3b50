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
import os
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adabins_ros.extras import MissingExtra, require
from adabins_ros.model.config import AdaBinsConfig, PRESETS
from adabins_ros.model.errors import ModelError
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
    model: str | os.PathLike[str],
    depth_range: tuple[float, float] | None = None,
    *,
    head_only: bool = False,
) -> ModelFile | None:
    """
    Find a model and read what it is, which takes little time and memory.

    Parameters
    ----------
    model, depth_range
        As for ``load_model``.
    head_only : bool
        Do not look into an authors' file, which takes torch and seconds.

    Returns
    -------
    ModelFile or None
        None for a preset without embedded weights, which has no file, and for what was not looked
        into.

    Raises
    ------
    ModelError
        As ``load_model``, which also looks at the weights.
    MissingExtra
        If it is an authors' file, and torch, which alone can read it, is not installed.

    """
    _check_range(depth_range)
    name = os.fspath(model)
    if name in PRESETS:
        embedded = WEIGHTS / f'{name}.safetensors'
        return _describe_ours(embedded, depth_range) if embedded.is_file() else None
    path = Path(name).expanduser()
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise ModelError(
            f'model {name!r} is not a preset ({", ".join(PRESETS)}) and as a file it {what}'
        )
    try:
        with path.open('rb') as file:
            start = file.read(9)
    except OSError as error:
        raise ModelError(f"model file {path} can't be read: {error.strerror}") from error
    if len(start) == 9 and start[8:9] == b'{':
        return _describe_ours(path, depth_range)
    if start[:2] == b'PK' or start[:1] == b'\x80':
        if head_only:
            require_torch(path)
            return None
        return _describe_official(path, depth_range)
    raise ModelError(
        f'model file {path} is neither safetensors nor a torch checkpoint (it starts with '
        f'{start!r}); an interrupted download or a Git LFS pointer looks like this'
    )


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
    if metadata.get('format') != FORMAT:
        raise ModelError(
            f'model file {path} is not of this package: its format is '
            f'{metadata.get("format")!r}, expected {FORMAT!r}'
        )
    try:
        config = AdaBinsConfig.model_validate(json.loads(metadata.get('config', '')))
        config = with_range(config, depth_range)
    except (ValidationError, json.JSONDecodeError) as error:
        raise ModelError(f'model file {path} has a wrong configuration: {error}') from error
    count = learned_count((name, tensor['shape']) for name, tensor in header.items())

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
        ends = [tensor['data_offsets'][1] for name, tensor in header.items() if name[:2] != '__']
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


def _check_range(depth_range: tuple[float, float] | None) -> None:
    if depth_range is not None and not 0 < depth_range[0] < depth_range[1] < float('inf'):
        raise ModelError(
            f'depth_range {depth_range} m must be (min, max) with 0 < min < max, such as '
            '(0.001, 10.0)'
        )

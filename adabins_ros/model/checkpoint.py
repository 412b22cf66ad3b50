# SPDX-License-Identifier: Apache-2.0
"""Model files: ours (safetensors that carry their configuration) and, by content, the authors'."""

from collections.abc import Callable
from dataclasses import dataclass
import json
import os
from pathlib import Path
import tempfile

from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.config import AdaBinsConfig, PRESETS
from adabins_ros.model.errors import ModelError
from adabins_ros.model.official_checkpoint import describe_official, load_official
from adabins_ros.model.state_dict import fill, learned_count
from pydantic import ValidationError
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch

FORMAT = 'adabins_ros 1'
WEIGHTS = Path(__file__).resolve().parent.parent / 'weights'


@dataclass(frozen=True)
class ModelFile:
    """What a model file says of itself; the network is built by ``load``."""

    path: Path
    config: AdaBinsConfig
    parameter_count: int
    load: Callable[[], AdaBins]
    """Builds the network with the file's weights, on the CPU in evaluation mode."""


def load_model(
    model: str | os.PathLike[str], depth_range: tuple[float, float] | None = None
) -> AdaBins:
    """
    Load a network, on the CPU in evaluation mode.

    Parameters
    ----------
    model : str or path
        A preset (its embedded weights where the package has them, else random ones from a fixed
        seed: then ``config.trained`` is false), or a file: ours (.safetensors) or the authors'
        (AdaBins_nyu.pt, any name). The content decides, not the suffix.
    depth_range : (float, float), optional
        d_min and d_max in metres. An authors' file whose name holds neither ``nyu`` nor ``kitti``
        needs it; for other models it replaces the configuration's range.

    Returns
    -------
    AdaBins

    Raises
    ------
    ModelError
        If there is no such preset or file, or the file is damaged, foreign or hostile.

    """
    file = find_model(model, depth_range)
    if file is None:
        return _untrained(_with_range(PRESETS[os.fspath(model)], depth_range))
    return file.load()


def find_model(
    model: str | os.PathLike[str], depth_range: tuple[float, float] | None = None
) -> ModelFile | None:
    """
    Find a model and read what it is, which takes little time and memory.

    Parameters
    ----------
    model, depth_range
        As for ``load_model``.

    Returns
    -------
    ModelFile or None
        None for a preset without embedded weights, which has no file.

    Raises
    ------
    ModelError
        As ``load_model``, which also looks at the weights.

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
        config, count = describe_official(path, depth_range)
        return ModelFile(path, config, count, lambda: load_official(path, depth_range))
    raise ModelError(
        f'model file {path} is neither safetensors nor a torch checkpoint (it starts with '
        f'{start!r}); an interrupted download or a Git LFS pointer looks like this'
    )


def save_checkpoint(
    network: AdaBins, path: str | os.PathLike[str], *, half: bool = False, overwrite: bool = False
) -> None:
    """
    Write the network with its configuration as safetensors, whole or not at all.

    Parameters
    ----------
    network : AdaBins
        What to save; ``network.config`` becomes the file's metadata.
    path : str or path
        The file.
    half : bool
        Store floating-point tensors in half precision; they load as float32.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is false.

    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists; choose another name, checkpoints are not replaced')
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    metadata = {'format': FORMAT, 'config': network.config.model_dump_json()}
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    os.close(handle)
    try:
        save_file(tensors, partial, metadata=metadata)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _describe_ours(path: Path, depth_range: tuple[float, float] | None) -> ModelFile:
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            count = learned_count(
                (name, file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118
            )
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    if metadata.get('format') != FORMAT:
        raise ModelError(
            f'model file {path} is not of this package: its format is '
            f'{metadata.get("format")!r}, expected {FORMAT!r}'
        )
    try:
        config = AdaBinsConfig.model_validate(json.loads(metadata.get('config', '')))
        config = _with_range(config, depth_range)
    except (ValidationError, json.JSONDecodeError) as error:
        raise ModelError(f'model file {path} has a wrong configuration: {error}') from error
    return ModelFile(path, config, count, lambda: _load_ours(path, config))


def _load_ours(path: Path, config: AdaBinsConfig) -> AdaBins:
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    try:
        # The weights to be replaced must not use up the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            network = AdaBins(config)
    except ValueError as error:
        raise ModelError(f'model file {path}: {error}') from error
    fill(network, tensors, path)
    return network.eval()


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f'model file {path} is damaged: {error}; copy it again')


def _untrained(config: AdaBinsConfig) -> AdaBins:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AdaBins(config).eval()


def _with_range(config: AdaBinsConfig, depth_range: tuple[float, float] | None) -> AdaBinsConfig:
    if depth_range is None:
        return config
    return config.model_copy(update={'min_depth': depth_range[0], 'max_depth': depth_range[1]})


def _check_range(depth_range: tuple[float, float] | None) -> None:
    if depth_range is not None and not 0 < depth_range[0] < depth_range[1] < float('inf'):
        raise ModelError(
            f'depth_range {depth_range} m must be (min, max) with 0 < min < max, such as '
            '(0.001, 10.0)'
        )

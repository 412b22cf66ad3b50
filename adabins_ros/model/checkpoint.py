# SPDX-License-Identifier: Apache-2.0
"""Networks loaded from model files and saved in our format; this is where torch comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import os
from pathlib import Path

from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.config import AdaBinsConfig, PRESETS
from adabins_ros.model.errors import ModelError
from adabins_ros.model.model_file import check_range, damaged, find_model, FORMAT, with_range
from adabins_ros.whole_files import whole_file
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch
from torch import nn


def load_model(
    model: str | os.PathLike[str],
    depth_range: tuple[float, float] | None = None,
    *,
    untrained: bool = False,
) -> AdaBins:
    """
    Load a network, on the CPU in evaluation mode.

    Parameters
    ----------
    model : str or path
        A preset, other weights that were fetched, or a file: ours (.safetensors) or the authors'
        (AdaBins_nyu.pt, any name). The content decides, not the suffix.
    depth_range : (float, float), optional
        d_min and d_max in metres. An authors' file whose name holds neither ``nyu`` nor ``kitti``
        needs it; for other models it replaces the configuration's range.
    untrained : bool
        Random weights from a fixed seed in place of a preset's; ``config.trained`` is false.

    Returns
    -------
    AdaBins

    Raises
    ------
    ModelError
        If there is no such preset or file, it was not fetched yet, or the file is damaged, foreign
        or hostile.

    """
    if not untrained:
        return find_model(model, depth_range).load()
    name = os.fspath(model)
    if name not in PRESETS:
        raise ModelError(f'model {name!r} is no preset ({", ".join(PRESETS)}) to be untrained')
    check_range(depth_range)
    return _untrained(with_range(PRESETS[name], depth_range))


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
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def load_ours(path: Path, config: AdaBinsConfig) -> AdaBins:
    """Build the network of one of our files, on the CPU in evaluation mode."""
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    try:
        # The weights to be replaced must not use up the caller's random numbers.
        with torch.random.fork_rng(devices=[]):
            network = AdaBins(config)
    except ValueError as error:
        raise ModelError(f'model file {path}: {error}') from error
    fill(network, tensors, path)
    return network.eval()


def fill(
    network: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """
    Copy tensors into the network's parameters and buffers.

    Parameters
    ----------
    network : nn.Module
        Filled in place, in its own dtypes.
    tensors : mapping of str to torch.Tensor
        The file's tensors under the file's names. Batch-norm counters may be missing.
    path : Path
        The file, for the errors.
    name_in_file : callable
        Turns the network's name of a tensor into the file's.

    Raises
    ------
    ModelError
        If tensors are missing, misshapen, unknown or not finite; they are named.

    """
    state = network.state_dict()
    expected = {name_in_file(name): name for name in state}
    missing = [
        name
        for name in expected
        if name not in tensors and not name.endswith('num_batches_tracked')
    ]
    misshapen = [
        f'{name} is {tuple(tensors[name].shape)}, expected {tuple(state[ours].shape)}'
        for name, ours in expected.items()
        if name in tensors and tensors[name].shape != state[ours].shape
    ]
    unknown = [name for name in tensors if name not in expected]
    problems = [
        f'{len(names)} {what}: {_some(names)}'
        for what, names in (('missing', missing), ('misshapen', misshapen), ('unknown', unknown))
        if names
    ]
    if problems:
        raise ModelError(f'model file {path} does not fit: tensors {"; ".join(problems)}')
    broken = [name for name in expected if name in tensors and not _finite(tensors[name])]
    if broken:
        raise ModelError(f'model file {path} has NaN or infinite weights in {_some(broken)}')
    network.load_state_dict(
        {ours: tensors.get(name, state[ours]) for name, ours in expected.items()}
    )


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _some(names: list[str], most: int = 5) -> str:
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def _untrained(config: AdaBinsConfig) -> AdaBins:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AdaBins(config).eval()

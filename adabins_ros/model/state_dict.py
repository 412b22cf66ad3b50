# SPDX-License-Identifier: Apache-2.0
"""Fill a network with a file's tensors, strictly, and say what does not fit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import math
from pathlib import Path

from adabins_ros.model.errors import ModelError
import torch
from torch import nn

_NOT_LEARNED = ('running_mean', 'running_var', 'num_batches_tracked')


def learned_count(shapes: Iterable[tuple[str, Sequence[int]]]) -> int:
    """Count the learned numbers of a file by its tensors' names and shapes."""
    return sum(math.prod(shape) for name, shape in shapes if not name.endswith(_NOT_LEARNED))


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

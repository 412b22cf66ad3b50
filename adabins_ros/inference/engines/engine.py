# SPDX-License-Identifier: Apache-2.0
"""What an engine is: something that runs a network, behind one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import ctypes
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
import os
from pathlib import Path
import platform
from typing import Any, Protocol

from adabins_ros.extras import require
from adabins_ros.model.errors import ModelError
import numpy as np
from numpy.typing import NDArray

ENGINES = ('auto', 'torch', 'torch_compile', 'onnx', 'openvino')
Arrays = dict[str, NDArray[Any]]
# The package that each needs, and the extra that brings it.
_NEEDS = {
    'torch': ('torch', 'train'),
    'torch_compile': ('torch', 'train'),
    'onnx': ('onnxruntime', ''),
    'openvino': ('openvino', 'openvino'),
}


@dataclass(frozen=True)
class Place:
    """Where and how exactly an engine is to run."""

    device: str = 'cpu'
    """'cpu', 'cuda' or 'cuda:N'."""
    precision: str = 'float32'
    """In which the network computes: float32, float16 or bfloat16."""
    prefers_gpu: bool = False
    """Whether OpenVINO may take the Intel GPU that it finds."""

    @property
    def on_gpu(self) -> bool:
        """Whether that is an NVIDIA GPU."""
        return self.device.startswith('cuda')

    @property
    def gpu_index(self) -> int:
        """Give the number of the GPU."""
        return int(self.device.partition(':')[2] or 0)

    @property
    def threads(self) -> int:
        """Threads on the CPU: OMP_NUM_THREADS, else one for each core that may be used."""
        asked = os.environ.get('OMP_NUM_THREADS', '')
        # More than there are processors would only wait for each other.
        most = len(os.sched_getaffinity(0))
        return min(int(asked), most) if asked.isdecimal() and int(asked) else _cores()


class Engine(Protocol):
    """
    A network that is ready to run.

    Attributes
    ----------
    name : str
        One of ``ENGINES``, never 'auto'.
    description : str
        For people: the program, its version and where it runs.
    device : str
        Where it computes, 'cpu' or 'cuda:N'; arrays come and go on the host.
    input_names : frozenset of str
        What it takes: ``image``, and what else the network was made with.

    """

    name: str
    description: str
    device: str
    input_names: frozenset[str]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """
        Run the network.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
            ``image``, (B, h, w, 3) uint8 RGB of a size that is legal for the network, and the
            network's further inputs by their names; those that are missing are zeros.

        Returns
        -------
        dict of str to numpy.ndarray
            ``depth`` and ``std``, (B, ceil(h / 2), ceil(w / 2)) float32 metres, ``bin_centers``,
            (B, N) float32 metres, and the network's further outputs. The caller may keep them.

        """

    def close(self) -> None:
        """Free memory; it can't be used afterwards."""


def with_zeros(
    inputs: Mapping[str, NDArray[Any]], shapes: Mapping[str, Sequence[Any]], batch: int
) -> Arrays:
    """Add float32 zeros for what is missing of some shapes, whose first dimension is the batch."""
    missing = {name: (batch, *shapes[name][1:]) for name in shapes if name not in inputs}
    return {**inputs, **{name: np.zeros(shape, np.float32) for name, shape in missing.items()}}


def is_installed(name: str) -> bool:
    """Tell whether the package of an engine is there."""
    return find_spec(_NEEDS[name][0]) is not None


def check_engine(name: str) -> None:
    """
    Refuse an engine that is unknown or not installed.

    Raises
    ------
    ModelError
        With the way out.

    """
    if name not in ENGINES:
        raise ModelError(f'engine {name!r} is unknown; use {", ".join(ENGINES)}')
    if name == 'auto' or is_installed(name):
        return
    package, extra = _NEEDS[name]
    if extra:
        require(extra, package, what=f'engine {name!r}')
    raise ModelError(f'engine {name!r} needs the Python package {package}: pip install {package}')


# fenv_t of the C library: where the control word lies, and its bits that take denormals for zero.
_CONTROL = {'x86_64': (28, 0x8040), 'aarch64': (0, 1 << 24)}.get(platform.machine())


@contextmanager
def without_denormals() -> Iterator[None]:
    """
    Compute in this thread with the numbers below 1.2e-38 taken as zero, which is much faster.

    Afterwards the thread is as it was: runtimes switch this on and leave it on, and the caller's
    own arithmetic would go wrong. On other processors than x86-64 and ARM64 nothing changes.
    """
    library = _c_library()
    if library is None or _CONTROL is None:
        yield
        return
    before = ctypes.create_string_buffer(64)
    library.fegetenv(before)
    changed = ctypes.create_string_buffer(before.raw, 64)
    offset, bits = _CONTROL
    word = ctypes.c_uint32.from_buffer(changed, offset)
    word.value |= bits
    library.fesetenv(changed)
    try:
        yield
    finally:
        library.fesetenv(before)


@cache
def _c_library() -> ctypes.CDLL | None:
    for name in ('libm.so.6', None):
        try:
            library = ctypes.CDLL(name)
            library.fegetenv, library.fesetenv  # noqa: B018
        except (OSError, AttributeError):
            continue
        return library
    return None


def _cores() -> int:
    """Count the cores, not their hardware threads, that this process may run on."""
    allowed = os.sched_getaffinity(0)
    cores = set()
    for number in allowed:
        topology = Path(f'/sys/devices/system/cpu/cpu{number}/topology')
        try:
            cores.add((topology / 'thread_siblings_list').read_text())
        except OSError:
            return len(allowed)
    return max(1, len(cores))

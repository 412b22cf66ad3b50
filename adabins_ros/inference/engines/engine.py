# SPDX-License-Identifier: Apache-2.0
"""What an engine is: something that runs a network, behind one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
import os
import sys
from typing import Protocol

from adabins_ros.model.adabins import DepthDistribution
from adabins_ros.model.errors import ModelError
import torch

ENGINES = ('auto', 'torch', 'torch_compile', 'onnx', 'openvino')
_PACKAGES = {'onnx': ('onnx', 'onnxruntime'), 'openvino': ('onnx', 'openvino')}


@dataclass(frozen=True)
class Place:
    """Where and how exactly an engine is to run."""

    device: torch.device
    """The CPU or an NVIDIA GPU."""
    dtype: torch.dtype = torch.float32
    """In which the network computes."""
    prefers_gpu: bool = False
    """Whether OpenVINO may take the GPU that it finds."""

    @property
    def threads(self) -> int:
        """As many threads as torch takes, but no more than this process may run at a time."""
        return min(torch.get_num_threads(), len(os.sched_getaffinity(0)))


class Engine(Protocol):
    """
    A network that is ready to run.

    Attributes
    ----------
    name : str
        One of ``ENGINES``, never 'auto'.
    description : str
        For people: the program, its version and where it runs.
    device : torch.device
        Where it wants its pixels, and where its results lie.

    """

    name: str
    description: str
    device: torch.device

    def __call__(self, pixels: torch.Tensor) -> DepthDistribution:
        """
        Run the network.

        Parameters
        ----------
        pixels : torch.Tensor
            (B, h, w, 3) RGB, 0 to 255, of a size that is legal for the network: uint8, or on a
            GPU also float32.

        Returns
        -------
        DepthDistribution
            In float32, metres, at half that size.

        """

    def close(self) -> None:
        """Free memory and files; it can't be used afterwards."""


@contextmanager
def without_denormals() -> Iterator[None]:
    """
    Compute in this thread with the numbers below 1.2e-38 taken as zero, which is much faster.

    Afterwards the thread is as it was: runtimes switch this on and leave it on, and the caller's
    own arithmetic would go wrong. Where the processor can't (torch knows x86 and ARM), nothing
    changes.
    """
    before = _denormals_are_zero()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _denormals_are_zero() -> bool:
    return sys.float_info.min / 2 == 0


def is_installed(name: str) -> bool:
    """Tell whether the packages of an engine are there."""
    return not _missing(name)


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
    missing = _missing(name)
    if missing:
        raise ModelError(
            f'engine {name!r} needs the Python package {" and ".join(missing)}; install it with: '
            f'pip install {" ".join(missing)}'
        )


def _missing(name: str) -> list[str]:
    return [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]

# SPDX-License-Identifier: Apache-2.0
"""Frames to a device and results back, through memory that is reused and, for a GPU, locked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch


class StagedUpload:
    """
    Copy one frame after another to a device.

    A GPU reads page-locked memory by itself: the caller goes on while the frame is on its way.

    Parameters
    ----------
    device : torch.device
        Also a CPU, where it is a plain copy.

    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._staging = _Staging(device)

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Return (H, W, 3) uint8 on the device; the image may be changed at once."""
        staged = self._staging.take(image.shape, torch.uint8)
        np.copyto(staged.numpy(), image)
        there = torch.empty(image.shape, dtype=torch.uint8, device=self._device)
        there.copy_(staged, non_blocking=True)
        self._staging.mark_in_use()
        return there


class StagedDownloads:
    """
    Copy results from a device, each kind into memory of its own, while the caller goes on.

    Parameters
    ----------
    device : torch.device
        Where they are; also a CPU, where it is a plain copy.

    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stagings: dict[str, _Staging] = {}

    @torch.inference_mode()
    def start(self, name: str, result: torch.Tensor) -> Download:
        """
        Begin to copy a contiguous tensor.

        It overwrites what the last download of this name gave.
        """
        staging = self._stagings.setdefault(name, _Staging(self._device))
        here = staging.take(result.shape, result.dtype)
        here.copy_(result, non_blocking=True)
        return Download(here, staging.mark_in_use())


class Download:
    """A result on its way; made by `StagedDownloads`."""

    def __init__(self, here: torch.Tensor, arrived: torch.cuda.Event | None) -> None:
        self._here, self._arrived = here, arrived

    def wait(self) -> NDArray[Any]:
        """Return the result, valid until the next download of its name."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._here.numpy()


class _Staging:
    """Memory on the host that grows with what passes through it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._copied = torch.cuda.Event() if device.type == 'cuda' else None

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor of the memory, when the last copy from or to it is done."""
        if self._copied is not None:
            self._copied.synchronize()
        size = int(np.prod(shape)) * dtype.itemsize
        if self._memory.numel() < size:
            locked = self._copied is not None
            self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=locked)
        return self._memory[:size].view(dtype).view(shape)

    def mark_in_use(self) -> torch.cuda.Event | None:
        """Have the next `take` wait for what the device does until now."""
        if self._copied is not None:
            self._copied.record(torch.cuda.current_stream(self._device))
        return self._copied

# SPDX-License-Identifier: Apache-2.0
"""How long the stages of a frame take, without holding up the device to find out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch


class StageTimes:
    """
    Time stages, on a GPU by its own events.

    Parameters
    ----------
    device : torch.device
        That does the work.

    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, float] = {}
        self._events: dict[str, tuple[torch.cuda.Event, torch.cuda.Event]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done, or given to the device to do, in the context."""
        if self._device.type == 'cuda':
            stream = torch.cuda.current_stream(self._device)
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record(stream)
            yield
            end.record(stream)
            self._events[name] = start, end
            return
        began = perf_counter()
        yield
        self._seconds[name] = perf_counter() - began

    def seconds(self) -> dict[str, float]:
        """Return the seconds by stage, once the device is done with them."""
        for name, (start, end) in self._events.items():
            end.synchronize()
            self._seconds[name] = start.elapsed_time(end) / 1e3
        return dict(self._seconds)

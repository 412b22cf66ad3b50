# SPDX-License-Identifier: Apache-2.0
"""A bar for the extraction of recordings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .extract import Progress as Report


@contextmanager
def extraction_bar(console: Console) -> Iterator[Report]:
    """Give the `progress` of `extract_frames` and `frames_of`: one bar per recording."""
    columns = (
        TextColumn('extracting {task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        known = {}

        def report(name: str, done: int, count: int) -> None:
            # A second recording of the same name begins at its first pair again.
            if name not in known or done == 1:
                known[name] = bars.add_task(name, total=count)
            bars.update(known[name], completed=done)

        yield report

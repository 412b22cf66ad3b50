# SPDX-License-Identifier: Apache-2.0
"""Timing in turns, so that a busy machine slows all alike; options, table and file of figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
import gc
import json
import os
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from adabins_ros.inference.kept import machine as processor
from adabins_ros.provenance import environment
import numpy as np
from rich.console import Console
from rich.table import Table


def in_turns(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    pause_s: float = 0.0,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """
    Run all works once a round, in alternating order, and return their seconds by round.

    The first ``warm_up`` rounds are not counted. Garbage is collected between rounds only. The
    pause before each work, seconds, lets other processes finish what the last one sent them. With
    ``time.thread_time`` as the clock it is the processor time of this thread.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    gc.disable()
    try:
        for number in range(-warm_up, rounds):
            for name in list(works) if number % 2 else list(works)[::-1]:
                sleep(pause_s)
                start = clock()
                works[name]()
                if number >= 0:
                    seconds[name].append(clock() - start)
            gc.collect()
    finally:
        gc.enable()
    return seconds


def speedup(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """Return median, lower and upper quartile of the ratio before / after, round by round."""
    ratios = np.array(before) / np.array(after)
    middle, low, high = np.percentile(ratios, [50, 25, 75])
    return float(middle), float(low), float(high)


def median_ms(seconds: Sequence[float]) -> float:
    """Return the median, milliseconds."""
    return 1e3 * float(np.median(seconds))


def machine() -> str:
    """Return the processor, its cores and the load, for the head of a table."""
    return f'{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}'


def parser_of(doc: str) -> argparse.ArgumentParser:
    """Return the parser of a benchmark, for its own options; its docstring is the help."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc.strip(), formatter_class=raw)
    parser.add_argument('--json', type=Path, help='also write the figures here')
    return parser


def show_table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    texts: Iterable[str] = (),
    width: int | None = None,
) -> None:
    """
    Print a table below its title and the machine; width None: as wide as the terminal.

    The first column and those that hold texts stand to the left, figures to the right. None is
    '-', and what `speedup` found a ratio.
    """
    table = Table()
    for heading in headings:
        left = heading in (headings[0], *texts)
        table.add_column(heading, justify='left' if left else 'right', overflow='fold')
    for row in rows:
        table.add_row(*map(_text, row))
    console = Console(width=width)
    console.print(f'{title}\n{machine()}', highlight=False)
    console.print(table)


def _text(cell: object) -> str:
    if isinstance(cell, tuple):
        return '{:.2f}x ({:.2f} to {:.2f})'.format(*cell)
    return '-' if cell is None else str(cell)


def write_figures(path: Path | None, name: str, figures: Any) -> None:
    """Write figures as JSON with machine, date, versions and git revision, if a path is given."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    date = datetime.now(timezone.utc).isoformat(timespec='seconds')
    record = {
        'benchmark': name,
        'date': date,
        **environment(),
        'machine': machine(),
        'figures': figures,
    }
    path.write_text(json.dumps(record, indent=2) + '\n')

# SPDX-License-Identifier: Apache-2.0
"""Which pairs of a recording are written, under which names, and the table that tells of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from adabins_ros.frames.rgbd_folder import FRAME_TABLE
import numpy as np
from numpy.typing import NDArray

from .recorded_pairs import RecordedPairs


@dataclass
class FrameRow:
    """One pair, as frames.csv names it."""

    stem: str
    stamp_ns: int
    offset_ms: float
    reason: str = ''
    camera: dict[str, Any] | None = None


def rows_of(pairs: RecordedPairs) -> list[FrameRow]:
    """Name each pair by its stamp; where one is there already, by a number behind it too."""
    rows, seen = [], dict[int, int]()
    for stamp, offset in zip(pairs.stamps_ns.tolist(), pairs.offsets_ms.tolist(), strict=True):
        seen[stamp] = seen.get(stamp, 0) + 1
        again = f'-{seen[stamp]}' if seen[stamp] > 1 else ''
        seconds, nanoseconds = divmod(stamp, 1_000_000_000)
        rows.append(FrameRow(f'{seconds}.{nanoseconds:09}{again}', stamp, offset))
    return rows


def thinned(stamps_ns: NDArray[np.int64], rate: float | None) -> list[int]:
    """Return which frames to take, at most so many a second."""
    if rate is None or stamps_ns.size < 2:
        return list(range(stamps_ns.size))
    period = 1e9 / rate
    # A frame that is a little early counts for its turn.
    early = min(0.25 * float(np.median(np.diff(stamps_ns))), period / 2)
    chosen, due = [], float(stamps_ns[0])
    for number, stamp in enumerate(stamps_ns.tolist()):
        if stamp >= due - early:
            chosen.append(number)
            due += period * max(1, int((stamp - due + early) // period) + 1)
    return chosen


def write_table(folder: Path, rows: list[FrameRow], **more: float) -> None:
    """Write cameras, with whatever else camera.json is to say, and the table of frames."""
    used = [row for row in rows if not row.reason]
    cameras = {row.stem: {**(row.camera or {}), **more} for row in used}
    first = cameras[used[0].stem]
    if all(camera == first for camera in cameras.values()):
        write_json(folder / 'camera.json', first)
    else:
        write_json(folder / 'cameras.json', cameras)
    with (folder / FRAME_TABLE).open('w', encoding='utf-8', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(('stem', 'stamp_ns', 'offset_ms', 'used', 'reason'))
        for row in rows:
            table.writerow(
                (row.stem, row.stamp_ns, f'{row.offset_ms:.3f}', int(not row.reason), row.reason)
            )


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a JSON object for people and programs."""
    file.write_text(json.dumps(value, indent=1) + '\n', encoding='utf-8')

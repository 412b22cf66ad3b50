# SPDX-License-Identifier: Apache-2.0
"""What a run would train on, to look at before it starts."""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path

from adabins_ros.evaluation.pictures import with_dots
from adabins_ros.frames import FrameSource, RecordingError, RgbdSample
from adabins_ros.geometry.colors import depth_colors
from adabins_ros.messages.still_pictures import encode_picture
from adabins_ros.training.data import describe_source, describe_split, spread, TrainingData
from adabins_ros.training.dataset import RgbdDataset, UNUSABLE
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

PERCENTILES = (1, 25, 50, 75, 99)
_LOOKED_AT = 24
_MOST_NAMED = 5
_PAIRS = 16
_COLUMNS = 4
_TILE = (180, 240)
_GAP = 4
_BACKGROUND = 24


def print_dry_run(data: TrainingData, console: Console | None = None) -> None:
    """Print what was found: sources, topics, sizes, depth, stamps, and the split."""
    console = console or Console()
    table = Table(title='What was found', title_justify='left')
    for heading in ('source', 'frames', 'size', 'fx [px]', 'valid', 'depth [m]', 'offset [ms]'):
        table.add_column(heading, overflow='fold')
    notes = []
    for source in data.train.sources:
        cells, unusable = _look_at(source)
        table.add_row(*cells)
        notes += [*describe_source(source.report), *unusable]
    console.print(table)
    numbers = ', '.join(str(number) for number in PERCENTILES)
    console.print(
        f'depth: percentiles {numbers}; offset: of stamps within a pair, median .. largest'
    )
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(describe_split(data), highlight=False, soft_wrap=True)


def _look_at(source: FrameSource) -> tuple[list[str], list[str]]:
    """Read some frames of a source; return its row, and lines about those that are unusable."""
    report = source.report
    sizes: set[str] = set()
    focal_lengths: set[float] = set()
    known = [np.zeros(0, np.float32)]
    pixels = 0
    unusable = []
    for index in spread(len(source), _LOOKED_AT):
        try:
            sample = source[index]
        except UNUSABLE as error:
            unusable.append(f'  {source.frame_name(index)}: {error}')
            continue
        height, width = sample.depth.shape
        sizes.add(f'{width}x{height}')
        focal_lengths.add(round(sample.focal_length_px, 1))
        pixels += sample.depth.size
        known.append(sample.depth[sample.depth > 0])
    depth = np.concatenate(known)
    percentiles = np.percentile(depth, PERCENTILES).tolist() if depth.size else []
    cells = [
        source.name,
        str(report.frames),
        ', '.join(sorted(sizes)),
        ', '.join(f'{focal:g}' for focal in sorted(focal_lengths)),
        f'{depth.size / max(pixels, 1):.1%}',
        ' '.join(f'{metres:.2f}' for metres in percentiles) or 'none',
        ' .. '.join(f'{offset:.1f}' for offset in report.offset_ms) or '-',
    ]
    if unusable:
        looked_at = min(_LOOKED_AT, report.frames)
        head = f'{report.name}: {len(unusable)} of {looked_at} frames looked at are unusable:'
        unusable = [head, *unusable[:_MOST_NAMED]]
    return cells, unusable


def save_pairs_picture(data: TrainingData, path: str | os.PathLike[str]) -> Path:
    """
    Save sixteen pairs of colour and true depth, spread over all frames, as one PNG.

    All depths share one scale from the first to the last percentile.

    Raises
    ------
    RecordingError
        No frame can be read, the file exists already, or it can't be written.

    """
    path = Path(path)
    samples = _samples((data.train, data.validation))
    if not samples:
        raise RecordingError('none of the frames can be read, so there is no picture of them')
    known = np.concatenate([sample.depth[sample.depth > 0] for _, sample in samples])
    nearest, farthest = np.percentile(known, (1, 99)) if known.size else (0.0, 1.0)
    ends = float(nearest), float(max(farthest, nearest + 0.1))
    height, width = _TILE
    rows = -(-len(samples) // _COLUMNS)
    tall, wide = height + _GAP, 2 * width + 2 * _GAP
    sheet = np.full((rows * tall, _COLUMNS * wide, 3), _BACKGROUND, np.uint8)
    for number, (held_out, sample) in enumerate(samples):
        row, column = divmod(number, _COLUMNS)
        top, left = row * tall, column * wide
        tile = sheet[top:, left:][:height]
        tile[:, :width] = cv2.resize(sample.image, (width, height), interpolation=cv2.INTER_AREA)
        tile[:, width:][:, :width] = _depth_tile(sample, ends)
        title = f'{sample.name[-30:]}{" (validation)" if held_out else ""}'
        cv2.putText(tile, title, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255))
    data_bytes = encode_picture(cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), '.png')
    try:
        with path.open('xb') as file:
            file.write(data_bytes.tobytes())
    except FileExistsError:
        raise RecordingError(f'{path} exists already and is not overwritten') from None
    except OSError as error:
        raise RecordingError(f'{path} can not be written: {error.strerror}') from None
    return path


def _samples(datasets: Sequence[RgbdDataset]) -> list[tuple[bool, RgbdSample]]:
    """Return frames spread over both sets, each with whether it is held out."""
    frames = [(held, x, i) for held, x in enumerate(datasets) for i in range(len(x))]
    found = []
    for number in spread(len(frames), _PAIRS):
        held, dataset, index = frames[number]
        try:
            found.append((bool(held), dataset.sample(index)))
        except UNUSABLE:
            continue
    return found


def _depth_tile(sample: RgbdSample, ends: tuple[float, float]) -> NDArray[np.uint8]:
    known = with_dots(np.where(sample.depth > 0, sample.depth, np.float32(np.nan)))
    small = cv2.resize(known, _TILE[::-1], interpolation=cv2.INTER_NEAREST)
    return depth_colors(np.asarray(small, np.float32), *ends)

# SPDX-License-Identifier: Apache-2.0
"""
How much less the scale of depth flickers with smoothing, and how soon it follows what changes.

`python benchmarks/flicker.py [FOLDER ...] [--model FILE] [--time SECONDS]`

Each FOLDER is an RGB-D folder, the sample recording by default. Jitter is the mean change from
frame to frame of the median of log(depth / true depth), d1 the share of pixels within 25 %.
"Differs": by how much smoothed depth differs from that of each frame alone, median over its
pixels of |log|. A cut is one from a frame of a folder to three in a row of another place in the
same or another folder. A step: after five frames, three of their middle halves, so that all is
half as far. A drive: zooming into a frame at 10 Hz as if to a wall 2 m away at 0.5 m/s, for 2 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
import tempfile
from typing import Any

from adabins_ros import DepthPredictor, Smoothing
from adabins_ros.frames import RgbdFolder
from adabins_ros.inference.resizing import resized
from adabins_ros.inference.smoothing import USUAL_TIME_S
from adabins_ros.package_files import package_file
from adabins_ros.recordings import extract_frames
from interleaved import in_turns, median_ms, parser_of, show_table, write_figures
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
D1 = np.log(1.25)
STEP_S = 0.1
SPEED, WALL_M, DRIVE_S = 0.5, 2.0, 2.0


class Place:
    """A folder, and each frame's depth alone."""

    def __init__(self, path: Path, predictor: DepthPredictor) -> None:
        self.folder, self._predictor = RgbdFolder(path), predictor
        self.name = path.name

    def picture(self, number: int) -> Picture:
        """Return a frame's picture."""
        return self.folder.colour(self.folder.frames[number])

    def jitter(self, time_s: float) -> dict[str, float]:
        """Return jitter and d1, alone and smoothed, and the largest difference."""
        memory = Smoothing(time_s)
        scales: list[list[float]] = []
        right: list[list[float]] = []
        differences = []
        for number, frame in enumerate(self.folder.frames):
            picture, true = self.picture(number), self.folder.depth_m(frame)
            focal = frame.camera.fx if frame.camera else None
            both = [
                self._predictor.predict(picture, focal, smoothing).depth
                for smoothing in (None, memory.at(frame.stamp_ns / 1e9))
            ]
            errors = [np.log(depth[true > 0] / true[true > 0]) for depth in both]
            scales.append([float(np.median(error)) for error in errors])
            right.append([float((np.abs(error) < D1).mean()) for error in errors])
            differences.append(difference(*both))
        steps = np.abs(np.diff(scales, axis=0)).mean(0)
        d1 = np.mean(right, axis=0)
        return {
            'frames': len(scales),
            'jitter': float(steps[0]),
            'smoothed': float(steps[1]),
            'd1': float(d1[0]),
            'd1 smoothed': float(d1[1]),
            'differs at most': max(differences),
        }


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the median over the pixels of |log(one / other)|."""
    return float(np.median(np.abs(np.log(one / other))))


def middle(picture: Picture, zoom: float) -> Picture:
    """Return the middle of a picture, 1 / zoom of its height and width, at its size."""
    height, width = picture.shape[:2]
    h, w = round(height / zoom), round(width / zoom)
    top, left = (height - h) // 2, (width - w) // 2
    part = np.ascontiguousarray(picture[top : top + h, left : left + w])
    return resized(part, (height, width))


def differences(
    predictor: DepthPredictor, time_s: float, pictures: Iterable[Picture], step_s: float = STEP_S
) -> list[float]:
    """Return by how much smoothed depth differs from that of each picture alone."""
    memory, found = Smoothing(time_s), []
    for number, picture in enumerate(pictures):
        smoothed = predictor.predict(picture, smoothing=memory.at(number * step_s)).depth
        found.append(difference(smoothed, predictor.predict(picture).depth))
    return found


def changes(
    predictor: DepthPredictor, time_s: float, places: Sequence[Place], count: int
) -> dict[str, list[list[float]]]:
    """Return the differences of the frames after cuts and steps, and while driving."""
    rng = np.random.default_rng(0)
    found: dict[str, list[list[float]]] = {'cut': [], 'step': [], 'drive': []}

    def row(length: int) -> list[Picture]:
        place = places[rng.integers(len(places))]
        first = rng.integers(len(place.folder.frames) - length + 1)
        return [place.picture(first + n) for n in range(length)]

    for _ in range(count):
        before, after = row(5), row(3)
        found['cut'].append(differences(predictor, time_s, before + after)[5:])
        pictures = row(8)
        pictures[5:] = [middle(picture, 2.0) for picture in pictures[5:]]
        found['step'].append(differences(predictor, time_s, pictures)[5:])
        (picture,) = row(1)
        times = np.arange(0, DRIVE_S, STEP_S)
        zooms = WALL_M / (WALL_M - SPEED * times)
        drive = (middle(picture, zoom) for zoom in zooms)
        found['drive'].append(differences(predictor, time_s, drive)[1:])
    return found


def cost(predictor: DepthPredictor, time_s: float, picture: Picture) -> dict[str, float]:
    """Return the time of a frame alone and smoothed by the same network, milliseconds."""
    memory, count = Smoothing(time_s), iter(range(1_000_000))
    works: dict[str, Any] = {
        'alone': lambda: predictor.predict(picture),
        'smoothed': lambda: predictor.predict(picture, None, memory.at(next(count) * STEP_S)),
    }
    seconds = in_turns(works, 30)
    extra = np.subtract(seconds['smoothed'], seconds['alone'])
    return {**{name: median_ms(seconds[name]) for name in works}, 'extra': median_ms(extra)}


def main() -> None:
    """Print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument('folders', nargs='*', type=Path, help='RGB-D folders')
    parser.add_argument('--model', default='adabins-lite')
    parser.add_argument('--time', type=float, default=USUAL_TIME_S, help='time constant, s')
    parser.add_argument('--changes', type=int, default=30, help='cuts, steps and drives')
    options = parser.parse_args()
    predictor = DepthPredictor.from_pretrained(options.model)
    print(f'{predictor.description}; {options.time:g} s')
    with tempfile.TemporaryDirectory() as extracted:
        sample = package_file('samples/living_room.mcap')
        folders = options.folders or extract_frames([sample], extracted)
        places = [Place(folder, predictor) for folder in folders]
        jitters = {place.name: place.jitter(options.time) for place in places}
        found = changes(predictor, options.time, places, options.changes)
        costs = cost(predictor, options.time, places[0].picture(0))
    lines = []
    for name, figures in jitters.items():
        frames, *rest = figures.values()
        lines.append([name, frames, *(f'{value:.4f}' for value in rest)])
    show_table('each recording', ('recording', *next(iter(jitters.values()))), lines, width=120)
    lines = []
    for name, rows in found.items():
        columns = {'all': np.ravel(rows)}
        if name != 'drive':
            columns = {str(n): np.array(rows)[:, n - 1] for n in (1, 2, 3)}
        for frame, values in columns.items():
            low_to_high = np.percentile(values, [50, 90, 100])
            lines.append([name, frame, *(f'{value:.3f}' for value in low_to_high)])
    show_table('after a change', ('differs after a', 'frame', 'median', '90 %', 'largest'), lines)
    print(', '.join(f'{name} {value:.2f} ms' for name, value in costs.items()))
    figures = {'jitter': jitters, 'changes': found, 'cost_ms': costs}
    write_figures(options.json, 'flicker', {'model': options.model, **figures})


if __name__ == '__main__':
    main()

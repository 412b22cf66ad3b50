# SPDX-License-Identifier: Apache-2.0
"""
How much of the true scale a scan line, a wrong scan line, one range give back; in d1.

`python benchmarks/metric_scale.py FOLDER ... [--model FILE] [--cache FOLDER]`

Each FOLDER is an RGB-D folder. The measurements are taken from its true depth: the middle row;
what a lidar sees that sits above the camera and is turned; the centre. Every frame is scaled by
what was measured at its time, through one MetricScale for the recording, frames `--step` seconds
apart. The plain median of the same row, and the median of all true depth, stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
import re
from time import perf_counter
from typing import Any

from adabins_ros import DepthPredictor
from adabins_ros.evaluation.simulated_sensors import centre, lidar, Look, row, View
from adabins_ros.frames import RgbdFolder
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.scale import EvidenceError, MetricScale
from interleaved import parser_of, show_table, write_figures
import numpy as np
from numpy.typing import NDArray

D1 = np.log(1.25)
LARGEST_SIDE = 320
FEWEST = 5


def near(measured: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a fifth to three fifths: reflections, moving people."""
    return measured * rng.uniform(0.2, 0.6, measured.size)


def far(measured: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return 1.6 to 4 times as much: glass, occlusion that was missed."""
    return measured * rng.uniform(1.6, 4.0, measured.size)


def anything(measured: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return 0.2 to 8 m, whatever is there."""
    return rng.uniform(0.2, 8.0, measured.size)


Spoil = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]
WAYS: dict[str, tuple[Look, Spoil | None]] = {
    'row': (row, None),
    'row, third near': (row, near),
    'row, third far': (row, far),
    'row, third any': (row, anything),
    'lidar': (lidar, None),
    'lidar, third any': (lidar, anything),
    'one range': (centre, None),
}


def d1(depth: NDArray[Any], true: NDArray[Any]) -> float:
    """Return the share of the true pixels within a factor of 1.25."""
    known = true > 0
    return float((np.abs(np.log(depth[known] / true[known])) < D1).mean())


def predict(predictor: DepthPredictor, folder: RgbdFolder, only: str, most: int) -> Iterator[View]:
    """Yield the frames of a folder, thinned evenly, at no more than LARGEST_SIDE px."""
    frames = [frame for frame in folder.frames if re.search(only, frame.stem)]
    for frame in frames[:: max(1, -(-len(frames) // most))]:
        true = folder.depth_m(frame)
        if not (true > 0).any():
            continue
        estimate = predictor.predict(folder.colour(frame), frame.camera.fx)
        step = max(1, -(-max(true.shape) // LARGEST_SIDE))
        camera = frame.camera
        height, width = true[::step, ::step].shape
        # Pixel 0 stays pixel 0: the image is thinned, not resized.
        thinned = PinholeCamera(
            width, height, camera.fx / step, camera.fy / step, camera.cx / step, camera.cy / step
        )
        planes = (estimate.depth, estimate.std, true)
        yield View(*(plane[::step, ::step].copy() for plane in planes), thinned)


def views(options: Any, path: str, predictors: list[DepthPredictor]) -> list[View]:
    """Return the views of FOLDER or FOLDER:PATTERN, from the cache if they are there."""
    name, _, only = path.partition(':')
    file = None
    if options.cache:
        model = Path(options.model).stem
        key = f'{model}-{Path(name).name}-{only}-{options.frames}'
        file = options.cache / (re.sub(r'[^\w-]', '_', key) + '.npz')
        if file.is_file():
            stored = np.load(file)
            return [
                View(*stored[f'planes{i}'], _camera(*stored[f'camera{i}']))
                for i in range(len(stored.files) // 2)
            ]
    if not predictors:
        predictors.append(DepthPredictor.from_pretrained(options.model))
    found = list(predict(predictors[0], RgbdFolder(name), only, options.frames))
    if file is not None:
        arrays = {}
        for i, view in enumerate(found):
            camera = view.camera
            arrays[f'planes{i}'] = np.stack([view.depth, view.std, view.true])
            arrays[f'camera{i}'] = np.array(
                [camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy]
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **arrays)
    return found


def _camera(width: float, height: float, *rest: float) -> PinholeCamera:
    return PinholeCamera(int(width), int(height), *map(float, rest))


def anchored(
    frames: list[View], step_s: float, look: Look, spoil: Spoil | None
) -> dict[str, float]:
    """Return what MetricScale makes of a recording, and what the plain median would."""
    rng, scale = np.random.default_rng(0), MetricScale()
    result: dict[str, list[float]] = {
        name: [] for name in ('d1', 'plain', 'covered', 'measured', 'ms', 'where', 'median')
    }
    for number, view in enumerate(frames):
        stamp = number * step_s
        try:
            predicted, measured, std = look(view)
        except EvidenceError:
            predicted, measured, std = np.zeros((3, 0))
        if spoil is not None:
            wrong = rng.permutation(measured.size)[: round(measured.size / 3)]
            measured = measured.copy()
            measured[wrong] = spoil(measured[wrong], rng)
        start = perf_counter()
        scale.update(predicted, measured, std, stamp_s=stamp, source=look.__name__)
        fit = scale.at(stamp)
        result['ms'].append(1e3 * (perf_counter() - start))
        depth, spread = fit.depth(view.depth), fit.std(view.depth, view.std)
        known = view.true > 0
        result['d1'].append(d1(depth, view.true))
        few = measured.size < FEWEST and look is not centre
        plain = 1.0 if few else float(np.median(measured / predicted))
        result['plain'].append(d1(plain * view.depth, view.true))
        inside = np.abs(depth[known] - view.true[known]) < spread[known]
        result['covered'].append(float(inside.mean()))
        result['measured'].append(float(fit.anchored and fit.age_s == 0))
        if fit.anchored and fit.age_s == 0:
            result['where'].append(result['d1'][-1])
            true_scale = np.median(view.true[known] / view.depth[known])
            result['median'].append(d1(true_scale * view.depth, view.true))
    return {name: float(np.mean(values or [np.nan])) for name, values in result.items()}


def main() -> None:
    """Print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument('folders', nargs='+', help='RGB-D folders; FOLDER:REGEX takes a part')
    parser.add_argument('--model', default='adabins-lite')
    parser.add_argument('--frames', type=int, default=60, help='most of a folder, thinned evenly')
    parser.add_argument('--step', type=float, default=2.0, help='seconds between frames')
    parser.add_argument('--cache', type=Path, help='where predictions are kept')
    options = parser.parse_args()
    predictors: list[DepthPredictor] = []
    figures: dict[str, dict[str, Any]] = {}
    for path in options.folders:
        frames = views(options, path, predictors)
        known = [view.true > 0 for view in frames]
        pairs = [
            (view.depth, view.true, float(np.median(view.true[k] / view.depth[k])))
            for view, k in zip(frames, known, strict=True)
        ]
        figures[Path(path).name] = {
            'frames': len(frames),
            'as it is': float(np.mean([d1(depth, true) for depth, true, _ in pairs])),
            'true median': float(
                np.mean([d1(scale * depth, true) for depth, true, scale in pairs])
            ),
            **{name: anchored(frames, options.step, *way) for name, way in WAYS.items()},
        }
    print(f'{options.model}; {options.step:g} s between frames')
    for key, title in (('d1', 'd1'), ('plain', 'd1, plain median'), ('covered', 'within one std')):
        values = [
            [found['as it is'], found['true median'], *(found[way][key] for way in WAYS)]
            for found in figures.values()
        ]
        lines = [
            [name, found['frames'], *_digits(row)]
            for (name, found), row in zip(figures.items(), values, strict=True)
        ]
        lines.append(['mean', '', *_digits(np.mean(values, axis=0))])
        headings = ('recording', 'frames', 'as it is', 'true median', *WAYS)
        show_table(title, headings, lines, width=150)
    lines = []
    for way in WAYS:
        means = (
            np.nanmean([found[way][key] for found in figures.values()])
            for key in ('measured', 'where', 'median')
        )
        lines.append([way, *_digits(means)])
    headings = ('way', 'share of frames', 'd1', 'true median')
    show_table('frames that were measured, their d1, with their true median', headings, lines)
    for name in ('row', 'one range'):
        spent = np.mean([found[name]['ms'] for found in figures.values()])
        print(f'update and at, {name}: {spent:.2f} ms')
    write_figures(options.json, 'metric_scale', {'model': options.model, 'sets': figures})


def _digits(values: Iterable[float]) -> list[str]:
    return [f'{value:.3f}' for value in values]


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""The command `evaluate`, also `adabins evaluate`; its imports come late, for a quick --help."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, TYPE_CHECKING

from adabins_ros.command_line import DepthRange, Device, InferenceSize, run_command, settings_among
import typer

if TYPE_CHECKING:
    from adabins_ros.evaluation.evaluate import Read
    from adabins_ros.evaluation.protocols import Crop, Dataset

Start = Annotated[
    int | None, typer.Option(help='First frame of each source; -50: the last 50 frames.')
]
Stop = Annotated[int | None, typer.Option(help='Frame after the last one.')]
Every = Annotated[int | None, typer.Option(min=1, help='Every N-th frame.')]


class _DatasetName(str, Enum):
    nyu = 'nyu'
    kitti = 'kitti'
    folder = 'folder'


class _CropName(str, Enum):
    none = 'none'
    eigen = 'eigen'
    garg = 'garg'


def evaluate(
    output: Annotated[
        Path, typer.Option(help='New folder for report.html, metrics.json and frames.csv.')
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar='[BAG...] [KEY=VALUE...]',
            help='More recordings or folders, and settings of the data as `adabins train` has '
            'them, such as data.depth_topic=/camera/depth.',
            show_default=False,
        ),
    ] = None,
    bags: Annotated[
        list[Path] | None,
        typer.Option(
            help='Recordings with colour and true depth or a lidar; more may follow: '
            '--bags run1 run2.mcap'
        ),
    ] = None,
    dataset: Annotated[
        _DatasetName | None,
        typer.Option(help='Instead of recordings: a benchmark, or folders of RGB-D frames.'),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help='Where the data set lies; nyu: also nyu_depth_v2_labeled.mat itself.'),
    ] = None,
    frame_list: Annotated[
        Path | None,
        typer.Option(
            '--list',
            help='Frames of nyu or kitti, lines COLOUR DEPTH FOCAL; for the .mat file splits.mat '
            'or numbers from 1.',
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            metavar='RUN', help='Only what this training run held out, of its own data by default.'
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Preset or model file; RUN's best.safetensors with --split, else adabins-lite."
        ),
    ] = None,
    start: Start = None,
    stop: Stop = None,
    every: Every = None,
    crop: Annotated[
        _CropName | None,
        typer.Option(help='Part of the image that counts; nyu: eigen, kitti: garg, else none.'),
    ] = None,
    min_depth: Annotated[
        float | None,
        typer.Option(help="Nearest true depth that counts, m; the benchmark's or the model's."),
    ] = None,
    max_depth: Annotated[float | None, typer.Option(help='Farthest one, likewise.')] = None,
    flip_average: Annotated[
        bool, typer.Option('--flip-average', help='Average with the mirrored image, as papers do.')
    ] = False,
    focal_correction: Annotated[
        bool | None,
        typer.Option(
            '--focal-correction/--no-focal-correction',
            help='Scale depth by the focal length of each frame; by default for all data but nyu '
            'and kitti, whose published figures are without.',
            show_default=False,
        ),
    ] = None,
    depth_range: DepthRange = None,
    inference_size: InferenceSize = None,
    device: Device = 'auto',
    camera_height: Annotated[
        float | None,
        typer.Option(metavar='M', help='Above the floor, m: also report what the floor gives.'),
    ] = None,
    camera_pitch: Annotated[
        float, typer.Option(metavar='DEG', help='How far the camera looks down, for the floor.')
    ] = 0.0,
    smoothing: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar='S',
            help="Seconds of smoothing to tell the flicker with too, else the node's; 0: none.",
        ),
    ] = None,
) -> None:
    """
    Compare a model's depth with the true one, and report how far it can be trusted.

    For example: adabins evaluate --model my_run/best.safetensors --bags kitchen.mcap --start -50
    --output kitchen_report
    """
    from adabins_ros.evaluation import evaluate as evaluating
    from adabins_ros.evaluation import results
    from adabins_ros.evaluation.frames import EvaluationError, FrameChoice, open_frames
    from adabins_ros.evaluation.protocols import BENCHMARK_RANGES_M, choose_protocol
    from adabins_ros.evaluation.simulated_sensors import floor, SENSORS
    from adabins_ros.inference.predictor import DepthPredictor
    from adabins_ros.inference.smoothing import USUAL_TIME_S
    from rich.console import Console

    _check_new(output)
    words = more or []
    overrides = settings_among(words)
    extra = [Path(word) for word in words if word not in overrides]
    if dataset is None and data:
        raise EvaluationError('--data needs --dataset nyu, kitti or folder')
    if dataset is not None and (bags or not data):
        raise EvaluationError(
            f'--dataset {dataset.value} takes its frames from --data DIR'
            + (', not from --bags' if bags else '')
        )
    kind: Dataset = dataset.value if dataset else 'bags'
    frames = open_frames(
        kind,
        [*(bags or data or []), *extra],
        list_file=frame_list,
        overrides=overrides,
        choice=FrameChoice(start, stop, every, split),
    )
    model = model or (_best_of(split) if split else 'adabins-lite')
    predictor = DepthPredictor.from_pretrained(
        model,
        device=device,
        depth_range=depth_range,
        # As the published figures beside ours were made, on a GPU too.
        precision='float32' if kind in BENCHMARK_RANGES_M else 'auto',
        flip_average=flip_average,
        inference_size=inference_size,
    )
    own_range = predictor.config.min_depth, predictor.config.max_depth
    chosen: Crop | None = crop.value if crop else None
    protocol = choose_protocol(kind, own_range, chosen, min_depth, max_depth, focal_correction)
    sensors = dict(SENSORS)
    if camera_height is not None:
        if not camera_height > 0:
            raise EvaluationError(f'--camera-height {camera_height:g}: it is above the floor')
        sensors['the floor'] = floor(camera_height, camera_pitch)
    output.mkdir(parents=True, exist_ok=True)
    smoothing_s = USUAL_TIME_S if smoothing is None else smoothing
    if not predictor.can_smooth:
        smoothing_s = 0.0
    for source in frames.sources:
        for remark in source.report.remarks:
            typer.echo(f'{source.report.name}: {remark}', err=True)
    from adabins_ros.evaluation.report import draw_notable, write_report

    evaluation = evaluating.evaluate(
        predictor,
        frames,
        protocol,
        lambda read: with_progress(read, 'evaluating', len(frames)),
        sensors,
        smoothing_s,
    )
    if not evaluation.frames:
        counted = f'between {protocol.min_depth:g} and {protocol.max_depth:g} m'
        reason = [*evaluation.unusable, f'no true depth {counted}'][0]
        raise EvaluationError(f'none of the {len(frames)} frames can be evaluated: {reason}')
    values = results.collect(evaluation, frames, protocol, model, predictor)
    notable = draw_notable(predictor, frames, protocol, evaluation)
    results.write_metrics(output / 'metrics.json', values)
    results.write_frames(output / 'frames.csv', evaluation)
    write_report(output / 'report.html', values, evaluation, notable)
    Console().print(results.errors_table(predictor.description, results.sections(values)))
    for line in results.summary(values):
        typer.echo(line)
    typer.echo(f'Report: {output / "report.html"}')


def main(arguments: Sequence[str] | None = None, prog_name: str = 'evaluate') -> int:
    """Run the command line; what ROS's launch adds behind --ros-args is left out."""
    return run_command(evaluate, 'evaluate', arguments, prog_name)


def with_progress(read: Iterable[Read], what: str, count: int) -> Iterable[Read]:
    """Show how far frames have been read."""
    from rich.console import Console
    from rich.progress import track

    return track(read, what, total=count, console=Console(stderr=True), transient=True)


def _best_of(run: Path) -> str:
    """Return the best weights of a training run; without torch those that do without."""
    exported = run / 'best.onnx'
    alone = exported.is_file() and find_spec('torch') is None
    return str(exported if alone else run / 'best.safetensors')


def _check_new(output: Path) -> None:
    from adabins_ros.evaluation.frames import EvaluationError

    if output.exists() and not output.is_dir():
        raise EvaluationError(f'{output} is a file; choose another output')
    if output.is_dir() and any(output.iterdir()):
        raise EvaluationError(
            f'the folder {output} is not empty, and results are never overwritten: choose another '
            'output'
        )

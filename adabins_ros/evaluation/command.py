# SPDX-License-Identifier: Apache-2.0
"""The command `evaluate`, also `adabins evaluate`; torch is imported late, for a quick --help."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

from adabins_ros.command_line import run_command, SETTING
from adabins_ros.evaluation.protocols import (
    Dataset,
    DEFAULT_CROPS,
    DEPTH_RANGES_M,
    Protocol,
)
import typer

if TYPE_CHECKING:
    from adabins_ros.evaluation.evaluate import Evaluation
    from adabins_ros.evaluation.frames import FrameChoice, Frames
    from adabins_ros.evaluation.tables import Sections
    from adabins_ros.inference.predictor import DepthPredictor


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
    start: Annotated[
        int | None, typer.Option(help='First frame of each source; -50: the last 50 frames.')
    ] = None,
    stop: Annotated[int | None, typer.Option(help='Frame after the last one.')] = None,
    every: Annotated[int | None, typer.Option(min=1, help='Every N-th frame.')] = None,
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
        bool,
        typer.Option(
            '--focal-correction/--no-focal-correction',
            help='Scale depth by the focal length of each frame.',
        ),
    ] = True,
    depth_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar='MIN MAX', help="Metres; for an authors' file whose name does not tell it."
        ),
    ] = None,
    inference_size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar='HEIGHT WIDTH', help='Size that the network sees, px.'),
    ] = None,
    device: Annotated[str, typer.Option(help='auto, cpu, cuda or cuda:N.')] = 'auto',
) -> None:
    """
    Compare a model's depth with the true one, and report how far it can be trusted.

    For example: adabins evaluate --model my_run/best.safetensors --bags kitchen.mcap --start -50
    --output kitchen_report
    """
    from adabins_ros.evaluation.frames import EvaluationError, FrameChoice, open_frames
    from adabins_ros.inference.predictor import DepthPredictor

    _check_new(output)
    words = more or []
    overrides = [word for word in words if SETTING.match(word) and not Path(word).exists()]
    extra = [Path(word) for word in words if word not in overrides]
    if dataset is None and data:
        raise EvaluationError('--data needs --dataset nyu, kitti or folder')
    if dataset is not None and (bags or not data):
        raise EvaluationError(
            f'--dataset {dataset.value} takes its frames from --data DIR'
            + (', not from --bags' if bags else '')
        )
    kind: Dataset = dataset.value if dataset else 'bags'
    choice = FrameChoice(start, stop, every, split)
    frames = open_frames(
        kind,
        [*(bags or data or []), *extra],
        list_file=frame_list,
        overrides=overrides,
        choice=choice,
    )
    model = model or (str(split / 'best.safetensors') if split else 'adabins-lite')
    predictor = DepthPredictor.from_pretrained(
        model,
        device=device,
        depth_range=depth_range,
        flip_average=flip_average,
        inference_size=inference_size,
        focal_correction=focal_correction,
    )
    protocol = Protocol(
        kind,
        crop.value if crop else DEFAULT_CROPS[kind],
        *_depths(kind, predictor, min_depth, max_depth),
    )
    output.mkdir(parents=True, exist_ok=True)
    _evaluate(output, model, predictor, frames, protocol, choice)


def main(arguments: Sequence[str] | None = None, prog_name: str = 'evaluate') -> int:
    """Run the command line; what ROS's launch adds behind --ros-args is left out."""
    return run_command(evaluate, 'evaluate', arguments, prog_name)


def _evaluate(
    output: Path,
    model: str,
    predictor: DepthPredictor,
    frames: Frames,
    protocol: Protocol,
    choice: FrameChoice,
) -> None:
    from adabins_ros.evaluation import evaluate as evaluating
    from adabins_ros.evaluation import results
    from adabins_ros.evaluation.frames import EvaluationError
    from adabins_ros.evaluation.report import draw_notable, write_report
    from adabins_ros.evaluation.tables import errors_table
    from rich.console import Console

    for source in frames.sources:
        for remark in source.report.remarks:
            typer.echo(f'{source.report.name}: {remark}', err=True)
    evaluation = evaluating.evaluate(predictor, frames, protocol, _progress)
    if not evaluation.frames:
        reason = (
            evaluation.unusable[0]
            if evaluation.unusable
            else (f'no true depth between {protocol.min_depth:g} and {protocol.max_depth:g} m')
        )
        raise EvaluationError(f'none of the {len(frames)} frames can be evaluated: {reason}')
    values = results.collect(
        evaluation, frames, protocol, results.describe_model(model, predictor), choice.description
    )
    sections = _sections(evaluation, values)
    notable = draw_notable(predictor, frames, protocol, evaluation)
    results.write_metrics(output / 'metrics.json', values)
    results.write_frames(output / 'frames.csv', evaluation)
    write_report(output / 'report.html', values, evaluation, sections, notable)
    Console().print(errors_table(predictor.description, sections))
    for line in _summary(evaluation, values):
        typer.echo(line)
    typer.echo(f'Report: {output / "report.html"}')


def _sections(evaluation: Evaluation, values: dict[str, Any]) -> Sections:
    """Return our rows, those of each recording, and those of papers to read them against."""
    ours = {
        values['model']['config']['name']: asdict(evaluation.errors),
        'median-scaled': asdict(evaluation.scaled),
    }
    each = values['by_source']
    if len(each) < 2:
        return {'': ours, **values['published']}
    return {
        '': ours,
        'each recording': {name: one['errors'] for name, one in each.items()},
        'each recording, median-scaled': {
            name: one['errors_median_scaled'] for name, one in each.items()
        },
        **values['published'],
    }


def _summary(evaluation: Evaluation, values: dict[str, Any]) -> list[str]:
    """Return what there is to say beside the errors."""
    from adabins_ros.evaluation.results import NO_STD

    lines = [f'{len(evaluation.frames)} frames evaluated.']
    for texts, what in (
        (evaluation.without_truth, 'without true depth that counts'),
        (evaluation.unusable, 'unreadable'),
    ):
        if texts:
            lines.append(f'{len(texts)} frames {what}, such as {texts[0]}')
    calibration, sparsification = values['calibration'], values['sparsification']
    if calibration is None:
        return [*lines, f'Calibration and sparsification are left out: {NO_STD}.']
    return [
        *lines,
        f'{calibration["within_one_std"]:.1%} of the truth lies within one standard deviation '
        f'({calibration["expected_within_one_std"]:.1%} of a normal distribution), '
        f'{calibration["within_two_std"]:.1%} within two; factor on it for the first to be right: '
        f'{calibration["temperature"]:.2f}',
        f'AUSE by standard deviation: REL {sparsification["ause_abs_rel"]:.3f}, RMS '
        f'{sparsification["ause_rms"]:.3f}; gain over random order: REL '
        f'{sparsification["gain_abs_rel"]:+.3f}, RMS {sparsification["gain_rms"]:+.3f}',
    ]


def _progress(numbers: Iterable[int]) -> Iterable[int]:
    from rich.console import Console
    from rich.progress import track

    return track(numbers, 'evaluating', console=Console(stderr=True), transient=True)


def _depths(
    dataset: Dataset, predictor: DepthPredictor, nearest: float | None, farthest: float | None
) -> tuple[float, float]:
    from adabins_ros.evaluation.frames import EvaluationError

    own = predictor.config.min_depth, predictor.config.max_depth
    low, high = DEPTH_RANGES_M.get(dataset, own)
    low, high = low if nearest is None else nearest, high if farthest is None else farthest
    if not 0 < low < high:
        raise EvaluationError(
            f'the depths that count, {low:g} to {high:g} m, are no range; change --min-depth or '
            '--max-depth'
        )
    return low, high


def _check_new(output: Path) -> None:
    from adabins_ros.evaluation.frames import EvaluationError

    if output.exists() and not output.is_dir():
        raise EvaluationError(f'{output} is a file; choose another output')
    if output.is_dir() and any(output.iterdir()):
        raise EvaluationError(
            f'the folder {output} is not empty, and results are never overwritten: choose another '
            'output'
        )

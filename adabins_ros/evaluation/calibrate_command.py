# SPDX-License-Identifier: Apache-2.0
"""The command `calibrate`; its imports come late, for a quick --help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from adabins_ros.command_line import DepthRange, Device, InferenceSize, run_command, settings_among
from adabins_ros.evaluation.evaluate_command import Every, Start, Stop, with_progress
import typer


def calibrate(
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar='[BAG|FOLDER...] [KEY=VALUE...]',
            help='More recordings, RGB-D folders (rgb/, depth/, camera.json), and settings of the '
            'data as `adabins train` has them, such as data.depth_topic=/camera/depth.',
            show_default=False,
        ),
    ] = None,
    bags: Annotated[
        list[Path] | None,
        typer.Option(
            help='Recordings with colour and true depth or a lidar, or folders of frames; more '
            'may follow: --bags run1 run2.mcap'
        ),
    ] = None,
    model: Annotated[str, typer.Option(help='Preset or model file.')] = 'adabins-lite',
    start: Start = None,
    stop: Stop = None,
    every: Every = None,
    depth_range: DepthRange = None,
    inference_size: InferenceSize = None,
    device: Device = 'auto',
) -> None:
    """
    Find the factor on depth that recordings ask for, as the parameter scale_factor has it.

    It is for robots on which nothing measures the scale; what it varies by over a recording stays
    as an error. `adabins evaluate` says it too, beside all else.
    """
    from adabins_ros.evaluation.evaluate import predict
    from adabins_ros.evaluation.frames import EvaluationError, FrameChoice, open_frames
    from adabins_ros.evaluation.protocols import choose_protocol, Dataset
    from adabins_ros.evaluation.scale_factor import frame_factor, scale_factor
    from adabins_ros.frames import is_rgbd_folder
    from adabins_ros.inference.predictor import DepthPredictor

    words = more or []
    overrides = settings_among(words)
    paths = [*(bags or []), *(Path(word) for word in words if word not in overrides)]
    folders = [path for path in paths if is_rgbd_folder(path)]
    if folders and len(folders) < len(paths):
        raise EvaluationError(
            f'{folders[0]} is a folder of frames, the others are recordings: one kind at a time'
        )
    kind: Dataset = 'folder' if folders else 'bags'
    choice = FrameChoice(start, stop, every)
    frames = open_frames(kind, paths, overrides=overrides, choice=choice)
    predictor = DepthPredictor.from_pretrained(
        model, device=device, depth_range=depth_range, inference_size=inference_size
    )
    own_range = predictor.config.min_depth, predictor.config.max_depth
    protocol = choose_protocol(kind, own_range)
    factors: dict[str, list[float]] = {}
    reasons = []
    for number, sample in with_progress(frames.read(), 'comparing', len(frames)):
        if isinstance(sample, Exception):
            reasons.append(f'{frames.name(number)}: {sample}')
            continue
        truth = protocol.counted(sample.depth)
        if truth.any():
            depth = predict(predictor, sample, protocol).depth
            known = truth > 0
            factors.setdefault(sample.source, []).append(frame_factor(depth[known], truth[known]))
    if not factors:
        reason = [*reasons, f'no true depth between {own_range[0]:g} and {own_range[1]:g} m'][0]
        raise EvaluationError(f'none of the {len(frames)} frames tells the scale: {reason}')
    together = [factor for each in factors.values() for factor in each]
    if len(factors) > 1:
        for name, each in factors.items():
            one = scale_factor(each)
            typer.echo(f'{name}: {one.factor:.2f}, varies by {one.spread:.0%}')
    subject = 'All together' if len(factors) > 1 else next(iter(factors))
    for line in scale_factor(together).lines(subject):
        typer.echo(line)


def main(arguments: Sequence[str] | None = None, prog_name: str = 'calibrate') -> int:
    """Run the command line."""
    return run_command(calibrate, 'calibrate', arguments, prog_name)

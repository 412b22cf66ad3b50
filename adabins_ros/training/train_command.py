# SPDX-License-Identifier: Apache-2.0
"""The command `training`, also `adabins train`; torch is imported late, for a quick --help."""

from __future__ import annotations

from collections.abc import Sequence
import json
import math
from pathlib import Path
from typing import Annotated, TYPE_CHECKING

from adabins_ros.command_line import run_command, settings_among
from adabins_ros.extras import require
from adabins_ros.package_files import shell_command
from adabins_ros.ros.topic_names import check_name
import typer

if TYPE_CHECKING:
    from adabins_ros.training.config import TrainingConfig
    from adabins_ros.training.fit import TrainingResult


def train(
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar='[BAG|FOLDER...] [KEY=VALUE...]',
            help='More recordings, RGB-D folders (rgb/, depth/, camera.json), and settings, such '
            'as optimiser.learning_rate=1e-4.',
            show_default=False,
        ),
    ] = None,
    bags: Annotated[
        list[str] | None,
        typer.Option(
            help='Recordings with colour and depth or a lidar: ROS 1 .bag, rosbag2 folder, .mcap, '
            '.db3; or folders of frames. More may follow: --bags run1 run2.mcap'
        ),
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option('--salvage', help='Use what can still be read of damaged recordings.'),
    ] = False,
    frames: Annotated[
        Path | None,
        typer.Option(
            help='Folder for the frames that recordings become, once; what is there is used '
            'again. By default frames/ in the output folder.'
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help='New folder for best.safetensors and all else of the run.')
    ] = Path('training_run'),
    model: Annotated[
        str | None, typer.Option(help='Preset or model file to start from (adabins-lite).')
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help='Settings, a YAML file as config/training.yaml.')
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help='End after so long, the learning rates coming down in time; what a run had '
            'before --resume counts.'
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option('--resume', help='Go on with the run in the output folder.')
    ] = False,
    ablation: Annotated[
        bool,
        typer.Option(
            '--ablation',
            help="Train the five kinds of bins of the paper's Table 2 on the same frames, each in "
            'a folder of its own below the output and for --max-minutes, and compare them.',
        ),
    ] = False,
    deploy: Annotated[
        str | None,
        typer.Option(
            metavar='NODE',
            help='Running depth node, such as /depth_node, that gets the best weights at the end '
            'if the held-out frames got better with them.',
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option('--dry-run', help='Show what would be trained on, and save a picture of it.'),
    ] = False,
) -> None:
    """
    Train a network on recordings with colour and depth.

    The output folder gets best.safetensors for the node, last.ckpt to go on from, and what
    belongs to a result: settings, split, versions, metrics, TensorBoard. Ctrl-C saves.
    """
    needed = ('torch', 'timm', 'safetensors', 'pytorch_lightning', 'torchmetrics', 'tensorboard')
    require('train', *needed, what='training')
    check_name(deploy, '--deploy')
    if deploy is not None:
        require('ros', 'rclpy', what='--deploy')
    from adabins_ros.frames import is_rgbd_folder

    words = more or []
    overrides = settings_among(words)
    given = [*(bags or []), *(word for word in words if word not in overrides)]
    folders = [word for word in given if is_rgbd_folder(word)]
    recordings = [word for word in given if word not in folders]
    for key, paths in (('data.bags', recordings), ('data.folders', folders)):
        if paths:
            overrides.append(f'{key}={json.dumps([_from_anywhere(path) for path in paths])}')
    if model is not None:
        overrides.append(f'network.model={json.dumps(_from_anywhere(model))}')
    if frames is not None:
        overrides.append(f'data.frames={json.dumps(str(frames.absolute()))}')
    if salvage:
        overrides.append('data.salvage=true')
    if max_minutes is not None:
        overrides.append(f'trainer.max_minutes={max_minutes}')
    from adabins_ros.training.config import load_config
    from adabins_ros.training.run_directory import is_first_process, RunDirectory, RunError

    if not resume or dry_run:
        settings = load_config(config, overrides)
        _check(settings)
    elif not ablation:
        RunDirectory.reopen(output)
    if dry_run:
        _show(output, settings)
        return
    if ablation and deploy is not None:
        raise RunError('--deploy takes one run: leave --ablation out, or deploy one of its runs')
    if ablation:
        from adabins_ros.training.ablation import begin_ablation, go_on_with_ablation

        if resume:
            go_on_with_ablation(output, overrides)
        else:
            begin_ablation(output, settings)
        return
    from adabins_ros.training.deploying import deploy_best
    from adabins_ros.training.runs import begin, go_on

    measured = deploy is not None
    if resume:
        result = go_on(output, overrides, measure_start=measured)
    else:
        result = begin(output, settings, measure_start=measured)
    if is_first_process():
        _print_end(result)
        if deploy is not None:
            deploy_best(result.run, deploy)


def main(arguments: Sequence[str] | None = None, prog_name: str = 'training') -> int:
    """Run the command line; what ROS's launch adds behind --ros-args is left out."""
    return run_command(train, 'train', arguments, prog_name)


def _check(config: TrainingConfig) -> None:
    """Refuse what is not there before torch is imported, which takes seconds."""
    from adabins_ros.model.model_file import check_model
    from adabins_ros.recordings.storage import recording_parts

    check_model(config.network.model)
    for bag in map(Path, config.data.bags):
        if not bag.exists():
            recording_parts(bag)


def _show(output: Path, config: TrainingConfig) -> None:
    from adabins_ros.training.data import check_usable
    from adabins_ros.training.dry_run import print_dry_run, save_pairs_picture
    from adabins_ros.training.runs import network_and_data

    network, data = network_and_data(config)
    print_dry_run(data)
    # Beside the folder, which a run wants to find empty.
    picture = Path(f'{output.absolute()}_pairs.png')
    picture.parent.mkdir(parents=True, exist_ok=True)
    typer.echo(f'Pairs to look at: {save_pairs_picture(data, picture)}')
    check_usable(data, network.config)


def _print_end(result: TrainingResult) -> None:
    from adabins_ros.evaluation.scale_factor import ScaleFactor

    run = result.run
    typer.echo(f'{result.ending.capitalize()} after {result.steps} steps.')
    errors = {
        name.removeprefix('validation/'): value
        for name, value in result.metrics.items()
        if name.startswith('validation/')
    }
    factor, spread = errors.pop('scale_factor', math.nan), errors.pop('scale_spread', math.nan)
    if errors:
        typer.echo(f'Best weights, at step {result.metrics["step"]}, on what was held out:')
        typer.echo('  ' + '  '.join(f'{name} {value:.3f}' for name, value in errors.items()))
    if math.isfinite(factor):
        for line in ScaleFactor(factor, spread).lines('What was held out'):
            typer.echo(line)
    if run.best.exists():
        without_torch = f', and without torch {run.best_onnx}' if run.best_onnx.exists() else ''
        typer.echo(f'Weights for the node: {run.best}{without_torch}')
    if result.ending != 'finished':
        again = f'To go on: {shell_command(f"train --resume --output {run.path}")}'
        if result.ending == 'out of time':
            again += (
                f' --max-minutes TOTAL (it has had {result.minutes:.1f}; TOTAL counts them too)'
            )
        typer.echo(again)


def _from_anywhere(path: str) -> str:
    """Return the whole path of what exists, so that a run can be resumed in another folder."""
    return str(Path(path).absolute()) if Path(path).exists() else path

# SPDX-License-Identifier: Apache-2.0
"""The `adabins` command, for people without a ROS shell."""

from __future__ import annotations

from importlib import import_module
import os
from pathlib import Path
import signal
from typing import Annotated

# torch, rclpy, rosbags and OpenCV are imported by the commands that need them.
from adabins_ros import __version__
from adabins_ros.command_line import (
    arguments_of,
    DepthRange,
    Device,
    explained,
    InferenceSize,
    print_anything,
    settings_among,
)
import typer

app = typer.Typer(
    help='Metric depth with uncertainty from one camera.',
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# What follows belongs to another command line; the first word ends typer's own.
PASS_THROUGH = {
    'ignore_unknown_options': True,
    'allow_extra_args': True,
    'allow_interspersed_args': False,
}
ELSEWHERE = {
    'play': ('ros.play_bag', 'Replay a recording into ROS'),
    'record': ('ros.record_command', 'Record what training needs, and check it'),
    'train': ('training.train_command', 'Train a network on recordings'),
    'evaluate': ('evaluation.evaluate_command', 'Compare a model with true depth'),
    'calibrate': (
        'evaluation.calibrate_command',
        'Find the factor on depth that recordings ask for',
    ),
    'fetch': ('fetch_command', 'Get weights that do not come with the package'),
    'doctor': ('doctor.doctor_command', 'Look for what keeps the depth node from working here'),
}
"""Commands that are executables of their own, too: where their `main` is, what they are for."""
MODEL_HELP = 'adabins-lite, what `adabins fetch` got (adabins-nyu), or a file (best.onnx).'
UNTRAINED_HELP = "Random weights in place of a preset's, to measure with."


@app.callback(invoke_without_command=True)
def adabins(
    version: Annotated[bool, typer.Option('--version', help='Show the version.')] = False,
) -> None:
    if version:
        typer.echo(f'adabins_ros {__version__}')
        raise typer.Exit


@app.command(context_settings=PASS_THROUGH)
def node(context: typer.Context) -> None:
    """
    Run the depth node, as `ros2 run adabins_ros depth_node` does.

    Everything after `node` is its command line, for example:
    adabins node --ros-args -p model:=adabins-lite -r image_raw:=/camera/image_raw
    """
    from adabins_ros.dds_profile import set_dds_profile

    set_dds_profile(os.environ)
    with explained('node'):
        from adabins_ros.starting import depth_node

        status = depth_node(context.args)
    raise typer.Exit(status)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help='Pictures, and folders of pictures.')],
    output: Annotated[Path, typer.Option(help='Folder for <stem>.npz and <stem>.png.')] = Path(
        'predictions'
    ),
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = 'adabins-lite',
    device: Device = 'auto',
    depth_range: DepthRange = None,
    focal_length: Annotated[
        float | None, typer.Option(metavar='PX', help='Focal length in pixels of the pictures.')
    ] = None,
    horizontal_fov: Annotated[
        float | None, typer.Option(metavar='DEG', help='Horizontal field of view instead.')
    ] = None,
    flip_average: Annotated[
        bool, typer.Option('--flip-average', help='Average with the mirrored picture.')
    ] = False,
    inference_size: InferenceSize = None,
    overwrite: Annotated[
        bool, typer.Option('--overwrite', help='Replace results that exist.')
    ] = False,
    untrained: Annotated[bool, typer.Option('--untrained', help=UNTRAINED_HELP)] = False,
) -> None:
    """
    Predict the depth of photos.

    For each one <stem>.npz gets depth and std, (H, W) in metres, and bin_centers, (N,) in metres;
    <stem>.png shows them.
    """
    if focal_length is not None and horizontal_fov is not None:
        raise typer.BadParameter('give --focal-length or --horizontal-fov, not both')
    with explained('predict'):
        from adabins_ros.prediction import FocalLength, predict_photos

        focal = FocalLength(focal_length, horizontal_fov)
        failures = predict_photos(
            images,
            output,
            model,
            focal=focal,
            overwrite=overwrite,
            device=device,
            depth_range=depth_range,
            flip_average=flip_average,
            inference_size=inference_size,
            untrained=untrained,
        )
    raise typer.Exit(1 if failures else 0)


def run_elsewhere(context: typer.Context) -> None:
    """Hand the words to a command that is an executable of its own, too."""
    name = context.info_name or ''
    command = import_module(f'adabins_ros.{ELSEWHERE[name][0]}')
    raise typer.Exit(command.main(context.args, prog_name=f'adabins {name}'))


for _name, (_, _purpose) in ELSEWHERE.items():
    app.command(
        _name,
        help=f'{_purpose}; see `adabins {_name} --help`.',
        context_settings=PASS_THROUGH,
        add_help_option=False,
    )(run_elsewhere)


@app.command()
def pack(
    folder: Annotated[
        Path, typer.Argument(help='RGB-D frames: rgb/, depth/ (16-bit PNG), camera.json.')
    ],
    output: Annotated[Path, typer.Option(help='The .mcap to write; it must not exist.')],
    start: Annotated[int | None, typer.Option(help='First frame, counted from 0.')] = None,
    stop: Annotated[int | None, typer.Option(help='Frame after the last.')] = None,
    rate: Annotated[
        float | None, typer.Option(help='Frames per second; what the folder says by default.')
    ] = None,
    raw: Annotated[
        bool, typer.Option('--raw', help='Raw images instead of JPEG and PNG.')
    ] = False,
    no_depth: Annotated[
        bool, typer.Option('--no-depth', help='Leave the depth images out, as a lidar robot does.')
    ] = False,
) -> None:
    """
    Turn a folder of RGB-D frames into a recording.

    KITTI's velodyne/*.bin and calib.txt, where the folder has them, become /velodyne_points and
    /tf_static.
    """
    with explained('pack'):
        from adabins_ros.recordings import pack_folder

        count = pack_folder(
            folder, output, start, stop, rate, compressed=not raw, depth=not no_depth
        )
        files = [output] if output.is_file() else list(output.iterdir())
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        typer.echo(f'{output}: {count} frames, {megabytes:.1f} MB')


@app.command()
def extract(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar='BAG... [KEY=VALUE...]',
            help='Recordings: ROS 1 .bag, rosbag2 folder, .mcap, .db3; and settings such as '
            'data.depth_topic=/camera/depth/image_raw.',
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help='Folder for one folder per recording.')] = Path(
        'frames'
    ),
    rate: Annotated[
        float | None, typer.Option(metavar='HZ', help='At most so many pairs a second.')
    ] = None,
    salvage: Annotated[
        bool,
        typer.Option('--salvage', help='Use what can still be read of damaged recordings.'),
    ] = False,
    lossless: Annotated[
        bool, typer.Option('--lossless', help='Raw images as PNG: slower, four times as large.')
    ] = False,
) -> None:
    """
    Write the pairs of colour and true depth of recordings as RGB-D folders.

    rgb/, depth/, camera.json and frames.csv, to train on, to evaluate on and to look at. A folder
    that was made from the same recording with the same settings is used again.
    """
    with explained('extract'):
        from adabins_ros.frames import FolderSource
        from adabins_ros.frames.config import DataSettings
        from adabins_ros.recordings import extract_frames
        from adabins_ros.recordings.progress import extraction_bar
        from adabins_ros.settings import load_settings
        from rich.console import Console

        settings = settings_among(words)
        config = load_settings(DataSettings, {'data': {'salvage': salvage}}, settings).data
        bags = [word for word in words if word not in settings]
        console = Console(stderr=True)
        with extraction_bar(console) as progress:
            folders = extract_frames(
                bags, output, config, rate=rate, lossless=lossless, progress=progress
            )
        for folder in folders:
            report = FolderSource(folder, recording=True).report
            typer.echo(f'{folder}: {report.frames} frames; {report.topics}')
            for remark in report.remarks:
                typer.echo(f'  {remark}')


@app.command()
def export(
    output: Annotated[Path, typer.Option(help='The file to write; it must not exist.')],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = 'adabins-lite',
    file_format: Annotated[
        str, typer.Option('--format', help='onnx, or safetensors in half precision.')
    ] = 'onnx',
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar='HEIGHT WIDTH', help='The only image size to take; any legal one by default.'
        ),
    ] = None,
    depth_range: DepthRange = None,
) -> None:
    """
    Write a model for other runtimes or to share, with its configuration inside.

    safetensors holds the weights at half their size. An .onnx takes image, (batch, height, width,
    3) uint8 RGB, and gives depth, std and bin_centers in metres, the first two at half that size;
    it is compared with torch before it gets its name. The node and `adabins predict` take both as
    --model.
    """
    if file_format not in ('onnx', 'safetensors'):
        raise typer.BadParameter(f'--format {file_format}: there are onnx and safetensors')
    if file_format == 'safetensors' and size is not None:
        raise typer.BadParameter('--size is for onnx: a safetensors file takes any legal size')
    with explained('export'):
        from adabins_ros.inference.finding import check_head

        check_head(model, depth_range)  # before torch is imported, which takes seconds
        if file_format == 'safetensors':
            from adabins_ros.inference.export import export_safetensors

            name = export_safetensors(model, output, depth_range=depth_range)
            typer.echo(f'{output}: {name}, {output.stat().st_size / 1e6:.1f} MB')
            return
        from adabins_ros.inference.export import export_onnx

        exported = export_onnx(model, output, size=size, depth_range=depth_range)
        typer.echo(
            f'{output}: {exported.model.config.name}, {output.stat().st_size / 1e6:.1f} MB, '
            f'differs from torch by {exported.difference_m:.1e} m at most'
        )


@app.command()
def benchmark(
    model: Annotated[list[str] | None, typer.Option(help=MODEL_HELP)] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help='torch, torch_compile, onnx, openvino; all installed by default.'),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar='WxH', help='Of camera images; 320x240 640x480 1280x720 by default.'),
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help='Timed runs of each engine and size.')] = 30,
    device: Device = 'auto',
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures here as well.')
    ] = None,
    untrained: Annotated[bool, typer.Option('--untrained', help=UNTRAINED_HELP)] = False,
) -> None:
    """
    Measure how long a frame takes on this machine, with each engine that is installed.

    Timed is the way from a camera image to depth and its standard deviation at the image's size.
    The engines take turns, so that whatever else runs here slows all of them alike, and each is
    compared with torch's time of the same turn. Repeat an option for several models, engines or
    sizes. The fastest engine is remembered: engine auto takes it from then on.
    """
    with explained('benchmark'):
        from adabins_ros.benchmarking.benchmark_command import run_benchmark
        from rich.console import Console

        run_benchmark(
            Console(),
            models=model or ['adabins-lite'],
            engines=engine,
            sizes=size or ['320x240', '640x480', '1280x720'],
            rounds=rounds,
            device=device,
            json_file=json_file,
            untrained=untrained,
        )


@app.command()
def demo(
    bag: Annotated[
        Path | None, typer.Option(help='A recording with a colour camera; the sample by default.')
    ] = None,
    output: Annotated[
        Path, typer.Option(help='Folder for contact_sheet.png and outputs.mcap.')
    ] = Path('demo_output'),
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = 'adabins-lite',
    device: Device = 'auto',
) -> None:
    """
    Play a recording into the node and show what comes out.

    Player, node and collector are three processes that talk over DDS, away from other ROS nodes.
    An earlier contact_sheet.png and outputs.mcap in the folder are replaced.
    """
    # As Ctrl-C does: the processes are stopped first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with explained('demo'):
        from adabins_ros.demo.run import run_demo
        from adabins_ros.package_files import package_file
        from rich.console import Console

        recording = bag or package_file('samples/living_room.mcap')
        run_demo(recording, output, model, device, Console())


def main() -> None:
    """Run the command line."""
    print_anything()
    app(arguments_of(None))


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""What all commands share: errors in one sentence, and what ROS's launch adds to their words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import io
import os
import re
import sys
from typing import Annotated, Any

import typer

_SETTING = re.compile(r'[A-Za-z_][\w.]*=')
Device = Annotated[str, typer.Option(help='auto, cpu, cuda or cuda:N.')]
DepthRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar='MIN MAX', help="Metres; for an authors' file whose name does not tell it."
    ),
]
InferenceSize = Annotated[
    tuple[int, int] | None,
    typer.Option(metavar='HEIGHT WIDTH', help='Size that the network sees, px.'),
]
_FROM_HOME = re.compile(r'(--[\w-]+=)?(~(?:/(?:(?!:=).)*)?)')

_FOR_TRAINING = {
    *('torch', 'torchvision', 'timm', 'safetensors', 'onnx'),
    *('lightning', 'pytorch_lightning', 'torchmetrics', 'tensorboard'),
}
_FOR_ROS = {'rclpy', 'rpyutils', 'builtin_interfaces', 'rcl_interfaces'}


def run_command(
    function: Callable[..., Any], name: str, arguments: Sequence[str] | None, prog_name: str
) -> int:
    """
    Run the command line of a command that ROS also starts as an executable of its own.

    Parameters
    ----------
    function : callable
        Takes the options, as typer understands them. What ROS's launch adds from --ros-args on is
        no option; it is in the context's `obj`.
    name : str
        Begins the sentence of an error: adabins NAME: ...
    arguments : sequence of str or None
        None: those of this process.
    prog_name : str
        For the help.

    Returns
    -------
    int
        Exit status.

    """
    print_anything()
    words, for_ros = split_ros_arguments(arguments_of(arguments))
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    try:
        with explained(name):
            # The exit status of typer.Exit, and of Ctrl-C; functions themselves return nothing.
            return app(words, prog_name=prog_name, standalone_mode=False, obj=for_ros) or 0
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return 1
    except Exception as error:
        # Typer's own, for words that it does not know.
        show = getattr(error, 'show', None)
        if show is None:
            raise
        show()
        return int(getattr(error, 'exit_code', 2))


def print_anything() -> None:
    """Write what a terminal can't show, such as a photo's name in ASCII, as an escape."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


def arguments_of(arguments: Sequence[str] | None) -> list[str]:
    """
    Return the words, of this process if None; ~/ is the home folder, after --option= too.

    A shell leaves that one alone, and launch files both. In what ROS reads ~/ is the node's name.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for place, word in enumerate(words):
        if word == '--ros-args':
            break
        if match := _FROM_HOME.fullmatch(word):
            words[place] = f'{match[1] or ""}{os.path.expanduser(match[2])}'
    return words


def settings_among(words: Sequence[str]) -> list[str]:
    """Return the words that are KEY=VALUE, however long, and no file's name."""
    is_file = os.path.exists  # unlike Path's: a word may be longer than names are
    return [word for word in words if _SETTING.match(word) and not is_file(word)]


def split_ros_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """
    Return what is for the command, and the parts from --ros-args to -- that are for ROS.

    rclpy.utilities.remove_ros_args would also take the OLD:=NEW of a --remap away.
    """
    ours: list[str] = []
    for_ros: list[str] = []
    current = ours
    for argument in arguments:
        if argument == '--ros-args':
            current = for_ros
        current.append(argument)
        if argument == '--' and current is for_ros:
            current = ours
    return ours, for_ros


@contextmanager
def explained(command: str) -> Iterator[None]:
    """Turn the errors that users can meet into one sentence and exit status 1."""
    try:
        yield
    except Exception as error:
        text = _in_words(error)
        if text is None:
            raise
        typer.echo(f'adabins {command}: {text}', err=True)
        raise typer.Exit(1) from None


def _in_words(error: Exception) -> str | None:
    """Return what to tell the user, or None for a fault of this program."""
    if isinstance(error, ModuleNotFoundError):
        return _missing(error.name or str(error))
    if isinstance(error, OSError):
        where = f'{error.filename}: ' if error.filename else ''
        return f'{where}{error.strerror or error}'
    # The texts of this package's own errors are written for people.
    return str(error) if type(error).__module__.startswith('adabins_ros.') else None


def _missing(module: str) -> str:
    """Say which package is not there, and which of this package's extras brings it."""
    from adabins_ros.extras import install_command

    said = f'the Python package {module} is not installed; '
    package = module.split('.')[0]
    if package in _FOR_TRAINING:
        return f'{said}it comes with the extra [train]: {install_command("train")}'
    if package in _FOR_ROS or package.endswith(('_msgs', '_srvs')):
        return (
            f'{said}source the setup file of your ROS install, or take the extra [ros]: '
            f'{install_command("ros")}'
        )
    return f'{said}pip install {package}'

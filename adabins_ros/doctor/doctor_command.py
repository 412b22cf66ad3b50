# SPDX-License-Identifier: Apache-2.0
"""The command `doctor`, also `adabins doctor`; its imports come late, for a quick --help."""

from __future__ import annotations

from collections.abc import Sequence
import os
import sys
from typing import Annotated, TYPE_CHECKING

from adabins_ros.command_line import run_command
from adabins_ros.dds_profile import set_dds_profile
from adabins_ros.ros.topic_names import check_name
import typer

if TYPE_CHECKING:
    from adabins_ros.doctor.checks import Check


def doctor(
    context: typer.Context,
    image_topic: Annotated[
        str | None, typer.Option(help='Images to look at; by default of the one camera there is.')
    ] = None,
    camera_info_topic: Annotated[
        str | None, typer.Option(help='Their intrinsics; by default camera_info beside them.')
    ] = None,
    transport: Annotated[
        str, typer.Option(help='raw, or compressed for IMAGE_TOPIC/compressed.')
    ] = 'raw',
    model: Annotated[str, typer.Option(help='What the node is to run.')] = 'adabins-lite',
    base_frame: Annotated[
        str | None, typer.Option(help='Of the robot; base_footprint or base_link by default.')
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=600, help='How long to listen to the topics.')
    ] = 5.0,
) -> None:
    """
    Look for what keeps the depth node from working here: each finding with its remedy.

    Topics and QoS, images, camera_info, frames and TF, clocks, shared memory, engine and model.
    The exit status is 1 if something was found. What follows --ros-args goes to ROS.
    """
    if transport not in ('raw', 'compressed'):
        raise typer.BadParameter(f'--transport {transport}: there are raw and compressed')
    check_name(image_topic, '--image-topic')
    check_name(camera_info_topic, '--camera-info-topic')
    set_dds_profile(os.environ)
    from adabins_ros.doctor.checks import BASE_FRAMES, Check, check_computer, check_robot

    checks = check_computer(model)
    try:
        from adabins_ros.ros.observing import observe
    except ImportError as error:
        remedy = 'source the setup file of your ROS install, or take the extra [ros]'
        checks.append(Check('ROS', f'it is not to be found: {error}', remedy))
    else:
        seen = observe(context.obj, image_topic, camera_info_topic, transport, seconds)
        checks += check_robot(seen, (base_frame,) if base_frame else BASE_FRAMES)
    _show(checks)
    raise typer.Exit(int(any(check.is_wrong for check in checks)))


def main(arguments: Sequence[str] | None = None, prog_name: str = 'doctor') -> int:
    """Run the command line; the status is 1 if something was found."""
    return run_command(doctor, 'doctor', arguments, prog_name)


def _show(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table('', 'looked at', 'found', 'what to do')
    for check in checks:
        mark = Text('wrong', 'bold red') if check.is_wrong else Text('fine', 'green')
        # Texts of others may hold what rich takes for markup.
        table.add_row(mark, *map(Text, (check.subject, check.text, check.remedy)))
    console = Console()
    console.print(table)
    wrong = sum(check.is_wrong for check in checks)
    console.print(f'{wrong or "nothing"} of {len(checks)} found wrong')


if __name__ == '__main__':
    sys.exit(main())

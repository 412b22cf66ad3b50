# SPDX-License-Identifier: Apache-2.0
"""The command `record`, also `adabins record`; rclpy is imported late, for a quick --help."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
import os
from pathlib import Path
import sys
import time
from typing import Annotated

from adabins_ros.command_line import run_command
from adabins_ros.dds_profile import set_dds_profile
import typer


def record(
    context: typer.Context,
    output: Annotated[
        Path | None,
        typer.Option(help='The .mcap to write; recording_DATE_TIME.mcap by default.'),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar='HZ', min=0.01, help='At most so many frames a second; all: 0.01 up.'
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help='End after so long; by default on Ctrl-C.')
    ] = None,
    megabytes: Annotated[
        float | None, typer.Option(min=0.001, help='End when the file is so large.')
    ] = None,
    image_topic: Annotated[
        str | None, typer.Option(help='Images; by default of the one camera there is.')
    ] = None,
    truth_topic: Annotated[
        str | None,
        typer.Option(help="Depth images or a lidar's cloud; by default what there is."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0.0, help='Longest wait for the topics, seconds.')
    ] = 30.0,
) -> None:
    """
    Record what training needs of a running robot, and check that it can be trained on.

    Images as they come (compressed where that is offered), camera_info, depth images or a lidar,
    and tf_static. What follows --ros-args goes to ROS.
    """
    # Before Fast DDS reads it: at the default settings large images are lost.
    set_dds_profile(os.environ)
    from adabins_ros.recordings import RecordingError, RecordingWriter
    from adabins_ros.ros.process import ros_node, SpinningThread, StopSignals
    from adabins_ros.ros.recorder import choose_topics, Recorder, wait_for_topics

    path = output or Path(time.strftime('recording_%Y%m%d_%H%M%S.mcap'))
    if path.suffix != '.mcap':
        raise RecordingError(f'{path} must end in .mcap')
    stop_signals = StopSignals()
    with ros_node('record', context.obj) as node:
        choose = partial(choose_topics, image=image_topic, truth=truth_topic)
        wanted = wait_for_topics(node, choose, wait)
        writer = RecordingWriter(path)
        try:
            recorder = Recorder(node, wanted, writer, rate, stop_signals.put, seconds, megabytes)
        except BaseException:
            writer.abort()
            raise
        for remark in recorder.remarks:
            typer.echo(remark)
        typer.echo(f'recording {", ".join(recorder.topics)} into {path}; Ctrl-C ends it')
        spinning = SpinningThread(node, stop_signals)
        spinning.start()
        signal_name = stop_signals.wait()
        stop_signals.ignore()
        spinning.stop(5.0)
        recorder.finish()
        if recorder.error is None:
            writer.close()
        else:
            writer.keep()
        typer.echo(f'ended: {recorder.reason or signal_name}')
        for topic in recorder.topics:
            typer.echo(f'{recorder.counts[topic]:8} {topic}')
    _check(path, salvage=recorder.error is not None)


def _check(path: Path, salvage: bool) -> None:
    """Say what training would find; raise RecordingError if that is nothing."""
    from adabins_ros.frames.config import DataSettings
    from adabins_ros.recordings import RecordingError, survey
    from adabins_ros.settings import load_settings

    config = load_settings(DataSettings, {'data': {'salvage': salvage}}).data
    pairs = survey(path, config)
    report = pairs.report
    typer.echo(f'to train on: {report.frames} frames; {report.topics}')
    for remark in report.remarks:
        typer.echo(f'  {remark}')
    if not len(pairs):
        raise RecordingError(f'{path} holds no image with a true depth of its time')
    # The first frame as training would have it: its calibration, decoding and depth.
    known = float((pairs[len(pairs) // 2].depth > 0).mean())
    typer.echo(f'  depth is known for {known:.0%} of the pixels of the frame in the middle')
    if salvage:
        typer.echo(f'{path} was not finished: read it with --salvage')


def main(arguments: Sequence[str] | None = None, prog_name: str = 'record') -> int:
    """Run the command line; the status is 1 if what was recorded can not be trained on."""
    return run_command(record, 'record', arguments, prog_name)


if __name__ == '__main__':
    sys.exit(main())

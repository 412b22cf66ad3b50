# SPDX-License-Identifier: Apache-2.0
"""The command `play_bag`, also `adabins play`; rclpy is imported late, for a quick --help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import json
import os
from pathlib import Path
import sys
import threading
from typing import Annotated, TYPE_CHECKING

from adabins_ros.command_line import run_command
from adabins_ros.dds_profile import set_dds_profile
import typer

if TYPE_CHECKING:
    from adabins_ros.recordings import Recording
    from adabins_ros.ros.bag_player import BagPlayer
    from adabins_ros.ros.process import StopSignals


def play(
    context: typer.Context,
    bag: Annotated[
        Path, typer.Argument(help='A ROS 1 .bag, a rosbag2 folder, a .mcap or a .db3.')
    ],
    rate: Annotated[float, typer.Option(help='2 plays twice as fast.')] = 1.0,
    loop: Annotated[bool, typer.Option('--loop', help='Begin again at the end.')] = False,
    start: Annotated[float, typer.Option(min=0.0, help='Where to begin, seconds.')] = 0.0,
    clock: Annotated[
        bool,
        typer.Option('--clock', help='Publish the recorded time on /clock, at 40 Hz.'),
    ] = False,
    remap: Annotated[
        list[str] | None,
        typer.Option(metavar='OLD:=NEW', help='Publish a topic under another name; repeatable.'),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(metavar='NAME', help='Play this topic and no other; repeatable.'),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(min=0.0, help='Longest wait for subscribers before the start, seconds.'),
    ] = 10.0,
    subscribers: Annotated[
        int,
        typer.Option(
            min=0,
            help='How many to wait for on every topic; 0: the first one on any topic is enough.',
        ),
    ] = 0,
    listener: Annotated[
        str | None,
        typer.Option(
            '--for',
            metavar='NODE',
            help='Begin when this node, such as /depth_node, listens to something that is played; '
            'end with an error if it does not in time.',
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help='Write what was played into this file, as JSON.')
    ] = None,
) -> None:
    """
    Replay a recording into ROS: its messages as they are, at the pace of the recording.

    What follows --ros-args goes to ROS.
    """
    if not 0 < rate < float('inf'):
        raise typer.BadParameter(f'the rate must be positive, not {rate:g}', param_hint='--rate')
    remaps = _remaps(remap or [])
    # Before Fast DDS reads it: at the default settings large images are lost.
    set_dds_profile(os.environ)
    from adabins_ros.recordings import open_recording
    from adabins_ros.ros.bag_player import BagPlayer
    from adabins_ros.ros.process import ros_node, StopSignals

    stop_signals = StopSignals()
    with open_recording(bag) as recording, ros_node('play_bag', context.obj) as node:
        player = BagPlayer(
            node,
            recording,
            rate=rate,
            start_s=start,
            clock=clock,
            topics=topic or None,
            remaps=remaps,
        )
        _say_what_is_played(recording, player)
        _until_signal(
            stop_signals, lambda stop: _play(player, stop, wait, listener or subscribers, loop)
        )
        _say_what_was_played(recording, player)
        if report is not None:
            _write_report(report, player)


def main(arguments: Sequence[str] | None = None, prog_name: str = 'play_bag') -> int:
    """Run the command line; the status is 0 after SIGINT and SIGTERM too."""
    return run_command(play, 'play', arguments, prog_name)


def _remaps(texts: list[str]) -> dict[str, str]:
    remaps = {}
    for text in texts:
        recorded, separator, published = text.partition(':=')
        if not (separator and recorded and published):
            raise typer.BadParameter(f'{text!r} is not OLD:=NEW', param_hint='--remap')
        remaps[recorded] = published
    return remaps


def _until_signal(stop_signals: StopSignals, work: Callable[[threading.Event], None]) -> None:
    """Run work in a thread, so that a signal is heard at once; raise what it raises."""
    stop = threading.Event()
    with ThreadPoolExecutor(1, 'player') as thread:
        working = thread.submit(work, stop)
        working.add_done_callback(lambda _: stop_signals.put())
        stop_signals.wait()
        stop.set()
        stop_signals.ignore()
    working.result()


def _play(
    player: BagPlayer, stop: threading.Event, wait_s: float, subscribers: int | str, loop: bool
) -> None:
    if isinstance(subscribers, str):
        player.wait_for_node(stop, wait_s, subscribers)
    elif wait_s:
        found = player.wait_for_subscribers(stop, wait_s, subscribers)
        if not found and not stop.is_set():
            missing = 'not all subscribers are' if subscribers else 'no subscriber is'
            print(f'{missing} there after {wait_s:g} s; playing all the same', flush=True)
    player.play(stop, loop)
    if not stop.is_set():
        player.finish()


def _say_what_is_played(recording: Recording, player: BagPlayer) -> None:
    duration_s = (recording.end_ns - recording.start_ns) / 1e9
    count = sum(recording.topics[topic].count for topic in player.topics)
    print(
        f'{recording.path}: {duration_s:.1f} s, {count} messages on {len(player.topics)} topics',
        flush=True,
    )
    for topic, name in player.renamed.items():
        print(f'{topic} is played as {name}: ROS 2 does not allow its name', flush=True)
    for topic, reason in player.skipped.items():
        print(f'{topic} is not played: {reason}', flush=True)


def _say_what_was_played(recording: Recording, player: BagPlayer) -> None:
    for topic in player.topics:
        print(f'{player.published[topic]:8} {topic} ({recording.topics[topic].msgtype})')
    print(
        f'messages published: {sum(player.published.values())}, '
        f'99 % of them at most {player.lateness_p99_s() * 1e3:.1f} ms late',
        flush=True,
    )


def _write_report(path: Path, player: BagPlayer) -> None:
    report = {
        'published': dict(player.published),
        'skipped': player.skipped,
        'lateness_p99_s': player.lateness_p99_s(),
    }
    path.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())

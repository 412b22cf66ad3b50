# SPDX-License-Identifier: Apache-2.0
"""Play a recording into the node, collect what it publishes, draw it and print one table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
import json
import os
from pathlib import Path
import tempfile
from typing import Any

from adabins_ros.demo.demo_results import DemoResults, read_results
from adabins_ros.demo.processes import Processes, separate_environment
from adabins_ros.evaluation.contact_sheet import contact_sheet
from adabins_ros.recordings import CameraTopics, find_camera_topics, open_recording
from adabins_ros.ros.topic_names import legal_topics
from rich.console import Console
from rich.table import Table

CONTACT_SHEET, OUTPUTS = 'contact_sheet.png', 'outputs.mcap'
"""The demo's products; a later run replaces these two files and touches no other."""
UNTRAINED = 'untrained network: depth is meaningless'
READY_S = 300.0
"""Longest wait for the model to load, seconds."""
MATCH_S = 20.0
"""Longest wait until the three processes have found each other, seconds."""
SPARE_S = 60.0
"""How much longer than expected a process may take, seconds."""


class DemoError(RuntimeError):
    """The demo can not go on; the text says why."""


@dataclass(frozen=True)
class _Bag:
    """Hold what is played."""

    path: Path
    topics: CameraTopics
    names: dict[str, str]
    """What the recorded topics are played as."""
    compressed: bool
    duration_s: float


def run_demo(bag: Path, output: Path, model: str, device: str, console: Console) -> None:
    """
    Run the node, the player and the collector as three processes, and show what came of it.

    Parameters
    ----------
    bag : Path
        Any recording with a colour camera.
    output : Path
        Folder for contact_sheet.png and outputs.mcap.
    model, device : str
        Of the node.
    console : Console
        Where progress and the table go.

    Raises
    ------
    DemoError
        The node can not use the model, or published nothing.
    ProcessError
        A process has failed.
    RecordingError
        The recording can not be used.

    """
    if find_spec('rclpy') is None:
        raise ModuleNotFoundError(name='rclpy')
    with open_recording(bag) as recording:
        topics = find_camera_topics(recording)
        chosen = _Bag(
            bag,
            topics,
            legal_topics(recording.topics),
            'CompressedImage' in recording.topics[topics.image].msgtype,
            (recording.end_ns - recording.start_ns) / 1e9,
        )
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.demo-', dir=output) as name:
        unfinished = Path(name)
        played, collected = _run_processes(chosen, unfinished, model, device, console)
        status = collected['diagnostics']
        if '/depth/image' not in collected['messages']:
            hints = [text for key, text in status.items() if key.startswith('hint')]
            raise DemoError(f'the node has published no depth: {"; ".join(hints) or status}')
        console.print('drawing, and comparing with the recorded depth ...')
        results = read_results(unfinished / OUTPUTS, bag, topics)
        untrained = status.get('trained') == 'False'
        contact_sheet(
            unfinished / CONTACT_SHEET, results.rows, headline=UNTRAINED if untrained else ''
        )
        for product in (CONTACT_SHEET, OUTPUTS):
            os.replace(unfinished / product, output / product)
    console.print(_table(chosen, played, collected, results, output, untrained))


def _run_processes(
    bag: _Bag, folder: Path, model: str, device: str, console: Console
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the reports of the player and of the collector."""
    played, collected = folder / 'played.json', folder / 'collected.json'
    with Processes(separate_environment(os.environ)) as processes:
        console.print(f'loading {model} ...')
        processes.start('node', 'adabins_ros.ros.depth_node', *_node_arguments(bag, model, device))
        processes.start(
            'collector',
            'adabins_ros.ros.collector',
            str(folder / OUTPUTS),
            *('--recording', str(bag.path), '--report', str(collected)),
        )
        line = processes.wait_for_line('collector', 'ready', 'failed: ', timeout_s=READY_S)
        if line.startswith('failed: '):
            raise DemoError(line.removeprefix('failed: '))
        console.print(f'playing {bag.path.name}, {bag.duration_s:.1f} s ...')
        inputs = [topic for topic in (bag.topics.image, bag.topics.camera_info) if topic]
        for topic in inputs:
            if bag.names[topic] != topic:
                console.print(f'{topic} is played as {bag.names[topic]}')
        processes.start(
            'player',
            'adabins_ros.ros.play_bag',
            str(bag.path),
            *(word for topic in inputs for word in ('--topic', topic)),
            # The node and the collector.
            *('--subscribers', '2', '--wait', str(MATCH_S), '--report', str(played)),
        )
        processes.wait_for_end('player', bag.duration_s + SPARE_S)
        processes.interrupt('collector')
        processes.wait_for_end('collector', SPARE_S)
        processes.interrupt('node')
        processes.wait_for_end('node', SPARE_S)
    return json.loads(played.read_text()), json.loads(collected.read_text())


def _node_arguments(bag: _Bag, model: str, device: str) -> list[str]:
    """Return the command line that makes the node listen to the recording's topics."""
    transport = 'compressed' if bag.compressed else 'raw'
    image = 'image_raw/compressed' if bag.compressed else 'image_raw'
    arguments = ['--ros-args', '-r', f'{image}:={bag.names[bag.topics.image]}']
    if bag.topics.camera_info:
        arguments += ['-r', f'camera_info:={bag.names[bag.topics.camera_info]}']
    # Quoted, as the values are YAML: a file may be called 7 or null.
    texts = {'model': model, 'device': device, 'image_transport': transport}
    for parameter, value in texts.items():
        arguments += ['-p', "{}:='{}'".format(parameter, value.replace("'", "''"))]
    return arguments


def _table(
    bag: _Bag,
    played: dict[str, Any],
    collected: dict[str, Any],
    results: DemoResults,
    output: Path,
    untrained: bool,
) -> Table:
    status = collected['diagnostics']
    table = Table(title=f'adabins_ros on {bag.path.name}', show_header=False, title_justify='left')
    table.add_column(no_wrap=True)
    table.add_column(overflow='fold')
    if untrained:
        table.add_row('note', UNTRAINED)
    table.add_row('network', status['model'])
    table.add_row('images', bag.topics.image)
    table.add_row('frames sent', str(played['published'][bag.topics.image]))
    for count in ('received', 'dropped', 'bad', 'published'):
        table.add_row(f'frames {count}', status[f'frames {count}'])
    rate = collected['rate_hz']
    table.add_row('depth rate', 'unknown' if rate is None else f'{rate:.1f} Hz')
    table.add_row('latency, camera to publish', _latency(status), end_section=True)
    _add_errors(table, bag, results)
    for product in (CONTACT_SHEET, OUTPUTS):
        path = output / product
        table.add_row(product, f'{path} ({path.stat().st_size / 1e6:.1f} MB)')
    return table


def _latency(status: dict[str, str]) -> str:
    median, high = (status.get(f'camera to publish {p} (ms)', 'unknown') for p in ('p50', 'p99'))
    return f'p50 {median} ms, p99 {high} ms'


def _add_errors(table: Table, bag: _Bag, results: DemoResults) -> None:
    if results.no_truth:
        table.add_row('ground truth', results.no_truth, end_section=True)
        return
    errors = results.errors
    table.add_row('ground truth', f'{bag.topics.depth}, {errors.images} frames compared')
    table.add_row('d1 (share within 25 %)', f'{errors.d1:.3f}')
    table.add_row('REL', f'{errors.abs_rel:.3f}')
    table.add_row('RMS', f'{errors.rms:.3f} m')
    table.add_row('d1, scale corrected', f'{errors.d1_scaled:.3f}', end_section=True)

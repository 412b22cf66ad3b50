# SPDX-License-Identifier: Apache-2.0
"""
Change the model of a running node again and again: lost frames, gaps and memory.

`python benchmarks/model_changes.py [--changes 200] [--size 640x480] [--rate 15]`

A camera, the node and a subscriber over real DDS, as in node_under_load. The parameter model goes
back and forth between the embedded default and a copy of its ONNX file. A gap is the time between
two depth images, in periods of the camera; "without changes" is about as long before.
"""

import argparse
import os
from pathlib import Path
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any

from node_under_load import end, environment, memory_mib, ROOT
import numpy as np

WEIGHTS = ROOT / 'adabins_ros' / 'weights' / 'adabins-lite.onnx'
PAUSE_S = 0.5


def main() -> None:
    """Run the measurement and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--changes', type=int, default=200)
    parser.add_argument('--size', default='640x480', help='WIDTHxHEIGHT of the camera')
    parser.add_argument('--rate', type=float, default=15.0, help='of the camera, Hz')
    parser.add_argument('--engine', default='onnx')
    parser.add_argument('--json', type=Path, help='also write the figures here')
    options = parser.parse_args()
    if 'ADABINS_BENCHMARK' not in os.environ:
        # Again with the environment set before the middleware reads it.
        changed = {**environment(), 'ADABINS_BENCHMARK': '1'}
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], changed)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(WEIGHTS, Path(folder) / 'copy.onnx')
        figures = measure(options, [str(copy), 'adabins-lite'])
    for name, value in figures.items():
        print(f'{name:42} {value}')
    if options.json:
        from interleaved import write_figures

        write_figures(options.json, 'model_changes', figures)


class Client:
    """Set and read the node's parameters, and note when depth of which stamp arrives."""

    def __init__(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rcl_interfaces.srv import GetParameters, SetParameters
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image

        self.node = rclpy.create_node('client')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.arrivals: list[tuple[float, float]] = []
        self.diagnosed: dict[str, str] = {}
        self.node.create_subscription(Image, 'depth/image', self._note, 5, raw=True)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 5)
        self._set = self.node.create_client(SetParameters, 'depth_node/set_parameters')
        self._get = self.node.create_client(GetParameters, 'depth_node/get_parameters')

    def spin(self, seconds: float) -> None:
        """Run callbacks for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def set_model(self, model: str) -> float:
        """Set it; return the time that the answer took, seconds."""
        from rclpy.parameter import Parameter

        request = self._set.srv_type.Request()
        request.parameters = [Parameter('model', value=model).to_parameter_msg()]
        start = time.monotonic()
        (result,) = self._answer(self._set, request).results
        if not result.successful:
            raise SystemExit(result.reason)
        return time.monotonic() - start

    def active(self) -> str:
        """Return the model that runs."""
        request = self._get.srv_type.Request(names=['model_active'])
        return str(self._answer(self._get, request).values[0].string_value)

    def _answer(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        self.executor.spin_until_future_complete(future, timeout_sec=30)
        return future.result()

    def _note(self, data: bytes) -> None:
        # A serialized message starts with 4 bytes of encapsulation, then its header's stamp.
        seconds, nanoseconds = struct.unpack_from('<iI', data, 4)
        self.arrivals.append((time.monotonic(), seconds + nanoseconds / 1e9))

    def _diagnose(self, message: Any) -> None:
        self.diagnosed.update({pair.key: pair.value for pair in message.status[0].values})


def measure(options: argparse.Namespace, models: list[str]) -> dict[str, Any]:
    """Run camera, node and client; return the figures."""
    import rclpy

    rclpy.init()
    client = Client()
    clean = {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
    camera = [sys.executable, str(ROOT / 'benchmarks' / 'node_under_load.py'), '--role', 'camera']
    camera += ['--sizes', options.size, '--rate', str(options.rate), '--seconds', '100000']
    eye = subprocess.Popen(camera, env=clean)
    node = subprocess.Popen(
        [
            *(sys.executable, '-m', 'adabins_ros.cli', 'node', '--ros-args', '-p'),
            *(f'engine:={options.engine}', '--log-level', 'warn'),
        ],
        env=clean,
    )
    try:
        while not client.arrivals:
            client.spin(0.5)
        client.spin(10.0)
        memory, answers, loads, figures = [memory_mib(node.pid)], [], [], {}
        client.arrivals.clear()
        begun = time.monotonic()
        client.spin(1.0 * options.changes)
        figures.update(_gaps(client.arrivals, options.rate, 'without changes'))
        client.arrivals.clear()
        begun = time.monotonic()
        for number in range(options.changes):
            model = models[number % len(models)]
            start = time.monotonic()
            answers.append(client.set_model(model))
            while client.active() != model:
                client.spin(0.02)
            loads.append(time.monotonic() - start)
            client.spin(PAUSE_S)
            memory.append(memory_mib(node.pid))
        seconds = time.monotonic() - begun
        figures.update(_gaps(client.arrivals, options.rate, 'with changes'))
        client.spin(2.0)
        return {
            f'changes in {seconds:.0f} s': options.changes,
            'answer, median / longest (ms)': _two(answers),
            'until it runs, median / longest (ms)': _two(loads),
            **figures,
            'memory before (MiB)': round(memory[0], 1),
            'after 10, half, all changes (MiB)': ' / '.join(
                f'{memory[at]:.1f}' for at in (10, options.changes // 2, -1)
            ),
            'frames bad': client.diagnosed['frames bad'],
        }
    finally:
        for process in (eye, node):
            end(process)
        client.executor.remove_node(client.node)
        client.node.destroy_node()
        rclpy.shutdown()


def _two(seconds: list[float]) -> str:
    return f'{1e3 * np.median(seconds):.0f} / {1e3 * max(seconds):.0f}'


def _gaps(arrivals: list[tuple[float, float]], rate_hz: float, when: str) -> dict[str, Any]:
    """Return what is to be said of arrival times and stamps, seconds."""
    came, stamps = np.array(arrivals).T
    gaps = np.diff(came) * rate_hz
    lost = np.rint(np.diff(stamps) * rate_hz).astype(int) - 1
    late = np.percentile(gaps, 99)
    return {
        f'{when}: images of depth': len(came),
        f'{when}: camera images lost': int(lost.sum()),
        f'{when}: most lost in a row': int(lost.max()),
        f'{when}: gap p99 / longest (periods)': f'{late:.2f} / {gaps.max():.2f}',
        f'{when}: gaps of more than two periods': int((gaps > 2).sum()),
    }


if __name__ == '__main__':
    main()

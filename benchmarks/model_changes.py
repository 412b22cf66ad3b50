# SPDX-License-Identifier: Apache-2.0
"""
Change the model of a running node again and again: lost frames, gaps and memory.

`python benchmarks/model_changes.py [--changes 200] [--size 640x480] [--rate 15]`

A camera, the node and a subscriber over real DDS, as in node_under_load. The parameter model goes
back and forth between the embedded default and a copy of its ONNX file. A gap is the time between
two depth images, in periods of the camera; "without changes" is about as long before.
"""

from pathlib import Path
import shutil
import tempfile
import time
from typing import Any

from interleaved import parser_of, write_figures
from node_under_load import (
    end,
    keep_apart,
    memory_mib,
    ROOT,
    start_camera,
    started,
    Subscriber,
)
import numpy as np

WEIGHTS = ROOT / 'adabins_ros' / 'weights' / 'adabins-lite.onnx'
PAUSE_S = 0.5


def main() -> None:
    """Run the measurement and print its table."""
    parser = parser_of(__doc__)
    parser.add_argument('--changes', type=int, default=200)
    parser.add_argument('--size', default='640x480', help='WIDTHxHEIGHT of the camera')
    parser.add_argument('--rate', type=float, default=15.0, help='of the camera, Hz')
    parser.add_argument('--engine', default='onnx')
    options = parser.parse_args()
    keep_apart()
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(WEIGHTS, Path(folder) / 'copy.onnx')
        figures = measure(options, [str(copy), 'adabins-lite'])
    for name, value in figures.items():
        print(f'{name:42} {value}')
    write_figures(options.json, 'model_changes', figures)


class Client(Subscriber):
    """Set and read the node's parameters, and note when depth of which stamp arrives."""

    def __init__(self) -> None:
        from rcl_interfaces.srv import GetParameters, SetParameters

        super().__init__(['depth/image'])
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


def measure(options: Any, models: list[str]) -> dict[str, Any]:
    """Run camera, node and client; return the figures."""
    import rclpy

    rclpy.init()
    client = Client()
    eye = start_camera(options.size, options.rate, 100_000)
    node = started(
        *('-m', 'adabins_ros.cli', 'node', '--ros-args', '-p', f'engine:={options.engine}'),
        *('--log-level', 'warn'),
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
        client.close()
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

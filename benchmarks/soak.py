# SPDX-License-Identifier: Apache-2.0
"""
An hour of what happens to a node: memory, threads, file handles, latency and frames lost.

`python benchmarks/soak.py [--minutes 60] [--size 640x480] [--rate 30]`

A camera with bursts, the node and a subscriber over real DDS, and now and then: a subscriber that
comes or goes, other parameters, another model, a bad frame, a clock that jumps, a publisher that
restarts, and another topic that floods DDS. A second node has two slow cameras of its own; memory,
threads and handles are those of both, and "second" counts its depth. A row is ten minutes, or a
tenth of a shorter run. Latency is from the image's publication to the arrival of its depth. Of the
images that were sent, "newer came" were displaced by a newer one while the network worked, "not
heard" never reached the node, and "lost" reached it and led to nothing that it counts.
"""

from collections import Counter
from collections.abc import Callable
import os
from pathlib import Path
import random
import shutil
import sys
import tempfile
import time
from typing import Any

from interleaved import parser_of, show_table, write_figures
from node_under_load import end, keep_apart, memory_mib, ROOT, started
import numpy as np

WEIGHTS = ROOT / 'adabins_ros' / 'weights' / 'adabins-lite.onnx'
EVENTS_S = {
    'burst': 15.0,
    'subscriber comes or goes': 5.0,
    'parameter': 7.0,
    'model': 45.0,
    'bad frame': 3.0,
    'clock jump': 30.0,
    'publisher restarts': 60.0,
    'flood': 40.0,
}
"""How often each happens, on average, seconds."""
BURST, FLOOD_S, FLOOD_BYTES, WARM_UP_S = 8, 3.0, 1 << 20, 15.0
SECOND, CAMERAS, SECOND_PERIOD_S = 'second', ('left', 'right'), 1.0


class Surroundings:
    """The camera, the subscribers, and whoever changes things."""

    def __init__(self, width: int, height: int, models: list[str]) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rcl_interfaces.srv import SetParameters
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CameraInfo, Image, PointCloud2

        self.kinds = {'image': Image, 'info': CameraInfo, 'points': PointCloud2}
        self.node = rclpy.create_node('soak')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.size, self.models = (width, height), models
        self.pixels = np.random.default_rng(0).integers(0, 255, 3 * width * height, np.uint8)
        self.chance = random.Random(0)
        self.happened: Counter[str] = Counter()
        self.sent: dict[int, float] = {}
        self.count = 0
        self.latencies: list[float] = []
        self.diagnosed: dict[str, str] = {}
        self.diagnosed_at: list[float] = []
        self.offset_ns, self.flood_until = 0, 0.0
        self.points: Any = None
        self.other = self.node.create_publisher(Image, 'flood', 1)
        self.node.create_subscription(Image, 'flood', lambda _: None, 1, raw=True)
        self.node.create_subscription(Image, 'depth/image', self._arrived, 5)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 5)
        self.second = [
            self.node.create_publisher(Image, f'{SECOND}/{name}/image_raw', 5) for name in CAMERAS
        ]
        self.seconds_depth = 0
        for name in CAMERAS:
            self.node.create_subscription(
                Image, f'{SECOND}/{name}/depth/image', self._arrived_of_second, 5, raw=True
            )
        self._set = self.node.create_client(SetParameters, 'depth_node/set_parameters')
        self._publishers()

    def image(self, **changes: Any) -> Any:
        """Return an image with the stamp of now, with some fields wrong if they are given."""
        from array import array

        now = self.node.get_clock().now().nanoseconds + self.offset_ns
        width, height = self.size
        fields = {'width': width, 'height': height, 'step': 3 * width, 'encoding': 'rgb8'}
        image = self.kinds['image'](**{**fields, **changes})
        if 'data' not in changes:
            image.data = array('B', self.pixels.tobytes())
        image.header.stamp.sec, image.header.stamp.nanosec = divmod(now, 1_000_000_000)
        image.header.frame_id = 'camera'
        return image

    def send_to_second(self) -> None:
        """Publish an image of each camera of the second node."""
        for publisher in self.second:
            publisher.publish(self.image())

    def send(self, **changes: Any) -> None:
        """Publish an image of the camera, with some fields wrong if they are given."""
        image = self.image(**changes)
        width, height = self.size
        k = [float(width), 0.0, width / 2, 0.0, float(width), height / 2, 0.0, 0.0, 1.0]
        self.infos.publish(
            self.kinds['info'](header=image.header, width=width, height=height, k=k)
        )
        self.images.publish(image)
        self.count += 1
        self.sent[_ns(image.header.stamp)] = time.monotonic()

    def flood(self) -> None:
        """Publish what nobody needs, while a flood lasts."""
        if time.monotonic() < self.flood_until:
            self.other.publish(self.kinds['image'](data=bytes(FLOOD_BYTES)))

    def happen(self, name: str) -> None:
        """Let one of the events happen."""
        self.happened[name] += 1
        changes: dict[str, Callable[[], object]] = {
            'burst': lambda: [self.send() for _ in range(BURST)],
            'subscriber comes or goes': self._subscriber,
            'parameter': lambda: self._parameter('point_stride', self.chance.randint(1, 4)),
            'model': lambda: self._parameter('model', self.chance.choice(self.models)),
            'bad frame': lambda: self.send(
                **self.chance.choice([{'data': b'\1\2'}, {'encoding': 'rgb9'}, {'step': 7}])
            ),
            'clock jump': self._jump,
            'publisher restarts': self._restart,
            'flood': lambda: setattr(self, 'flood_until', time.monotonic() + FLOOD_S),
        }
        changes[name]()

    def _publishers(self) -> None:
        self.images = self.node.create_publisher(self.kinds['image'], 'image_raw', 5)
        self.infos = self.node.create_publisher(self.kinds['info'], 'camera_info', 5)

    def _restart(self) -> None:
        self.node.destroy_publisher(self.images)
        self.node.destroy_publisher(self.infos)
        self._publishers()

    def _subscriber(self) -> None:
        if self.points is None:
            self.points = self.node.create_subscription(
                self.kinds['points'], 'points', lambda _: None, 5, raw=True
            )
        else:
            self.node.destroy_subscription(self.points)
            self.points = None

    def _jump(self) -> None:
        self.offset_ns = self.chance.randint(-1000, 1000) * 1_000_000_000

    def _parameter(self, name: str, value: object) -> None:
        from rclpy.parameter import Parameter

        request = self._set.srv_type.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg()]
        self._set.call_async(request)

    def _arrived_of_second(self, _: bytes) -> None:
        self.seconds_depth += 1

    def _arrived(self, depth: Any) -> None:
        sent = self.sent.pop(_ns(depth.header.stamp), None)
        if sent is not None:
            self.latencies.append(time.monotonic() - sent)

    def _diagnose(self, message: Any) -> None:
        if SECOND in message.status[0].name:
            return
        self.diagnosed_at.append(time.monotonic())
        self.diagnosed = {pair.key: pair.value for pair in message.status[0].values}


def run(around: Surroundings, seconds: float, rate_hz: float) -> None:
    """Let it all happen for a while."""
    now = time.monotonic()
    until, next_image, next_second = now + seconds, now, now
    due = {name: now + around.chance.expovariate(1 / s) for name, s in EVENTS_S.items()}
    while (now := time.monotonic()) < until:
        if now >= next_image:
            around.send()
            around.flood()
            next_image = max(next_image + 1 / rate_hz, now - 1 / rate_hz)
        if now >= next_second:
            around.send_to_second()
            next_second = now + SECOND_PERIOD_S
        for name, at in due.items():
            if now >= at:
                around.happen(name)
                due[name] = now + around.chance.expovariate(1 / EVENTS_S[name])
        around.executor.spin_once(timeout_sec=max(0.0, min(next_image - time.monotonic(), 0.02)))


def _ns(stamp: Any) -> int:
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


def measured(around: Surroundings, pids: list[int], before: dict[str, int]) -> dict[str, Any]:
    """Return what a part of the run was like, and begin the next one."""
    # What is under way arrives, and the counts of the node are told.
    asked = time.monotonic() + 1.5
    while not around.diagnosed_at or around.diagnosed_at[-1] < asked:
        around.executor.spin_once(timeout_sec=0.1)
    fates = ('received', 'published', 'dropped', 'idle', 'bad')
    now = {fate: int(around.diagnosed[f'frames {fate}']) for fate in fates}
    now['sent'] = around.count
    new = {name: now[name] - before.get(name, 0) for name in now}
    before.update(now)
    p50, p99 = 1e3 * np.percentile(around.latencies or [np.nan], [50, 99])
    figures = {
        'memory (MiB)': round(sum(memory_mib(pid) for pid in pids), 1),
        'threads': sum(len(os.listdir(f'/proc/{pid}/task')) for pid in pids),
        'handles': sum(len(os.listdir(f'/proc/{pid}/fd')) for pid in pids),
        'p50 (ms)': round(p50, 1),
        'p99 (ms)': round(p99, 1),
        'sent': new['sent'],
        'depth': new['published'],
        'newer came': new['dropped'],
        'bad': new['bad'],
        'not heard': new['sent'] - new['received'],
        'lost': new['received'] - sum(new[fate] for fate in fates[1:]),
        'diagnostics apart (s)': round(max(np.diff(around.diagnosed_at), default=np.nan), 2),
    }
    figures['second'] = around.seconds_depth
    around.seconds_depth = 0
    around.latencies.clear()
    around.sent.clear()
    del around.diagnosed_at[:-1]
    return figures


def main() -> None:
    """Run the soak and print its table."""
    parser = parser_of(__doc__)
    parser.add_argument('--minutes', type=float, default=60.0)
    parser.add_argument('--size', default='640x480', help='WIDTHxHEIGHT of the camera')
    parser.add_argument('--rate', type=float, default=30.0, help='of the camera, Hz')
    options = parser.parse_args()
    keep_apart()
    import rclpy

    rclpy.init()
    width, height = (int(side) for side in options.size.split('x'))
    command = ('-m', 'adabins_ros.cli', 'node', '--ros-args')
    parts = round(options.minutes / 10) if options.minutes >= 20 else 10
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(WEIGHTS, Path(folder) / 'copy.onnx')
        around = Surroundings(width, height, [str(copy), 'adabins-lite'])
        usual = ('-p', 'engine:=onnx', '--log-level', 'fatal')
        second = ('-r', f'__ns:=/{SECOND}', '-p', f'cameras:=[{",".join(CAMERAS)}]')
        nodes = [started(*command, *usual, *more) for more in ((), second)]
        pids = [node.pid for node in nodes]
        try:
            while not (around.latencies and around.seconds_depth):
                run(around, 0.5, options.rate)
            run(around, WARM_UP_S, options.rate)
            before: dict[str, int] = {}
            measured(around, pids, before)
            around.happened.clear()
            for _ in range(parts):
                run(around, 60 * options.minutes / parts, options.rate)
                rows.append(measured(around, pids, before))
            for node in nodes:
                if node.poll() is not None:
                    sys.exit(f'a node ended with status {node.returncode}')
        finally:
            for node in nodes:
                end(node)
            around.node.destroy_node()
            rclpy.shutdown()
    show_table(
        f'{options.size} at {options.rate:g} Hz for {options.minutes:g} minutes',
        ('minutes', *rows[0]),
        (
            [f'{number * options.minutes / parts:g}', *row.values()]
            for number, row in enumerate(rows, 1)
        ),
        width=160,
    )
    first, last = rows[0], rows[-1]
    summary = {
        'memory, last to first row (%)': round(
            100 * (last['memory (MiB)'] / first['memory (MiB)'] - 1), 2
        ),
        'p99, last to first row': round(last['p99 (ms)'] / first['p99 (ms)'], 2),
        'threads and handles, last less first': last['threads']
        + last['handles']
        - first['threads']
        - first['handles'],
        'lost': sum(row['lost'] for row in rows),
        **{f'event: {name}': count for name, count in sorted(around.happened.items())},
    }
    for name, value in summary.items():
        print(f'{name:42} {value}')
    write_figures(options.json, 'soak', {'rows': rows, **summary})


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""
Measure the depth node under a camera: start, rate, latency, processor and memory, by image size.

`python benchmarks/node_under_load.py [--sizes 640x480 ...] [--seconds 20 | --minutes 10]`

Three processes over real DDS: this one subscribes to what the node publishes, another is the
camera (a smooth picture that moves, best effort) and waits for the node, the third is the node as
the launch file starts it. "To publish" is the node's own figure, from the image's arrival in its
process; "to subscriber" is from the camera's stamp to the arrival of the last topic here, and so
has both transports in it. The first start on a machine also chooses and builds an engine. With
--minutes it is the endurance run: resident memory after the first minute against the end. "Whole
frames" have every topic with one stamp, images and camera_info one size, of those of which
anything came.

A camera with a lens and the picture that belongs to the depth; with `--model slow.onnx`, the
authors' network without training, a second and more for each frame:
`python benchmarks/node_under_load.py --sizes 640x480 --rate 30 --lens --topics depth/image
color/image color/camera_info --parameters rectify:=true`
`python -c "from pathlib import Path; from adabins_ros.inference.export import write_onnx; from
adabins_ros.model import AdaBins, PRESETS; write_onnx(AdaBins(PRESETS['adabins-nyu']).eval(),
Path('slow.onnx'))"`
"""

import argparse
from collections import Counter, defaultdict
import os
from pathlib import Path
import random
import signal
import struct
import subprocess
import sys
import time
from typing import Any

from interleaved import parser_of, show_table, write_figures
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TOPICS = (
    *('depth/image', 'depth/image_raw', 'depth/std', 'depth/color', 'points', 'points_clearing'),
    *('depth/scan', 'color/image', 'color/camera_info', 'color/image/compressed'),
    'depth/image_raw/compressedDepth',
)
SIZED = {'depth/image', 'depth/image_raw', 'depth/std', 'color/image', 'color/camera_info'}
LENS = [-0.1, 0.01, 0.0, 0.0, 0.0]
FIRST_DEPTH_TIMEOUT_S = 180.0


def camera(frames: int, rate_hz: float, width: int, height: int, lens: bool) -> None:
    """Publish frames of rgb8, best effort, on an absolute schedule; then wait to be stopped."""
    import cv2
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image

    rclpy.init()
    node = rclpy.create_node('camera')
    images = node.create_publisher(Image, 'image_raw', qos_profile_sensor_data)
    infos = node.create_publisher(CameraInfo, 'camera_info', qos_profile_sensor_data)
    noise = np.random.default_rng(0).integers(0, 256, (12, 24, 3), dtype=np.uint8)
    wide = cv2.resize(noise, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    info = CameraInfo(width=width, height=height)
    focal = 0.82 * width
    info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, width / 2, 0.0, 0.0, focal, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    if lens:
        info.distortion_model, info.d = 'plumb_bob', LENS
    while images.get_subscription_count() == 0 or infos.get_subscription_count() == 0:
        time.sleep(0.01)
    start = time.perf_counter()
    for number in range(frames):
        time.sleep(max(0.0, start + number / rate_hz - time.perf_counter()))
        view = np.roll(wide, -(number % width), axis=1)[:, :width]
        message = Image(width=width, height=height, encoding='rgb8', step=3 * width)
        message.data = view.tobytes()
        message.header.frame_id = info.header.frame_id = 'camera_color_optical_frame'
        message.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        images.publish(message)
    print(f'sent {frames} in {time.perf_counter() - start:.2f} s', flush=True)
    signal.sigwait({signal.SIGTERM})


def end(process: subprocess.Popen[Any]) -> None:
    """Ask a process to end, and end it if it does not within ten seconds."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def memory_mib(pid: int, field: str = 'VmRSS') -> float:
    """Return the resident memory of a process, or with VmHWM the most it has had, MiB."""
    status = Path(f'/proc/{pid}/status').read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, seconds."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def keep_apart() -> None:
    """
    Begin this program again, once, in an environment where its processes meet only each other.

    The middleware reads it when it is loaded.
    """
    if 'ADABINS_BENCHMARK' in os.environ:
        return
    changed = {
        'ADABINS_BENCHMARK': '1',
        'ROS_DOMAIN_ID': str(random.randint(1, 101)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTDDS_DEFAULT_PROFILES_FILE': str(ROOT / 'config' / 'fastdds.xml'),
        'PYTHONPATH': str(ROOT),
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], {**_environment(), **changed})


def started(*words: str, **options: Any) -> subprocess.Popen[Any]:
    """Start Python with these words in a process of its own."""
    return subprocess.Popen([sys.executable, *words], env=_environment(), **options)


def _environment() -> dict[str, str]:
    # The rclpy wheels start each interpreter anew, once, and mark that.
    return {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}


def main() -> None:
    """Run the measurement and print its tables."""
    parser = parser_of(__doc__)
    parser.add_argument('--rate', type=float, default=15.0, help='of the camera, Hz')
    parser.add_argument('--seconds', type=float, default=20.0, help='how long each size runs')
    parser.add_argument('--minutes', type=float, help='endurance: this long instead')
    parser.add_argument(
        '--sizes', nargs='+', default=['320x240', '640x480', '1280x720'], help='WIDTHxHEIGHT'
    )
    parser.add_argument('--model', default='adabins-lite')
    parser.add_argument('--engine', default='auto')
    parser.add_argument(
        '--topics', nargs='+', default=['depth/image', 'points'], help=', '.join(TOPICS)
    )
    parser.add_argument('--lens', action='store_true', help='the camera has one that distorts')
    parser.add_argument('--parameters', nargs='+', default=[], help="the node's, NAME:=VALUE")
    parser.add_argument('--role', choices=['camera'], help=argparse.SUPPRESS)
    options = parser.parse_args()
    frames = round((60 * options.minutes if options.minutes else options.seconds) * options.rate)
    if options.role == 'camera':
        camera(frames, options.rate, *map(int, options.sizes[0].split('x')), options.lens)
        return
    keep_apart()
    figures = {size: measure(options, size, frames) for size in options.sizes}
    names = next(iter(figures.values()))
    rows = ([name, *(row.get(name, '') for row in figures.values())] for name in names)
    show_table('Depth node under a camera', ('', *figures), rows, texts=figures, width=99)
    write_figures(options.json, 'node_under_load', figures)


def start_camera(size: str, rate_hz: float, seconds: float, *words: str) -> subprocess.Popen[Any]:
    """Start the camera of this file in a process of its own."""
    return started(
        *(__file__, '--role', 'camera', '--sizes', size, '--rate', str(rate_hz)),
        *('--seconds', str(seconds), *words),
        stdout=subprocess.DEVNULL,
    )


class Subscriber:
    """Count what arrives and how late; keep the latest diagnostics."""

    def __init__(self, topics: list[str]) -> None:
        from adabins_ros.ros.products import PRODUCTS
        from diagnostic_msgs.msg import DiagnosticArray
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        kinds = {product.topic: product.kind for product in PRODUCTS}
        self.node = rclpy.create_node('subscriber')
        self.counts: Counter[str] = Counter()
        self.frames: dict[bytes, dict[str, tuple[int, int]]] = defaultdict(dict)
        self.diagnosed: dict[str, str] = {}
        self.arrivals: list[tuple[float, float]] = []
        """When the last topic arrived, and its stamp, s."""
        self.first_s: float | None = None
        self._last_topic = topics[-1]
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 5)
        for topic in topics:
            self.node.create_subscription(
                kinds[topic], topic, lambda data, topic=topic: self._take(topic, data), 5, raw=True
            )
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)

    def close(self) -> None:
        """Leave the ROS graph."""
        self.executor.remove_node(self.node)
        self.node.destroy_node()

    def _diagnose(self, message: Any) -> None:
        self.diagnosed.update({pair.key: pair.value for pair in message.status[0].values})

    def _take(self, topic: str, data: bytes) -> None:
        self.counts[topic] += 1
        # A serialized message starts with 4 bytes of encapsulation, then its header: stamp, frame.
        length = struct.unpack_from('<I', data, 12)[0]
        self.frames[data[4:12]][topic] = struct.unpack_from(
            '<II', data, 16 + (length + 3) // 4 * 4
        )
        if self.first_s is None:
            self.first_s = time.monotonic()
        if topic == self._last_topic:
            seconds, nanoseconds = struct.unpack_from('<iI', data, 4)
            self.arrivals.append((time.time(), seconds + nanoseconds / 1e9))


def measure(options: argparse.Namespace, size: str, frames: int) -> dict[str, Any]:
    """Run node, camera and subscriber for one size; return the figures."""
    import rclpy

    rclpy.init()
    subscriber = Subscriber(options.topics)
    load = os.getloadavg()[0]
    lens = ['--lens'] if options.lens else []
    eye = start_camera(size, options.rate, frames / options.rate, *lens)
    before = time.monotonic()
    node = started(
        *('-m', 'adabins_ros.ros.depth_node', '--ros-args', '-p', f'model:={options.model}'),
        *('-p', f'engine:={options.engine}', '-p', 'camera_height:=1.0', '--log-level', 'warn'),
        *(word for parameter in options.parameters for word in ('-p', parameter)),
    )
    try:
        while subscriber.first_s is None:
            subscriber.executor.spin_once(timeout_sec=0.5)
            if node.poll() is not None:
                raise SystemExit(f'the node ended with status {node.returncode}')
            if time.monotonic() - before > FIRST_DEPTH_TIMEOUT_S:
                raise SystemExit(f'no depth of {size} frames in {FIRST_DEPTH_TIMEOUT_S:g} s')
        start_cpu = cpu_seconds(node.pid)
        begun = subscriber.first_s
        memory = [(0.0, memory_mib(node.pid))]
        seconds = frames / options.rate
        latest = subscriber.diagnosed
        while time.monotonic() - begun < seconds + 30:
            subscriber.executor.spin_once(timeout_sec=0.5)
            now = time.monotonic() - begun
            if now <= seconds:
                busy_s, over_s = cpu_seconds(node.pid) - start_cpu, now
            if now > memory[-1][0] + 5:
                memory.append((now, memory_mib(node.pid)))
            if now > seconds + 2 and latest.get('rate in (Hz)') == '0.00':
                break
        memory.append((now, memory_mib(node.pid)))
        libraries = Path(f'/proc/{node.pid}/maps').read_text()
        after_a_minute = next((m for t, m in memory if t >= 60), None)
        # The first frames also plan and allocate, and are measured as the start.
        steady = subscriber.arrivals[round(options.rate) :] or subscriber.arrivals
        late = np.percentile([1e3 * (came - stamp) for came, stamp in steady], [50, 90, 99])
        whole = sum(
            set(found) == set(options.topics)
            and len({found[topic] for topic in found if topic in SIZED}) <= 1
            for found in subscriber.frames.values()
        )
        return {
            'model': latest.get('model'),
            'camera': f'{size} rgb8 at {options.rate:g} Hz, best effort; load {load:.1f}',
            'subscribed': ', '.join(options.topics),
            'first depth after (s)': round(begun - before, 2),
            'processor until then (s)': round(start_cpu, 2),
            'frames sent': frames,
            **{k: int(latest[k]) for k in latest if k.startswith('frames ')},
            **{f'{topic} received': subscriber.counts[topic] for topic in options.topics},
            'whole frames': f'{whole} of {len(subscriber.frames)}',
            'rate out (Hz)': round(subscriber.counts[options.topics[0]] / seconds, 2),
            **{k: float(v) for k, v in latest.items() if k.endswith('(ms)')},
            **{
                f'camera to subscriber p{percent} (ms)': round(float(value), 2)
                for percent, value in zip((50, 90, 99), late, strict=True)
            },
            'camera to publish, p99 / p50': round(
                float(latest['camera to publish p99 (ms)'])
                / float(latest['camera to publish p50 (ms)']),
                2,
            ),
            'torch is loaded': 'libtorch' in libraries,
            'node, cores busy': round(busy_s / over_s, 2),
            'resident at the first depth (MiB)': round(memory[0][1], 1),
            'resident at the end (MiB)': round(memory[-1][1], 1),
            'resident at most (MiB)': round(memory_mib(node.pid, 'VmHWM'), 1),
            **(
                {
                    'resident after a minute (MiB)': round(after_a_minute, 1),
                    'growth since then (%)': round(100 * (memory[-1][1] / after_a_minute - 1), 2),
                }
                if after_a_minute
                else {}
            ),
        }
    finally:
        for process in (eye, node):
            end(process)
        subscriber.close()
        rclpy.shutdown()


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""
Measure the depth node under a camera: what arrives, the rate, the latency and the memory.

Three processes over real DDS: this one subscribes to what the node publishes, another is the
camera (a smooth picture that moves, best effort), the third is the node. With --minutes it is the
endurance run: resident memory after the first minute against the end.
"""

import argparse
from collections import Counter
import os
from pathlib import Path
import platform
import random
import signal
import subprocess
import sys
import time

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ('depth/image', 'depth/image_raw', 'depth/std', 'depth/color', 'points')


def camera(frames: int, rate_hz: float, width: int, height: int) -> None:
    """Publish frames of rgb8, best effort, on an absolute schedule; then wait to be stopped."""
    import cv2
    import numpy as np
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


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process, MiB."""
    status = Path(f'/proc/{pid}/status').read_text()
    line = next(line for line in status.splitlines() if line.startswith('VmRSS'))
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, seconds."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def environment() -> dict[str, str]:
    """Return an environment in which the processes meet only each other."""
    profile = str(ROOT / 'config' / 'fastdds.xml')
    return {
        **{k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'},
        'ROS_DOMAIN_ID': str(random.randint(1, 101)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTDDS_DEFAULT_PROFILES_FILE': profile,
        'PYTHONPATH': str(ROOT),
    }


def main() -> None:
    """Run the measurement and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--rate', type=float, default=15.0, help='of the camera, Hz')
    parser.add_argument('--frames', type=int, default=300)
    parser.add_argument('--minutes', type=float, help='endurance: this long instead of --frames')
    parser.add_argument('--size', default='640x480', help='of the camera, WIDTHxHEIGHT')
    parser.add_argument('--model', default='adabins-lite')
    parser.add_argument('--topics', nargs='+', default=['depth/image'], help=', '.join(TOPICS))
    parser.add_argument('--json', type=Path, help='also write the figures here')
    parser.add_argument('--role', choices=['camera'], help=argparse.SUPPRESS)
    options = parser.parse_args()
    width, height = map(int, options.size.split('x'))
    frames = int(options.minutes * 60 * options.rate) if options.minutes else options.frames
    if options.role == 'camera':
        camera(frames, options.rate, width, height)
        return
    if 'ADABINS_BENCHMARK' not in os.environ:
        # Again with the environment set before the middleware reads it.
        os.execve(
            sys.executable,
            [sys.executable, __file__, *sys.argv[1:]],
            {**environment(), 'ADABINS_BENCHMARK': '1'},
        )
    figures = measure(options, frames)
    print_table(figures)
    if options.json:
        from interleaved import write_figures

        write_figures(options.json, 'node_under_load', figures)


def measure(options: argparse.Namespace, frames: int) -> dict[str, object]:
    """Run node, camera and subscriber; return the figures."""
    from diagnostic_msgs.msg import DiagnosticArray
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image, PointCloud2

    rclpy.init()
    subscriber = rclpy.create_node('subscriber')
    counts: Counter[str] = Counter()
    latest: dict[str, str] = {}

    def diagnosed(message: DiagnosticArray) -> None:
        latest.update({pair.key: pair.value for pair in message.status[0].values})

    subscriber.create_subscription(DiagnosticArray, '/diagnostics', diagnosed, 5)
    for topic in options.topics:
        subscriber.create_subscription(
            PointCloud2 if topic == 'points' else Image,
            topic,
            lambda _, topic=topic: counts.update([topic]),
            5,
            raw=True,
        )
    executor = SingleThreadedExecutor()
    executor.add_node(subscriber)
    child_environment = {
        k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'
    }
    load_start = os.getloadavg()[0]
    node = subprocess.Popen(
        [
            *(sys.executable, '-m', 'adabins_ros.ros.depth_node', '--ros-args'),
            *('-p', f'model:={options.model}', '--log-level', 'warn'),
        ],
        env=child_environment,
    )
    eye = None
    try:
        while latest.get('state') != 'active':
            executor.spin_once(timeout_sec=0.5)
            if node.poll() is not None:
                raise SystemExit(f'the node ended with status {node.returncode}')
        eye = subprocess.Popen(
            [
                *(sys.executable, __file__, '--role', 'camera', '--frames', str(frames)),
                *('--rate', str(options.rate), '--size', options.size),
            ],
            env=child_environment,
            stdout=subprocess.PIPE,
        )
        start, cpu_start = time.monotonic(), 0.0
        memory: list[tuple[float, float]] = []
        begun = 0.0
        while time.monotonic() - start < frames / options.rate + 30:
            executor.spin_once(timeout_sec=0.5)
            received = int(latest.get('frames received', 0))
            if received and not begun:
                begun, cpu_start = time.monotonic(), cpu_seconds(node.pid)
            if begun and (not memory or time.monotonic() - begun > memory[-1][0] + 5):
                memory.append((time.monotonic() - begun, resident_mib(node.pid)))
            settled = received >= frames and latest.get('rate in (Hz)') == '0.00'
            if settled:
                break
        cpu_share = (cpu_seconds(node.pid) - cpu_start) / max(time.monotonic() - begun, 1e-9)
        seconds = frames / options.rate
        after_a_minute = next((m for t, m in memory if t >= 60), memory[0][1])
        return {
            'machine': f'{platform.machine()}, {os.cpu_count()} cores, load {load_start:.1f}',
            'model': latest.get('model'),
            'camera': f'{options.size} rgb8 at {options.rate:g} Hz, best effort',
            'subscribed': ', '.join(options.topics),
            'frames sent': frames,
            **{k: int(latest[k]) for k in latest if k.startswith('frames ')},
            **{f'{topic} received': counts[topic] for topic in options.topics},
            'rate out (Hz)': round(int(latest['frames published']) / seconds, 2),
            **{k: float(v) for k, v in latest.items() if k.endswith('(ms)')},
            'node, cores busy': round(cpu_share, 2),
            'resident at start (MiB)': round(memory[0][1], 1),
            'resident after a minute (MiB)': round(after_a_minute, 1),
            'resident at the end (MiB)': round(memory[-1][1], 1),
            'growth after a minute (%)': round(100 * (memory[-1][1] / after_a_minute - 1), 2),
        }
    finally:
        for process in (eye, node):
            if process is not None:
                process.terminate()
                process.wait(10)


def print_table(figures: dict[str, object]) -> None:
    """Print the figures, one a line."""
    longest = max(map(len, figures))
    for name, value in figures.items():
        print(f'{name:{longest}}  {value}')


if __name__ == '__main__':
    main()

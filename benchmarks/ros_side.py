# SPDX-License-Identifier: Apache-2.0
"""
Time the ROS side of a frame: image message in; depth, std, colour and cloud published.

`python benchmarks/ros_side.py [--size 640x480] [--rounds N] [--only-further]`

The usual way is cv_bridge and sensor_msgs_py's create_cloud where they are installed, else what
they compute, written here with numpy: once with the points in a structured array, as who knows
numpy does it, and once as a list of tuples, create_cloud's way for everything else. It lacks the
gates of the node (range, edges), so the node is timed without them, too. All publish to another
process over real DDS, in turns and with the same settings of malloc, so that load and page faults
are alike. The network is not part of this: its depth is made once.

A second table tells what each further product of the node costs, alone and beside the points, with
which it shares the gates: processor time of the thread that makes it, without publishing, as the
node's diagnostics count it. What nobody subscribes to is not made; compressing goes on in a thread
beside the frames' and is counted here all the same. A third tells what each source
of the true scale costs, from its message to the scaled estimate.
"""

from __future__ import annotations

import argparse
import array
from collections.abc import Callable
import contextlib
import sys
import time
from typing import Any

import cv2
from interleaved import in_turns, median_ms, parser_of, show_table, speedup, write_figures
from node_under_load import end, keep_apart, started
import numpy as np
from numpy.typing import NDArray
from usual_way import MAX_DEPTH, UsualWay

TOPICS = ('depth', 'std', 'color', 'points')
FURTHER = ('scan', 'points_clearing', 'image_raw_compressed', 'color_image_compressed')
DENSITIES = {'all points': 1, 'a quarter': 2}
PAUSE_S = 0.03
"""Long enough for the subscriber to take a frame, as between the frames of a camera."""
SUBSCRIBERS_TIMEOUT_S = 20.0


class OneSource:
    """One message that is always the nearest, in place of the node's `ScaleSources`."""

    def __init__(self, node: Any, name: str, message: Any) -> None:
        from adabins_ros.ros.scale_sources import Transforms

        self.name, self.message, self.transforms = name, message, Transforms(node)

    def active(self, settings: Any) -> list[str]:
        """Return the one name; none for ''."""
        return [self.name] if self.name else []

    def nearest(self, name: str, stamp_s: float, tolerance_s: float) -> Any:
        """Return the message."""
        return self.message


def frame(width: int, height: int) -> tuple[Any, NDArray[np.float32], NDArray[np.float32]]:
    """Make an image message and the depth and standard deviation of a smooth scene, metres."""
    from sensor_msgs.msg import Image

    random = np.random.default_rng(0)
    coarse = random.uniform(1, 6, (12, 16)).astype(np.float32)
    depth = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    message.data = array.array('B', pixels.tobytes())
    message.header.frame_id = 'camera_color_optical_frame'
    return message, depth, np.asarray(depth * np.float32(0.05))


def scale_works(node: Any, image: Any, camera: Any) -> dict[str, Callable[[], Any]]:
    """Return what anchors a frame, by source; all measure the depth times 1.3 but the floor."""
    from adabins_ros.geometry.projection import rays
    from adabins_ros.inference.estimate import DepthEstimate
    from adabins_ros.inference.resizing import sampled
    from adabins_ros.messages.fields import ReusedArrays
    from adabins_ros.ros.frame import Frame
    from adabins_ros.ros.frame_scale import FrameScale
    from adabins_ros.ros.parameters import DepthNodeSettings
    from adabins_ros.scale.floor import down_in_camera
    from sensor_msgs.msg import Image, LaserScan, PointCloud2, PointField, Range

    # A floor 1 m below, a wall 6 m away, and noise.
    directions = np.dstack([rays(camera), np.ones((camera.height, camera.width))])
    with np.errstate(divide='ignore'):
        floor = 1.0 / np.tensordot(directions, down_in_camera(15.0), 1)
    noise = np.random.default_rng(0).normal(1, 0.03, floor.shape)
    depth = (np.where((floor > 0) & (floor < 6), floor, 6) * noise).astype(np.float32)
    # What the network sees of it, which is scaled before it is up-sampled.
    seen = sampled(depth, (120, 160))
    ends = np.zeros(0, np.float32)
    estimate = DepthEstimate(seen, np.asarray(0.1 * seen), ends, (240, 320))
    # In the camera's body frame: x forward, y left, z up.
    x, y, z = np.moveaxis(directions * (1.3 * depth)[..., None], -1, 0)
    body = np.stack([z, -x, -y], -1).astype(np.float32)
    some = np.random.default_rng(1).permutation(depth.size)[:30_000]
    cloud = PointCloud2(height=1, width=some.size, point_step=12, row_step=12 * some.size)
    cloud.fields = [
        PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate('xyz')
    ]
    cloud.data = array.array('B', body.reshape(-1, 3)[some].tobytes())
    line = body[depth.shape[0] // 2]
    scan = LaserScan(angle_min=-np.pi / 2, angle_max=np.pi / 2, angle_increment=np.pi / 720)
    scan.range_min, scan.range_max = 0.05, 30.0
    ranges = np.full(721, np.inf)
    beams = np.rint((np.arctan2(line[:, 1], line[:, 0]) - scan.angle_min) / scan.angle_increment)
    ranges[beams.astype(int)] = np.hypot(line[:, 0], line[:, 1])
    scan.ranges = ranges.tolist()
    middle = float(1.3 * depth[depth.shape[0] // 2, depth.shape[1] // 2])
    chip = (1.3 * depth[30::60, 40::80]).astype(np.float32)
    chip = Image(
        height=8, width=8, encoding='32FC1', step=32, data=array.array('B', chip.tobytes())
    )
    messages = {
        'none': None,
        'range': Range(min_range=0.05, max_range=40.0, range=middle),
        'scan': scan,
        'depth': chip,
        'cloud': cloud,
        'floor': None,
    }
    works = {}
    for name, message in messages.items():
        source = OneSource(node, name.replace('none', ''), message)
        settings = DepthNodeSettings(camera_height=1.0, camera_pitch=15.0)
        frame = Frame(
            image.header, None, camera, settings, ReusedArrays(), estimate=estimate,
            model_range=(0.0, MAX_DEPTH),
        )  # fmt: skip
        anchor = FrameScale(source)
        if (anchor.apply(frame).scale.anchored) is (name == 'none'):
            sys.exit(f'{name} did not give a scale: {anchor.fit.reason}')
        works[name] = lambda anchor=anchor, frame=frame: anchor.apply(frame)
    return works


def measure(width: int, height: int, rounds: int, only_further: bool) -> dict[str, Any]:
    """Publish a frame in each way in turns; return milliseconds and ratios."""
    from adabins_ros.freed_memory import keep_freed_memory
    from adabins_ros.geometry.camera import PinholeCamera
    from adabins_ros.inference.estimate import DepthEstimate
    from adabins_ros.messages.fields import ReusedArrays
    from adabins_ros.messages.images import decode_rgb
    from adabins_ros.ros.frame import Frame
    from adabins_ros.ros.parameters import DepthNodeSettings
    from adabins_ros.ros.products import PRODUCTS
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image, PointCloud2

    keep_freed_memory()
    rclpy.init()
    node = rclpy.create_node('ros_side')
    publishers = {
        topic: node.create_publisher(
            PointCloud2 if topic == 'points' else Image, topic, QoSProfile(depth=5)
        )
        for topic in TOPICS
    }
    image, depth, std = frame(width, height)
    camera = PinholeCamera.from_horizontal_fov(width, height, 60)
    memory = ReusedArrays()
    estimate = DepthEstimate(depth, std, np.zeros(0, np.float32), (height, width))
    usual = UsualWay()
    rows = {product.name: product for product in PRODUCTS}
    products = {topic: rows['image' if topic == 'depth' else topic] for topic in TOPICS}

    def the_usual_way(stride: int, as_list: bool = False) -> Callable[[], None]:
        def publish() -> None:
            made = usual.messages(image, depth, std, camera, stride, as_list)
            for topic, message in made.items():
                publishers[topic].publish(message)

        return publish

    def the_node(
        stride: int, products: dict[str, Any] = products, **gates: float
    ) -> Callable[[], None]:
        settings = DepthNodeSettings(point_stride=stride, camera_height=1.0, **gates)
        taken = decode_rgb(image)

        def publish() -> None:
            rgb = decode_rgb(image) if 'depth' in products else taken
            made = Frame(
                image.header,
                rgb,
                camera,
                settings,
                memory,
                estimate=estimate,
                model_range=(0.0, MAX_DEPTH),
            )
            for topic, product in products.items():
                message = product.make(made)
                if product.takes_long:
                    message = message()
                if topic in publishers:
                    publishers[topic].publish(message)

        return publish

    works = {
        f'{way}, {points}': work
        for points, stride in DENSITIES.items()
        for way, work in (
            ('usual way, array', the_usual_way(stride)),
            ('usual way, list', the_usual_way(stride, as_list=True)),
            ('node without gates', the_node(stride, edge_ratio=0.0)),
            ('node', the_node(stride)),
        )
    }
    if only_further:
        works.clear()
    costs = {
        ' '.join(names): the_node(2, {f'{name}, not published': rows[name] for name in names})
        for further in FURTHER
        for names in ((further,), ('points', further), ('points',))
    }
    listener = started(__file__, '--role', 'listener')
    try:
        _await_subscribers(list(publishers.values()))
        seconds = in_turns(works, rounds, warm_up=5, pause_s=PAUSE_S)
        seconds |= in_turns(costs, 4 * rounds, warm_up=5, clock=time.thread_time)
        anchoring = scale_works(node, image, camera)
        anchored = in_turns(anchoring, 4 * rounds, warm_up=5, clock=time.thread_time)
    finally:
        end(listener)
        node.destroy_node()
        rclpy.shutdown()
    return {
        'image': f'{width}x{height}',
        'usual way by': ', '.join(map(_origin, (usual.decode, usual.create_cloud))),
        **{
            name: {
                'median_ms': median_ms(times),
                'quartiles_ms': [1e3 * float(q) for q in np.percentile(times, [25, 75])],
                **_speedups(seconds, name),
            }
            for name, times in seconds.items()
            if name in works
        },
        'costs': {
            name: {
                'alone_ms': median_ms(seconds[name]),
                'beside_ms': median_ms(
                    np.subtract(seconds[f'points {name}'], seconds['points']).tolist()
                ),
                'x points': speedup(seconds[name], seconds['points']),
            }
            for name in FURTHER
        },
        'points_ms': median_ms(seconds['points']),
        'scale_ms': {name: median_ms(times) for name, times in anchored.items()},
    }


def _origin(function: Callable[..., Any]) -> str:
    package = function.__module__.partition('.')[0]
    return 'numpy' if package == 'usual_way' else package


def _speedups(seconds: dict[str, list[float]], name: str) -> dict[str, Any]:
    """Compare a way with the two usual ones of the same density."""
    density = name.rpartition(', ')[2]
    return {
        f'x {given}': speedup(seconds[f'usual way, {given}, {density}'], seconds[name])
        for given in ('array', 'list')
    }


def _await_subscribers(publishers: list[Any]) -> None:
    end = time.monotonic() + SUBSCRIBERS_TIMEOUT_S
    while any(publisher.get_subscription_count() == 0 for publisher in publishers):
        if time.monotonic() > end:
            raise SystemExit('the subscribing process did not appear on the ROS graph')
        time.sleep(0.01)


def listen() -> None:
    """Take everything that is published, until the process is stopped."""
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image, PointCloud2

    rclpy.init()
    node = rclpy.create_node('listener')
    for topic in TOPICS:
        kind = PointCloud2 if topic == 'points' else Image
        node.create_subscription(kind, topic, lambda _: None, QoSProfile(depth=5), raw=True)
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)


def main() -> None:
    """Run the measurement and print its table."""
    parser = parser_of(__doc__)
    parser.add_argument('--size', default='640x480', help='of the frame, WIDTHxHEIGHT')
    parser.add_argument('--rounds', type=int, default=60)
    parser.add_argument('--only-further', action='store_true', help='the second table alone')
    parser.add_argument('--role', choices=['listener'], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == 'listener':
        listen()
        return
    keep_apart()
    width, height = map(int, options.size.split('x'))
    figures = measure(width, height, options.rounds, options.only_further)
    show_tables(figures)
    write_figures(options.json, 'ros_side', figures)


def show_tables(figures: dict[str, Any]) -> None:
    """Print the time of each way and its ratio, of each further product and source of scale."""
    rows = [
        (
            name,
            f'{row["median_ms"]:.1f}',
            '{:.1f} to {:.1f}'.format(*row['quartiles_ms']),
            row['x array'],
            row['x list'],
        )
        for name, row in figures.items()
        if isinstance(row, dict) and 'median_ms' in row
    ]
    if rows:
        show_table(
            f'ROS side of {figures["image"]}: decode, depth, std, colour, cloud, publish\n'
            f'usual way by {figures["usual way by"]}',
            ('', 'ms', 'quartiles', 'x array', 'x list'),
            rows,
            width=99,
        )
    show_table(
        f'Further products; the points take {figures["points_ms"]:.1f} ms',
        ('', 'ms', 'ms beside points', 'x points'),
        (
            (name, f'{row["alone_ms"]:.2f}', f'{row["beside_ms"]:.2f}', row['x points'])
            for name, row in figures['costs'].items()
        ),
        width=99,
    )
    show_table(
        'The true scale: a frame anchored by each source',
        ('', 'ms'),
        ((name, f'{spent_ms:.2f}') for name, spent_ms in figures['scale_ms'].items()),
        width=99,
    )


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""The depth node in a process of its own, and a camera with a listener to talk to it over DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import itertools
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

pytest.importorskip('rclpy')

from adabins_ros.messages.fields import stamp_ns  # noqa: E402, I100
from adabins_ros.ros.products import PRODUCTS  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

TYPES = {product.topic: product.kind for product in PRODUCTS}
FRAME_ID = 'camera_color_optical_frame'
FAST = {'inference_size': [128, 160], 'edge_ratio': 0.0}
"""Parameters of a node that is quick on small images, and whose cloud keeps every point."""


class NodeProcess:
    """A ROS executable of this package in its own process, with its output in a file."""

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        namespace: str,
        parameters: dict[str, Any],
        remaps: dict[str, str],
        parameter_file: Path | None = None,
    ) -> None:
        arguments = ['-r', f'__ns:=/{namespace}']
        if 'params_file' in parameters:
            arguments += ['--params-file', str(parameters.pop('params_file'))]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ['-p', f'{name}:={text}']
        for name, target in remaps.items():
            arguments += ['-r', f'{name}:={target}']
        if parameter_file is not None:
            arguments += ['--params-file', str(parameter_file)]
        self._log = log
        with log.open('w') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'adabins_ros.ros.depth_node', '--ros-args', *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """Return what the process has written so far."""
        return self._log.read_text(errors='replace')

    def end(self, number: int = signal.SIGINT, timeout_s: float = 20) -> tuple[int, float]:
        """Send a signal to the process group; return its exit status and how long it took, s."""
        start = time.monotonic()
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(
                f'the node did not end within {timeout_s} s:\n{self.log}'
            ) from None
        return status, time.monotonic() - start


class Station:
    """What surrounds the depth node: a camera that publishes, and a listener to all it says."""

    _numbers = itertools.count()

    def __init__(self, context: Context, namespace: str) -> None:
        self.node: Node = rclpy.create_node(
            f'station_{next(self._numbers)}', namespace=namespace, context=context
        )
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.images = self.node.create_publisher(Image, 'image_raw', best_effort)
        self.camera_infos = self.node.create_publisher(CameraInfo, 'camera_info', 5)
        self.compressed: Any = None
        self.received: dict[str, list[Any]] = {}
        self._subscriptions: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self.last_values: dict[str, str] | None = None
        self.listen('/diagnostics', DiagnosticArray)

    def destroy(self) -> None:
        """Leave the graph."""
        self._executor.remove_node(self.node)
        self.node.destroy_node()

    def listen(self, topic: str, kind: type | None = None) -> None:
        """Keep what is published on a topic from now on."""
        if topic not in self._subscriptions:
            self.received[topic] = []
            self._subscriptions[topic] = self.node.create_subscription(
                kind or TYPES[topic], topic, self.received[topic].append, 10
            )

    def ignore(self, topic: str) -> None:
        """Unsubscribe from a topic."""
        subscription = self._subscriptions.pop(topic, None)
        if subscription is not None:
            self.node.destroy_subscription(subscription)

    def ignore_all(self) -> None:
        """Unsubscribe from everything but the diagnostics."""
        for topic in TYPES:
            self.ignore(topic)

    def spin_until(self, reached: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Run callbacks until something is true; return it, or fail when the time runs out."""
        result = self.spin_for(reached, timeout_s)
        if not result:
            raise AssertionError(f'not reached within {timeout_s} s: {reached}')
        return result

    def spin_for(self, reached: Callable[[], Any], timeout_s: float) -> Any:
        """Run callbacks until something is true or the time has run out; return it."""
        end = time.monotonic() + timeout_s
        while not (result := reached()) and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)
        return result

    def publish(
        self, image: Image | CompressedImage, info: CameraInfo | None, frame_id: str = FRAME_ID
    ) -> int:
        """Publish an image and its camera_info with the stamp of now; return it in ns."""
        image.header.stamp = self.node.get_clock().now().to_msg()
        image.header.frame_id = frame_id
        if info is not None:
            info.header = image.header
            self.camera_infos.publish(info)
        if isinstance(image, CompressedImage):
            if self.compressed is None:
                self.compressed = self.node.create_publisher(
                    CompressedImage, 'image_raw/compressed', 5
                )
            self.compressed.publish(image)
        else:
            self.images.publish(image)
        return stamp_ns(image.header.stamp)

    def exchange(
        self,
        image: Image | CompressedImage,
        info: CameraInfo | None = None,
        *topics: str,
        timeout_s: float = 30.0,
    ) -> dict[str, Any]:
        """
        Show the node an image until it answers on every topic; return the answers.

        The first images can be lost to discovery, so they are sent again after a while. Answers
        carry the stamp of the image (depth/bin_centers has none: its next message is taken).
        """
        topics = topics or ('depth/image',)
        for topic in topics:
            self.listen(topic)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            known = len(self.received.get('depth/bin_centers', []))
            stamp = self.publish(image, info)

            def answers(stamp: int = stamp, known: int = known) -> dict[str, Any] | None:
                found = {topic: self.answer(topic, stamp, known) for topic in topics}
                return None if None in found.values() else found

            if result := self.spin_for(answers, 2.0):
                return result
        raise AssertionError(f'no answer on {", ".join(topics)} within {timeout_s} s')

    def answer(self, topic: str, stamp: int, known: int = 0) -> Any:
        """Return the message of a topic that carries a stamp, or None."""
        messages = self.received[topic]
        if topic == 'depth/bin_centers':
            return messages[-1] if len(messages) > known else None
        return next((m for m in messages if stamp_ns(m.header.stamp) == stamp), None)

    def diagnostics_until(
        self,
        reached: Callable[[Any, dict[str, str]], Any] = lambda status, values: True,
        timeout_s: float = 15.0,
    ) -> tuple[Any, dict[str, str]]:
        """Wait for a status of the depth node that fulfils a condition; return it."""
        name = f'{self.node.get_namespace().strip("/")}/depth_node: depth'
        statuses = self.received['/diagnostics']
        statuses.clear()
        last: tuple[Any, dict[str, str]] = (None, {})
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.spin_for(lambda: statuses, 2.0)
            while statuses:
                status = statuses.pop(0).status[0]
                if status.name != name:
                    continue
                self.last_values = {value.key: value.value for value in status.values}
                last = status, self.last_values
                if reached(*last):
                    return last
        raise AssertionError(f'last status: {last[0] and last[0].message}\n{last[1]}')

    def call(
        self, kind: Any, service: str, request: Any, timeout_s: float = 120.0, once: bool = False
    ) -> Any:
        """
        Call a service of the depth node and return its response.

        The first answers get lost while the service has not found the client, so what may be
        asked twice is asked again after a while.
        """
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f'depth_node/{service}')
            if once:
                # Nothing says when the service has found the client.
                self.spin_until(self._clients[service].service_is_ready, timeout_s)
                self.spin_for(lambda: False, 1.0)
        client = self._clients[service]
        self.spin_until(client.service_is_ready, timeout_s)
        futures = []
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            futures.append(client.call_async(request))
            patience = timeout_s if once else 5.0
            if self.spin_for(lambda: any(future.done() for future in futures), patience):
                return next(future.result() for future in futures if future.done())
        raise AssertionError(f'{service} did not answer within {timeout_s} s')

    def transition(self, label: str) -> bool:
        """Ask for a lifecycle transition; tell whether it succeeded."""
        request = ChangeState.Request()
        request.transition.label = label
        return self.call(ChangeState, 'change_state', request, once=True).success

    def state(self) -> str:
        """Return the node's lifecycle state."""
        return self.call(GetState, 'get_state', GetState.Request()).current_state.label

    def wait_until_active(self) -> None:
        """Wait for autostart to be through."""
        self.spin_until(lambda: self.state() == 'active', 90)

    def set_parameters(self, **values: Any) -> list[Any]:
        """Set parameters of the depth node; return a result with `successful`, `reason` each."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        return self.call(SetParameters, 'set_parameters', request).results

    def get_parameter(self, name: str) -> Any:
        """Return the value of a parameter of the depth node."""
        request = GetParameters.Request(names=[name])
        value = self.call(GetParameters, 'get_parameters', request).values[0]
        return rclpy.parameter.parameter_value_to_python(value)

    def describe(self, names: list[str]) -> list[Any]:
        """Return the descriptors of parameters of the depth node."""
        request = DescribeParameters.Request(names=names)
        return self.call(DescribeParameters, 'describe_parameters', request).descriptors


class Driver:
    """A robot's drivers: a node that publishes messages again and again until it is stopped."""

    def __init__(self, domain: str) -> None:
        self.context = Context()
        rclpy.init(context=self.context, args=[], domain_id=int(domain))
        self.node = rclpy.create_node('driver', context=self.context)
        self.rate_hz, self.clock_s = 10.0, 0.0
        self._stop = threading.Event()
        self._outputs: list[tuple[Any, Any]] = []
        self._thread = threading.Thread(target=self._run)

    def publish(
        self, topic: str, message: Any, reliable: bool = True, frame: str = 'optical'
    ) -> None:
        """Publish a message at each turn, with the stamp of then."""
        way = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        quality = QoSProfile(depth=5, reliability=way)
        message.header = Header(frame_id=frame)
        self._outputs.append((self.node.create_publisher(type(message), topic, quality), message))

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self) -> None:
        """End, and leave the graph."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()

    def _run(self) -> None:
        while not self._stop.wait(1 / self.rate_hz):
            nanoseconds = time.time_ns() + round(self.clock_s * 1e9)
            for publisher, message in self._outputs:
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
                publisher.publish(message)


@pytest.fixture
def domain(ros_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a domain in which nothing else of the tests is."""
    number = str((int(ros_environment['ROS_DOMAIN_ID']) + 50) % 101 + 1)
    for name, value in ros_environment.items():
        if name.startswith(('ROS_', 'FASTDDS_', 'FASTRTPS_')):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv('ROS_DOMAIN_ID', number)
    return number


@pytest.fixture
def driver(domain: str) -> Iterator[Driver]:
    """Return drivers without anything to publish, in a domain of their own."""
    driver = Driver(domain)
    yield driver
    driver.stop()


@pytest.fixture
def start_module(ros_environment: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Return a function that runs a module of adabins_ros.ros; what still runs is ended."""
    started = []

    def start(module: str, *words: object, domain: str = '', **popen: Any) -> Any:
        elsewhere = {'ROS_DOMAIN_ID': domain} if domain else {}
        process = subprocess.Popen(
            [sys.executable, '-m', f'adabins_ros.ros.{module}', *map(str, words)],
            env={**ros_environment, 'COLUMNS': '200', **elsewhere},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **popen,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # The graph holds what a killed one published for 20 s more.
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@pytest.fixture(scope='session')
def ros_context(ros_environment: dict[str, str]) -> Iterator[Context]:
    """Return a ROS context of the test process that meets the child processes over DDS."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ros_environment.items():
            if name.startswith(('ROS_', 'FASTDDS_', 'FASTRTPS_')):
                patch.setenv(name, value)
        context = Context()
        rclpy.init(context=context, domain_id=int(ros_environment['ROS_DOMAIN_ID']))
        yield context
        context.try_shutdown()


@pytest.fixture(scope='session')
def start_node(
    ros_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., NodeProcess]]:
    """Return a function that starts a depth node; whatever still runs at the end is ended."""
    started: list[NodeProcess] = []

    def start(
        namespace: str,
        remaps: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
        parameter_file: Path | None = None,
        **parameters: Any,
    ) -> NodeProcess:
        log = tmp_path_factory.mktemp(namespace) / 'depth_node.log'
        merged = {**ros_environment, **(environment or {})}
        started.append(
            NodeProcess(merged, log, namespace, parameters, remaps or {}, parameter_file)
        )
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture(scope='session')
def make_station(ros_context: Context) -> Callable[[str], Station]:
    """Return a function that makes a station in a namespace."""
    return lambda namespace: Station(ros_context, namespace)


@pytest.fixture(scope='module')
def depth_node(request: pytest.FixtureRequest, start_node: Any) -> Iterator[NodeProcess]:
    """Return an active depth node for the tests of one module, fast on small images."""
    process = start_node(Path(request.node.name).stem, **FAST)
    yield process
    process.end()


@pytest.fixture(scope='module')
def station(request: pytest.FixtureRequest, make_station: Any, depth_node: Any) -> Iterator[Any]:
    """Return the station of the module's depth node, which is active."""
    station = make_station(Path(request.node.name).stem)
    station.wait_until_active()
    yield station
    station.destroy()


@pytest.fixture(scope='session')
def compressed_station(start_node: Any, make_station: Any) -> Iterator[Any]:
    """Return the station of an active node that listens to compressed images."""
    process = start_node('compressed', image_transport='compressed', **FAST)
    station = make_station('compressed')
    station.wait_until_active()
    yield station
    station.destroy()
    process.end()

# SPDX-License-Identifier: Apache-2.0
"""The life of a node's process: spin beside the main thread, and end on a signal in good order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import gc
import os
from pathlib import Path
import signal
import sys
import tempfile
import threading
import traceback
from typing import Any

from adabins_ros.freed_memory import keep_freed_memory
from adabins_ros.ros.topic_names import RosError
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOP_TIMEOUT_S = 0.6
"""How long the end of the process waits for callbacks and for the work begun, each, seconds."""
PAUSE_AFTER_ERROR_S = 0.1


def run_node(make_node: Callable[[], Any], args: list[str] | None) -> int:
    """
    Run a node until SIGINT or SIGTERM ends it.

    Parameters
    ----------
    make_node
        Makes a lifecycle node, once ROS is there. Its method `stop_work(timeout_s)` begins nothing
        more and tells whether what was begun was finished in time; `failed` tells whether it has
        ended itself because it is of no use.
    args
        Command line with --ros-args; None: that of the process.

    Returns
    -------
    status
        Of the process: 0, or 1 if there was no node to run or it has failed.

    """
    stop_signals = StopSignals()
    keep_freed_memory()
    try:
        init_ros(args)
        node = make_node()
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    spinning = SpinningThread(node, stop_signals)
    spinning.start()
    node.get_logger().info(f'stopping: {stop_signals.wait()}')
    stop_signals.ignore()
    at_rest = spinning.stop(STOP_TIMEOUT_S)
    if not (node.stop_work(STOP_TIMEOUT_S) and at_rest):
        # The network, or loading it, can't be interrupted, and an interpreter that ends under a
        # thread inside torch aborts: nothing is left to do but to go.
        node.destroy_node()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(node.failed))
    with contextlib.suppress(RuntimeError):  # somebody may have shut it down already
        node.trigger_shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    # The process ends: collecting torch's many objects would take more than a second.
    gc.freeze()
    return int(node.failed)


def init_ros(args: list[str] | None, context: Context | None = None) -> None:
    """
    Start ROS without its handlers of signals, and also where its log has no folder.

    Raises
    ------
    RosError
        If ROS does not take the arguments, or what the environment says.

    """
    find_log_folder()
    try:
        rclpy.init(args=args, context=context, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # where in its sources it was found helps nobody
        said = str(error).partition(', at /')[0]
        raise RosError(
            f'ROS does not start: {said}; look at what follows --ros-args and at the variables '
            'ROS_*'
        ) from None


@contextlib.contextmanager
def ros_node(name: str, args: list[str]) -> Iterator[Node]:
    """Start ROS with a node that somebody else spins, and end it with the context."""
    init_ros(args)
    try:
        node = rclpy.create_node(name, start_parameter_services=False)
        yield node
        node.destroy_node()
    finally:
        rclpy.try_shutdown()


def find_log_folder() -> None:
    """
    Have ROS write its log into another folder, which is said, where it can't into the usual one.

    ROS would not start without ~/.ros/log: no HOME, or a read-only one, as in many containers.
    """
    home = os.environ.get('ROS_HOME') or os.path.expanduser('~/.ros')
    folder = Path(os.path.expanduser(os.environ.get('ROS_LOG_DIR') or f'{home}/log'))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError
    except OSError:
        unusable = folder
        # Of a new name: any other could be another user's.
        folder = Path(tempfile.mkdtemp(prefix='ros_log_'))
        print(
            f'ROS can not write its log to {unusable}, but does to {folder}; set ROS_LOG_DIR to '
            'choose a folder',
            file=sys.stderr,
        )
    os.environ['ROS_LOG_DIR'] = str(folder)


class StopSignals:
    """
    Turn SIGINT and SIGTERM, from now on, into something to wait for.

    Used with rclpy's own handlers switched off: those shut the ROS context down at once, under
    the feet of whatever is publishing. A signal arrives through a pipe, as the kernel may hand it
    to any thread, and then a main thread that waits for a lock does not wake.
    """

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)

    def put(self) -> None:
        """Ask for the end without a signal; from any thread."""
        with contextlib.suppress(OSError):
            os.write(self._write_end, bytes(1))

    def wait(self) -> str:
        """Wait for a reason to stop and return it in words."""
        number = os.read(self._read_end, 1)[0]
        return signal.Signals(number).name if number else 'the ROS context was shut down'

    def ignore(self) -> None:
        """Let a second Ctrl-C change nothing, up to the very end of the process."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class SpinningThread:
    """
    Run a node's callbacks beside the main thread, which stays free to hear signals.

    Parameters
    ----------
    node
        What to spin.
    stop_signals
        Is told when spinning ends by itself, because the ROS context was shut down.

    """

    def __init__(self, node: Node, stop_signals: StopSignals) -> None:
        self._node = node
        self._stop_signals = stop_signals
        self._stop: Future = Future()
        # A daemon, as loading a model can take longer than a user waits after Ctrl-C.
        self._thread = threading.Thread(target=self._spin, name='executor', daemon=True)

    def start(self) -> None:
        """Begin to run callbacks."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End after the callback in work; tell whether that took less than the timeout."""
        self._stop.set_result(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _spin(self) -> None:
        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(self._node)
        while self._node.context.ok() and not self._stop.done():
            try:
                executor.spin_until_future_complete(self._stop)
            except Exception:  # a failing callback must not end the node
                if not self._node.context.ok():
                    break
                self._node.get_logger().error(f'a callback failed\n{traceback.format_exc()}')
                threading.Event().wait(PAUSE_AFTER_ERROR_S)
        self._stop_signals.put()
        executor.remove_node(self._node)

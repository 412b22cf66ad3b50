# SPDX-License-Identifier: Apache-2.0
"""The life of a node's process: spin beside the main thread, and end on a signal in good order."""

from __future__ import annotations

from queue import SimpleQueue
import signal
import threading
import traceback
from types import FrameType, TracebackType
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

PAUSE_AFTER_ERROR_S = 0.1


class StopSignals:
    """
    Turn SIGINT and SIGTERM into something to wait for, while the context lasts.

    Used with rclpy's own handlers switched off: those shut the ROS context down at once, under
    the feet of whatever is publishing.
    """

    def __init__(self) -> None:
        # A SimpleQueue may be put to from a signal handler, an Event may not.
        self._reasons: SimpleQueue[str] = SimpleQueue()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def put(self, reason: str) -> None:
        """Ask for the end without a signal."""
        self._reasons.put(reason)

    def wait(self) -> str:
        """Wait for a reason to stop and return it in words."""
        return self._reasons.get()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._reasons.put(signal.Signals(number).name)


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
        self._stop_signals.put('the ROS context was shut down')
        executor.remove_node(self._node)

# SPDX-License-Identifier: Apache-2.0
"""Several ROS processes at once: started, listened to, and always ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
import contextlib
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from types import TracebackType

from adabins_ros.dds_profile import set_dds_profile

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_LINES = 15
"""How much of a failed process's output is shown."""
STOP_S = 5.0
"""How long processes may take to end on SIGTERM, seconds."""
# Above 101 the ports of a domain meet those that Linux gives to any program.
DOMAINS = (1, 101)


class ProcessError(RuntimeError):
    """A process has failed; the text names it and ends with its last words."""


def separate_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Return an environment in which child processes meet each other over DDS, and nobody else.

    A ROS_DOMAIN_ID, a discovery range and a Fast DDS profile that the user has set are kept.
    """
    result = dict(environment)
    # The rclpy wheels restart each interpreter once, to find their libraries, and mark that here.
    result.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    result.setdefault('ROS_DOMAIN_ID', str(random.SystemRandom().randint(*DOMAINS)))
    if 'ROS_LOCALHOST_ONLY' not in result:
        result.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    result['PYTHONUNBUFFERED'] = '1'
    set_dds_profile(result)
    return result


class Processes:
    """
    Child processes of this interpreter, by name; all are ended when the context is left.

    Parameters
    ----------
    environment : mapping
        Of the children.

    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._lines: dict[str, deque[str]] = {}
        self._starter = ThreadPoolExecutor(max_workers=1)
        self._events: queue.Queue[tuple[str, str | None]] = queue.Queue()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A second Ctrl-C must not leave one of them behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
        self._starter.shutdown()
        running = [child for child in self._children.values() if child.poll() is None]
        for child in running:
            _send(child, signal.SIGTERM)
        end = time.monotonic() + STOP_S
        for child in running:
            try:
                child.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                _send(child, signal.SIGKILL)
                child.wait()
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def start(self, name: str, module: str, *arguments: str) -> None:
        """Run a Python module; Ctrl-C in the terminal does not reach it, only this process."""
        # In a thread, which no signal interrupts between starting a child and remembering it.
        self._starter.submit(
            self._start, name, [sys.executable, '-m', module, *arguments]
        ).result()

    def interrupt(self, name: str) -> None:
        """Send SIGINT, as Ctrl-C would."""
        _send(self._children[name], signal.SIGINT)

    def wait_for_line(self, name: str, *starts: str, timeout_s: float) -> str:
        """
        Return the next line of a process that starts like this.

        Raises
        ------
        ProcessError
            A process has ended meanwhile, or nothing of the kind has come in time.

        """
        end = time.monotonic() + timeout_s
        while True:
            source, line = self._next_event(end, name)
            if line is None:
                raise self.failure(source, 'has ended too early')
            if source == name and line.startswith(starts):
                return line

    def wait_for_end(self, name: str, timeout_s: float) -> None:
        """
        Wait until a process has ended with status 0.

        Raises
        ------
        ProcessError
            It has failed, another one has ended meanwhile, or it takes too long.

        """
        end = time.monotonic() + timeout_s
        while True:
            source, line = self._next_event(end, name)
            if line is not None:
                continue
            if source != name or self._children[name].wait() != 0:
                raise self.failure(source, 'has ended too early' if source != name else 'failed')
            return

    def failure(self, name: str, what: str) -> ProcessError:
        """Return an error about a process, with its last words."""
        status = self._children[name].poll()
        suffix = '' if status is None else f' with status {status}'
        lines = '\n'.join(f'  {line}' for line in self._lines[name])
        return ProcessError(f'the {name} {what}{suffix}; it said last:\n{lines or "  nothing"}')

    def _next_event(self, end: float, name: str) -> tuple[str, str | None]:
        """Return the next line (None: the end) of a process, with the process's name."""
        while (left := end - time.monotonic()) > 0:
            # In short pieces, as a signal may come to another thread and not wake this one.
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=min(left, 0.2))
        raise self.failure(name, 'takes too long')

    def _start(self, name: str, command: list[str]) -> None:
        child = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,
        )
        self._children[name] = child
        self._lines[name] = deque(maxlen=LAST_LINES)
        threading.Thread(target=self._listen, args=(name, child), daemon=True).start()

    def _listen(self, name: str, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            line = line.rstrip('\n')
            self._lines[name].append(line)
            self._events.put((name, line))
        child.wait()
        self._events.put((name, None))


def _send(child: subprocess.Popen[str], number: int) -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)

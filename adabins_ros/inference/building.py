# SPDX-License-Identifier: Apache-2.0
"""
Engines exported, checked and measured in a process of its own.

That takes torch, timm, the exporter and several engines at once: hundreds of MB, which a process
that will run for days would never get back, and a runtime that crashes must not take it along.
What is built is handed over through the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
from time import monotonic
from typing import TYPE_CHECKING

from adabins_ros.inference.checking import (
    allowed_difference_m,
    largest_difference_m,
    preferred,
    Runs,
    timed,
)
from adabins_ros.inference.engines.engine import Engine, Place
from adabins_ros.inference.engines.onnx_engine import OnnxEngine
from adabins_ros.inference.engines.openvino_engine import OpenVinoEngine
from adabins_ros.inference.kept import Kept, key_of_file, key_of_place
from adabins_ros.inference.onnx_file import is_onnx, OnnxModel, read_onnx
from adabins_ros.model.errors import ModelError
from adabins_ros.package_files import cache_folder
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from adabins_ros.model.adabins import AdaBins

TIME_LIMIT_S = 900.0
"""For exporting, checking and measuring a large network on a small processor."""
_REFUSED = 2
_LOOK_S = 0.2
_PROGRAM = """
import os, sys, threading
os.nice(10)
def end_with_the_one_that_started_this():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_the_one_that_started_this, daemon=True).start()
from adabins_ros.inference.building import build_for_another_process
sys.exit(build_for_another_process(sys.argv[1]))
"""


@dataclass(frozen=True)
class Work:
    """What is to be built, as JSON can hold it."""

    key: str
    folder: str
    engines: list[str]
    """Those to choose from, the simplest first."""
    place: Place
    """Where the engine is to run."""
    file: str = ''
    """A checkpoint to export, or an ONNX file to measure."""
    depth_range: tuple[float, float] | None = None


def build(work: Work, network: AdaBins | None = None) -> None:
    """
    Export, check and measure, and keep what came out.

    Parameters
    ----------
    work : Work
        With a file, unless the network is given.
    network : AdaBins, optional
        In evaluation mode.

    Raises
    ------
    ModelError
        If the file can't be loaded, or was replaced meanwhile.

    """
    kept = Kept(work.key, Path(work.folder))
    where = key_of_place(work.place, work.engines)
    with kept.locked():
        if is_onnx(work.file):
            model = read_onnx(work.file)
            reference: Runs = OnnxEngine(model, Place()).run
        else:
            from adabins_ros.inference.export import ExportError, network_run, write_onnx

            network = network or _loaded(work)
            reference = network_run(network)
            found = kept.exported()
            if found is None:
                try:
                    write_onnx(network, kept.onnx_path)
                except ExportError as error:
                    kept.note_measured(where, engine='', refused={'onnx': str(error)})
                    return
                kept.note_exported()
                found = read_onnx(kept.onnx_path)
            model = found
        _measure(work, model, reference, kept, where)


def open_exported(
    name: str, model: OnnxModel, place: Place, shape: tuple[int, int, int] | None = None
) -> Engine:
    """
    Open an ONNX file with the engine 'onnx' or 'openvino', ready for a shape of its images.

    Raises
    ------
    ModelError
        If the engine is not installed, or can't run the file or at the place.

    """
    if name == 'openvino':
        return OpenVinoEngine(model, place, shape)
    return OnnxEngine(model, place, shape, cache_folder())


class OtherProcess:
    """
    A process that builds; it ends with this one at the latest.

    Parameters
    ----------
    work : Work
        With a file.

    Raises
    ------
    OSError
        If no process can be started.

    """

    def __init__(self, work: Work) -> None:
        self._engines = ' and '.join(work.engines)
        self._end = monotonic() + TIME_LIMIT_S
        self._too_long = False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        environment = dict(os.environ)
        # The rclpy wheels restart each interpreter once, to find their libraries, and mark that.
        environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
        try:
            self._process = subprocess.Popen(
                [sys.executable, '-c', _PROGRAM, TypeAdapter(Work).dump_json(work).decode()],
                env=environment,
                # Closed by the system when this process ends, however it ends.
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                # Ctrl-C in the terminal is for this process.
                start_new_session=True,
            )
        except OSError:
            self._said.close()
            raise

    def is_done(self) -> bool:
        """Tell whether it has ended; it is ended if it took too long."""
        if self._process.poll() is None and monotonic() > self._end:
            self._too_long = True
            self.end()
        return self._process.poll() is not None

    def wait(self, still_wanted: Callable[[], bool] | None = None) -> None:
        """
        Wait until it has ended.

        Raises
        ------
        ModelError
            If it is not wanted any more; it is ended.

        """
        while not self.is_done():
            if still_wanted is not None and not still_wanted():
                self.end()
                raise ModelError(f'engine {self._engines} is not wanted any more')
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, min(_LOOK_S, self._end - monotonic())))

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    @property
    def could_not_start(self) -> bool:
        """Whether it ended before it did any work; no signal did that, nor did it take long."""
        return self._process.returncode > 0 and self._process.returncode != _REFUSED

    @property
    def problem(self) -> str | None:
        """Say what went wrong, once it has ended."""
        code = self._process.returncode
        if self._too_long:
            return (
                f'engine {self._engines} was tried in another process, which was ended after '
                f'{TIME_LIMIT_S / 60:.0f} minutes'
            )
        if code < 0:
            return (
                f'engine {self._engines} was tried in another process, which ended with '
                f'{_signal_name(-code)}'
            )
        if code:
            self._said.seek(0)
            lines = self._said.read().decode(errors='replace').strip().splitlines()
            last = (lines or ['nothing'])[-1]
            return last if code == _REFUSED else f'the process that builds engines failed ({last})'
        return None


def build_for_another_process(text: str) -> int:
    """Do what the process that sent this asked for; return the exit status."""
    try:
        build(TypeAdapter(Work).validate_json(text))
    except ModelError as error:
        print(str(error).replace('\n', ' '), file=sys.stderr)
        return _REFUSED
    return 0


def _measure(work: Work, model: OnnxModel, reference: Runs, kept: Kept, where: str) -> None:
    """Check the engines of an exported network against a reference, and time them in turns."""
    allowed = allowed_difference_m(work.place.precision, model.config)
    engines: dict[str, Engine] = {}
    refused: dict[str, str] = {}
    differences: dict[str, float] = {}
    for name in work.engines:
        try:
            engine = open_exported(name, model, work.place)
        except ModelError as error:
            refused[name] = str(error)
            continue
        differences[name] = largest_difference_m(engine.run, reference, [model.usual_shape])
        if differences[name] <= allowed:
            engines[name] = engine
        else:
            refused[name] = (
                f'{engine.description} differs from the network by {differences[name]:.2g} m, and '
                f'{allowed:.2g} m are allowed for {model.config.name}'
            )
    seconds = timed(engines, model.usual_shape[1:]) if len(engines) > 1 else {}
    kept.note_measured(
        where,
        engine=preferred(seconds) if seconds else next(iter(engines), ''),
        milliseconds={name: round(1e3 * value, 2) for name, value in seconds.items()},
        difference_m=differences,
        refused=refused,
    )


def _loaded(work: Work) -> AdaBins:
    from adabins_ros.model.checkpoint import load_model

    path = Path(work.file)
    network = load_model(path, work.depth_range)
    # Or the engines of one network would be kept under the key of another.
    if key_of_file(path, work.depth_range) != work.key:
        raise ModelError(f'model file {path} was replaced while it was loaded; load it again')
    return network


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'

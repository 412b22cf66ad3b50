# SPDX-License-Identifier: Apache-2.0
"""
Engines exported, checked and measured in a process of its own.

That takes timm, the exporter and several engines at once: hundreds of MB, which a process that
will run for days would never get back, and a runtime that crashes must not take it along. What is
built is handed over through the cache.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import json
import logging
import os
from pathlib import Path
import signal
import subprocess
import sys

from adabins_ros.inference.engines.cache import EngineCache
from adabins_ros.inference.engines.engine import Place
from adabins_ros.inference.engines.source import NetworkSource
from adabins_ros.model.model_file import find_model
from adabins_ros.model.errors import ModelError
import torch

log = logging.getLogger(__name__)

_PROGRAM = """
import ctypes, os, signal, sys

PR_SET_PDEATHSIG = 1  # prctl(2): of the thread that waits for this process
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[2]):
    sys.exit('the process that started this one has ended')
from adabins_ros.inference.engines.opening import build_for_another_process
build_for_another_process(sys.argv[1])
"""


class RuntimeCrashed(ModelError):
    """A runtime has ended the process in which it was tried."""


@dataclass(frozen=True)
class Preparation:
    """What the other process is to do, as JSON can hold it."""

    engine: str
    patient: bool
    file: str
    depth_range: tuple[float, float]
    device: str
    dtype: str
    prefers_gpu: bool
    threads: int
    cache_folder: str

    @classmethod
    def of(
        cls, engine: str, source: NetworkSource, place: Place, cache: EngineCache, patient: bool
    ) -> Preparation | None:
        """Describe the work, or give None if there is no file to start from or nowhere to go."""
        if source.file is None or cache.folder is None or not sys.executable:
            return None
        return cls(
            engine=engine,
            patient=patient,
            file=str(source.file.path.resolve()),
            depth_range=(source.config.min_depth, source.config.max_depth),
            device=str(place.device),
            dtype=str(place.dtype).removeprefix('torch.'),
            prefers_gpu=place.prefers_gpu,
            threads=torch.get_num_threads(),
            cache_folder=str(cache.folder.resolve()),
        )

    def source(self) -> NetworkSource:
        """Open the model file again, in the other process."""
        model = find_model(self.file, self.depth_range)
        assert model is not None
        return NetworkSource(model)

    def place(self) -> Place:
        """Return where the engine is to run."""
        return Place(torch.device(self.device), getattr(torch, self.dtype), self.prefers_gpu)

    def cache(self) -> EngineCache:
        """Return the cache in which both processes look."""
        return EngineCache(Path(self.cache_folder))


def prepare_elsewhere(preparation: Preparation) -> None:
    """
    Do the work in a new process, which ends with this one at the latest.

    What it warns of is logged. If it can't do the work, that is logged, too, and the cache is left
    without the engine.

    Raises
    ------
    RuntimeCrashed
        If a signal has ended it.

    """
    environment = dict(os.environ)
    # The rclpy wheels restart each interpreter once, to find their libraries, and mark that here.
    environment.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    text = json.dumps(asdict(preparation))
    try:
        done = subprocess.run(
            [sys.executable, '-c', _PROGRAM, text, str(os.getpid())],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors='replace',
            # Ctrl-C in the terminal is for this process.
            start_new_session=True,
        )
    except OSError as error:
        log.warning('no process to build engines in: %s; this one does it', error.strerror)
        return
    for line in done.stdout.splitlines():
        log.warning('%s', line)
    if done.returncode < 0:
        raise RuntimeCrashed(
            f'engine {preparation.engine!r} was tried in another process, which ended with '
            f'{_signal_name(-done.returncode)}'
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ['nothing'])[-1]
        log.warning('the process that builds engines failed (%s); this one does it', last)


def read_preparation(text: str) -> Preparation:
    """Take a preparation over in the other process, whose warnings go to standard output."""
    fields = json.loads(text)
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format='%(message)s')
    preparation = Preparation(**{**fields, 'depth_range': tuple(fields['depth_range'])})
    torch.set_num_threads(preparation.threads)
    return preparation


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'

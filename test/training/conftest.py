# SPDX-License-Identifier: Apache-2.0
"""A tiny network and folders of frames, and processes that start with torch loaded already."""

from __future__ import annotations

from collections.abc import Callable
import inspect
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

_TINY = Path(__file__).parent / 'tiny_network.json'
_MOST_SECONDS = 240
# Test modules are no packages that could be imported by their names.
_PROGRAM = """
import importlib.util, os, sys, torch
torch.set_num_threads(1)
with said.open('w') as stream:
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
spec = importlib.util.spec_from_file_location('tested', file)
sys.modules['tested'] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
getattr(module, name)(*arguments)
sys.stdout.flush()
"""


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a tiny network with random weights."""
    from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model') / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(_TINY.read_text())), path)
    return path


@pytest.fixture(scope='session')
def rgbd_folder() -> Callable[..., Path]:
    """Return a function that writes pairs of colour, uint8, and depth, uint16 mm, of 96x64 px."""

    def write(folder: Path, pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> Path:
        for name in ('rgb', 'depth'):
            (folder / name).mkdir(parents=True)
        camera = {'fx': 80.0, 'fy': 80.0, 'cx': 47.5, 'cy': 31.5, 'width': 96, 'height': 64}
        (folder / 'camera.json').write_text(json.dumps(camera))
        for number, (colour, depth) in enumerate(pairs):
            cv2.imwrite(str(folder / 'rgb' / f'{number:03d}.png'), colour)
            cv2.imwrite(str(folder / 'depth' / f'{number:03d}.png'), depth)
        return folder

    return write


@pytest.fixture(scope='session')
def walls(rgbd_folder: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a folder of walls that come nearer."""

    def write(folder: Path, frames: int = 12) -> Path:
        pairs = []
        for number in range(frames):
            ramp = np.linspace(1000, 3000 - 100 * number, 64 * 96)
            depth = ramp.reshape(64, 96).astype(np.uint16)
            pairs.append((np.dstack([(depth / 16).astype(np.uint8)] * 3), depth))
        return rgbd_folder(folder, pairs)

    return write


@pytest.fixture(scope='session')
def apart() -> Callable[..., Callable[[], int]]:
    """
    Return a function that starts a function of a test module in a process of its own.

    It gives a function that waits for the exit status, or minus the signal. The processes are
    forks of one that has loaded torch but never used it, so each starts in a moment. What they
    say goes to the file `said`.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['adabins_ros.training.runs', 'onnx'])

    def start(
        function: Callable[..., Any], *arguments: Any, said: Path = Path(os.devnull)
    ) -> Callable[[], int]:
        file = inspect.getfile(function)
        given = {'file': file, 'name': function.__name__, 'arguments': arguments, 'said': said}
        process = context.Process(target=exec, args=(_PROGRAM, given))
        process.start()

        def wait() -> int:
            process.join(_MOST_SECONDS)
            if process.exitcode is None:
                process.kill()
                raise AssertionError(f'{function} {arguments} did not end')
            return process.exitcode

        return wait

    return start

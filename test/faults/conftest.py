# SPDX-License-Identifier: Apache-2.0
"""The way of a camera's frames as the node goes it, and commands as a shell starts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import subprocess
import sys
import threading
from typing import Any

import numpy as np
from PIL import Image as Picture
import pytest

WAIT_S = 20.0
# Without a second engine there is none to build and to measure first.
_WITHOUT_OPENVINO = """
import sys
sys.modules['openvino'] = None
from adabins_ros.cli import main
main()
"""
ADABINS = (sys.executable, '-c', _WITHOUT_OPENVINO)


class FrameWay:
    """A worker, a pipeline and the embedded network: all of a node but its topics."""

    name = ''

    def __init__(self, topic: str = '/camera/image_raw', **parameters: Any) -> None:
        from adabins_ros import DepthPredictor
        from adabins_ros.ros.camera_source import CameraSource
        from adabins_ros.ros.diagnostics import FrameStatistics
        from adabins_ros.ros.frame_worker import FrameWorker
        from adabins_ros.ros.parameters import DepthNodeSettings
        from adabins_ros.ros.pipeline import DepthPipeline

        self.said: dict[str, str] = {}
        self.cameras = CameraSource('/camera/camera_info', self.said.__setitem__)
        self.cameras.image_topic = topic
        self._settings = DepthNodeSettings().with_values(parameters)
        predictor = DepthPredictor.from_pretrained('adabins-lite', engine='onnx')
        self._pipeline = DepthPipeline(
            predictor, self.cameras, FrameStatistics(), self.said.__setitem__
        )
        self._done = threading.Event()
        self._worker = FrameWorker(lambda: None)
        self._worker.start()
        self.made: dict[str, Any] = {}

    def process(self, message: Any, arrived_s: float) -> None:
        """Compute depth and points, as a camera's stream does."""
        wanted = ('image', 'points')
        for product, made in self._pipeline.messages(message, wanted, self._settings):
            self.made[product.name] = made
        self._done.set()

    def give_up(self, cause: str, text: str) -> None:
        """Note what a frame led to."""
        self.said[cause] = text
        self._done.set()

    def show(self, image: Any, info: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """Hand an image over; return what was said, and what was made."""
        self.said.clear()
        self.made = {}
        self._done.clear()
        if info is not None:
            self.cameras.update(info)
        self._worker.put(self, image)
        assert self._done.wait(WAIT_S)
        self._worker.wait_for_frame()
        return dict(self.said), self.made

    def close(self) -> None:
        """End the thread."""
        self._worker.stop(WAIT_S)


@pytest.fixture(scope='module')
def frame_way() -> Iterator[FrameWay]:
    """Return the way of a camera whose images may be rectified."""
    way = FrameWay(rectify=True, edge_ratio=0.0, pixel_budget=160 * 128)
    yield way
    way.close()


@pytest.fixture(scope='session')
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a photo that can be predicted."""
    path = tmp_path_factory.mktemp('photo') / 'good.png'
    rgb = np.random.default_rng(2).integers(0, 255, (48, 64, 3), np.uint8)
    Picture.fromarray(rgb).save(path)
    return path


Ran = subprocess.CompletedProcess[str]


@pytest.fixture(scope='session')
def adabins_program() -> tuple[str, ...]:
    """Return the words that start `adabins`."""
    return ADABINS


@pytest.fixture(scope='session')
def run_adabins(ros_environment: dict[str, str]) -> Callable[..., Ran]:
    """Return a function that runs `adabins` in an environment, with options of Popen."""

    def run(*words: object, environment: dict[str, str] | None = None, **options: Any) -> Ran:
        pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'timeout': 60}
        return subprocess.run(
            [*ADABINS, *map(str, words)],
            env={k: v for k, v in {**ros_environment, **(environment or {})}.items() if v},
            cwd=options.pop('cwd', os.sep),
            text=True,
            errors='replace',
            **{**pipes, **options},
        )

    return run

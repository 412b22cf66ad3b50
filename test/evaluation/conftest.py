# SPDX-License-Identifier: Apache-2.0
"""Frames whose colour tells their depth, and networks small enough for a test."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path

from adabins_ros.inference.predictor import DepthEstimate
from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint
import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
import torch

HEIGHT, WIDTH = 64, 96
LEVELS_PER_METRE = 40


class ColourReader:
    """
    Predicts the depth that the red of a picture tells, wrong by a factor for each call.

    `seen` holds the size of each picture and its focal length.
    """

    def __init__(self, *factors: float, std: float = 0.1) -> None:
        self.factors = factors or (1.0,)
        self.std = std
        self.seen: list[tuple[tuple[int, ...], float | None]] = []

    def predict(
        self, image: NDArray[np.uint8], focal_length_px: float | None = None
    ) -> DepthEstimate:
        factor = self.factors[len(self.seen) % len(self.factors)]
        self.seen.append((image.shape, focal_length_px))
        depth = image[..., 0].astype(np.float32) / LEVELS_PER_METRE * np.float32(factor)
        std = np.full_like(depth, self.std)
        return DepthEstimate(depth, std, np.zeros(0, np.float32), image.shape[:2])


def write_frame(colour: Path, depth: Path, metres: NDArray[np.float64], units: float) -> None:
    """Write a picture whose red tells the depth, without loss, and the depth as 16-bit PNG."""
    red = np.rint(metres * LEVELS_PER_METRE)
    picture = np.dstack([np.zeros_like(red), np.full_like(red, 90), red]).astype(np.uint8)
    for file, image in (
        (colour, picture),
        (depth, np.rint(red / LEVELS_PER_METRE * units).astype(np.uint16)),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), image)


@pytest.fixture
def colour_reader() -> type[ColourReader]:
    """Return the predictor that needs no network."""
    return ColourReader


@pytest.fixture
def frame_writer() -> Callable[..., None]:
    """Return the function that writes a frame."""
    return write_frame


@pytest.fixture
def walls(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an RGB-D folder of slanted walls that come nearer."""

    def write(name: str = 'walls', frames: int = 6) -> Path:
        folder = tmp_path / name
        for number in range(frames):
            metres = np.tile(np.linspace(1, 5 - 0.25 * number, WIDTH), (HEIGHT, 1))
            stem = f'{number:03}.png'
            write_frame(folder / 'rgb' / stem, folder / 'depth' / stem, metres, 1000)
        camera = {'fx': 80.0, 'fy': 80.0, 'cx': 47.5, 'cy': 31.5, 'width': WIDTH, 'height': HEIGHT}
        (folder / 'camera.json').write_text(json.dumps(camera))
        return folder

    return write


@pytest.fixture
def tiny_model(repository: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a tiny network with random weights."""

    def save(**changes: object) -> Path:
        text = (repository / 'test' / 'training' / 'tiny_network.json').read_text()
        config = AdaBinsConfig.model_validate_json(text).model_copy(update=changes)
        torch.manual_seed(0)
        path = tmp_path / f'{config.bin_strategy}.safetensors'
        save_checkpoint(AdaBins(config), path)
        return path

    return save

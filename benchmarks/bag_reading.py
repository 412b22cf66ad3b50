# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast training reads: pairs from an uncompressed mcap, and the loader with workers.

Writes a recording of 640x480 noise into a temporary folder, so that nothing compresses away.
Run it as `python benchmarks/bag_reading.py`; one row per way of reading.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import platform
import tempfile
import time

from adabins_ros.bags import RecordingWriter
from adabins_ros.datasets.bag_source import BagSource
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, image_fields
from adabins_ros.training.augmentation import Augmentation
from adabins_ros.training.config import AugmentationConfig
from adabins_ros.training.dataset import RgbdDataset
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
import torch
from torch.utils.data import DataLoader

IMAGE = 'sensor_msgs/msg/Image'
STEP_NS = 33_333_333


def record(path: Path, frames: int) -> None:
    """Write a recording of uncompressed 640x480 colour and 16UC1 depth."""
    rng = np.random.default_rng(0)
    camera = PinholeCamera.from_horizontal_fov(640, 480, 60)
    picture = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    depth = rng.integers(0, 6000, (480, 640), dtype=np.uint16)
    with RecordingWriter(path) as writer:
        for frame in range(frames):
            log_ns = 1_700_000_000_000_000_000 + frame * STEP_NS
            for topic, kind, fields in (
                ('/camera/image_raw', IMAGE, image_fields(np.roll(picture, frame), 'rgb8')),
                ('/camera/depth/image_raw', IMAGE, image_fields(depth, '16UC1')),
                ('/camera/camera_info', 'sensor_msgs/msg/CameraInfo', camera_info_fields(camera)),
            ):
                writer.write(topic, kind, fields, log_ns=log_ns, frame_id='camera')


def resident_mb() -> float:
    """Return the memory of this process, MB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--frames', type=int, default=240)
    parser.add_argument('--seconds', type=float, default=8, help='per row')
    parser.add_argument('--workers', type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    table = Table(title=f'{platform.machine()}, {os.cpu_count()} cores', title_justify='left')
    for heading in ('what', 'pairs/s', 'memory before', 'after'):
        table.add_column(heading)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'noise.mcap'
        record(path, options.frames)
        start = time.perf_counter()
        source = BagSource(path)
        opening = time.perf_counter() - start
        size = path.stat().st_size / 1e6
        order = np.random.default_rng(0).permutation(len(source)).tolist()
        frames = [(0, index) for index in order]
        for name, numbers in (('in order', sorted(order)), ('at random', order)):
            before, count, start = resident_mb(), 0, time.perf_counter()
            while time.perf_counter() - start < options.seconds:
                source[numbers[count % len(numbers)]]
                count += 1
            rate = count / (time.perf_counter() - start)
            table.add_row(
                f'640x480 pairs, one process, {name}',
                f'{rate:.0f}',
                f'{before:.0f} MB',
                f'{resident_mb():.0f} MB',
            )
        dataset = RgbdDataset([source], frames, (240, 320), Augmentation(AugmentationConfig()))
        loader = DataLoader(
            dataset, batch_size=8, num_workers=options.workers, persistent_workers=True
        )
        for epoch in ('first epoch', 'second epoch'):
            before, start = resident_mb(), time.perf_counter()
            count = sum(len(batch['name']) for batch in loader)
            rate = count / (time.perf_counter() - start)
            table.add_row(
                f'240x320 with all changes, {options.workers} workers, {epoch}',
                f'{rate:.0f}',
                f'{before:.0f} MB',
                f'{resident_mb():.0f} MB',
            )
    console = Console()
    console.print(table)
    console.print(f'{size:.0f} MB were indexed in {opening:.2f} s')


if __name__ == '__main__':
    main()

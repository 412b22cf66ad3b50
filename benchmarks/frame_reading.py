# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast frames come: out of an uncompressed mcap, once, and to training with workers.

Writes a recording of 640x480 into a temporary folder, of smoothed noise over ramps: as hard to
compress as pictures are. Run it as `python benchmarks/frame_reading.py`. It prints one row per way
of reading, and the memory of the loader and its workers over an epoch.
"""

from __future__ import annotations

import os
from pathlib import Path
import tempfile
import time
from typing import Any

from adabins_ros.frames import FolderSource
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import camera_info_fields, image_fields
from adabins_ros.recordings import extract_frames, RecordingWriter
from adabins_ros.training.augmentation import Augmentation
from adabins_ros.training.config import AugmentationConfig
from adabins_ros.training.dataset import RgbdDataset
import cv2
from interleaved import parser_of, show_table, write_figures
import numpy as np
import torch
from torch.utils.data import DataLoader

IMAGE = 'sensor_msgs/msg/Image'
STEP_NS = 33_333_333
# Batches between two looks at the memory.
_SAMPLED_EVERY = 4


def record(path: Path, frames: int) -> None:
    """Write a recording of uncompressed 640x480 colour and 16UC1 depth."""
    rng = np.random.default_rng(0)
    camera = PinholeCamera.from_horizontal_fov(640, 480, 60)
    noise = cv2.GaussianBlur(rng.normal(0, 60, (480, 640, 3)), (0, 0), 1.5)
    ramp = np.linspace(40, 200, 640)[:, None]
    picture = np.clip(noise + ramp, 0, 255).astype(np.uint8)
    steps = np.linspace(800, 6000, 480)[:, None]
    depth = (steps + rng.normal(0, 4, (480, 640))).astype(np.uint16)
    with RecordingWriter(path) as writer:
        for frame in range(frames):
            log_ns = 1_700_000_000_000_000_000 + frame * STEP_NS
            for topic, kind, fields in (
                ('/camera/image_raw', IMAGE, image_fields(np.roll(picture, frame), 'rgb8')),
                ('/camera/depth/image_raw', IMAGE, image_fields(depth, '16UC1')),
                ('/camera/camera_info', 'sensor_msgs/msg/CameraInfo', camera_info_fields(camera)),
            ):
                writer.write(topic, kind, fields, log_ns=log_ns, frame_id='camera')


def memory_mb() -> float:
    """Return the memory of this process and its workers, MB, what they share counted once."""
    children = Path(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read_text().split()
    total = 0
    for process in (str(os.getpid()), *children):
        for line in Path(f'/proc/{process}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                total += int(line.split()[1])
    return total * 1024 / 1e6


def read_in_turn(source: FolderSource, numbers: list[int], seconds: float) -> float:
    """Return how many frames a second one process decodes."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        source[numbers[count % len(numbers)]]
        count += 1
    return count / (time.perf_counter() - start)


def memory_over_epoch(loader: DataLoader[dict[str, Any]]) -> tuple[float, float]:
    """Return the mean memory in the first and in the last quarter of an epoch, MB."""
    seen = []
    for number, _ in enumerate(loader):
        if number % _SAMPLED_EVERY == 0:
            seen.append(memory_mb())
    quarter = max(1, len(seen) // 4)
    return float(np.mean(seen[:quarter])), float(np.mean(seen[-quarter:]))


def main() -> None:
    """Measure and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument('--frames', type=int, default=480)
    parser.add_argument('--seconds', type=float, default=8, help='per row')
    parser.add_argument('--workers', type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []

    def add(what: str, rate: float) -> None:
        rows.append({'what': what, 'frames_per_s': rate, 'memory_mb': memory_mb()})

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'noise.mcap'
        record(path, options.frames)
        start = time.perf_counter()
        (made,) = extract_frames([path], Path(folder) / 'frames')
        add('640x480 extracted', options.frames / (time.perf_counter() - start))
        source = FolderSource(made, recording=True)
        order = np.random.default_rng(0).permutation(len(source)).tolist()
        rate = read_in_turn(source, order, options.seconds)
        add('640x480 of the folder, one process, at random', rate)
        frames = [(0, index) for index in order]
        dataset = RgbdDataset([source], frames, (240, 320), Augmentation(AugmentationConfig()))
        loader = DataLoader(
            dataset, batch_size=8, num_workers=options.workers, persistent_workers=True
        )
        for epoch in ('first epoch', 'second epoch'):
            start = time.perf_counter()
            count = sum(len(batch['name']) for batch in loader)
            rate = count / (time.perf_counter() - start)
            add(f'240x320 with all changes, {options.workers} workers, {epoch}', rate)
        first, last = memory_over_epoch(loader)
    show_table(
        'frames',
        ('what', 'frames/s', 'memory after'),
        (
            (row['what'], f'{row["frames_per_s"]:.0f}', f'{row["memory_mb"]:.0f} MB')
            for row in rows
        ),
    )
    print(
        f'memory with {options.workers} workers: {first:.0f} MB in the first quarter of an epoch, '
        f'{last:.0f} MB in the last'
    )
    figures = {'rows': rows, 'epoch_quarters_mb': (first, last)}
    write_figures(options.json, 'frame_reading', figures)


if __name__ == '__main__':
    main()

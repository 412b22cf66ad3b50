# SPDX-License-Identifier: Apache-2.0
"""
How far depth/scan is off, beam by beam, beside how far the depth that it is made of is off.

`python benchmarks/scan_errors.py FOLDER ... [--model FILE] [--sure-std K] [--max-std-ratio R]`

Each FOLDER is an RGB-D folder with `poses.txt`: camera to world, 4x4 row by row, optical axes,
world z up and 0 on the floor. A beam's truth is the nearest true point between the heights, of all
pixels whose direction is nearest to the beam's. A beam that says nothing (NaN) is counted, but has
no error; one that says free (+Inf) where something stands is too far.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adabins_ros import DepthPredictor
from adabins_ros.frames import RgbdFolder
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.depth_encoding import range_to_show
from adabins_ros.geometry.gates import flying_pixels, valid_points
from adabins_ros.geometry.laser_scan import Scan, scan_depth
from interleaved import parser_of, show_table, write_figures
import numpy as np
from numpy.typing import NDArray

TOO_FAR = 1.3
COLUMNS = ('pitch', 'frames', 'depth', 'scan', 'ratio', 'too far', 'too near', 'NaN')


def true_ranges(
    true: NDArray[np.float32],
    camera: PinholeCamera,
    pose: NDArray[np.float64],
    heights_m: tuple[float, float],
    scan: Scan,
) -> NDArray[np.float64]:
    """Return the range of the nearest true obstacle of each beam, m; infinite where none is."""
    rows, columns = np.nonzero(true > 0)
    z = true[rows, columns].astype(np.float64)
    rays = np.stack([(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, 1 + 0 * z])
    east, north, above = pose[:3, :3] @ rays * z
    stands = (above + pose[2, 3] >= heights_m[0]) & (above + pose[2, 3] <= heights_m[1])
    angle = np.arctan2(north, east) - np.arctan2(pose[1, 2], pose[0, 2])
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    beam = np.rint((angle - scan.angle_min) / scan.angle_increment).astype(int)
    seen = stands & (beam >= 0) & (beam < len(scan.ranges))
    ranges = np.full(len(scan.ranges), np.inf)
    np.minimum.at(ranges, beam[seen], np.hypot(east, north)[seen])
    return ranges


def measure(root: Path, predictor: DepthPredictor, options: Any) -> dict[str, float]:
    """Return the errors of a recording's scans and of its depth."""
    folder, poses = RgbdFolder(root), np.loadtxt(root / 'poses.txt').reshape(-1, 4, 4)
    heights = options.min_height, options.max_height
    depth_errors, ratios, unknown, pitches = [], [], [], []
    for frame, pose in list(zip(folder.frames, poses, strict=True))[:: options.step]:
        true, camera = folder.depth_m(frame), frame.camera
        estimate = predictor.predict(folder.colour(frame), camera.fx)
        config, scale = predictor.config, estimate.focal_scale
        limits = range_to_show(0.0, 0.0, config.min_depth * scale, config.max_depth * scale)
        trusted = valid_points(
            estimate.depth,
            estimate.std,
            min_depth=limits[0],
            max_depth=np.inf,
            max_std_ratio=options.max_std_ratio,
            stride=options.stride,
        )
        down = -pose[2, :3]
        scan = scan_depth(
            estimate.depth,
            trusted & ~flying_pixels(estimate.depth, 0.05, options.stride),
            camera,
            down,
            float(pose[2, 3]),
            heights_m=heights,
            range_m=limits,
            stride=options.stride,
            safe_depth=estimate.depth - np.float32(options.sure_std) * estimate.std,
            trusted=trusted,
        )
        truth = true_ranges(true, camera, pose, heights, scan)
        known = true > 0
        depth_errors.append(np.abs(estimate.depth[known] / true[known] - 1))
        there = np.isfinite(truth)
        said = there & ~np.isnan(scan.ranges)
        ratios.append(scan.ranges[said] / truth[said])
        unknown.append(1 - said.sum() / max(there.sum(), 1))
        pitches.append(np.degrees(np.arcsin(down[2] / np.linalg.norm(down))))
    ratio = np.concatenate(ratios)
    depth, scan_error = np.median(np.concatenate(depth_errors)), np.median(np.abs(ratio - 1))
    return {
        'pitch': float(np.median(pitches)),
        'frames': len(pitches),
        'depth': float(depth),
        'scan': float(scan_error),
        'ratio': float(scan_error / depth),
        'too far': float((ratio > TOO_FAR).mean()),
        'too near': float((ratio < 1 / TOO_FAR).mean()),
        'NaN': float(np.mean(unknown)),
    }


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument('folders', nargs='+', type=Path)
    parser.add_argument('--model', default='adabins-lite')
    parser.add_argument('--step', type=int, default=1, help='take every n-th frame')
    parser.add_argument('--stride', type=int, default=2, help='the parameter point_stride')
    parser.add_argument('--min-height', type=float, default=0.1)
    parser.add_argument('--max-height', type=float, default=1.0)
    parser.add_argument('--sure-std', type=float, default=0.0)
    parser.add_argument('--max-std-ratio', type=float, default=0.0)
    options = parser.parse_args()
    predictor = DepthPredictor.from_pretrained(options.model)
    figures = {root.name: measure(root, predictor, options) for root in options.folders}
    show_table(
        f'Scan and depth against the truth; {options.model}',
        ('', *COLUMNS),
        ([name, *(f'{row[key]:.3g}' for key in COLUMNS)] for name, row in figures.items()),
        width=99,
    )
    write_figures(options.json, 'scan_errors', figures)


if __name__ == '__main__':
    main()

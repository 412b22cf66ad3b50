# SPDX-License-Identifier: Apache-2.0
"""
Draw docs/scale.png: what a lidar's line makes of depth, seen from above.

`python docs/scale_picture.py OUTPUT.png`

Of the sample recording, the frame on which the line changes most. Grey is the room, black the
line of a lidar 0.5 m above the camera, orange depth near its height before and blue after.
"""

from __future__ import annotations

import sys
from typing import Any

from adabins_ros import DepthPredictor
from adabins_ros.evaluation.frames import open_frames
from adabins_ros.evaluation.simulated_sensors import (
    BEAM_STEP,
    FARTHEST_M,
    FIRST_BEAM,
    lidar,
    LIDAR_POSE,
    scan,
    View,
)
from adabins_ros.package_files import package_file
from adabins_ros.scale import MetricScale
from adabins_ros.scale.sensor_points import optical_from_sensor, scan_points
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

BAND_M = 0.25


def from_above(view: View, depth: NDArray[Any]) -> NDArray[Any]:
    """Return (2, N) metres to the right and ahead, of what is true about the lidar's height."""
    rows, columns = np.nonzero(view.true > 0)
    true, z = view.true[rows, columns], depth[rows, columns]
    up = -(rows - view.camera.cy) / view.camera.fy * true
    near = np.abs(up - LIDAR_POSE[2]) < BAND_M
    return np.stack([(columns - view.camera.cx) / view.camera.fx * z, z])[:, near]


def off(view: View, depth: NDArray[Any]) -> float:
    """Return the median relative error."""
    known = view.true > 0
    return float(np.median(np.abs(depth[known] / view.true[known] - 1)))


predictor = DepthPredictor.from_pretrained('adabins-lite')
found = []
pose = optical_from_sensor(LIDAR_POSE)
for _, sample in open_frames('bags', [package_file('samples/living_room.mcap')]).read():
    assert not isinstance(sample, Exception)
    estimate = predictor.predict(sample.image, sample.focal_length_px)
    view = View(estimate.depth, estimate.std, sample.depth, sample.camera)
    scale = MetricScale()
    predicted, measured, std = lidar(view)
    scale.update(predicted, measured, std)
    after = scale.at(0.0).depth(view.depth)
    found.append((off(view, view.depth) - off(view, after), view, after))
_, view, after = max(found, key=lambda one: one[0])
hits = scan_points(scan(view), FIRST_BEAM, BEAM_STEP, 0.05, FARTHEST_M)
line = hits @ pose[:3, :3].T + pose[:3, 3]
figure = Figure(figsize=(8, 3.7), dpi=100, layout='constrained')
panels = figure.subplots(1, 2, sharey=True)
for axes, title, color, depth in (
    (panels[0], 'the network alone', '#d1731f', view.depth),
    (panels[1], "with the lidar's line", '#2563a8', after),
):
    axes.plot(*from_above(view, view.true), '.', color='#c4c8ce', markersize=3)
    axes.plot(*from_above(view, depth)[:, ::3], '.', color=color, markersize=1.2)
    axes.plot(line[:, 0], line[:, 2], '.', color='black', markersize=3)
    axes.plot(0, 0, '^', color='black', markersize=9)
    axes.set(xlim=(-3, 3), ylim=(-0.3, 5.4))
    axes.set_title(f'{title}: {off(view, depth):.0%} off (median)', fontsize=10)
    axes.set_xlabel('to the right, m')
    axes.set_aspect('equal')
panels[0].set_ylabel('ahead, m')
FigureCanvasAgg(figure).print_png(sys.argv[1])

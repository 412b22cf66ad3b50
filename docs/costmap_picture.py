# SPDX-License-Identifier: Apache-2.0
"""
Draw docs/costmap.png: what Nav2's voxel layer makes of a walk through a room, seen from above.

`python docs/costmap_picture.py FOLDER OUTPUT.png`

FOLDER is an RGB-D folder with `poses.txt` (camera to world, 4x4 row by row, optical axes, world z
up and 0 on the floor). The node's messages of each frame go into the tests' model of the layer,
with config/nav2_depth.yaml: of the network alone, and anchored by a lidar 0.5 m above the camera.
Black cells are lethal, white ones free, grey ones unknown; green is what stands there in truth,
orange the walk.
"""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
import sys
from typing import Any

from adabins_ros import DepthPredictor
from adabins_ros.evaluation.simulated_sensors import lidar, View
from adabins_ros.frames import RgbdFolder
from adabins_ros.inference.resizing import sampled
from adabins_ros.messages.fields import camera_info_fields, ros_fields
from adabins_ros.messages.images import image_fields
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.diagnostics import FrameStatistics
from adabins_ros.ros.frame import Frame
from adabins_ros.ros.parameters import DepthNodeSettings
from adabins_ros.ros.pipeline import DepthPipeline
from adabins_ros.scale import EvidenceError, MetricScale
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
import numpy as np
from sensor_msgs.msg import CameraInfo, Image
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'test' / 'ros'))
from test_nav2_costmap import (  # noqa: E402, I100
    CELLS,
    FREE,
    LETHAL,
    RESOLUTION_M,
    UNKNOWN,
    VoxelLayer,
)
from adabins_ros.messages.clouds import read_cloud  # noqa: E402, I100

folder = RgbdFolder(Path(sys.argv[1]))
poses = np.loadtxt(Path(sys.argv[1]) / 'poses.txt').reshape(-1, 4, 4)
parameters = yaml.safe_load((ROOT / 'config' / 'nav2_depth.yaml').read_text())
layer_settings = parameters['local_costmap']['local_costmap']['ros__parameters']['depth_layer']
middle = np.array([*poses[:, :2, 3].mean(axis=0), 0.0])


def points_in_map(message: Any, pose: Any) -> Any:
    """Return the finite points of a cloud, (N, 3), m."""
    cloud = read_cloud(message).reshape(-1)
    points = np.stack([cloud[axis] for axis in 'xyz'], -1).astype(float)
    points = points[np.isfinite(points).all(axis=1)]
    return points @ pose[:3, :3].T + pose[:3, 3] - middle


def walked(predictor: DepthPredictor, anchored: bool) -> VoxelLayer:
    """Return the layer at the end of the walk."""
    layer, scale = VoxelLayer(layer_settings), MetricScale()
    true = np.zeros((1, 1), np.float32)

    def anchor(frame: Frame) -> Frame:
        estimate = frame.estimated
        if not anchored:
            return frame
        # Depth is scaled before it is up-sampled.
        height, width = estimate.depth.shape
        camera = frame.camera.with_corners_kept(width, height)
        view = View(estimate.depth, estimate.std, sampled(true, (height, width)), camera)
        predicted, measured, std = lidar(view)
        try:
            scale.update(predicted, measured, std, stamp_s=number / 15)
        except EvidenceError:
            pass
        depth, std = scale.at(number / 15).scaled(estimate.depth, estimate.std)
        return replace(frame, estimate=replace(estimate, depth=depth, std=std))

    cameras = CameraSource('camera_info', print)
    pipeline = DepthPipeline(predictor, cameras, FrameStatistics(), print, anchor)
    for number, (frame, pose) in enumerate(zip(folder.frames, poses, strict=True)):
        true = folder.depth_m(frame)
        cameras.update(CameraInfo(**ros_fields(camera_info_fields(frame.camera))))
        settings = DepthNodeSettings().with_values(
            {
                **parameters['/**/depth_node']['ros__parameters'],
                'camera_height': float(pose[2, 3]),
                'camera_pitch': math.degrees(math.asin(-pose[2, 2])),
            }
        )
        image = Image(**ros_fields(image_fields(folder.colour(frame), 'rgb8')))
        made = pipeline.messages(image, {'points', 'points_clearing'}, settings)
        seen = {f'/{product.topic}': points_in_map(said, pose) for product, said in made}
        layer.take(seen, pose[:3, 3] - middle)
    return layer


def stands() -> Any:
    """Return the true places of what stands between the heights that mark, (N, 2), m."""
    found = []
    for frame, pose in zip(folder.frames, poses, strict=True):
        depth = folder.depth_m(frame)
        rows, columns = np.nonzero(depth > 0)
        z = depth[rows, columns]
        camera = frame.camera
        rays = [(columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z, z]
        points = np.stack(rays, -1) @ pose[:3, :3].T + pose[:3, 3] - middle
        low, high = layer_settings['min_obstacle_height'], layer_settings['max_obstacle_height']
        tall = points[(points[:, 2] > low) & (points[:, 2] < high), :2]
        found.append(np.unique(np.round(tall / RESOLUTION_M), axis=0))
    return np.unique(np.concatenate(found), axis=0) * RESOLUTION_M


predictor = DepthPredictor.from_pretrained('adabins-lite')
figure = Figure(figsize=(8, 3.9), dpi=100, layout='constrained')
panels = figure.subplots(1, 2, sharey=True)
reach = RESOLUTION_M * CELLS / 2
true, walk = stands(), poses[:, :2, 3] - middle[:2]
for axes, title, anchored in (
    (panels[0], 'the network alone', False),
    (panels[1], "with the lidar's line", True),
):
    cells = walked(predictor, anchored).cells
    shown = np.select([cells == UNKNOWN, cells == FREE, cells == LETHAL], [0, 1, 2])
    # The camera looks against the map's x axis: up in the picture.
    axes.imshow(
        shown[::-1],
        origin='lower',
        extent=(-reach, reach, -reach, reach),
        cmap=ListedColormap(['#c4c8ce', '#ffffff', '#1b1f24']),
        interpolation='nearest',
    )
    axes.plot(true[:, 1], -true[:, 0], 's', color='#2f9e5f', markersize=1.6, alpha=0.35)
    axes.plot(walk[:, 1], -walk[:, 0], color='#d1731f', linewidth=3)
    axes.set(xlim=(-2.7, 2.7), ylim=(-0.5, 4.0), title=title)
    axes.set_xlabel('to the right, m')
panels[0].set_ylabel('ahead, m')
FigureCanvasAgg(figure).print_png(sys.argv[2])

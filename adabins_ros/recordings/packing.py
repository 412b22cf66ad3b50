# SPDX-License-Identifier: Apache-2.0
"""Recordings from RGB-D folders."""

from __future__ import annotations

import os
from typing import Any

from adabins_ros.camera_topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, POINT_CLOUD
from adabins_ros.frames.errors import RecordingError
from adabins_ros.frames.kitti_lidar import FolderLidar
from adabins_ros.frames.rgbd_folder import FolderFrame, read_bytes, RgbdFolder
from adabins_ros.messages import (
    camera_info_fields,
    cloud_fields,
    compressed_depth_fields,
    compressed_rgb_fields,
    image_fields,
    stamp_from_ns,
)
from adabins_ros.messages.matrices import quaternion
from adabins_ros.messages.still_pictures import picture_kind

from .writer import RecordingWriter

COLOUR_TOPIC = '/camera/image_raw'
LIDAR_TOPIC = '/velodyne_points'
DEPTH_TOPIC = '/camera/depth/image_raw'
CAMERA_INFO_TOPIC = '/camera/camera_info'
BASE_FRAME = 'camera_link'
OPTICAL_FRAME = 'camera_color_optical_frame'
LIDAR_FRAME = 'velodyne'
_PNG_LEVEL = 6


def pack_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    start: int | None = None,
    stop: int | None = None,
    rate_hz: float | None = None,
    compressed: bool = True,
    depth: bool = True,
) -> int:
    """
    Make a recording from an RGB-D folder.

    Topics are /camera/image_raw, /camera/depth/image_raw (16UC1, mm), /camera/camera_info and
    /tf_static (camera_link to the optical frame, REP 103). Compressed, the pictures are on
    /camera/image_raw/compressed and /camera/depth/image_raw/compressedDepth (PNG, lossless); a
    JPEG of the folder goes in as it is. A negative fy (pictures stored upside down, ICL-NUIM) is
    written into camera_info as it is: the pictures are not turned.

    A folder with KITTI's velodyne/STEM.bin and calib.txt also gets /velodyne_points and the place
    of the lidar in /tf_static.

    Parameters
    ----------
    folder, output : path
        The output is a .mcap file, or else a rosbag2 folder; it must not exist.
    start, stop : int, optional
        The first frame and the one after the last, counted from 0.
    rate_hz : float, optional
        Frames per second; by default what the folder says (see RgbdFolder).
    compressed : bool
        JPEG and PNG, or raw images.
    depth : bool
        Write the depth images; a robot with a lidar has none.

    Returns
    -------
    int
        Number of frames written.

    Raises
    ------
    RecordingError
        The folder or a picture in it is unusable, no frame is chosen, or the output exists.

    """
    source = RgbdFolder(folder, rate_hz)
    frames = source.frames[slice(start, stop)]
    if not frames:
        raise RecordingError(
            f'{source.path} has {len(source.frames)} frames; none from {start} to {stop}'
        )
    lidar = FolderLidar(source.path) if (source.path / 'velodyne').is_dir() else None
    with RecordingWriter(output) as writer:
        _write_transforms(writer, frames[0].stamp_ns, lidar)
        for frame in frames:
            messages = (_compressed if compressed else _uncompressed)(source, frame)
            if frame.camera is not None:
                fields = camera_info_fields(frame.camera)
                messages = {CAMERA_INFO_TOPIC: (CAMERA_INFO, fields), **messages}
            for topic, (msgtype, fields) in messages.items():
                if depth or not topic.startswith(DEPTH_TOPIC):
                    writer.write(
                        topic, msgtype, fields, log_ns=frame.stamp_ns, frame_id=OPTICAL_FRAME
                    )
            cloud = lidar.cloud(frame.stem) if lidar else None
            if cloud is not None:
                fields = cloud_fields(cloud)
                writer.write(
                    LIDAR_TOPIC, POINT_CLOUD, fields, log_ns=frame.stamp_ns, frame_id=LIDAR_FRAME
                )
    return len(frames)


def _uncompressed(source: RgbdFolder, frame: FolderFrame) -> dict[str, tuple[str, Any]]:
    return {
        COLOUR_TOPIC: (IMAGE, image_fields(source.colour(frame), 'rgb8')),
        DEPTH_TOPIC: (IMAGE, image_fields(source.depth_mm(frame), '16UC1')),
    }


def _compressed(source: RgbdFolder, frame: FolderFrame) -> dict[str, tuple[str, Any]]:
    data = read_bytes(frame.colour)
    colour = source.colour(frame)
    if picture_kind(data) == 'jpeg':
        fields = {'format': 'rgb8; jpeg compressed bgr8', 'data': data}
    else:
        fields = compressed_rgb_fields(colour)
    depth = compressed_depth_fields(source.depth_mm(frame), png_level=_PNG_LEVEL)
    return {
        f'{COLOUR_TOPIC}/compressed': (COMPRESSED_IMAGE, fields),
        f'{DEPTH_TOPIC}/compressedDepth': (COMPRESSED_IMAGE, depth),
    }


def _write_transforms(writer: RecordingWriter, stamp_ns: int, lidar: FolderLidar | None) -> None:
    transforms = [
        _transform(stamp_ns, BASE_FRAME, OPTICAL_FRAME, {'x': -0.5, 'y': 0.5, 'z': -0.5, 'w': 0.5})
    ]
    if lidar is not None:
        matrix = lidar.optical_from_lidar
        place = dict(zip('xyz', matrix[:3, 3].tolist(), strict=True))
        turn = quaternion(matrix[:3, :3])
        transforms.append(_transform(stamp_ns, OPTICAL_FRAME, LIDAR_FRAME, turn, place))
    writer.write(
        '/tf_static', 'tf2_msgs/msg/TFMessage', {'transforms': transforms}, log_ns=stamp_ns
    )


def _transform(
    stamp_ns: int,
    parent: str,
    child: str,
    rotation: dict[str, float],
    translation: dict[str, float] | None = None,
) -> dict[str, Any]:
    seconds, nanoseconds = stamp_from_ns(stamp_ns)
    return {
        'header': {'stamp': {'sec': seconds, 'nanosec': nanoseconds}, 'frame_id': parent},
        'child_frame_id': child,
        'transform': {'translation': translation or {}, 'rotation': rotation},
    }

# SPDX-License-Identifier: Apache-2.0
"""Which streams of a recording train the network: colour, truth, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass
import re
from typing import Any

from adabins_ros.bags import CameraTopics, find_camera_topics, RecordingError
from adabins_ros.bags.bag_index import BagIndex
from adabins_ros.bags.topics import CAMERA_INFO, PICTURES, POINT_CLOUD
from adabins_ros.datasets.bag_cameras import BagCameras
from adabins_ros.datasets.bag_truth import AlignedDepth, LidarDepth, Truth, UnalignedDepth
from adabins_ros.datasets.config import SourceConfig
from adabins_ros.datasets.transforms import StaticTransforms

# ROS 1 bags of the old tf package hold the latter.
TRANSFORMS = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
_ALIGNED = re.compile('aligned|registered|to_color|to_rgb')
_LIDAR = re.compile('lidar|velodyne|ouster|livox|hesai|points_raw|rslidar', re.IGNORECASE)
_FROM_CAMERA = re.compile('depth|camera|stereo|/map|accumulated')


@dataclass(frozen=True)
class Streams:
    """
    What was chosen.

    Attributes
    ----------
    image : str
    cameras : BagCameras
        Of the colour images.
    truth : Truth
    description : str
        For people.
    remarks : list of str

    """

    image: str
    cameras: BagCameras
    truth: Truth
    description: str
    remarks: list[str]


def choose_streams(index: BagIndex, config: SourceConfig) -> Streams:
    """
    Choose the streams, by the configuration and else by type and name.

    Depth images come before a lidar, unless the configuration names the lidar.

    Raises
    ------
    RecordingError
        No colour image, no truth, a topic that does not exist, no calibration where the truth
        needs one, or frames that are not connected.

    """
    depth = None if config.lidar_topic else config.depth_topic
    topics = find_camera_topics(index, config.image_topic, depth, config.camera_info_topic)
    cameras = BagCameras(
        index,
        topics.camera_info,
        rectified='image_rect' in topics.image,
        horizontal_fov_deg=config.horizontal_fov_deg,
    )
    remarks = _camera_remarks(index, topics, cameras, config)
    lidar = _lidar(index, config)
    if topics.depth and not config.lidar_topic:
        truth, more = _depth_truth(index, topics, cameras, config)
        description = topics.description
        if isinstance(truth, UnalignedDepth):
            description += ', reprojected'
    elif lidar:
        truth, more = _lidar_truth(index, lidar, topics, cameras, config), []
        picture = topics.description.partition('), ')[0]
        description = (
            f'{picture}), lidar {lidar} (PointCloud2, {index.topics[lidar].count}), '
            f'camera_info {topics.camera_info}'
        )
    else:
        raise RecordingError(
            f'{index.path} has neither depth images nor a lidar to learn from'
            f'{_no_depth(index)}; it has {index.describe_topics()}'
        )
    for topic in (topics.image, truth.topic):
        if not _has_stamps(index, topic):
            remarks.append(f'{topic} has no header stamps (0): its recording times stand in')
    return Streams(topics.image, cameras, truth, description, remarks + more)


def _no_depth(index: BagIndex) -> str:
    """Tell of the topics that are named after depth and hold something else."""
    found = []
    for name, info in index.topics.items():
        if 'depth' in name and info.msgtype in PICTURES and info.count:
            try:
                message = _first_readable(index, name)
            except RecordingError as error:
                found.append(str(error))
                continue
            kind = getattr(message, 'encoding', '') or getattr(message, 'format', '')
            found.append(f'{name} holds {kind!r}, not 16UC1, 32FC1 or compressedDepth')
    return ''.join(f'; {text}' for text in found)


def _has_stamps(index: BagIndex, topic: str) -> bool:
    stamp = _first_readable(index, topic).header.stamp
    return bool(stamp.sec or stamp.nanosec)


def _lidar(index: BagIndex, config: SourceConfig) -> str | None:
    clouds = {name: x for name, x in index.topics.items() if x.msgtype == POINT_CLOUD and x.count}
    if config.lidar_topic:
        name = '/' + config.lidar_topic.strip('/')
        if name not in clouds:
            raise RecordingError(
                f'{index.path} has no PointCloud2 on {name}; it has {index.describe_topics()}'
            )
        return name

    def rank(name: str) -> tuple[bool, bool, int]:
        by_name = bool(_LIDAR.search(name))
        return by_name, not _FROM_CAMERA.search(name), clouds[name].count

    return max(clouds, key=rank, default=None)


def _camera_remarks(
    index: BagIndex, topics: CameraTopics, cameras: BagCameras, config: SourceConfig
) -> list[str]:
    remarks = []
    if cameras.damaged:
        count = index.topics[topics.camera_info].count if topics.camera_info else 0
        remarks.append(
            f'{cameras.damaged} of {count} messages on {topics.camera_info} are damaged'
        )
    if not cameras:
        unusable = 'is unusable' if cameras.damaged else 'is missing'
        why = 'is uncalibrated (K = 0)' if cameras.uncalibrated else unusable
        if config.horizontal_fov_deg is None:
            remarks.append(
                f'camera_info {why}: the focal length is taken to be that of the training; '
                'calibrate the camera or set data.horizontal_fov_deg'
            )
        else:
            remarks.append(f'camera_info {why}: {config.horizontal_fov_deg:g} degrees are used')
    return remarks


def _depth_truth(
    index: BagIndex, topics: CameraTopics, cameras: BagCameras, config: SourceConfig
) -> tuple[Truth, list[str]]:
    depth = topics.depth
    assert depth is not None
    info = _depth_camera_info(index, topics, config)
    frame, image_frame = _frame_id(index, depth), _frame_id(index, topics.image)
    if config.alignment == 'aligned' or (
        config.alignment == 'auto' and (_ALIGNED.search(depth) or frame == image_frame)
    ):
        return AlignedDepth(depth), []
    difference = f'{depth} is in the frame {frame!r}, {topics.image} in {image_frame!r}'
    if info is None or not cameras:
        if config.alignment == 'unaligned':
            raise RecordingError(
                f'{index.path}: {depth} can not be reprojected: a camera_info of its own or that '
                'of the colour camera is missing; set data.depth_camera_info_topic'
            )
        return AlignedDepth(depth), [
            f'{difference}, but it has no camera_info of its own: it is taken as aligned'
        ]
    own = BagCameras(index, info, rectified='image_rect' in depth)
    if not own:
        raise RecordingError(
            f'{index.path}: {info} is uncalibrated (K = 0), so {depth} can not be reprojected; '
            'set data.alignment to aligned if its pixels lie on the colour pixels'
        )
    try:
        matrix = _transforms(index).lookup(image_frame, frame)
    except RecordingError as error:
        raise RecordingError(
            f'{index.path}: {difference}; {error}; or set data.alignment to aligned if its '
            'pixels lie on the colour pixels'
        ) from None
    return UnalignedDepth(depth, own, matrix), [f'{difference}: it is reprojected']


def _lidar_truth(
    index: BagIndex, lidar: str, topics: CameraTopics, cameras: BagCameras, config: SourceConfig
) -> LidarDepth:
    if not cameras and config.horizontal_fov_deg is None:
        raise RecordingError(
            f'{index.path} has no calibrated camera_info, which projecting {lidar} needs; record '
            f'it, or set data.horizontal_fov_deg; it has {index.describe_topics()}'
        )
    image_frame = _frame_id(index, topics.image)
    try:
        matrix = _transforms(index).lookup(image_frame, _frame_id(index, lidar))
    except RecordingError as error:
        raise RecordingError(f'{index.path}: {lidar} can not be projected: {error}') from None
    return LidarDepth(lidar, matrix)


def _depth_camera_info(index: BagIndex, topics: CameraTopics, config: SourceConfig) -> str | None:
    """Return the depth camera's camera_info, if it has one beside that of the colour camera."""
    if config.depth_camera_info_topic:
        name = '/' + config.depth_camera_info_topic.strip('/')
        if name not in index.topics or index.topics[name].msgtype != CAMERA_INFO:
            raise RecordingError(
                f'{index.path} has no CameraInfo on {name}; it has {index.describe_topics()}'
            )
        return name
    assert topics.depth is not None
    space = topics.depth
    for transport in ('/compressedDepth', '/compressed'):
        space = space.removesuffix(transport)
    name = space.rpartition('/')[0] + '/camera_info'
    found = index.topics.get(name)
    usable = found is not None and found.msgtype == CAMERA_INFO and found.count > 0
    return name if usable and name != topics.camera_info else None


def _frame_id(index: BagIndex, topic: str) -> str:
    """Return the frame of a topic's first readable message."""
    return str(_first_readable(index, topic).header.frame_id).lstrip('/')


def _first_readable(index: BagIndex, topic: str) -> Any:
    """Return a topic's first readable message; raise RecordingError where there is none."""
    reason = None
    for number in range(index.topics[topic].count):
        try:
            return index.message(topic, number).decode()
        except RecordingError as error:
            reason = reason or error
    raise RecordingError(f'no message on {topic} can be read: {reason}')


def _transforms(index: BagIndex) -> StaticTransforms:
    messages = []
    for name, info in index.topics.items():
        if name.rpartition('/')[2] == 'tf_static' and info.msgtype in TRANSFORMS:
            messages += [index.message(name, number).decode() for number in range(info.count)]
    return StaticTransforms(messages)

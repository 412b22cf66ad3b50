# SPDX-License-Identifier: Apache-2.0
"""One pass through a recording: what its camera and its truth look like, and when they came."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
import re
from typing import Any

from adabins_ros.camera_topics import CAMERA_INFO, camera_of, LIDAR, PICTURES, POINT_CLOUD
from adabins_ros.frames.config import SourceConfig
from adabins_ros.frames.errors import RecordingError
from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.depth_encoding import FARTHEST_MM
from adabins_ros.geometry.projection import lens
from adabins_ros.messages import decode_compressed_depth, decode_compressed_rgb, MessageError
import numpy as np
from numpy.typing import NDArray

from .cameras import RecordedCameras
from .recorded_message import RecordedMessage
from .recording import Recording
from .topics import CameraTopics, encoding_of, find_camera_topics
from .truth import decode_depth_image, UNUSABLE

# ROS 1 bags of the old tf package hold the latter.
TRANSFORMS = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
_FROM_CAMERA = re.compile('depth|camera|stereo|/map|accumulated')
# Beyond this a depth image holds noise, or its way of saying that it saw nothing.
_FARTHEST_M = 256.0
_FAR_SHARE = 1e-3


@dataclass
class Stamps:
    """
    When the messages of a topic were stamped and recorded, and how its first readable one looks.

    Attributes
    ----------
    stamp_ns, log_ns : array of int64
        The recording time stands in for a stamp of 0.
    first : object or None
        The first message that can be decoded.
    reason : str
        Why the first one could not.

    """

    stamp_ns: array[int] = field(default_factory=lambda: array('q'))
    log_ns: array[int] = field(default_factory=lambda: array('q'))
    first: Any = None
    first_ns: int = 0
    reason: str = ''

    def add(self, message: RecordedMessage) -> None:
        """Take in a message; a damaged one counts too, so that numbers stay."""
        try:
            stamp = message.stamp_ns()
        except RecordingError:
            stamp = message.log_ns
        self.stamp_ns.append(stamp)
        self.log_ns.append(message.log_ns)
        if self.first is None:
            try:
                self.first, self.first_ns = message.decode(), stamp
            except RecordingError as error:
                self.reason = self.reason or str(error)


class Look:
    """
    A look at a recording.

    Parameters
    ----------
    recording : Recording
        Is read through once.
    config : SourceConfig
        Which topics, where they are not to be found by type and name.

    Attributes
    ----------
    topics : CameraTopics
    depth, lidar, own_info : str or None
        Topics of the truth, and the depth camera's camera_info.
    cameras, own : RecordedCameras
        Of the colour images, and of the depth images.
    stamps : dict of str to Stamps
        Of the colour images and of the truth.
    transforms : list of tf2_msgs/TFMessage
    far : bool
        Depth images in metres hold what millimetres in 16 bits can't say.

    Raises
    ------
    RecordingError
        No colour image, no truth, or a topic that does not exist.

    """

    def __init__(self, recording: Recording, config: SourceConfig) -> None:
        self.recording = recording
        self.config = config
        depth = None if config.lidar_topic else config.depth_topic
        self.topics: CameraTopics = find_camera_topics(
            recording, config.image_topic, depth, config.camera_info_topic
        )
        self.lidar = self._find_lidar()
        self.depth = None if config.lidar_topic else self.topics.depth
        truth = self.depth or self.lidar
        if truth is None:
            raise RecordingError(
                f'{recording.path} has neither depth images nor a lidar to learn from'
                f'{self._no_depth()}; it has {recording.describe_topics()}'
            )
        self.own_info = self._depth_camera_info() if self.depth else None
        self.cameras = RecordedCameras(
            self.topics.image, self.topics.camera_info, config.horizontal_fov_deg
        )
        self.own = RecordedCameras(self.depth or '', self.own_info, depth=True)
        self.stamps = {self.topics.image: Stamps(), truth: Stamps()}
        self.transforms: list[Any] = []
        self.far = False
        self._read_through()

    def camera(self, cameras: RecordedCameras, topic: str) -> PinholeCamera | None:
        """Return the camera of a topic's first readable image; raises RecordingError."""
        first = self.first(topic)
        try:
            return cameras.at(self.stamps[topic].first_ns, size_of(first, topic == self.depth))
        except MessageError:
            return None  # the picture can not be decoded: later ones may be
        except CameraError as error:
            text = str(error).replace('the parameter horiz', 'data.horiz')
            raise RecordingError(f'{self.recording.path}: {text}') from None

    def check_lens(self, cameras: RecordedCameras, topic: str) -> None:
        """Refuse a lens that can't be computed with, by the name of its model."""
        camera = self.camera(cameras, topic)
        if camera is not None:
            try:
                lens(camera)
            except CameraError as error:
                raise RecordingError(f'{self.recording.path}: {cameras.topic}: {error}') from None

    def frame_id(self, topic: str) -> str:
        return str(self.first(topic).header.frame_id).lstrip('/')

    def first(self, topic: str) -> Any:
        """Return a topic's first readable message; raises RecordingError where there is none."""
        stamps = self.stamps[topic]
        if stamps.first is None:
            raise RecordingError(_unreadable(topic, stamps))
        return stamps.first

    def _read_through(self) -> None:
        infos = (self.cameras, self.own)
        transforms = [
            name
            for name, info in self.recording.topics.items()
            if name.rpartition('/')[2] == 'tf_static' and info.msgtype in TRANSFORMS
        ]
        topics = {*self.stamps, *(x.topic for x in infos if x.topic), *transforms}
        for message in self.recording.messages(topics):
            if message.topic in self.stamps:
                stamps = self.stamps[message.topic]
                stamps.add(message)
                if message.topic == self.depth and not self.far:
                    self.far = _is_far(stamps, message)
            elif message.topic in transforms:
                self.transforms.append(message.decode())
            # One camera_info may be that of both.
            for cameras in infos:
                if cameras.topic == message.topic:
                    cameras.add(message)

    def _find_lidar(self) -> str | None:
        clouds = {
            name: x
            for name, x in self.recording.topics.items()
            if x.msgtype == POINT_CLOUD and x.count
        }
        if self.config.lidar_topic:
            name = '/' + self.config.lidar_topic.strip('/')
            if name not in clouds:
                raise RecordingError(
                    f'{self.recording.path} has no PointCloud2 on {name}; it has '
                    f'{self.recording.describe_topics()}'
                )
            return name

        def rank(name: str) -> tuple[bool, bool, int]:
            by_name = bool(LIDAR.search(name))
            return by_name, not _FROM_CAMERA.search(name), clouds[name].count

        return max(clouds, key=rank, default=None)

    def _no_depth(self) -> str:
        """Tell of the topics that are named after depth and hold something else."""
        found = []
        for name, info in self.recording.topics.items():
            if 'depth' in name.lower() and info.msgtype in PICTURES and info.count:
                looked_at = Stamps()
                for message in self.recording.messages([name]):
                    looked_at.add(message)
                    if looked_at.first is not None:
                        break
                first = looked_at.first
                if first is None:
                    found.append(_unreadable(name, looked_at))
                    continue
                kind = encoding_of(first)
                found.append(f'{name} holds {kind!r}, not 16UC1, 32FC1 or compressedDepth')
        return ''.join(f'; {text}' for text in found)

    def _depth_camera_info(self) -> str | None:
        """Return the depth camera's camera_info, if it has one beside that of the colour."""
        topics = self.recording.topics
        if self.config.depth_camera_info_topic:
            name = '/' + self.config.depth_camera_info_topic.strip('/')
            if name not in topics or topics[name].msgtype != CAMERA_INFO:
                raise RecordingError(
                    f'{self.recording.path} has no CameraInfo on {name}; it has '
                    f'{self.recording.describe_topics()}'
                )
            return name
        assert self.depth is not None
        beside = [
            name
            for name, info in topics.items()
            if info.msgtype == CAMERA_INFO
            and info.count
            and camera_of(name) == camera_of(self.depth)
            and name != self.topics.camera_info
        ]
        return beside[0] if beside else None


def _unreadable(topic: str, stamps: Stamps) -> str:
    return f'no message on {topic} can be read: {stamps.reason}'


def _is_far(stamps: Stamps, message: RecordedMessage) -> bool:
    """Look at the 1st, 2nd, 4th, 8th ... depth image in metres for what millimetres can't say."""
    number = len(stamps.stamp_ns)
    if number & (number - 1) or not encoding_of(stamps.first).startswith('32FC1'):
        return False
    try:
        depth = decode_depth_image(message)
    except UNUSABLE:
        return False
    with np.errstate(invalid='ignore'):
        known, far = depth > 0, (depth > FARTHEST_MM / 1000) & (depth < _FARTHEST_M)
    return bool(np.count_nonzero(far) > _FAR_SHARE * np.count_nonzero(known))


def size_of(message: Any, depth: bool = False) -> tuple[int, int]:
    """Return height and width of an Image, or of what a CompressedImage holds, px."""
    if hasattr(message, 'format'):
        decode: Callable[[Any], NDArray[Any]] = (
            decode_compressed_depth if depth else decode_compressed_rgb
        )
        shape = decode(message).shape
        return shape[0], shape[1]
    return int(message.height), int(message.width)

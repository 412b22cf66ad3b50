# SPDX-License-Identifier: Apache-2.0
"""Which streams of a recording are frames with true depth: colour, truth, what lies between."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
import re
from typing import Any

from adabins_ros.frames.config import SourceConfig
from adabins_ros.frames.errors import RecordingError
from adabins_ros.frames.transforms import StaticTransforms
from adabins_ros.frames.true_depth import (
    aligned_depth,
    cloud_points,
    lidar_depth,
    reprojected_depth,
    same_shape,
)
from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.geometry.depth_encoding import FARTHEST_MM
from adabins_ros.geometry.projection import lens
from adabins_ros.messages import (
    decode_compressed_depth,
    decode_compressed_rgb,
    decode_depth,
    decode_rgb,
    MessageError,
    read_cloud,
)
import numpy as np
from numpy.typing import NDArray

from .cameras import RecordedCameras
from .recorded_message import RecordedMessage
from .recording import Recording
from .topics import (
    CAMERA_INFO,
    camera_of,
    CameraTopics,
    COMPRESSED_IMAGE,
    find_camera_topics,
    PICTURES,
    POINT_CLOUD,
)

# ROS 1 bags of the old tf package hold the latter.
TRANSFORMS = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
UNUSABLE = (MessageError, RecordingError, CameraError)
"""What a frame that can't be used raises."""
_ALIGNED = re.compile('aligned|registered|to_color|to_rgb')
_LIDAR = re.compile('lidar|velodyne|ouster|livox|hesai|points_raw|rslidar', re.IGNORECASE)
_FROM_CAMERA = re.compile('depth|camera|stereo|/map|accumulated')
# Beyond this a depth image holds noise, or its way of saying that it saw nothing.
_FARTHEST_M = 256.0
_FAR_SHARE = 1e-3
# Calibrations that differ by less, relative to the focal length, are of one camera.
_SAME_CAMERA = 0.01


@dataclass(frozen=True)
class Truth:
    """
    The stream with the true depth.

    Attributes
    ----------
    topic : str
    kind : str
        'aligned', 'reprojected' or 'lidar'.
    cameras : RecordedCameras or None
        Of depth images that are reprojected.
    matrix : (4, 4) float64 or None
        Turns points of the truth's frame into the colour camera's optical frame.
    far : bool
        Depth images hold more than the 65.535 m that millimetres in 16 bits can say.

    """

    topic: str
    kind: str
    cameras: RecordedCameras | None = None
    matrix: NDArray[np.float64] | None = None
    far: bool = False

    def depth(
        self, message: RecordedMessage, size: tuple[int, int], camera: PinholeCamera | None
    ) -> NDArray[np.float32]:
        """Return (height, width) float32 m, 0 unknown; raises what UNUSABLE names."""
        if self.kind == 'aligned':
            return aligned_depth(decode_depth_image(message), size)
        assert self.matrix is not None
        if camera is None:
            raise MessageError('uncalibrated', f'{self.topic} needs the camera_info of the image')
        if self.kind == 'lidar':
            points = cloud_points(read_cloud(message.decode()))
            return lidar_depth(points, camera, self.matrix)
        assert self.cameras is not None
        depth = decode_depth_image(message)
        source = self.cameras.at(message.stamp_ns(), (depth.shape[0], depth.shape[1]))
        if source is None:
            raise MessageError('uncalibrated', f'no camera_info for {self.topic}')
        return reprojected_depth(depth, source, camera, self.matrix)


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


@dataclass
class Streams:
    """
    What was chosen.

    Attributes
    ----------
    image : str
    truth : Truth
    cameras : RecordedCameras
        Of the colour images.
    stamps : dict of str to Stamps
        Of both.
    description : str
        For people.
    remarks : list of str

    """

    image: str
    truth: Truth
    cameras: RecordedCameras
    stamps: dict[str, Stamps]
    description: str
    remarks: list[str]


def choose_streams(recording: Recording, config: SourceConfig) -> Streams:
    """
    Choose the streams, by the configuration and else by type and name; reads through once.

    Depth images come before a lidar, unless the configuration names the lidar.

    Raises
    ------
    RecordingError
        No colour image, no truth, a topic that does not exist, no calibration where the truth
        needs one, a lens model that is not known, or frames that are not connected.

    """
    return _Choice(recording, config).streams()


def decode_colour(message: RecordedMessage) -> NDArray[np.uint8]:
    """Return the RGB picture of a recorded Image or CompressedImage; raises MessageError."""
    decode = decode_compressed_rgb if message.msgtype == COMPRESSED_IMAGE else decode_rgb
    return decode(message.decode())


def decode_depth_image(message: RecordedMessage) -> NDArray[np.float32]:
    """Return the metres of a recorded depth Image or CompressedImage; raises MessageError."""
    decode = decode_compressed_depth if message.msgtype == COMPRESSED_IMAGE else decode_depth
    return decode(message.decode())


class _Choice:
    """The steps from topics to streams."""

    def __init__(self, recording: Recording, config: SourceConfig) -> None:
        self._recording = recording
        self._config = config
        depth = None if config.lidar_topic else config.depth_topic
        self._topics: CameraTopics = find_camera_topics(
            recording, config.image_topic, depth, config.camera_info_topic
        )
        self._lidar = self._find_lidar()
        self._depth = None if config.lidar_topic else self._topics.depth
        self._truth_topic = self._depth or self._lidar
        if self._truth_topic is None:
            raise RecordingError(
                f'{recording.path} has neither depth images nor a lidar to learn from'
                f'{self._no_depth()}; it has {recording.describe_topics()}'
            )
        self._own_info = self._depth_camera_info() if self._depth else None
        self._cameras = RecordedCameras(
            self._topics.image, self._topics.camera_info, config.horizontal_fov_deg
        )
        self._own = RecordedCameras(self._depth or '', self._own_info, depth=True)
        self._stamps = {self._topics.image: Stamps(), self._truth_topic: Stamps()}
        self._transforms: list[Any] = []
        self._far = False

    def streams(self) -> Streams:
        self._read_through()
        remarks = self._camera_remarks()
        description = self._topics.description
        if self._depth:
            truth, more = self._depth_truth(self._depth)
            if truth.kind == 'reprojected':
                description += ', reprojected'
        else:
            truth, more = self._lidar_truth(), []
            picture = description.partition('), ')[0]
            count = self._recording.topics[truth.topic].count
            description = (
                f'{picture}), lidar {truth.topic} (PointCloud2, {count}), '
                f'camera_info {self._topics.camera_info}'
            )
        for topic in (self._topics.image, truth.topic):
            stamp = self._first(topic).header.stamp
            if not (stamp.sec or stamp.nanosec):
                remarks.append(f'{topic} has no header stamps (0): its recording times stand in')
        return Streams(
            self._topics.image, truth, self._cameras, self._stamps, description, remarks + more
        )

    def _read_through(self) -> None:
        infos = {self._topics.camera_info: self._cameras, self._own_info: self._own}
        transforms = [
            name
            for name, info in self._recording.topics.items()
            if name.rpartition('/')[2] == 'tf_static' and info.msgtype in TRANSFORMS
        ]
        topics = {*self._stamps, *filter(None, infos), *transforms}
        for message in self._recording.messages(topics):
            if message.topic in self._stamps:
                stamps = self._stamps[message.topic]
                stamps.add(message)
                if message.topic == self._depth and not self._far:
                    self._far = _is_far(stamps, message)
            elif message.topic in infos:
                for name, cameras in infos.items():
                    if name == message.topic:
                        cameras.add(message)
            else:
                self._transforms.append(message.decode())

    def _find_lidar(self) -> str | None:
        clouds = {
            name: x
            for name, x in self._recording.topics.items()
            if x.msgtype == POINT_CLOUD and x.count
        }
        if self._config.lidar_topic:
            name = '/' + self._config.lidar_topic.strip('/')
            if name not in clouds:
                raise RecordingError(
                    f'{self._recording.path} has no PointCloud2 on {name}; it has '
                    f'{self._recording.describe_topics()}'
                )
            return name

        def rank(name: str) -> tuple[bool, bool, int]:
            by_name = bool(_LIDAR.search(name))
            return by_name, not _FROM_CAMERA.search(name), clouds[name].count

        return max(clouds, key=rank, default=None)

    def _no_depth(self) -> str:
        """Tell of the topics that are named after depth and hold something else."""
        found = []
        for name, info in self._recording.topics.items():
            if 'depth' in name.lower() and info.msgtype in PICTURES and info.count:
                looked_at = Stamps()
                for message in self._recording.messages([name]):
                    looked_at.add(message)
                    if looked_at.first is not None:
                        break
                first = looked_at.first
                if first is None:
                    found.append(_unreadable(name, looked_at))
                    continue
                kind = getattr(first, 'encoding', '') or getattr(first, 'format', '')
                found.append(f'{name} holds {kind!r}, not 16UC1, 32FC1 or compressedDepth')
        return ''.join(f'; {text}' for text in found)

    def _depth_camera_info(self) -> str | None:
        """Return the depth camera's camera_info, if it has one beside that of the colour."""
        topics = self._recording.topics
        if self._config.depth_camera_info_topic:
            name = '/' + self._config.depth_camera_info_topic.strip('/')
            if name not in topics or topics[name].msgtype != CAMERA_INFO:
                raise RecordingError(
                    f'{self._recording.path} has no CameraInfo on {name}; it has '
                    f'{self._recording.describe_topics()}'
                )
            return name
        assert self._depth is not None
        beside = [
            name
            for name, info in topics.items()
            if info.msgtype == CAMERA_INFO
            and info.count
            and camera_of(name) == camera_of(self._depth)
            and name != self._topics.camera_info
        ]
        return beside[0] if beside else None

    def _camera_remarks(self) -> list[str]:
        remarks, cameras = [], self._cameras
        if cameras.damaged:
            count = self._recording.topics[cameras.topic].count if cameras.topic else 0
            remarks.append(f'{cameras.damaged} of {count} messages on {cameras.topic} are damaged')
        if not cameras:
            unusable = 'is unusable' if cameras.damaged else 'is missing'
            why = 'is uncalibrated (K = 0)' if cameras.uncalibrated else unusable
            angle = self._config.horizontal_fov_deg
            remarks.append(
                f'camera_info {why}: the focal length is taken to be that of the training; '
                'calibrate the camera or set data.horizontal_fov_deg'
                if angle is None
                else f'camera_info {why}: {angle:g} degrees are used'
            )
            return remarks
        self._camera(cameras, self._topics.image)
        return remarks

    def _camera(self, cameras: RecordedCameras, topic: str) -> PinholeCamera | None:
        """Return the camera of a topic's first readable image; raises RecordingError."""
        first = self._first(topic)
        try:
            return cameras.at(self._stamps[topic].first_ns, _size(first, topic == self._depth))
        except MessageError:
            return None  # the picture can not be decoded: later ones may be
        except CameraError as error:
            text = str(error).replace('the parameter horiz', 'data.horiz')
            raise RecordingError(f'{self._recording.path}: {text}') from None

    def _depth_truth(self, depth: str) -> tuple[Truth, list[str]]:
        path, image = self._recording.path, self._topics.image
        frame, image_frame = self._frame_id(depth), self._frame_id(image)
        apart = self._apart(depth)
        asked = self._config.alignment
        named = bool(_ALIGNED.search(depth.lower()))
        if asked == 'aligned' or (asked == 'auto' and named):
            if not apart.shape:
                return Truth(depth, 'aligned', far=self._far), []
            if asked == 'aligned':
                raise RecordingError(
                    f'{path}: {apart.shape}, so their pixels can not lie on each other; leave '
                    'data.alignment to auto'
                )
        elif asked == 'auto' and frame == image_frame and not (apart.shape or apart.camera):
            return Truth(depth, 'aligned', far=self._far), []
        difference = (
            f'{depth} is in the frame {frame!r}, {image} in {image_frame!r}'
            if frame != image_frame
            else f'{apart.shape or apart.camera or f"{depth} is not aligned"}, although both say '
            f'the frame {frame!r}'
        )
        if self._own_info is None or not self._cameras:
            if asked == 'unaligned' or apart.shape:
                raise RecordingError(
                    f'{path}: {apart.shape or depth}{": it" if apart.shape else ""} can not be '
                    'reprojected: a camera_info of its own or that of the colour camera is '
                    'missing; set data.depth_camera_info_topic'
                )
            return Truth(depth, 'aligned', far=self._far), [
                f'{difference}, but it has no camera_info of its own: it is taken as aligned'
            ]
        if not self._own:
            raise RecordingError(
                f'{path}: {self._own_info} is uncalibrated (K = 0), so {depth} can not be '
                'reprojected; set data.alignment to aligned if its pixels lie on the colour pixels'
            )
        self._check_lens(self._cameras, image)
        self._check_lens(self._own, depth)
        try:
            matrix = StaticTransforms(self._transforms).lookup(image_frame, frame)
        except RecordingError as error:
            raise RecordingError(
                f'{path}: {difference}; {error}; or set data.alignment to aligned if its pixels '
                'lie on the colour pixels'
            ) from None
        truth = Truth(depth, 'reprojected', self._own, matrix, self._far)
        return truth, [f'{difference}: it is reprojected']

    def _apart(self, depth: str) -> _Apart:
        """Tell in words what keeps depth pixels from lying on colour pixels."""
        image = self._topics.image
        try:
            size, image_size = _size(self._first(depth), True), _size(self._first(image))
        except MessageError:
            return _Apart('', '')  # a picture can not be decoded: later ones may be
        shape = ''
        if not same_shape(size, image_size):
            shape = (
                f'{depth} is {size[1]}x{size[0]} and {image} {image_size[1]}x{image_size[0]}, of '
                'another shape'
            )
        own = self._camera(self._own, depth) if self._own else None
        camera = self._camera(self._cameras, image) if self._cameras else None
        if own is None or camera is None:
            return _Apart(shape, '')
        at_size = own.scaled(camera.width, camera.height)
        differ = any(
            abs(getattr(at_size, name) - getattr(camera, name)) > _SAME_CAMERA * camera.fx
            for name in ('fx', 'fy', 'cx', 'cy')
        )
        text = (
            f'{self._own_info} has fx = {own.fx:.1f} for {own.width}x{own.height} px, '
            f'{self._topics.camera_info} fx = {camera.fx:.1f} for {camera.width}x{camera.height}'
        )
        return _Apart(shape, text if differ else '')

    def _lidar_truth(self) -> Truth:
        lidar, path = self._lidar, self._recording.path
        assert lidar is not None
        if not self._cameras and self._config.horizontal_fov_deg is None:
            raise RecordingError(
                f'{path} has no calibrated camera_info, which projecting {lidar} needs; record '
                f'it, or set data.horizontal_fov_deg; it has {self._recording.describe_topics()}'
            )
        self._check_lens(self._cameras, self._topics.image)
        transforms = StaticTransforms(self._transforms)
        try:
            matrix = transforms.lookup(self._frame_id(self._topics.image), self._frame_id(lidar))
        except RecordingError as error:
            raise RecordingError(f'{path}: {lidar} can not be projected: {error}') from None
        return Truth(lidar, 'lidar', None, matrix)

    def _check_lens(self, cameras: RecordedCameras, topic: str) -> None:
        """Refuse a lens that can't be computed with, by the name of its model."""
        camera = self._camera(cameras, topic)
        if camera is not None:
            try:
                lens(camera)
            except CameraError as error:
                raise RecordingError(f'{self._recording.path}: {cameras.topic}: {error}') from None

    def _frame_id(self, topic: str) -> str:
        return str(self._first(topic).header.frame_id).lstrip('/')

    def _first(self, topic: str) -> Any:
        """Return a topic's first readable message; raises RecordingError where there is none."""
        stamps = self._stamps[topic]
        if stamps.first is None:
            raise RecordingError(_unreadable(topic, stamps))
        return stamps.first


@dataclass(frozen=True)
class _Apart:
    """Why depth does not lie on colour: its shape, its camera; '' for what agrees."""

    shape: str
    camera: str


def _unreadable(topic: str, stamps: Stamps) -> str:
    return f'no message on {topic} can be read: {stamps.reason}'


def _is_far(stamps: Stamps, message: RecordedMessage) -> bool:
    """Look at the 1st, 2nd, 4th, 8th ... depth image in metres for what millimetres can't say."""
    number, first = len(stamps.stamp_ns), stamps.first
    encoding = getattr(first, 'encoding', '') or getattr(first, 'format', '')
    if number & (number - 1) or not str(encoding).startswith('32FC1'):
        return False
    try:
        depth = decode_depth_image(message)
    except UNUSABLE:
        return False
    with np.errstate(invalid='ignore'):
        known, far = depth > 0, (depth > FARTHEST_MM / 1000) & (depth < _FARTHEST_M)
    return bool(np.count_nonzero(far) > _FAR_SHARE * np.count_nonzero(known))


def _size(message: Any, depth: bool = False) -> tuple[int, int]:
    """Return height and width of an Image, or of what a CompressedImage holds, px."""
    if hasattr(message, 'format'):
        decode: Callable[[Any], NDArray[Any]] = (
            decode_compressed_depth if depth else decode_compressed_rgb
        )
        shape = decode(message).shape
        return shape[0], shape[1]
    return int(message.height), int(message.width)

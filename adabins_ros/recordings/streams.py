# SPDX-License-Identifier: Apache-2.0
"""Which streams of a recording are frames with true depth: colour, truth, what lies between."""

from __future__ import annotations

from dataclasses import dataclass

from adabins_ros.camera_topics import REGISTERED
from adabins_ros.frames.config import SourceConfig
from adabins_ros.frames.errors import RecordingError
from adabins_ros.frames.transforms import StaticTransforms
from adabins_ros.geometry.camera import same_shape
from adabins_ros.messages import MessageError

from .cameras import RecordedCameras
from .looking import Look, size_of, Stamps
from .recording import Recording
from .truth import Truth

# Calibrations that differ by less, relative to the focal length, are of one camera.
_SAME_CAMERA = 0.01


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
    look = Look(recording, config)
    remarks = _camera_remarks(look)
    description = look.topics.description
    if look.depth:
        truth, more = _depth_truth(look, look.depth)
        if truth.kind == 'reprojected':
            description += ', reprojected'
    else:
        truth, more = _lidar_truth(look), []
        picture = description.partition('), ')[0]
        count = look.recording.topics[truth.topic].count
        description = (
            f'{picture}), lidar {truth.topic} (PointCloud2, {count}), '
            f'camera_info {look.topics.camera_info}'
        )
    for topic in (look.topics.image, truth.topic):
        stamp = look.first(topic).header.stamp
        if not (stamp.sec or stamp.nanosec):
            remarks.append(f'{topic} has no header stamps (0): its recording times stand in')
    return Streams(
        look.topics.image, truth, look.cameras, look.stamps, description, remarks + more
    )


def _camera_remarks(look: Look) -> list[str]:
    remarks, cameras = [], look.cameras
    if cameras.damaged:
        count = look.recording.topics[cameras.topic].count if cameras.topic else 0
        remarks.append(f'{cameras.damaged} of {count} messages on {cameras.topic} are damaged')
    if not cameras:
        unusable = 'is unusable' if cameras.damaged else 'is missing'
        why = 'is uncalibrated (K = 0)' if cameras.uncalibrated else unusable
        angle = look.config.horizontal_fov_deg
        remarks.append(
            f'camera_info {why}: the focal length is taken to be that of the training; '
            'calibrate the camera or set data.horizontal_fov_deg'
            if angle is None
            else f'camera_info {why}: {angle:g} degrees are used'
        )
        return remarks
    look.camera(cameras, look.topics.image)
    return remarks


def _depth_truth(look: Look, depth: str) -> tuple[Truth, list[str]]:
    path, image = look.recording.path, look.topics.image
    frame, image_frame = look.frame_id(depth), look.frame_id(image)
    shape, camera = _apart(look, depth)
    asked = look.config.alignment
    named = bool(REGISTERED.search(depth.lower()))
    if asked == 'aligned' or (asked == 'auto' and named):
        if not shape:
            told = [f'{camera}, but {depth} is taken as aligned by its name'] if camera else []
            return Truth(depth, 'aligned', far=look.far), [] if asked == 'aligned' else told
        if asked == 'aligned':
            raise RecordingError(
                f'{path}: {shape}, so their pixels can not lie on each other; leave '
                'data.alignment to auto'
            )
    elif asked == 'auto' and frame == image_frame and not (shape or camera):
        return Truth(depth, 'aligned', far=look.far), []
    difference = (
        f'{depth} is in the frame {frame!r}, {image} in {image_frame!r}'
        if frame != image_frame
        else f'{shape or camera or f"{depth} is not aligned"}, although both say '
        f'the frame {frame!r}'
    )
    if look.own_info is None or not look.cameras:
        if asked == 'unaligned' or shape:
            raise RecordingError(
                f'{path}: {shape or depth}{": it" if shape else ""} can not be '
                'reprojected: a camera_info of its own or that of the colour camera is '
                'missing; set data.depth_camera_info_topic'
            )
        return Truth(depth, 'aligned', far=look.far), [
            f'{difference}, but it has no camera_info of its own: it is taken as aligned'
        ]
    if not look.own:
        raise RecordingError(
            f'{path}: {look.own_info} is uncalibrated (K = 0), so {depth} can not be '
            'reprojected; set data.alignment to aligned if its pixels lie on the colour pixels'
        )
    look.check_lens(look.cameras, image)
    look.check_lens(look.own, depth)
    try:
        matrix = StaticTransforms(look.transforms).lookup(image_frame, frame)
    except RecordingError as error:
        raise RecordingError(
            f'{path}: {difference}; {error}; or set data.alignment to aligned if its pixels '
            'lie on the colour pixels'
        ) from None
    truth = Truth(depth, 'reprojected', look.own, matrix, look.far)
    return truth, [f'{difference}: it is reprojected']


def _apart(look: Look, depth: str) -> tuple[str, str]:
    """Tell in words what keeps depth from lying on colour: the shape, the camera, or nothing."""
    image = look.topics.image
    try:
        size, image_size = size_of(look.first(depth), True), size_of(look.first(image))
    except MessageError:
        return '', ''  # a picture can not be decoded: later ones may be
    shape = ''
    if not same_shape(size, image_size):
        shape = (
            f'{depth} is {size[1]}x{size[0]} and {image} {image_size[1]}x{image_size[0]}, of '
            'another shape'
        )
    try:
        own = look.camera(look.own, depth) if look.own else None
    except RecordingError:
        own = None  # told where it is needed
    camera = look.camera(look.cameras, image) if look.cameras else None
    if own is None or camera is None:
        return shape, ''
    at_size = own.scaled(camera.width, camera.height)
    differ = any(
        abs(getattr(at_size, name) - getattr(camera, name)) > _SAME_CAMERA * camera.fx
        for name in ('fx', 'fy', 'cx', 'cy')
    )
    text = (
        f'{look.own_info} has fx = {own.fx:.1f} for {own.width}x{own.height} px, '
        f'{look.topics.camera_info} fx = {camera.fx:.1f} for {camera.width}x{camera.height}'
    )
    return shape, text if differ else ''


def _lidar_truth(look: Look) -> Truth:
    lidar, path = look.lidar, look.recording.path
    assert lidar is not None
    if not look.cameras and look.config.horizontal_fov_deg is None:
        raise RecordingError(
            f'{path} has no calibrated camera_info, which projecting {lidar} needs; record '
            f'it, or set data.horizontal_fov_deg; it has {look.recording.describe_topics()}'
        )
    look.check_lens(look.cameras, look.topics.image)
    transforms = StaticTransforms(look.transforms)
    try:
        matrix = transforms.lookup(look.frame_id(look.topics.image), look.frame_id(lidar))
    except RecordingError as error:
        raise RecordingError(f'{path}: {lidar} can not be projected: {error}') from None
    return Truth(lidar, 'lidar', None, matrix)

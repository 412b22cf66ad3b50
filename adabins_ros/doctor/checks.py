# SPDX-License-Identifier: Apache-2.0
"""The doctor's rules: what was observed of a robot, judged; no rclpy is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
import os
from typing import Any

from adabins_ros.geometry.camera import CameraError
from adabins_ros.geometry.camera_for import camera_for
from adabins_ros.inference.finding import check_head
from adabins_ros.messages import MessageError
from adabins_ros.messages.compressed import decode_compressed_rgb
from adabins_ros.messages.images import decode_rgb
from adabins_ros.model.errors import ModelError

SLOW_HZ = 1.0
"""Fewer images than this in a second are too few to drive by."""
LEAST_SHARED_MEMORY = 128 * 2**20
"""Fast DDS takes a segment for each process; the shipped profile asks for 32 MiB, bytes."""
AHEAD_S, BEHIND_S, RECORDED_S = 0.1, 1.0, 86400.0
"""Stamps so far ahead of or behind the clock are of another one; a day behind: recorded."""
BASE_FRAMES = ('base_footprint', 'base_link')
MOST_INFO_S = 0.001
"""How near the stamps of an image and its camera_info must be, seconds."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what is so and, where that is wrong, what to do."""

    subject: str
    text: str
    remedy: str = ''

    @property
    def is_wrong(self) -> bool:
        """Tell whether there is something to do."""
        return bool(self.remedy)


@dataclass
class Stream:
    """
    What came on a topic.

    Attributes
    ----------
    topic : str
    publishers : sequence of str
        Whole names of the nodes, one for each publisher.
    stamps_s, arrivals_s : list of float
        Of each message: its stamp, and the clock when it came, seconds.
    last : message or None

    """

    topic: str
    publishers: Sequence[str] = ()
    stamps_s: list[float] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    last: Any = None


@dataclass
class Observation:
    """
    What was seen of a ROS graph.

    Attributes
    ----------
    seconds : float
        How long messages were listened to.
    choice : str
        Which camera was looked at, or why none.
    found : str
        Which cameras there are.
    image, camera_info : Stream or None
        Of that camera.
    mismatches : list of str
        Publishers and subscriptions that do not match, each in a sentence.
    tf_publishers : int
        Of /tf and /tf_static.
    transforms : set of (parent, child) or None
        Frames; None where they can't be read.
    simulated : bool
        Whether /clock is published, which the arrivals are then told by.
    troubles : dict of str to str
        What running depth nodes say of themselves in /diagnostics, by name.

    """

    seconds: float
    choice: str = ''
    found: str = ''
    image: Stream | None = None
    camera_info: Stream | None = None
    mismatches: list[str] = field(default_factory=list)
    tf_publishers: int = 0
    transforms: set[tuple[str, str]] | None = None
    simulated: bool = False
    troubles: dict[str, str] = field(default_factory=dict)


def check_robot(seen: Observation, base_frames: Sequence[str] = BASE_FRAMES) -> list[Check]:
    """Judge what was seen: camera, QoS, images, camera_info, frames, clock, running nodes."""
    checks = []
    if seen.image is None:
        checks.append(Check('camera', 'there is no camera to listen to', seen.choice))
    else:
        checks += [Check('camera', seen.choice), *_images(seen.image, seen.seconds, seen.found)]
        checks += _camera_info(seen.camera_info, seen.image)
        checks += _clock(seen.image, seen.simulated)
        checks.append(_frames(seen, seen.image, base_frames))
    checks += _quality_of_service(seen.mismatches)
    checks += [
        Check('depth node', f'{name}: {text}', 'see above, and /diagnostics')
        for name, text in seen.troubles.items()
    ]
    return checks


def check_computer(model: str, shared_memory: str = '/dev/shm') -> list[Check]:
    """Judge what needs no ROS: shared memory, engines, the model."""
    return [_shared_memory(shared_memory), *_engine(model)]


def _images(image: Stream, seconds: float, cameras: str) -> Iterator[Check]:
    if not image.publishers:
        text = f'nobody publishes {image.topic}'
        yield Check('images', text, f'start the camera, or name its topic: {cameras}')
        return
    if len(image.publishers) > 1:
        yield _several('images', image)
    if image.last is None:
        yield Check(
            'images',
            f'{image.topic} is published, but nothing came in {seconds:g} s',
            'is the camera running? Fast DDS loses large images at its default settings: '
            'start the driver too with FASTDDS_DEFAULT_PROFILES_FILE set to the fastdds.xml '
            'of this package',
        )
        return
    try:
        decode = decode_compressed_rgb if hasattr(image.last, 'format') else decode_rgb
        height, width = decode(image.last).shape[:2]
    except MessageError as error:
        remedy = 'set the camera driver to rgb8, or to another encoding that the README lists'
        yield Check('images', f'{image.topic} can not be used: {error}', remedy)
        return
    rate_hz = len(image.stamps_s) / seconds
    text = f'{image.topic}: {width}x{height}, {rate_hz:.1f} Hz'
    remedy = ''
    if rate_hz < SLOW_HZ:
        remedy = (
            f'less than {SLOW_HZ:g} Hz: raise the frame rate of the driver, lower the '
            'exposure time, or look for a network that is too slow for raw images'
        )
    yield Check('rate', text, remedy)


def _several(subject: str, stream: Stream) -> Check:
    names = ', '.join(stream.publishers)
    return Check(
        subject,
        f'{len(stream.publishers)} publishers on {stream.topic}: {names}',
        'stop all but one, or remap them to different topics',
    )


def _camera_info(info: Stream | None, image: Stream) -> Iterator[Check]:
    subject = 'camera_info'
    if info is None or not info.publishers:
        beside = info.topic if info else 'camera_info'
        yield Check(
            subject,
            f'nobody publishes {beside}, so there are no points and depth is not corrected '
            'for the focal length',
            'calibrate the camera (camera_calibration), remap camera_info, or set '
            'horizontal_fov_deg',
        )
        return
    if len(info.publishers) > 1:
        yield _several(subject, info)
    if info.last is None:
        text = f'{info.topic} is published, but nothing came'
        yield Check(subject, text, 'is the driver running, and its calibration loaded?')
        return
    size = getattr(image.last, 'height', 0), getattr(image.last, 'width', 0)
    size = size if all(size) else (info.last.height, info.last.width)
    try:
        camera = camera_for(info.last, size, image.topic, info_topic=info.topic)
    except CameraError as error:
        text, _, remedy = str(error).partition('; ')
        yield Check(subject, text, remedy or 'remap camera_info')
        return
    if camera is not None:
        yield Check(subject, f'{info.topic}: fx {camera.fx:.1f} px')
    if image.stamps_s and not any(
        abs(one - other) < MOST_INFO_S for one in image.stamps_s for other in info.stamps_s
    ):
        yield Check(
            subject,
            f'none on {info.topic} has the stamp of an image',
            'let the driver publish both with one stamp; until then the latest one counts, '
            'which is right while the calibration stays',
        )


def _frames(seen: Observation, image: Stream, base_frames: Sequence[str]) -> Check:
    subject = 'frames'
    if image.last is None:
        return Check(subject, 'not looked at: no image came')
    frame = image.last.header.frame_id
    if not frame:
        return Check(subject, f'images on {image.topic} have no frame_id', 'set it in the driver')
    info = seen.camera_info.last if seen.camera_info else None
    if info is not None and info.header.frame_id not in ('', frame):
        return Check(
            subject,
            f'images are in {frame!r}, their camera_info is in {info.header.frame_id!r}',
            'set one optical frame for both in the driver, or remap camera_info',
        )
    publish = (
        f'publish it: robot_state_publisher with an URDF, or ros2 run tf2_ros '
        f'static_transform_publisher --frame-id {base_frames[-1]} --child-frame-id {frame} ...'
    )
    if not seen.tf_publishers:
        return Check(subject, f'there is no TF, so nobody knows where {frame} is', publish)
    if seen.transforms is None:
        return Check(subject, f'{frame}; transforms are not looked at, tf2_msgs is not installed')
    known = _connected(seen.transforms, frame)
    bases = [base for base in base_frames if base in known]
    if not bases:
        names = ' or '.join(base_frames)
        return Check(subject, f'TF does not connect {frame} with {names}', publish)
    return Check(subject, f'{frame} is connected with {bases[0]}')


def _connected(transforms: Iterable[tuple[str, str]], frame: str) -> set[str]:
    """Return the frames of a tree that holds a frame."""
    edges = {tuple(name.lstrip('/') for name in pair) for pair in transforms}
    known: set[str] = {frame.lstrip('/')}
    while True:
        reached = {name for pair in edges if known & set(pair) for name in pair} - known
        if not reached:
            return known
        known |= reached


def _clock(image: Stream, simulated: bool) -> list[Check]:
    ages = sorted(
        arrival - stamp for stamp, arrival in zip(image.stamps_s, image.arrivals_s, strict=True)
    )
    if not ages:
        return []
    if not image.stamps_s[-1]:
        return [Check('clock', 'images have no stamps', 'set them in the driver')]
    age_s, clock = ages[len(ages) // 2], '/clock' if simulated else 'the clock of this computer'
    text = f'images are {abs(age_s):.3g} s {"old" if age_s >= 0 else "ahead"} by {clock}'
    remedy = ''
    if age_s < -AHEAD_S:
        remedy = 'one clock is wrong: synchronise both computers (chrony, ntp)'
    elif age_s > RECORDED_S:
        remedy = 'play the recording with --clock and set use_sim_time'
    elif age_s > BEHIND_S:
        remedy = 'synchronise both computers (chrony, ntp), or find what holds the images up'
    return [Check('clock', text, remedy)]


def _quality_of_service(mismatches: list[str]) -> list[Check]:
    if not mismatches:
        return [Check('QoS', 'every publisher and every subscription of a topic match')]
    remedy = 'change one of the two; for the depth node there are qos_overrides parameters'
    return [Check('QoS', text, remedy) for text in mismatches]


def _shared_memory(folder: str) -> Check:
    subject = 'shared memory'
    if os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp') != 'rmw_fastrtps_cpp':
        return Check(subject, f'{os.environ["RMW_IMPLEMENTATION"]} has settings of its own')
    try:
        found = os.statvfs(folder)
    except OSError:
        return Check(subject, f'there is no {folder}', 'mount a tmpfs there; images need it')
    free = found.f_bavail * found.f_frsize
    text = f'{folder} has {free / 2**20:.0f} MiB free'
    if free >= LEAST_SHARED_MEMORY:
        return Check(subject, text)
    return Check(
        subject,
        f'{text}, and Fast DDS sends images through it',
        f'give it {LEAST_SHARED_MEMORY >> 20} MiB at least: docker run --shm-size=256m, or remove '
        f'what processes that were killed have left there ({folder}/fastrtps_*)',
    )


def _engine(model: str) -> list[Check]:
    installed = [name for name in ('onnxruntime', 'openvino', 'torch') if find_spec(name)]
    if not installed:
        return [Check('engine', 'no engine is installed', 'pip install onnxruntime')]
    checks = [Check('engine', f'installed: {", ".join(installed)}')]
    try:
        check_head(model)
    except ModelError as error:
        remedy = 'set model to adabins-lite, to a file that is there, or to what was fetched'
        return [*checks, Check('model', str(error), remedy)]
    return [*checks, Check('model', model)]

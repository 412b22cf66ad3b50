# SPDX-License-Identifier: Apache-2.0
"""Colour frames of a recording with the depth and the camera that belong to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.messages import (
    camera_from_info,
    decode_compressed_depth,
    decode_compressed_rgb,
    decode_depth,
    decode_rgb,
    MessageError,
)
import numpy as np
from numpy.typing import NDArray

from .errors import RecordingError
from .pairing import pair_by_time
from .reader import Recording
from .recorded_message import RecordedMessage
from .topics import CameraTopics, COMPRESSED_IMAGE

DEFAULT_TOLERANCE_NS = 20_000_000


@dataclass(frozen=True)
class RgbdFrame:
    """
    One colour image and what belongs to it.

    Attributes
    ----------
    stamp_ns : int
        Header stamp of the colour image, ns (its recording time where the stamp is 0).
    rgb : (H, W, 3) uint8
    depth : (h, w) float32 or None
        Metres, NaN unknown, at the size of the depth image.
    camera : PinholeCamera or None
        At the size of the colour image; None without camera_info, or where it has K = 0.

    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    camera: PinholeCamera | None


def iterate_frames(
    recording: Recording,
    topics: CameraTopics,
    tolerance_ns: int = DEFAULT_TOLERANCE_NS,
    on_bad_frame: Callable[[str], None] | None = None,
) -> Iterator[RgbdFrame]:
    """
    Yield the frames of a camera in time order.

    With a depth topic only colour images with a depth image within the tolerance are given, each
    depth image at most once. The recording is read twice: the stamps first, then the pictures,
    a few at a time.

    Parameters
    ----------
    recording : Recording
        Stays open while frames are taken.
    topics : CameraTopics
        As find_camera_topics returns them.
    tolerance_ns : int
        Between the header stamps of colour and depth, ns.
    on_bad_frame : callable, optional
        Is told of a frame that can't be decoded, which is then left out.

    Raises
    ------
    RecordingError
        Damage, no depth image near any colour image, or (without `on_bad_frame`) a frame that
        can't be decoded.

    """
    colour_ns, depth_ns, cameras = _read_stamps(recording, topics)
    if topics.depth is None:
        order = np.argsort(np.asarray(colour_ns, np.int64), kind='stable').tolist()
        pairs = [(index, -1) for index in order]
    else:
        pairs = pair_by_time(colour_ns, depth_ns, tolerance_ns)
        if colour_ns and not pairs:
            raise RecordingError(_unpaired(recording, topics, colour_ns, depth_ns, tolerance_ns))
    for (index, _), colour, depth in _collect(recording, topics, pairs):
        stamp = colour_ns[index]
        try:
            rgb = decode_colour(colour)
            camera = cameras.at(stamp)
            if camera is not None and (camera.width, camera.height) != rgb.shape[1::-1]:
                camera = camera.scaled(rgb.shape[1], rgb.shape[0])
            yield RgbdFrame(stamp, rgb, decode_depth_image(depth) if depth else None, camera)
        except (MessageError, RecordingError) as error:
            text = f'{recording.path}: frame at {stamp} ns is unusable: {error}'
            if on_bad_frame is None:
                raise RecordingError(text) from error
            on_bad_frame(text)


def decode_colour(message: RecordedMessage) -> NDArray[np.uint8]:
    """Return the RGB picture of a recorded Image or CompressedImage; raises MessageError."""
    decode = decode_compressed_rgb if message.msgtype == COMPRESSED_IMAGE else decode_rgb
    return decode(message.decode())


def decode_depth_image(message: RecordedMessage) -> NDArray[np.float32]:
    """Return the metres of a recorded depth Image or CompressedImage; raises MessageError."""
    decode = decode_compressed_depth if message.msgtype == COMPRESSED_IMAGE else decode_depth
    return decode(message.decode())


class _Cameras:
    """The camera_info of a recording by time."""

    def __init__(self, rectified: bool) -> None:
        self._rectified = rectified
        self._stamps: list[int] = []
        self._messages: list[RecordedMessage] = []

    def add(self, message: RecordedMessage) -> None:
        self._stamps.append(message.stamp_ns())
        self._messages.append(message)

    def at(self, stamp_ns: int) -> PinholeCamera | None:
        """Return the camera of the nearest camera_info, or None where it is uncalibrated."""
        if not self._stamps:
            return None
        nearest = int(np.argmin(np.abs(np.asarray(self._stamps, np.int64) - stamp_ns)))
        try:
            return camera_from_info(self._messages[nearest].decode(), rectified=self._rectified)
        except MessageError as error:
            if error.cause == 'uncalibrated':
                return None
            raise


def _read_stamps(
    recording: Recording, topics: CameraTopics
) -> tuple[list[int], list[int], _Cameras]:
    colour: list[int] = []
    depth: list[int] = []
    cameras = _Cameras(rectified='image_rect' in topics.image)
    for message in recording.messages(_names(topics, topics.camera_info)):
        if message.topic == topics.image:
            colour.append(message.stamp_ns())
        elif message.topic == topics.depth:
            depth.append(message.stamp_ns())
        else:
            cameras.add(message)
    return colour, depth, cameras


def _collect(
    recording: Recording, topics: CameraTopics, pairs: list[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], RecordedMessage, RecordedMessage | None]]:
    """Yield the messages of each pair, in the order of the pairs."""
    wanted = {topics.image: {pair[0] for pair in pairs}, topics.depth: {pair[1] for pair in pairs}}
    held: dict[tuple[str | None, int], RecordedMessage] = {}
    seen: Counter[str] = Counter()
    waiting = iter(pairs)
    pair = next(waiting, None)
    for message in recording.messages(_names(topics)):
        index = seen[message.topic]
        seen[message.topic] += 1
        if index not in wanted[message.topic]:
            continue
        held[message.topic, index] = message
        while pair and (topics.image, pair[0]) in held:
            if topics.depth and (topics.depth, pair[1]) not in held:
                break
            yield pair, held.pop((topics.image, pair[0])), held.pop((topics.depth, pair[1]), None)
            pair = next(waiting, None)
        if pair is None:
            return


def _unpaired(
    recording: Recording,
    topics: CameraTopics,
    colour_ns: list[int],
    depth_ns: list[int],
    tolerance_ns: int,
) -> str:
    text = (
        f'{recording.path}: {topics.depth} has no depth image within {tolerance_ns / 1e6:.1f} ms '
        f'of any image on {topics.image}'
    )
    nearest = pair_by_time(colour_ns, depth_ns, 2**62)
    if nearest:
        gap = min(abs(colour_ns[i] - depth_ns[j]) for i, j in nearest)
        text += f' (the nearest is {gap / 1e6:.1f} ms away); choose a larger tolerance'
    return text


def _names(topics: CameraTopics, *more: str | None) -> list[str]:
    return [name for name in (topics.image, topics.depth, *more) if name]

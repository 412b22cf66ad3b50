# SPDX-License-Identifier: Apache-2.0
"""Colour frames of an open recording with the depth image and the camera that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from adabins_ros.frames.errors import RecordingError
from adabins_ros.geometry.camera import CameraError, PinholeCamera
import numpy as np
from numpy.typing import NDArray

from .cameras import RecordedCameras
from .pairing import pair_by_time
from .recorded_message import RecordedMessage
from .recorded_pairs import together
from .recording import Recording
from .topics import CameraTopics
from .truth import decode_colour, decode_depth_image, UNUSABLE

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
        At the size of the colour image; None without a camera_info that can be used.

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
    Yield the frames of a camera in time order, depth as it was recorded.

    With a depth topic only colour images with a depth image within the tolerance are given, each
    depth image at most once. The recording is read twice: the stamps first, then the pictures,
    a few at a time. Depth that is true for the colour image is what `read_pairs` gives.

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
    cameras = RecordedCameras(topics.image, topics.camera_info)
    stamps: dict[str | None, list[int]] = {topics.image: [], topics.depth: []}
    names = [name for name in (topics.image, topics.depth) if name]
    for message in recording.messages([*names, *filter(None, [topics.camera_info])]):
        if message.topic in stamps:
            stamps[message.topic].append(message.stamp_ns())
        else:
            cameras.add(message)
    colour_ns = stamps[topics.image]
    for number, colour, depth in _matched(recording, topics, stamps, tolerance_ns):
        stamp = colour_ns[number]
        try:
            rgb = decode_colour(colour)
            yield RgbdFrame(
                stamp,
                rgb,
                decode_depth_image(depth) if depth else None,
                _camera(cameras, stamp, rgb),
            )
        except UNUSABLE as error:
            text = f'{recording.path}: frame at {stamp} ns is unusable: {error}'
            if on_bad_frame is None:
                raise RecordingError(text) from error
            on_bad_frame(text)


def _camera(cameras: RecordedCameras, stamp: int, rgb: NDArray[np.uint8]) -> PinholeCamera | None:
    try:
        return cameras.at(stamp, (rgb.shape[0], rgb.shape[1]))
    except CameraError:
        return None


def _matched(
    recording: Recording,
    topics: CameraTopics,
    stamps: dict[str | None, list[int]],
    tolerance_ns: int,
) -> Iterator[tuple[int, RecordedMessage, RecordedMessage | None]]:
    colour_ns = stamps[topics.image]
    if topics.depth is None:
        order = np.argsort(np.asarray(colour_ns, np.int64), kind='stable').tolist()
        numbers = [(index, index) for index in order]
        messages = recording.messages([topics.image])
        both = (topics.image, topics.image)
        for place, colour, _ in together(messages, both, numbers, {topics.image: count()}):
            yield order[place], colour, None
        return
    depth_ns = stamps[topics.depth]
    pairs = pair_by_time(colour_ns, depth_ns, tolerance_ns)
    if colour_ns and not pairs:
        raise RecordingError(
            f'{recording.path}: {topics.depth} has no depth image within '
            f'{tolerance_ns / 1e6:.1f} ms of any image on {topics.image}'
            f'{_nearest(colour_ns, depth_ns)}'
        )
    both = (topics.image, topics.depth)
    order = {topic: count() for topic in both}
    for place, colour, depth in together(recording.messages(both), both, pairs, order):
        yield pairs[place][0], colour, depth


def _nearest(colour_ns: list[int], depth_ns: list[int]) -> str:
    nearest = pair_by_time(colour_ns, depth_ns, 2**62)
    if not nearest:
        return ''
    gap = min(abs(colour_ns[i] - depth_ns[j]) for i, j in nearest)
    return f' (the nearest is {gap / 1e6:.1f} ms away); choose a larger tolerance'

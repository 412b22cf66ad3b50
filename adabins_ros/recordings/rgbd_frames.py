# SPDX-License-Identifier: Apache-2.0
"""Colour frames of an open recording with the depth image and the camera that belong to them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from adabins_ros.frames.errors import RecordingError
from adabins_ros.geometry.camera import CameraError, PinholeCamera
import numpy as np
from numpy.typing import NDArray

from .cameras import RecordedCameras
from .pairing import pair_streams
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
    both = (topics.image, topics.depth or topics.image)
    stamps = {topic: array('q') for topic in both}
    for message in recording.messages({*both, *filter(None, [topics.camera_info])}):
        if message.topic in stamps:
            stamps[message.topic].append(message.stamp_ns())
        else:
            cameras.add(message)
    times = [np.asarray(stamps[topic], np.int64) for topic in both]
    numbers = np.argsort(times[0], kind='stable')
    pairs = list(zip(numbers.tolist(), numbers.tolist(), strict=True))
    if topics.depth and times[0].size:
        try:
            found = pair_streams((both[0], times[0]), (both[1], times[1]), tolerance_ns / 1e6)
        except RecordingError as error:
            raise RecordingError(f'{recording.path}: {error}') from None
        pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    order = {topic: count() for topic in both}
    for place, colour, depth in together(recording.messages(both), both, pairs, order):
        stamp = int(times[0][pairs[place][0]])
        try:
            rgb = decode_colour(colour)
            metres = decode_depth_image(depth) if topics.depth else None
            yield RgbdFrame(stamp, rgb, metres, _camera(cameras, stamp, rgb))
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

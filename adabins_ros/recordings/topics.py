# SPDX-License-Identifier: Apache-2.0
"""Which topics of a recording are the camera's: by type, by what they hold, and by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import re
from typing import Any

from adabins_ros.camera_topics import (
    CAMERA_INFO,
    camera_of,
    common_parts,
    IMAGE,
    PICTURES,
    REGISTERED,
    SECONDARY,
    TRANSPORTS,
)
from adabins_ros.frames.errors import RecordingError

from .recording import Recording, TopicInfo

Rank = tuple[int, ...]


@dataclass(frozen=True)
class CameraTopics:
    """
    The topics of one camera.

    Attributes
    ----------
    image : str
        Image or CompressedImage with colours (or grey).
    depth, camera_info : str or None
    description : str
        What was chosen, for people.

    """

    image: str
    depth: str | None
    camera_info: str | None
    description: str


def find_camera_topics(
    recording: Recording,
    image: str | None = None,
    depth: str | None = None,
    camera_info: str | None = None,
) -> CameraTopics:
    """
    Choose the colour, depth and camera_info topics.

    A topic that is given must exist; '/camera/image_raw' also stands for its compressed
    transports. The others are chosen by type, by the encoding of their first message, and by
    name: colour before infrared, raw before compressed, depth that is registered to the colour
    image first, and of the same camera.

    Raises
    ------
    RecordingError
        No colour image, or a given topic that does not exist or has another type.

    """
    colour = (
        _given(recording, image, PICTURES)
        if image
        else _best(_pictures(recording, depth=False), _image_rank)
    )
    if colour is None:
        raise RecordingError(
            f'{recording.path} has no colour image; it has {recording.describe_topics()}'
        )
    if depth:
        depth = _given(recording, depth, PICTURES)
    else:
        depth = _best(_pictures(recording, depth=True), lambda x: _depth_rank(x, colour))
    if camera_info:
        camera_info = _given(recording, camera_info, (CAMERA_INFO,))
    else:
        camera_info = _best(
            _camera_infos(recording, colour), lambda x: _camera_info_rank(x, colour)
        )
    description = _describe(recording, (colour, depth, camera_info))
    return CameraTopics(colour, depth, camera_info, description)


def colour_topics(recording: Recording) -> list[str]:
    """Return a topic with colour images for each camera, the best one first."""
    pictures = sorted(_pictures(recording, depth=False), key=_image_rank, reverse=True)
    found = [info.name for info in pictures if not SECONDARY.search(info.name.lower())]
    return list({camera_of(topic): topic for topic in reversed(found)}.values())[::-1]


def encoding_of(message: Any) -> str:
    """Return the encoding of an Image, or the format of a CompressedImage."""
    return str(getattr(message, 'encoding', '') or getattr(message, 'format', ''))


def _given(recording: Recording, name: str, types: tuple[str, ...]) -> str:
    name = '/' + name.strip('/')
    for candidate in (name, *(name + transport for transport in TRANSPORTS)):
        info = recording.topics.get(candidate)
        if info is not None and info.msgtype in types:
            return candidate
    info = recording.topics.get(name)
    if info is not None:
        raise RecordingError(
            f'{recording.path}: {name} is a {info.msgtype}, not {" or ".join(types)}'
        )
    raise RecordingError(
        f'{recording.path} has no topic {name}; it has {recording.describe_topics()}'
    )


def _pictures(recording: Recording, depth: bool) -> list[TopicInfo]:
    return [
        info
        for info in recording.topics.values()
        if info.msgtype in PICTURES
        and info.count
        and _holds_depth(recording, info) == depth
        and not (depth and SECONDARY.search(info.name.lower()))
    ]


def _camera_infos(recording: Recording, image: str) -> list[TopicInfo]:
    """Return the camera_info topics, without those of a depth or infrared camera beside."""
    other = re.compile('depth|infra')
    return [
        info
        for info in recording.topics.values()
        if info.msgtype == CAMERA_INFO
        and info.count
        and (not other.search(info.name.lower()) or camera_of(info.name) == camera_of(image))
    ]


def _holds_depth(recording: Recording, info: TopicInfo) -> bool:
    try:
        message = next(recording.messages([info.name])).decode()
    except (RecordingError, StopIteration):
        return 'depth' in info.name.lower()
    text = encoding_of(message)
    if text.startswith('mono16') or text == 'png':
        return 'depth' in info.name.lower()
    return text.startswith(('16UC1', '32FC1')) or 'compressedDepth' in text


def _best(candidates: list[TopicInfo], rank: Callable[[TopicInfo], Rank]) -> str | None:
    if not candidates:
        return None
    return max(candidates, key=lambda info: (rank(info), info.count)).name


def _image_rank(info: TopicInfo) -> Rank:
    name = info.name.lower()
    return (
        not SECONDARY.search(name) and 'depth' not in name,
        bool(re.search('color|colour|rgb', name)),
        info.msgtype == IMAGE,
        -len(name),
    )


def _depth_rank(info: TopicInfo, image: str) -> Rank:
    name = info.name.lower()
    return (
        bool(REGISTERED.search(name)),
        common_parts(info.name, image),
        info.msgtype == IMAGE,
        -len(name),
    )


def _camera_info_rank(info: TopicInfo, image: str) -> Rank:
    beside = camera_of(info.name) == camera_of(image)
    return (beside, common_parts(info.name, image), -len(info.name))


def _describe(recording: Recording, topics: tuple[str | None, str | None, str | None]) -> str:
    parts = []
    for what, topic in zip(('colour', 'depth', 'camera_info'), topics, strict=True):
        if topic is None:
            parts.append(f'no {what}')
        else:
            info = recording.topics[topic]
            parts.append(f'{what} {topic} ({info.msgtype.rpartition("/")[2]}, {info.count})')
    return ', '.join(parts)

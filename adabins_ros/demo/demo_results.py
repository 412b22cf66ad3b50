# SPDX-License-Identifier: Apache-2.0
"""What the demo's outputs are worth: errors against the recorded depth, and rows of the sheet."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
import itertools
from pathlib import Path
from typing import Any, NamedTuple

from adabins_ros.evaluation.contact_sheet import SheetRow
from adabins_ros.evaluation.depth_errors import average, depth_errors, DepthErrors
from adabins_ros.frames import SourceConfig
from adabins_ros.messages import decode_depth, read_cloud
from adabins_ros.recordings import (
    CameraTopics,
    iterate_frames,
    open_recording,
    Recording,
    RecordingError,
    survey,
)
from adabins_ros.recordings.truth import UNUSABLE
import numpy as np
from numpy.typing import NDArray

DEPTH_TOPIC, STD_TOPIC = '/depth/image', '/depth/std'
POINTS_TOPIC, BIN_CENTERS_TOPIC = '/points', '/depth/bin_centers'
TRUE_RANGE_M = (1e-3, 80.0)
"""True depth that counts, metres: up to KITTI's limit."""
SHEET_ROWS = 4
MOST_COMPARED = 300
"""Of a longer recording every n-th frame is compared: each takes about 40 ms."""


@dataclass(frozen=True)
class DemoResults:
    """
    Hold what is to be shown of a run.

    Attributes
    ----------
    errors : DepthErrors
        Averaged over the frames with true depth; its `images` is their number.
    rows : list of SheetRow
        Frames from the whole recording.
    no_truth : str
        Why there is nothing to compare with; empty where there is.

    """

    errors: DepthErrors
    rows: list[SheetRow]
    no_truth: str


def read_results(outputs: Path, bag: Path, topics: CameraTopics) -> DemoResults:
    """
    Compare published depth with the recorded one of the same stamp, and choose frames to show.

    Parameters
    ----------
    outputs : path
        What the collector has written.
    bag : path
        What was played.
    topics : CameraTopics
        Of the bag; its depth is the truth.

    Raises
    ------
    RecordingError
        One of the two is damaged, or no depth was published.

    """
    with open_recording(outputs) as published:
        if DEPTH_TOPIC not in published.topics:
            raise RecordingError(f'{outputs} holds no depth: nothing was published on it')
        stamps = [message.log_ns for message in published.messages([DEPTH_TOPIC])]
        frames, no_truth = _frames(bag, topics, set(stamps))
        errors: list[DepthErrors] = []
        shown: dict[int, _Frame] = {}
        wanted = _spread(stamps)
        step = -(-len(stamps) // MOST_COMPARED)
        for index, (depth, frame) in enumerate(_matched(published, frames)):
            if frame.truth is not None and index % step == 0:
                errors.append(depth_errors(_in_range(depth), frame.truth, *TRUE_RANGE_M))
            while wanted and frame.stamp_ns >= wanted[0]:
                shown[frame.stamp_ns] = frame
                wanted.pop(0)
        if not shown:
            raise RecordingError(
                f'no depth image has the stamp of an image on {topics.image} of {bag}: '
                'it can neither be drawn nor compared; are the recorded stamps 0?'
            )
        return DemoResults(average(errors), _sheet_rows(published, shown), no_truth)


class _Frame(NamedTuple):
    """What was recorded: stamp, ns; colour; true depth of its pixels, m, 0 unknown."""

    stamp_ns: int
    rgb: NDArray[np.uint8]
    truth: NDArray[np.float32] | None


def _frames(
    bag: Path, topics: CameraTopics, stamps: Collection[int]
) -> tuple[Iterator[_Frame], str]:
    """Return the frames with these stamps with their truth, and why there is none, if so."""
    no_truth = 'none recorded'
    if topics.depth:
        frames = _with_truth(bag, topics, stamps)
        try:
            return itertools.chain([next(frames)], frames), ''
        except RecordingError as error:
            no_truth = str(error)
        except StopIteration:
            no_truth = 'no recorded frame can be decoded'
    return _colour_alone(bag, topics, stamps), no_truth


def _with_truth(bag: Path, topics: CameraTopics, stamps: Collection[int]) -> Iterator[_Frame]:
    config = SourceConfig(
        image_topic=topics.image,
        camera_info_topic=topics.camera_info,
        depth_topic=topics.depth,
    )
    pairs = survey(bag, config)
    published = [number for number, stamp in enumerate(pairs.stamps_ns) if stamp in stamps]
    for number, colour, truth in pairs.messages(published):
        try:
            sample = pairs.sample(number, colour, truth)
        except UNUSABLE:  # the node has met the same frame, and counts it
            continue
        yield _Frame(int(pairs.stamps_ns[number]), sample.image, sample.depth)


def _colour_alone(bag: Path, topics: CameraTopics, stamps: Collection[int]) -> Iterator[_Frame]:
    with open_recording(bag) as recording:
        frames = iterate_frames(
            recording, replace(topics, depth=None), on_bad_frame=lambda text: None
        )
        yield from (_Frame(x.stamp_ns, x.rgb, None) for x in frames if x.stamp_ns in stamps)


def _matched(
    published: Recording, frames: Iterator[_Frame]
) -> Iterator[tuple[NDArray[np.float32], _Frame]]:
    """Yield each published depth image with the frame that it was made from."""
    frame = next(frames, None)
    for message in published.messages([DEPTH_TOPIC]):
        while frame is not None and frame.stamp_ns < message.log_ns:
            frame = next(frames, None)
        if frame is None:
            return
        if frame.stamp_ns == message.log_ns:
            yield decode_depth(message.decode()), frame


def _in_range(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return depth (H, W), m, with the nearest and farthest known for out of range (REP 117)."""
    known = depth[np.isfinite(depth)]
    return depth.clip(known.min(), known.max()) if known.size else depth


def _spread(stamps: list[int]) -> list[int]:
    """Return a few stamps from the whole time, in order."""
    places = (np.arange(SHEET_ROWS) + 0.5) * len(stamps) / SHEET_ROWS
    return [stamps[index] for index in sorted(set(places.astype(int).tolist()))]


def _sheet_rows(published: Recording, shown: dict[int, _Frame]) -> list[SheetRow]:
    rows = []
    for stamp_ns, frame in sorted(shown.items()):
        found = _messages_at(published, stamp_ns)
        depth = decode_depth(found[DEPTH_TOPIC])
        std, bins = found.get(STD_TOPIC), found.get(BIN_CENTERS_TOPIC)
        cloud = found.get(POINTS_TOPIC)
        rows.append(
            SheetRow(
                title=f'{(stamp_ns - published.start_ns) / 1e9:.1f} s',
                rgb=frame.rgb,
                depth=depth,
                std=np.full_like(depth, np.nan) if std is None else decode_depth(std),
                bin_centers=np.array([] if bins is None else bins.data, np.float32),
                truth=frame.truth,
                cloud=None if cloud is None else read_cloud(cloud),
            )
        )
    return rows


def _messages_at(published: Recording, stamp_ns: int) -> dict[str, Any]:
    """Return the messages that belong to one image, by topic."""
    names = (DEPTH_TOPIC, STD_TOPIC, POINTS_TOPIC, BIN_CENTERS_TOPIC)
    topics = [name for name in names if name in published.topics]
    messages = published.messages(topics, start_ns=stamp_ns)
    same_time = itertools.takewhile(lambda message: message.log_ns == stamp_ns, messages)
    return {message.topic: message.decode() for message in same_time}

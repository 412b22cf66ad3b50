# SPDX-License-Identifier: Apache-2.0
"""Colour images of a recording with their true depth, read straight through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import os
from pathlib import Path

from adabins_ros.frames.config import SourceConfig
from adabins_ros.frames.errors import RecordingError
from adabins_ros.frames.samples import RgbdSample, SourceReport
import numpy as np

from .pairing import pair_streams
from .recorded_file import DamageError
from .recorded_message import RecordedMessage
from .recording import open_recording, Recording
from .streams import choose_streams, Streams
from .truth import decode_colour, UNUSABLE

_MOST_PLACES = 5


class RecordedPairs:
    """
    The pairs of a recording, found in one pass; a FrameSource that extracts nothing.

    Parameters
    ----------
    path : path
        As `open_recording` takes it.
    config : SourceConfig
        Topics, tolerance, alignment and so on.

    Attributes
    ----------
    name : str
    stamps_ns : (N,) int64
        Header stamps of the colour images, ns.
    offsets_ms : (N,) float64
        Stamp of the truth minus that of the colour image.
    report : SourceReport
    streams : Streams

    Raises
    ------
    RecordingError
        Damage, no colour image, no truth, no calibration, no pair.

    """

    def __init__(self, path: str | os.PathLike[str], config: SourceConfig | None = None) -> None:
        self._config = config or SourceConfig()
        self.path = Path(path)
        self.name = self.path.stem
        with self._open() as recording:
            if not recording.message_count:
                what = f': {recording.damage[0]}' if recording.damage else ''
                raise RecordingError(f'{path} holds no message{what}')
            damage = _some(recording.damage)
            remarks = [*recording.remarks]
            self.streams: Streams = choose_streams(recording, self._config)
        self._pair([*damage, *remarks, *self.streams.remarks])

    def _pair(self, remarks: list[str]) -> None:
        topics = self.streams.image, self.streams.truth.topic
        first, second = (self.streams.stamps[topic] for topic in topics)
        times = [np.asarray(x.stamp_ns, np.int64) for x in (first, second)]
        recorded = [np.asarray(x.log_ns, np.int64) for x in (first, second)]
        try:
            pairs = pair_streams(
                (topics[0], times[0]),
                (topics[1], times[1]),
                self._config.tolerance_ms,
                self._config.time_offset_ms,
                (recorded[0], recorded[1]),
            )
        except RecordingError as error:
            raise RecordingError(f'{self.path}: {error}') from None
        every = slice(None, None, self._config.every)
        self._numbers = np.stack([pairs.first, pairs.second], -1)[every]
        self.stamps_ns = pairs.stamps_ns[every]
        offset = round(self._config.time_offset_ms * 1e6)
        self.offsets_ms = (times[1][pairs.second] + offset - times[0][pairs.first])[every] / 1e6
        self._recorded_ns = np.minimum(recorded[0][pairs.first], recorded[1][pairs.second])[every]
        self.report = SourceReport(
            str(self.path),
            'bag',
            self.streams.description,
            len(self),
            [*remarks, *pairs.remarks],
            pairs.offset_ms,
        )

    def __len__(self) -> int:
        return len(self._numbers)

    def frame_name(self, index: int) -> str:
        """Return recording and stamp of a frame."""
        return f'{self.name}@{int(self.stamps_ns[index])}'

    def __getitem__(self, index: int) -> RgbdSample:
        index = range(len(self))[index]
        for _, colour, truth in self.messages([index]):
            return self.sample(index, colour, truth)
        raise RecordingError(f'{self.path}: frame at {self.stamps_ns[index]} ns can not be read')

    def messages(
        self, chosen: Sequence[int] | None = None
    ) -> Iterator[tuple[int, RecordedMessage, RecordedMessage]]:
        """
        Yield number, colour and truth of pairs, in one pass through the recording.

        Parameters
        ----------
        chosen : sequence of int, optional
            Which pairs; all by default.

        """
        numbers = sorted(range(len(self)) if chosen is None else chosen)
        if not numbers:
            return
        topics = self.streams.image, self.streams.truth.topic
        # A recording with an index is read from there.
        start_ns = int(self._recorded_ns[numbers].min())
        order = {
            topic: iter(
                np.flatnonzero(np.asarray(self.streams.stamps[topic].log_ns) >= start_ns).tolist()
            )
            for topic in topics
        }
        with self._open() as recording:
            messages = recording.messages(topics, start_ns)
            pairs = [(int(first), int(second)) for first, second in self._numbers[numbers]]
            for place, colour, truth in together(messages, topics, pairs, order):
                yield numbers[place], colour, truth

    def sample(self, index: int, colour: RecordedMessage, truth: RecordedMessage) -> RgbdSample:
        """Decode a pair; raises what UNUSABLE names."""
        image = decode_colour(colour)
        size = (image.shape[0], image.shape[1])
        camera = self.streams.cameras.at(int(self.stamps_ns[index]), size)
        depth = self.streams.truth.depth(truth, size, camera)
        focal = camera.fx if camera is not None else float(np.nan)
        return RgbdSample(image, depth, focal, self.frame_name(index), self.name, camera)

    def _open(self) -> Recording:
        try:
            return open_recording(self.path, salvage=self._config.salvage)
        except DamageError as error:
            raise DamageError(f'{error}, or use what is left with --salvage') from None


def survey(bag: str | os.PathLike[str], config: SourceConfig | None = None) -> RecordedPairs:
    """Find the pairs of a recording in one pass; frames are read when they are asked for."""
    return RecordedPairs(bag, config)


def read_pairs(
    bag: str | os.PathLike[str],
    config: SourceConfig | None = None,
    on_bad_frame: Callable[[str], None] | None = None,
) -> Iterator[RgbdSample]:
    """
    Yield colour images with their true depth, in one more pass through the recording.

    Parameters
    ----------
    bag : path
        As `open_recording` takes it.
    config : SourceConfig, optional
        Topics, tolerance, alignment and so on.
    on_bad_frame : callable, optional
        Is told of a frame that can't be used, which is then left out; by default it is raised.

    Raises
    ------
    RecordingError
        As `survey`, and (without `on_bad_frame`) a frame that can't be used.

    """
    pairs = RecordedPairs(bag, config)
    for number, colour, truth in pairs.messages():
        try:
            yield pairs.sample(number, colour, truth)
        except UNUSABLE as error:
            text = f'{bag}: frame at {pairs.stamps_ns[number]} ns is unusable: {error}'
            if on_bad_frame is None:
                raise RecordingError(text) from error
            on_bad_frame(text)


def together(
    messages: Iterator[RecordedMessage],
    topics: tuple[str, str],
    pairs: Sequence[tuple[int, int]],
    order: Mapping[str, Iterator[int]],
) -> Iterator[tuple[int, RecordedMessage, RecordedMessage]]:
    """
    Yield the messages of each pair, in the order of the pairs.

    Parameters
    ----------
    messages : iterator of RecordedMessage
        Of the two topics.
    topics : (str, str)
        May be one and the same.
    pairs : sequence of (int, int)
        Numbers of the messages of both topics, by the time of the first.
    order : mapping of str to iterator of int
        The numbers of the messages of each topic, as they come.

    """
    wanted = [{pair[0] for pair in pairs}, {pair[1] for pair in pairs}]
    held: list[dict[int, RecordedMessage]] = [{}, {}]
    place = 0
    for message in messages:
        number = next(order[message.topic], -1)
        for side in (0, 1):
            if message.topic == topics[side] and number in wanted[side]:
                held[side][number] = message
        while place < len(pairs) and pairs[place][0] in held[0] and pairs[place][1] in held[1]:
            first, second = pairs[place]
            yield place, held[0].pop(first), held[1].pop(second)
            place += 1
        if place == len(pairs):
            return


def _some(damage: list[str]) -> list[str]:
    """Return the first places that are damaged, and how many there are more."""
    more = len(damage) - _MOST_PLACES
    return damage[:_MOST_PLACES] + ([f'and {more} more such places'] if more > 0 else [])

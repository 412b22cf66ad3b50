# SPDX-License-Identifier: Apache-2.0
"""Fewer frames than a robot publishes, whole ones: the image, and what belongs to its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Message = TypeVar('Message')
PATIENCE_NS = 500_000_000
"""How long an image waits for a message that is later than it, ns by its own clock."""
KEPT = 100
"""How many messages of each topic wait for an image."""
EARLY = 0.1
"""An image may come by this part of the period early: frames of a camera jitter."""


@dataclass
class _Companion(Generic[Message]):
    """Messages of a topic that wait, and the images that wait for one of them."""

    messages: deque[tuple[int, Message]] = field(default_factory=lambda: deque(maxlen=KEPT))
    images_ns: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    written_ns: int | None = None


class Throttle(Generic[Message]):
    """
    Let an image through now and then, and of every other topic the message nearest to it.

    Parameters
    ----------
    rate_hz : float or None
        Images a second by their stamps; None: all messages of all topics.
    image : str
        Topic of the images.
    companions : iterable of str
        Topics with a stamp that belong to the images.
    write : callable
        Takes the topic and the message of what goes through.

    """

    def __init__(
        self,
        rate_hz: float | None,
        image: str,
        companions: Iterable[str],
        write: Callable[[str, Message], None],
    ) -> None:
        self._period_ns = 0 if rate_hz is None else round(1e9 / rate_hz)
        self._image = image
        self._companions: dict[str, _Companion[Message]] = {x: _Companion() for x in companions}
        self._write = write
        self._last_ns: int | None = None

    def put(self, topic: str, stamp_ns: int, message: Message) -> None:
        """Take the next message of a topic, with its stamp in ns."""
        if not self._period_ns:
            self._write(topic, message)
        elif topic != self._image:
            self._companions[topic].messages.append((stamp_ns, message))
        elif self._is_due(stamp_ns):
            self._last_ns = stamp_ns
            self._write(topic, message)
            for companion in self._companions.values():
                companion.images_ns.append(stamp_ns)
        self._serve(stamp_ns - PATIENCE_NS)

    def finish(self) -> None:
        """Let go what waits for nothing more."""
        self._serve(None)

    def _is_due(self, stamp_ns: int) -> bool:
        # A stamp that jumps back is a clock that was set, or a bag that loops.
        last = self._last_ns
        return last is None or not 0 <= stamp_ns - last < (1 - EARLY) * self._period_ns

    def _serve(self, given_up_ns: int | None) -> None:
        """Write what is nearest to each image, once it is known or too late."""
        for topic, companion in self._companions.items():
            images, messages = companion.images_ns, companion.messages
            while images and messages:
                stamp = images[0]
                is_late = given_up_ns is None or stamp < given_up_ns
                if messages[-1][0] < stamp and not is_late:
                    break
                nearest, message = min(messages, key=lambda item: abs(item[0] - stamp))
                if nearest != companion.written_ns:
                    self._write(topic, message)
                companion.written_ns = nearest
                images.popleft()

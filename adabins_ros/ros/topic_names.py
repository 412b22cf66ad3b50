# SPDX-License-Identifier: Apache-2.0
"""Names as ROS 2 allows them, of topics that were recorded and of a command line; no rclpy."""

from __future__ import annotations

from collections.abc import Iterable
import re

RULE = 'ROS 2 allows letters, digits and _ between slashes, and no digit in front'


class RosError(ValueError):
    """What ROS does not take of a command line; the text is for people."""


def check_name(name: str | None, option: str) -> None:
    """
    Refuse what was given as the name of a topic or a node and ROS 2 does not allow as such.

    Raises
    ------
    RosError
        With the option that it was given by.

    """
    if name is not None and _legal(name) != name:
        raise RosError(f'{option} {name!r}: {RULE}')


def legal_topics(recorded: Iterable[str]) -> dict[str, str]:
    """
    Return under which name each topic of a recording can be published.

    ROS 1 and other recorders allow more than ROS 2 does (RULE). Anything else becomes _, and two
    topics never share a name.
    """
    names = {name: _legal(name) for name in recorded}
    taken = {name for name, legal in names.items() if name == legal}
    for name, legal in names.items():
        if name != legal:
            while legal in taken:
                legal += '_'
            names[name] = legal
            taken.add(legal)
    return names


def _legal(name: str) -> str:
    parts = [re.sub(r'\W', '_', part, flags=re.ASCII) for part in name.split('/') if part]
    parts = [f'_{part}' if part[0].isdigit() else part for part in parts]
    return ('/' if name.startswith('/') else '') + ('/'.join(parts) or '_')

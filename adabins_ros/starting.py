# SPDX-License-Identifier: Apache-2.0
"""What an executable does before imports that take seconds: hear Ctrl-C, refuse wrong words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import takewhile
import os
import signal
import sys


def depth_node(arguments: Sequence[str] | None = None) -> int:
    """Run the executable `depth_node`; return its exit status."""
    end_quietly()
    check_node_words(arguments)
    from adabins_ros.ros import depth_node as node

    return node.main(None if arguments is None else list(arguments))


def end_quietly() -> None:
    """Let SIGINT and SIGTERM end the process with status 0 until somebody else hears them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # An exception would come up somewhere inside an import, which may hide or report it.
        signal.signal(number, lambda *_: os._exit(0))


def check_node_words(arguments: Sequence[str] | None = None) -> None:
    """Exit with a usage message where the words before --ros-args are none of `depth_node`'s."""
    words = takewhile(
        lambda word: word != '--ros-args', sys.argv[1:] if arguments is None else arguments
    )
    parser = argparse.ArgumentParser(
        prog='depth_node',
        usage='depth_node [--ros-args -p PARAMETER:=VALUE -r TOPIC:=OTHER ...]',
        description='Metric depth, its standard deviation and points from a camera. '
        'Parameters: config/depth.yaml, or ros2 param describe on the running node.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument('-h', '--help', action='store_true', help='show this and exit')
    if parser.parse_args(list(words)).help:
        from adabins_ros.ros.products import PRODUCTS

        lines = (f'  {product.topic:31} {product.description}' for product in PRODUCTS)
        parser.epilog = 'Publishes:\n' + '\n'.join(lines)
        parser.print_help()
        parser.exit()

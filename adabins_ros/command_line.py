# SPDX-License-Identifier: Apache-2.0
"""Commands that ROS starts as executables of their own: one function, run by typer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import re
import sys
from typing import Any

import typer

SETTING = re.compile(r'[A-Za-z_][\w.]*=')
"""What a KEY=VALUE word begins with."""


def run_command(
    function: Callable[..., Any], name: str, arguments: Sequence[str] | None, prog_name: str
) -> int:
    """
    Run a command line; what ROS's launch adds behind --ros-args is left out.

    Parameters
    ----------
    function : callable
        Takes the options, as typer understands them.
    name : str
        Begins the sentence of an error: adabins NAME: ...
    arguments : sequence of str or None
        None: those of this process.
    prog_name : str
        For the help.

    Returns
    -------
    int
        Exit status.

    """
    from adabins_ros.cli import explained

    words = list(sys.argv[1:] if arguments is None else arguments)
    if '--ros-args' in words:
        start = words.index('--ros-args')
        end = words.index('--', start) + 1 if '--' in words[start:] else len(words)
        del words[start:end]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    try:
        with explained(name):
            app(words, prog_name=prog_name, standalone_mode=False)
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return 1
    except Exception as error:
        # Typer's own, for words that it does not know.
        show = getattr(error, 'show', None)
        if show is None:
            raise
        show()
        return int(getattr(error, 'exit_code', 2))
    return 0

# SPDX-License-Identifier: Apache-2.0
"""What a plain install leaves out, and how to get it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from adabins_ros.model.errors import ModelError


class MissingExtra(ModelError):
    """Something needs Python packages that a plain install does not bring."""


def require(extra: str, *packages: str, what: str = '') -> None:
    """
    Refuse work whose packages are not installed; none of them is imported.

    Parameters
    ----------
    extra : str
        The extra of this package that brings them: train, openvino or ros.
    packages : str
        Names under which they are imported.
    what : str
        Begins the sentence, such as 'adabins train'; by default the missing packages do.

    Raises
    ------
    MissingExtra
        With the command that installs them.

    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        needy = what or f'the Python package {" and ".join(missing)}'
        raise MissingExtra(f'{needy} needs the extra [{extra}]: {install_command(extra)}')


def install_command(extra: str) -> str:
    """Return the command that installs an extra: of a source tree, or of the installed package."""
    in_source_tree = (Path(__file__).resolve().parent.parent / 'setup.py').is_file()
    return f"pip install '{'.' if in_source_tree else 'adabins_ros'}[{extra}]'"

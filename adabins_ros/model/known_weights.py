# SPDX-License-Identifier: Apache-2.0
"""Weights that have a name but do not come with the package: whence, and where they are kept."""

from __future__ import annotations

import os
from pathlib import Path
import re

from adabins_ros.model.errors import ModelError
from adabins_ros.package_files import cache_folder, package_file, shell_command
from pydantic import BaseModel, ConfigDict, Field, ValidationError

HUB = 'hf:'
_STEP = r'\w[\w. -]*'  # of a path; neither empty nor . nor ..
_SOURCE = rf'hf:{_STEP}/{_STEP}'
_FILE = rf'{_STEP}(?:/{_STEP})*'
_ON_HUB = re.compile(rf'({_SOURCE})/({_FILE})')


class KnownWeights(BaseModel):
    """A row of the table of known weights; ``weights/known.yaml`` says what each field is."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    source: str = Field(pattern=rf'^({_SOURCE}|https?://.+)$')
    file: str = Field(pattern=rf'^{_FILE}$')
    licence: str
    about: str = ''
    size: int | None = Field(None, gt=0)
    sha256: str | None = Field(None, pattern=r'^[0-9a-f]{64}$')

    @property
    def repository(self) -> str | None:
        """OWNER/NAME on the hub; None if people get the file by hand."""
        return self.source.removeprefix(HUB) if self.source.startswith(HUB) else None


def known_weights() -> dict[str, KnownWeights]:
    """
    Read the table that comes with the package, and the user's, whose rows go first.

    Raises
    ------
    ModelError
        If a row is wrong; the file and what is wrong are named.

    """
    import yaml

    base = os.environ.get('XDG_CONFIG_HOME') or '~/.config'
    table = {}
    for path in (
        package_file('weights/known.yaml'),
        Path(os.path.expanduser(base), 'adabins_ros', 'weights.yaml'),
    ):
        try:
            rows = yaml.safe_load(path.read_text()) or {} if path.is_file() else {}
            table.update({str(name): KnownWeights(**row) for name, row in rows.items()})
        except ValidationError as error:
            problem = error.errors()[0]
            where = '.'.join(map(str, problem['loc']))
            raise ModelError(f'{path}: {where}: {problem["msg"]}') from None
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise ModelError(f'{path} is no table of weights: {error}') from None
    return table


def row_of(name: str) -> KnownWeights | None:
    """
    Return the row of a name, which hf:OWNER/NAME/FILE is itself; None if it is no such name.

    Raises
    ------
    ModelError
        If what follows hf: is no file of the hub, or as ``known_weights``.

    """
    if not name.startswith(HUB):
        return known_weights().get(name)
    found = _ON_HUB.fullmatch(name)
    if not found:
        raise ModelError(f'{name!r} must be hf:OWNER/NAME/FILE, as on https://huggingface.co')
    source, file = found.groups()
    page = f'https://huggingface.co/{source.removeprefix(HUB)}'
    return KnownWeights(source=source, file=file, licence=f'see {page}')


def place_of(name: str, row: KnownWeights) -> Path:
    """
    Return where the file of a name is kept once it was fetched.

    Raises
    ------
    ModelError
        If the cache is switched off.

    """
    folder = cache_folder()
    if folder is None:
        raise ModelError(
            f'ADABINS_CACHE is empty, so there is no folder for {name}: name one, or unset it'
        )
    under = f'hub/{row.repository}' if name.startswith(HUB) else name
    return folder / 'weights' / under / row.file


def fetched(name: str) -> Path | None:
    """
    Return the file of weights with a name; None if it is no such name.

    Raises
    ------
    ModelError
        If they were not fetched yet, with the command that does.

    """
    row = row_of(name)
    if row is None:
        return None
    place = place_of(name, row)
    if place.is_file():
        return place
    size = f' ({row.size / 1e6:.0f} MB)' if row.size else ''
    fetch = shell_command(f'fetch {name}')
    raise ModelError(
        f"{name}'s weights are not here; run `{fetch}`{size}; random ones, to measure with: "
        'untrained=True or --untrained'
    )

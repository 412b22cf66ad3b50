# SPDX-License-Identifier: Apache-2.0
"""`adabins fetch`: weights from the Hugging Face hub, checked and kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
import fcntl
import os
from pathlib import Path
import shutil
from typing import Annotated

from adabins_ros.command_line import run_command
from adabins_ros.extras import MissingExtra
from adabins_ros.model.errors import ModelError
from adabins_ros.model.known_weights import known_weights, KnownWeights, place_of, row_of
from adabins_ros.package_files import shell_command
from adabins_ros.provenance import sha256
import typer


class FetchError(RuntimeError):
    """Weights can't be fetched; the text says why, and what to do."""


def main(arguments: Sequence[str] | None = None, prog_name: str = 'fetch') -> int:
    """Run `fetch`, with the words of this process by default; return the exit status."""
    return run_command(fetch, 'fetch', arguments, prog_name)


def fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            help='A name of the table, or hf:OWNER/NAME/FILE; the table is shown without one.'
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help='Take this file, which you got in another way.')
    ] = None,
) -> None:
    """
    Get weights that do not come with the package; --model and the node then know their name.

    An interrupted download goes on where it stopped. HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and
    huggingface_hub's other settings hold, and what its cache has is taken from there.
    """
    if name is None:
        for known, row in known_weights().items():
            kept = place_of(known, row)
            here = kept if kept.is_file() else 'not here'
            typer.echo(
                f'{known}: {row.about}\n  {row.licence}\n  {row.file} of {row.source}\n  {here}'
            )
        return
    kept = fetch_weights(name, file)
    typer.echo(f'{kept}\nUse it: adabins predict photo.jpg --model {name}')


def fetch_weights(name: str, file: Path | None = None) -> Path:
    """
    Get weights with a name, check them, and keep them where their name is looked up.

    Parameters
    ----------
    name : str
        Of the table of known weights, or hf:OWNER/NAME/FILE.
    file : Path, optional
        To be copied in place of the hub's.

    Returns
    -------
    Path
        Where they are kept.

    Raises
    ------
    FetchError
        If they can't be had, or are not what they should be.
    ModelError
        If they are no model, or the table is wrong.

    """
    row = row_of(name)
    if row is None:
        names = ', '.join(known_weights())
        raise FetchError(f'{name!r} is no known name ({names}) and not hf:OWNER/NAME/FILE')
    place = place_of(name, row)
    typer.echo(f'{name}: {row.about or row.source}\nlicence: {row.licence}', err=True)
    if file is None and row.sha256 and place.is_file() and sha256(place) == row.sha256:
        return place
    if file is None and row.repository is None:
        raise FetchError(
            f'{name} is not on the hub: get {row.file} with a browser from {row.source}, then '
            f'run: {shell_command(f"fetch {name} --file {row.file}")}'
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    return _from_hub(name, row, place) if file is None else _take(file, place, row)


def _take(file: Path, place: Path, row: KnownWeights) -> Path:
    if not file.is_file():
        raise FetchError(f'{file} is no file')
    partial = place.with_name(f'partial-{os.getpid()}-{place.name}')
    try:
        shutil.copyfile(file, partial)
        _check(partial, row, row.size, row.sha256, str(file))
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)
    return place


def _from_hub(name: str, row: KnownWeights, place: Path) -> Path:
    # Half a second, which only this command pays.
    import huggingface_hub as hub

    url = hub.hf_hub_url(str(row.repository), row.file)
    remote, refused = None, ''
    try:
        remote = hub.get_hf_file_metadata(url)
        if not (remote.commit_hash and remote.etag):
            remote, refused = None, 'what answers is not the hub (a login page, a proxy?)'
    except Exception as error:  # of the network, the hub and three libraries
        refused = _in_a_line(error)
    etag = (remote and remote.etag) or ''
    # Of a large file the hub's ETag is its SHA-256.
    digest = row.sha256 or (etag if len(etag) == 64 else None)
    cached = hub.try_to_load_from_cache(str(row.repository), row.file)
    for here in (place, Path(cached) if isinstance(cached, str) else place):
        if here.is_file() and (sha256(here) == digest if digest else refused):
            if here != place:
                _check(here, row, row.size, digest, str(here))
                place.unlink(missing_ok=True)
                place.symlink_to(here)
            return place
    if remote is None:
        raise FetchError(f'{name} can not be had from {url}: {refused}')
    if row.size and remote.size and remote.size != row.size:
        raise FetchError(
            f'{url} has {remote.size} bytes where {row.size} are expected: it is another file'
        )
    size = row.size or remote.size
    partial = place.with_name(f'partial-{etag[:16]}-{place.name}')
    _download(url, partial, size)
    try:
        _check(partial, row, size, digest, url)
    except (FetchError, ModelError):
        partial.unlink()
        raise
    os.replace(partial, place)
    for older in place.parent.glob(f'partial-*-{place.name}'):
        older.unlink()
    return place


def _download(url: str, partial: Path, size: int | None) -> None:
    """Write a file, going on after what is there of it."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with partial.open('ab') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FetchError(f'another process is fetching {url}; wait for it') from None
        if size and file.tell() > size:
            file.truncate(0)
        try:
            http_get(
                url,
                file,
                resume_size=os.fstat(file.fileno()).st_size,
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=url.rpartition('/')[2],
            )
        except KeyboardInterrupt:
            typer.echo('stopped: the same command goes on from there', err=True)
            raise
        except Exception as error:  # of the network, the hub, the disk and three libraries
            raise FetchError(
                f'{url} was not fetched: {_in_a_line(error)} ({file.tell()} of {size or "?"} '
                'bytes are kept: the same command goes on from there)'
            ) from error


def _check(
    file: Path, row: KnownWeights, size: int | None, digest: str | None, origin: str
) -> None:
    """
    Refuse what is not what it should be, or no model.

    Raises
    ------
    FetchError, ModelError
        With what is wrong.

    """
    found = file.stat().st_size
    if size and found != size:
        raise FetchError(f'{origin} has {found} bytes where {size} are expected; get it again')
    if digest and (actual := sha256(file)) != digest:
        raise FetchError(
            f'{origin} is not what it should be: its SHA-256 is {actual}, and {digest} is '
            'expected; nothing of it is kept'
        )
    if row.sha256:
        return
    from adabins_ros.inference.onnx_file import is_onnx, read_onnx
    from adabins_ros.model.model_file import find_model

    if is_onnx(file):
        read_onnx(file)
        return
    # Only torch can look into an authors' file.
    with suppress(MissingExtra):
        find_model(file, depth_range=(1e-3, 10.0))


def _in_a_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__

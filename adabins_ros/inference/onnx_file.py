# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file of this package says of itself, read without a runtime."""

from __future__ import annotations

from dataclasses import dataclass
import json
import mmap
import os
from pathlib import Path
from typing import BinaryIO

from adabins_ros.model.config import AdaBinsConfig
from adabins_ros.model.errors import ModelError
from adabins_ros.package_files import shell_command
from pydantic import ValidationError

FORMAT = 'adabins_ros onnx 2'
FIRST_FORMAT = 'adabins_ros onnx 1'
"""Its input is called pixels, and depth and std have a dimension of one after the batch."""
PREFIX = 'adabins_ros.'
DIMENSIONS = ('batch', 'height', 'width')


@dataclass(frozen=True)
class OnnxModel:
    """
    An ONNX file of this package.

    The file takes ``image``, (batch, height, width, 3) uint8 RGB, and gives ``depth`` and ``std``,
    (batch, ceil(height / 2), ceil(width / 2)) in metres, and ``bin_centers``, (batch, N) in
    metres; with adaptive bins also what ``smoothing.py`` names. Pixels, and no normalised image,
    because a caller in any language then needs to know nothing about the network.
    """

    path: Path
    config: AdaBinsConfig
    fixed_size: tuple[int, int] | None = None
    """Height and width, if the file takes no others."""
    parameter_count: int = 0
    file_format: str = FORMAT

    @property
    def free_dimensions(self) -> tuple[str, ...]:
        """Names of the image's dimensions that a caller chooses, from the first on."""
        return DIMENSIONS[:1] if self.fixed_size else DIMENSIONS

    @property
    def usual_shape(self) -> tuple[int, int, int]:
        """Batch, height and width of one image as the network was trained on."""
        return (1, *(self.fixed_size or self.config.input_size))


def is_onnx(model: str | os.PathLike[str]) -> bool:
    """Tell by its name whether a model is an ONNX file, which has no mark at its start."""
    return Path(model).suffix.lower() == '.onnx'


def read_onnx(path: str | os.PathLike[str]) -> OnnxModel:
    """
    Read the configuration of an ONNX file.

    Raises
    ------
    ModelError
        If there is no such file, or it is damaged or foreign.

    """
    path = Path(path).expanduser()
    if path.exists() and not path.is_file():
        raise ModelError(f'model file {path} is no file')  # nothing ever comes out of a pipe
    try:
        with path.open('rb') as file:
            said = _metadata(file)
            elsewhere = _names_files(file, said)
    except OSError as error:
        raise ModelError(f"model file {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(
            f'model file {path} is damaged or not ONNX ({error}); copy it again'
        ) from error
    if elsewhere:
        raise ModelError(
            f'model file {path} is refused: it takes weights from other files, which could be any '
            'of this machine; `adabins export` writes them inside'
        )
    file_format = said.get(f'{PREFIX}format')
    if file_format not in (FORMAT, FIRST_FORMAT):
        raise ModelError(
            f'model file {path} does not carry the configuration of this package (its format is '
            f'{file_format!r}, expected {FORMAT!r}): make it with `{shell_command("export")}`, or '
            'copy it again'
        )
    try:
        config = AdaBinsConfig.model_validate_json(said.get(f'{PREFIX}config', ''))
        size = json.loads(said[f'{PREFIX}fixed_size'])
        count = int(said[f'{PREFIX}parameters'])
    except (ValidationError, KeyError, ValueError) as error:
        raise ModelError(f'model file {path} has a wrong configuration: {error}') from error
    return OnnxModel(path, config, tuple(size) if size else None, count, file_format)


# https://protobuf.dev/programming-guides/encoding, and ModelProto in onnx.proto of ONNX: asking a
# runtime would take another session, a second and the weights' memory with a large network.
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_METADATA_PROPS = 14
# Far more than ours has: nobody must be able to keep a reader busy.
_MOST_FIELDS, _LONGEST_TEXT = 1000, 1_000_000


def _metadata(file: BinaryIO) -> dict[str, str]:
    """Walk over the fields of a ModelProto and return its metadata; ValueError if it is none."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    said: dict[str, str] = {}
    for _ in range(_MOST_FIELDS):
        if file.tell() >= end:
            return said
        field, kind = divmod(_varint(file), 8)
        if kind == _BYTES:
            length = _varint(file)
            if file.tell() + length > end:
                raise ValueError(f'it ends after {end} bytes')
            if field == _METADATA_PROPS:
                key, value = _entry(file, file.tell() + length)
                said[key] = value
            else:
                file.seek(length, os.SEEK_CUR)
        elif kind == _VARINT:
            _varint(file)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            file.seek(8 if kind == _EIGHT_BYTES else 4, os.SEEK_CUR)
        else:
            raise ValueError('it holds no protocol buffer')
    raise ValueError(f'it has more than {_MOST_FIELDS} parts')


def _names_files(file: BinaryIO, said: dict[str, str]) -> bool:
    """
    Tell whether a word stands in a file that every reference to another file needs.

    External data of a TensorProto has the key location (onnx.proto); runtimes follow it out of the
    model's folder. Where in the file it stands, and how its length is written, does not matter.
    """
    if not file.seek(0, os.SEEK_END):
        return False
    word, found, position = b'location', 0, -1
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        while (position := view.find(word, position + 1)) >= 0:
            found += 1
    return found > sum(text.count(word.decode()) for pair in said.items() for text in pair)


def _entry(file: BinaryIO, end: int) -> tuple[str, str]:
    """Read a StringStringEntryProto, whose key is field 1 and value field 2."""
    texts = {1: '', 2: ''}
    for _ in texts:
        if file.tell() >= end:
            break
        field, kind = divmod(_varint(file), 8)
        if kind != _BYTES or field not in texts:
            raise ValueError('its metadata is no text')
        length = _varint(file)
        if length > min(end - file.tell(), _LONGEST_TEXT):
            raise ValueError('its metadata has no end')
        texts[field] = file.read(length).decode()
    if file.tell() != end:
        raise ValueError('its metadata is no pair')
    return texts[1], texts[2]


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError('it ends in the middle')
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError('it holds no protocol buffer')

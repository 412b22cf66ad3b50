# SPDX-License-Identifier: Apache-2.0
"""What arrives, what must be seen, and that good work goes on right after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adabins_ros.cli import app
import numpy as np
from PIL import Image
import pytest
from typer.testing import CliRunner

PICTURES = {
    'cut_off.jpg': 'JPEG of 400 bytes is cut off',
    'empty.png': '0 bytes are no JPEG',
    'phone.jpg': 'it is HEIC, which is not read: convert it to JPEG',
    'saved_page.jpg': 'it is a web page, which is not read',
    'bomb.tif': 'TIFF claims 16000x12000 pixels',
    'heights.tif': '1 channels of float32 are no photo',
}
"""Files of a folder of photos, and what is said of each."""


def _write_pictures(folder: Path) -> None:
    rgb = np.random.default_rng(2).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(rgb).save(folder / 'good.jpg')
    (folder / 'cut_off.jpg').write_bytes((folder / 'good.jpg').read_bytes()[:400])
    (folder / 'empty.png').touch()
    (folder / 'phone.jpg').write_bytes(b'\0\0\0\x18ftypheic' + bytes(100))
    (folder / 'saved_page.jpg').write_text('<!DOCTYPE html><html></html>')
    Image.new('1', (16000, 12000)).save(folder / 'bomb.tif', compression='group4')
    Image.fromarray(np.ones((48, 64), np.float32)).save(folder / 'heights.tif')


def _predicted(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ['predict', *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stderr


def test_no_picture_of_a_folder_keeps_the_good_one_from_its_depth(tmp_path: Path) -> None:
    folder = tmp_path / 'photos'
    folder.mkdir()
    _write_pictures(folder)
    status, errors = _predicted(folder, '--output', tmp_path / 'all')
    assert status == 1 and 'Traceback' not in errors
    assert f'{len(PICTURES)} of {len(PICTURES) + 1} photos could not be used' in errors
    for name, words in PICTURES.items():
        assert f'{folder / name}: {words}' in errors
    assert _predicted(folder / 'good.jpg', '--output', tmp_path / 'alone')[0] == 0
    depths = [np.load(tmp_path / name / 'good.npz')['depth'] for name in ('all', 'alone')]
    np.testing.assert_array_equal(*depths)


@pytest.mark.parametrize(
    ('case', 'said'),
    [
        ('P01', ''),
        ('P02', 'ff_tail.jpg: JPEG of'),
        ('P06', 'a_192MP.tif: TIFF claims 16000x12000'),
    ],
)
def test_pictures_that_once_went_wrong(
    shared_data: Callable[[str], Path], tmp_path: Path, case: str, said: str
) -> None:
    folder = shared_data(f'../cases/{case}')
    names = sorted(file for file in folder.iterdir() if file.name != 'README')
    statuses = [_predicted(file, '--output', tmp_path / file.name) for file in names]
    assert (sum(status for status, _ in statuses) == 1) == bool(said)
    assert said in ''.join(errors for _, errors in statuses)

# SPDX-License-Identifier: Apache-2.0
"""Pictures: what lies in a folder of photos, what is said of it, and the good one beside it."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import struct

from adabins_ros.messages.still_pictures import encode_picture
from adabins_ros.prediction import predict_photos, PredictionError
import numpy as np
from PIL import Image
import pytest

RGB = np.random.default_rng(2).integers(0, 255, (48, 64, 3), np.uint8)


def encoded(suffix: str) -> bytes:
    """Return a small good picture."""
    return encode_picture(RGB, suffix).tobytes()


def changed(data: bytes, at: int, other: bytes) -> bytes:
    """Return bytes with some of them replaced."""
    return data[:at] + other + data[at + len(other) :]  # noqa: E203


def _bomb(path: Path) -> None:
    Image.new('1', (16000, 12000)).save(path, compression='group4')


def _scans(path: Path) -> None:
    scan = b'\xff\xda\0\x08\x01\1\0\0\x3f\0\0'
    path.write_bytes(encoded('.jpg')[:-2] + 200 * scan + b'\xff\xd9')


def _endless(path: Path) -> None:
    path.symlink_to('/dev/zero')


def _vast(path: Path) -> None:
    with path.open('wb') as file:
        file.truncate(1 << 40)


jpeg, png, bmp = encoded('.jpg'), encoded('.png'), encoded('.bmp')
WRONG: dict[str, tuple[bytes | Callable[[Path], object], str]] = {
    'cut_off.jpg': (jpeg[:400], 'JPEG of 400 bytes is cut off'),
    'ff_tail.jpg': (jpeg[:400] + 60_000 * b'\xff', 'is cut off'),
    'overwritten.jpg': (changed(jpeg, 700, b'\xff\xc1'), 'JPEG is damaged at byte 700'),
    'scans.jpg': (_scans, 'more than 100 scans'),
    'claims.jpg': (changed(jpeg, jpeg.index(b'\xff\xc0') + 5, b'\xff' * 4), 'claims 65535x65535'),
    'bit.png': (changed(png, 60, b'\0\1\2'), 'PNG has a wrong checksum'),
    'cut_off.png': (png[:500], 'PNG of 500 bytes is cut off at byte 33'),
    'empty.png': (b'', '0 bytes are no JPEG'),
    'bomb.tif': (_bomb, 'TIFF claims 16000x12000 pixels'),
    'no_size.tif': (b'II*\0\x08\0\0\0\0\0', 'has no size'),
    'heights.tif': (
        lambda path: Image.fromarray(np.ones((48, 64), np.float32)).save(path),
        '1 channels of float32 are no photo',
    ),
    'claims.bmp': (changed(bmp, 18, struct.pack('<ii', 30000, 30000)), 'BMP claims 30000x30000'),
    'cut_off.webp': (encoded('.webp')[:60], 'WebP is cut off'),
    'no_size.ppm': (b'P6 x y', 'PNM of 6 bytes has no size'),
    'phone.jpg': (b'\0\0\0\x18ftypheic' + bytes(100), 'it is HEIC, which is not read'),
    'saved_page.jpg': (b'<!DOCTYPE html><html></html>', 'it is a web page'),
    'folder.jpg': (Path.mkdir, 'it is a folder'),
    'pipe.jpg': (os.mkfifo, 'it is no file'),
    'endless.jpg': (_endless, 'it is no file'),
    'vast.jpg': (_vast, 'MiB, and a photo'),
    'gone.jpg': (lambda path: path.symlink_to('nowhere'), 'it can not be read'),
}
"""Files of a folder of photos, and what is said of each."""


def predicted(*photos: Path, output: Path, overwrite: bool = False) -> list[str]:
    """Return what `adabins predict` says of the photos that it can't use."""
    return predict_photos(
        photos, output, 'adabins-lite', overwrite=overwrite, engine='onnx', pixel_budget=160 * 128
    )


@pytest.fixture(scope='module')
def folder_said(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what was said of each file of a folder, whose good photo must have its depth."""
    folder = tmp_path_factory.mktemp('faults') / 'photos'
    folder.mkdir()
    for name, (content, _) in WRONG.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content(folder / name)
    (folder / 'good.png').write_bytes(photo.read_bytes())
    # Another stem of each, or two photos would have one result.
    for file in list(folder.iterdir()):
        file.rename(file.with_stem(file.name.replace('.', '_')))
    lines = predicted(folder, output=folder.parent / 'all')
    assert len(lines) == len(WRONG)
    assert not predicted(photo, output=folder.parent / 'alone')
    depths = [
        np.load(folder.parent / name)['depth'] for name in ('all/good_png.npz', 'alone/good.npz')
    ]
    np.testing.assert_array_equal(*depths)
    said = [line.removeprefix(f'{folder}/').partition(': ') for line in lines]
    return {name: words for name, _, words in said}


@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_picture_is_named_and_the_good_one_has_its_depth(
    folder_said: dict[str, str], name: str
) -> None:
    path = Path(name)
    assert WRONG[name][1] in folder_said[f'{name.replace(".", "_")}{path.suffix}']


def test_a_name_may_hold_what_a_terminal_takes_for_a_colour(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / 'a[red]b[-].png'
    odd.write_bytes(photo.read_bytes())
    assert not predicted(odd, output=tmp_path / 'out')
    assert odd.name in capsys.readouterr().out


def test_links_that_lie_where_results_go_are_not_followed(photo: Path, tmp_path: Path) -> None:
    output, private = tmp_path / 'out', tmp_path / 'private'
    output.mkdir()
    private.write_text('mine')
    for name in ('good.npz.unfinished', 'good.npz', 'good.png', '.good.npz.unfinished-x'):
        (output / name).symlink_to(private)
    with pytest.raises(PredictionError, match='exists already'):
        predicted(photo, output=output)
    assert not predicted(photo, output=output, overwrite=True)
    assert private.read_text() == 'mine'
    assert np.load(output / 'good.npz')['depth'].shape == (48, 64)


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
    files = sorted(file for file in folder.iterdir() if file.name != 'README')
    lines = [line for file in files for line in predicted(file, output=tmp_path / file.name)]
    assert len(lines) == bool(said) and said in ''.join(lines)

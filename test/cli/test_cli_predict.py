# SPDX-License-Identifier: Apache-2.0
"""`adabins predict`: photos in, arrays and pictures out."""

from __future__ import annotations

from pathlib import Path
import resource
import signal

from adabins_ros.cli import app
from adabins_ros.prediction import read_photo
import cv2
import numpy as np
from PIL import Image, ImageOps
import pytest
from typer.testing import CliRunner


def run(*arguments: object) -> tuple[int, str, str]:
    """Run `adabins predict`; return its exit status, output and error output."""
    result = CliRunner().invoke(app, ['predict', *map(str, arguments)], env={'COLUMNS': '120'})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope='module')
def rgb() -> np.ndarray:
    """Return a picture of which every corner has another colour."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = (220, 30, 30)
    picture[:24, 32:] = (30, 220, 30)
    picture[24:, :32] = (30, 30, 220)
    picture[24:, 32:] = (220, 220, 30)
    return picture


@pytest.fixture
def photo(tmp_path, rgb) -> Path:
    """Return the picture as a file."""
    path = tmp_path / 'photo.png'
    cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def test_a_photo_becomes_arrays_in_metres_and_a_picture(photo, tmp_path):
    status, text, _ = run(photo, '--output', tmp_path / 'out')
    assert status == 0
    with np.load(tmp_path / 'out' / 'photo.npz') as arrays:
        assert set(arrays) == {'depth', 'std', 'bin_centers'}
        assert arrays['depth'].shape == arrays['std'].shape == (48, 64)
        assert arrays['depth'].dtype == np.float32
        assert arrays['depth'].min() >= 0.1 and arrays['depth'].max() <= 10
        assert (np.diff(arrays['bin_centers']) > 0).all()
    picture = cv2.imread(str(tmp_path / 'out' / 'photo.png'))
    assert picture.shape[1] > 3 * picture.shape[0] * 0.5, 'three panels side by side'
    assert 'photo.png' in text and '64x48' in text
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'photo.npz', 'photo.png'}


def test_without_an_output_folder_results_go_to_predictions(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(photo)[0] == 0
    assert {path.name for path in Path('predictions').iterdir()} == {'photo.npz', 'photo.png'}


def test_a_folder_gives_one_result_per_picture(photo, tmp_path, rgb):
    folder = tmp_path / 'photos'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.jpg'), rgb[..., ::-1])
    cv2.imwrite(str(folder / 'B.PNG'), rgb[..., ::-1])
    (folder / 'notes.txt').write_text('no picture')
    (folder / '.hidden.png').write_bytes(photo.read_bytes())
    status, _, _ = run(folder, photo, '--output', tmp_path / 'out')
    assert status == 0
    stems = {path.stem for path in (tmp_path / 'out').glob('*.npz')}
    assert stems == {'a', 'B', 'photo'}


@pytest.mark.parametrize(
    ('name', 'convert'),
    [
        ('grey.png', lambda bgr: bgr[..., 1]),
        ('sixteen.png', lambda bgr: bgr.astype(np.uint16) * 257),
        ('grey_sixteen.tif', lambda bgr: bgr[..., 1].astype(np.uint16) * 257),
        ('alpha.png', lambda bgr: np.dstack([bgr, np.full(bgr.shape[:2], 128, np.uint8)])),
        ('photo.bmp', lambda bgr: bgr),
    ],
)
def test_every_kind_of_picture_is_read_as_people_see_it(tmp_path, rgb, name, convert):
    cv2.imwrite(str(tmp_path / name), convert(np.ascontiguousarray(rgb[..., ::-1])))
    expected = np.repeat(rgb[..., 1:2], 3, axis=2) if 'grey' in name else rgb
    assert np.abs(read_photo(tmp_path / name).astype(int) - expected).max() <= 1


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_photo_is_turned_upright_as_exif_says(tmp_path, rgb, orientation, suffix):
    picture = Image.fromarray(rgb)
    exif = picture.getexif()
    exif[0x0112] = orientation
    path = tmp_path / f'turned.{suffix}'
    picture.save(path, exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    found = read_photo(path)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 10  # of 95 and more, a JPEG loses some


def test_a_broken_file_is_named_and_the_others_follow(photo, tmp_path):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(photo.read_bytes()[:-40])
    empty = tmp_path / 'empty.jpg'
    empty.touch()
    status, text, errors = run(broken, empty, photo, '--output', tmp_path / 'out')
    assert status == 1
    assert f'{broken}: ' in errors and f'{empty}: ' in errors
    assert 'Traceback' not in errors
    assert '2 of 3 photos could not be used' in errors
    assert (tmp_path / 'out' / 'photo.npz').is_file()
    assert {path.stem for path in (tmp_path / 'out').iterdir()} == {'photo'}
    assert 'photo.png' in text


@pytest.mark.parametrize('side', [12_000, 16_000])
def test_a_photo_that_is_too_large_is_named_and_the_others_follow(photo, tmp_path, side):
    """The message names the size, and does not call the photo damaged."""
    large = tmp_path / 'large.tif'
    Image.new('1', (side, side)).save(large, compression='group4')
    status, _, errors = run(large, photo, '--output', tmp_path / 'out')
    assert status == 1
    assert f'{large}: TIFF claims {side}x{side} pixels' in errors
    assert (tmp_path / 'out' / 'photo.npz').is_file()


def test_whatever_happens_to_a_photo_the_others_follow(photo, tmp_path, monkeypatch):
    other = tmp_path / 'other.png'
    other.write_bytes(photo.read_bytes())
    read = cv2.imdecode
    calls = iter([MemoryError(), RuntimeError('the decoder gave up')])

    def imdecode(*arguments):
        for error in calls:
            raise error
        return read(*arguments)

    third = tmp_path / 'third.png'
    third.write_bytes(photo.read_bytes())
    monkeypatch.setattr(cv2, 'imdecode', imdecode)
    status, _, errors = run(photo, other, third, '--output', tmp_path / 'out')
    assert status == 1
    assert 'the decoder gave up' in errors
    assert {path.stem for path in (tmp_path / 'out').iterdir()} == {'third'}


def test_results_are_replaced_only_on_request(photo, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'photo.png').write_text('a drawing of mine')
    status, _, errors = run(photo, '--output', out)
    assert status == 1
    assert 'photo.png exists already' in errors and '--overwrite' in errors
    assert (out / 'photo.png').read_text() == 'a drawing of mine'
    assert not (out / 'photo.npz').exists()
    assert run(photo, '--output', out, '--overwrite')[0] == 0
    assert cv2.imread(str(out / 'photo.png')) is not None


def test_a_full_disk_is_named_and_nothing_half_written_stays(photo, tmp_path):
    """A limit on the size of files stands in for the disk: it ends a write in its middle too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        status, _, errors = run(photo, '--output', tmp_path / 'out')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert status == 1
    assert 'photo.npz can not be written: File too large' in errors and '--output' in errors
    assert not list((tmp_path / 'out').iterdir())
    assert run(photo, '--output', tmp_path / 'out')[0] == 0


def test_photos_of_the_same_name_are_not_mixed_up(photo, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'photo.jpg').write_bytes(photo.read_bytes())
    status, _, errors = run(photo, other, '--output', tmp_path / 'out')
    assert status == 1
    assert str(photo) in errors and str(other / 'photo.jpg') in errors
    assert 'different folders' in errors
    assert not (tmp_path / 'out').exists()


def test_a_photo_that_is_given_twice_is_predicted_once(photo, tmp_path):
    status, text, _ = run(photo, photo, '--output', tmp_path / 'out')
    assert status == 0
    assert text.count('64x48') == 1


def test_twice_the_focal_length_is_twice_the_depth(photo, tmp_path):
    depths = []
    for name, focal_length in (('near', 60), ('far', 120)):
        run(photo, '--output', tmp_path / name, '--focal-length', focal_length)
        depths.append(np.load(tmp_path / name / 'photo.npz')['depth'])
    np.testing.assert_allclose(depths[1], 2 * depths[0], rtol=1e-5)


def test_a_field_of_view_stands_in_for_the_focal_length(photo, tmp_path):
    # 64 px wide at 90 degrees: 32 px.
    run(photo, '--output', tmp_path / 'angle', '--horizontal-fov', 90)
    run(photo, '--output', tmp_path / 'pixels', '--focal-length', 32)
    depths = [np.load(tmp_path / name / 'photo.npz')['depth'] for name in ('angle', 'pixels')]
    np.testing.assert_allclose(*depths, rtol=1e-6)


def test_the_options_of_the_network_reach_it(photo, tmp_path):
    options = ['--inference-size', 128, 160, '--flip-average', '--device', 'cpu']
    status, text, _ = run(photo, '--output', tmp_path / 'out', *options)
    assert status == 0
    assert '160x128' in text


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        (['--model', 'nix.pt'], 1, ['nix.pt', 'not exist']),
        (['--device', 'cuda:9'], 1, ['cuda:9']),
        (['--focal-length', '-1'], 1, ['focal length', '-1']),
        (['--horizontal-fov', '180'], 1, ['field of view', '180']),
        (['--focal-length', '1e300'], 1, ['focal length', '1e+300']),
        (['--horizontal-fov', '1e-300'], 1, ['field of view', '1e-300']),
        (['--focal-length', '500', '--horizontal-fov', '60'], 2, ['not both']),
        (['--inference-size', '50', '50'], 1, ['50']),
    ],
)
def test_what_can_not_be_done_is_said_in_a_sentence(photo, tmp_path, arguments, status, words):
    found, _, errors = run(photo, '--output', tmp_path / 'out', *arguments)
    assert found == status
    assert 'Traceback' not in errors
    for word in words:
        assert word in errors


def test_missing_photos_and_empty_folders_are_named(tmp_path):
    status, _, errors = run(tmp_path / 'nix.jpg', '--output', tmp_path / 'out')
    assert (status, 'nix.jpg does not exist' in errors) == (1, True)
    status, _, errors = run(tmp_path, '--output', tmp_path / 'out')
    assert (status, 'holds no pictures' in errors) == (1, True)


def test_an_untrained_network_is_called_so(photo, tmp_path):
    from adabins_ros import DepthPredictor

    _, text, _ = run(photo, '--output', tmp_path / 'out')
    trained = DepthPredictor.from_pretrained('adabins-lite', device='cpu').is_trained
    assert ('depth is meaningless' in text) == (not trained)

# SPDX-License-Identifier: Apache-2.0
"""What a user of DepthPredictor sees."""

from pathlib import Path
import subprocess
import sys

from adabins_ros import DepthPredictor
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.model import AdaBins, load_model, ModelError, PRESETS, save_checkpoint
import numpy as np
import pytest
import torch


@pytest.fixture(scope='module')
def predictor() -> DepthPredictor:
    return DepthPredictor.from_pretrained('adabins-lite', device='cpu')


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = torch.from_numpy(generator.integers(0, 256, (1, 3, 6, 8)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    return smooth[0].permute(1, 2, 0).clamp(0, 255).numpy().astype(np.uint8)


@pytest.mark.parametrize(
    'size', [(48, 64), (480, 640), (2160, 3840), (641, 479), (239, 321), (640, 360)]
)
def test_the_result_has_the_cameras_size(predictor: DepthPredictor, size: tuple[int, int]) -> None:
    estimate = predictor.predict(photo(*size))
    assert estimate.depth.shape == estimate.std.shape == size
    assert estimate.depth.dtype == estimate.std.dtype == np.float32
    assert estimate.bin_centers.shape == (64,)
    assert (np.diff(estimate.bin_centers) > 0).all()
    assert predictor.config.min_depth <= estimate.depth.min()
    assert estimate.depth.max() <= predictor.config.max_depth
    assert (estimate.std > 0).all()
    assert set(estimate.seconds) == {'resize', 'network', 'upsample'}


def test_what_is_up_sampled_later_is_the_same(predictor: DepthPredictor) -> None:
    image = photo(480, 640)
    whole = predictor.predict(image)
    coarse = predictor.predict(image, upsample=False)
    assert coarse.depth.shape == coarse.std.shape == (120, 160)
    later = coarse.upsampled((480, 640), (0.1, 10.0))
    np.testing.assert_array_equal(later.depth, whole.depth)
    np.testing.assert_array_equal(later.std, whole.std)
    # Corners stay, which is what the camera of the coarse depth says, too.
    assert whole.depth[0, 0] == coarse.depth[0, 0] and whole.std[-1, -1] == coarse.std[-1, -1]
    camera = PinholeCamera(640, 480, 500.0, 510.0, 300.0, 250.0)
    small = camera.with_corners_kept(160, 120)
    for x, y in ((0, 0), (639, 479)):
        ray = (x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy
        column, row = x * 159 / 639, y * 119 / 479
        assert ray == pytest.approx(((column - small.cx) / small.fx, (row - small.cy) / small.fy))


def test_depth_scales_with_the_focal_length_at_the_inference_size(
    predictor: DepthPredictor,
) -> None:
    image = photo(480, 640)
    plain = predictor.predict(image)
    assert plain.focal_scale == 1.0
    # 2 * 277.128 px at 640 px wide are 277.128 px at the network's 320: the training camera.
    same = predictor.predict(image, focal_length_px=2 * 277.128)
    np.testing.assert_allclose(same.depth, plain.depth, rtol=1e-6)
    tele = predictor.predict(image, focal_length_px=4 * 277.128)
    assert tele.focal_scale == pytest.approx(2.0)
    np.testing.assert_allclose(tele.depth, 2 * plain.depth, rtol=1e-5)
    np.testing.assert_allclose(tele.std, 2 * plain.std, rtol=1e-5)
    np.testing.assert_allclose(tele.bin_centers, 2 * plain.bin_centers, rtol=1e-5)


def test_the_same_lens_at_another_resolution_sees_the_same_depth(
    predictor: DepthPredictor,
) -> None:
    large = predictor.predict(photo(480, 640), focal_length_px=525.0)
    small = predictor.predict(photo(240, 320), focal_length_px=262.5)
    assert large.focal_scale == pytest.approx(small.focal_scale)


def test_focal_correction_can_be_switched_off() -> None:
    predictor = DepthPredictor.from_pretrained(
        'adabins-lite', device='cpu', focal_correction=False
    )
    assert predictor.predict(photo(240, 320), focal_length_px=1000.0).focal_scale == 1.0


def test_flip_averaging_is_the_mean_of_both_and_widens_the_spread(
    predictor: DepthPredictor,
) -> None:
    image = photo(240, 320)
    both = DepthPredictor.from_pretrained('adabins-lite', device='cpu', flip_average=True)
    average = both.predict(image)
    straight = predictor.predict(image)
    mirrored = predictor.predict(np.ascontiguousarray(image[:, ::-1]))
    mean = (straight.depth + mirrored.depth[:, ::-1]) / 2
    np.testing.assert_allclose(average.depth, mean, atol=1e-4)
    least = np.minimum(straight.std, mirrored.std[:, ::-1])
    assert (average.std >= least - 1e-2).all()


def test_a_view_of_a_larger_image_is_read_right(predictor: DepthPredictor) -> None:
    whole = photo(300, 400)
    view = whole[20:260, 40:360]
    copied = predictor.predict(view.copy())
    np.testing.assert_array_equal(predictor.predict(view).depth, copied.depth)
    bgr_view = np.ascontiguousarray(view[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(predictor.predict(bgr_view).depth, copied.depth)


def test_a_read_only_image_is_fine(predictor: DepthPredictor) -> None:
    image = photo(240, 320)
    before = image.copy()
    image.setflags(write=False)
    predictor.predict(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ('image', 'words'),
    [
        (np.zeros((4, 4), np.uint8), r'\(4, 4\) uint8'),
        (np.zeros((4, 4, 4), np.uint8), r'\(4, 4, 4\)'),
        (np.zeros((4, 4, 3), np.float32), 'float32'),
        (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)'),
        ('photo.jpg', 'numpy array'),
    ],
)
def test_other_arrays_are_refused(predictor: DepthPredictor, image: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        predictor.predict(image)


@pytest.mark.parametrize('focal', [0.0, -525.0, float('nan'), float('inf')])
def test_a_wrong_focal_length_is_refused(predictor: DepthPredictor, focal: float) -> None:
    with pytest.raises(ValueError, match='focal_length_px'):
        predictor.predict(photo(240, 320), focal_length_px=focal)


def test_the_regression_strategy_has_depth_but_no_spread(tmp_path: Path) -> None:
    config = PRESETS['adabins-lite'].model_copy(update={'bin_strategy': 'regression'})
    path = tmp_path / 'regression.safetensors'
    save_checkpoint(AdaBins(config), path)
    estimate = DepthPredictor.from_pretrained(path, device='cpu').predict(photo(480, 640))
    assert np.isfinite(estimate.depth).all()
    assert np.isnan(estimate.std).all()
    assert estimate.bin_centers.shape == (0,)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'device': 'gpu'}, "device 'gpu' is unknown"),
        ({'device': 'mps'}, "device 'mps' is not supported"),
        ({'precision': 'int8'}, "precision 'int8' is unknown"),
        ({'engine': 'tensorflow'}, "engine 'tensorflow' is unknown"),
        ({'inference_size': (10, 10)}, 'inference_size 10x10'),
        ({'pixel_budget': 0}, 'pixel_budget 0'),
        ({'depth_range': (2.0, 1.0)}, 'depth_range'),
    ],
)
def test_wrong_options_say_what_is_possible(options: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        DepthPredictor.from_pretrained('adabins-lite', **{'device': 'cpu', **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(
        ModelError, match=r'ONNX Runtime here is for the CPU, and torch finds no CUDA device'
    ):
        DepthPredictor.from_pretrained('adabins-lite', device='cuda')


def test_an_untrained_network_does_not_pretend() -> None:
    predictor = DepthPredictor.from_pretrained('adabins-nyu', device='cpu', untrained=True)
    assert not predictor.is_trained
    assert 'untrained: depth is meaningless' in predictor.description


def test_a_trained_checkpoint_says_so(tmp_path: Path) -> None:
    network = load_model('adabins-lite')
    network.config = network.config.model_copy(update={'trained': True, 'name': 'kitchen'})
    save_checkpoint(network, tmp_path / 'best.safetensors')
    predictor = DepthPredictor.from_pretrained(tmp_path / 'best.safetensors', device='cpu')
    assert predictor.is_trained
    assert predictor.description.startswith('kitchen, 0.1 to 10 m, 3.4 M parameters')


def test_a_closed_predictor_says_so() -> None:
    predictor = DepthPredictor.from_pretrained('adabins-lite', device='cpu')
    predictor.warm_up()
    predictor.close()
    predictor.close()
    with pytest.raises(RuntimeError, match='closed'):
        predictor.predict(photo(240, 320))


def test_importing_the_package_is_cheap() -> None:
    code = 'import sys, adabins_ros; assert "torch" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], check=True)

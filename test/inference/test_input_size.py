# SPDX-License-Identifier: Apache-2.0
"""Any camera size finds a legal inference size."""

from collections.abc import Callable
import json
from pathlib import Path

from adabins_ros import DepthPredictor
from adabins_ros.frames import RgbdFolder
from adabins_ros.inference.input_size import inference_size, inner_size
from adabins_ros.model import PRESETS
import cv2
from hypothesis import given, settings, strategies
import numpy as np
import pytest

SIDES = strategies.integers(48, 3840)


@settings(deadline=None, max_examples=300)
@given(strategies.sampled_from(sorted(PRESETS)), SIDES, SIDES)
def test_any_camera_gets_a_legal_size_of_its_aspect(name: str, height: int, width: int) -> None:
    config = PRESETS[name]
    size = inference_size((height, width), config)
    assert config.is_legal_size(*size)
    inner = inner_size((height, width), size) if config.repeats_borders else size
    assert inner[1] == size[1] and (size[0] - inner[0]) % 4 == 0
    if 1 / 4 <= height / width <= 4:
        error = (inner[0] / inner[1]) / (height / width)
        # Rounding of the shorter side, or stretched to nearly the aspect of training.
        stretched = 0.13 if size == config.input_size and not config.exact_sizes else 0.0
        assert abs(error - 1) <= stretched + 2.1 / min(inner)


@pytest.mark.parametrize('size', [(480, 640), (416, 544), (352, 1216)])
def test_the_authors_sizes_are_used_as_they_are(size: tuple[int, int]) -> None:
    assert inference_size(size, PRESETS['adabins-nyu']) == size
    assert inference_size(size, PRESETS['adabins-kitti']) == size


@pytest.mark.parametrize('size', [(481, 641), (467, 622), (490, 650)])
def test_a_legal_size_near_the_trainings_is_used_as_it_is(size: tuple[int, int]) -> None:
    assert inference_size(size, PRESETS['adabins-nyu']) == size


@pytest.mark.parametrize(
    ('name', 'camera', 'expected'),
    [
        ('adabins-nyu', (48, 64), (480, 640)),
        ('adabins-nyu', (960, 1280), (480, 640)),
        ('adabins-nyu', (640, 480), (640, 480)),
        ('adabins-lite', (480, 640), (240, 320)),
        ('adabins-lite', (240, 320), (240, 320)),
        ('adabins-lite', (1280, 960), (320, 240)),
        # Legal, but at another scale than the training's.
        ('adabins-lite', (120, 160), (240, 320)),
        ('adabins-lite', (180, 240), (240, 320)),
        ('adabins-lite', (224, 224), (277, 277)),
        ('adabins-lite', (180, 320), (240, 320)),
        ('adabins-lite', (160, 120), (320, 240)),
        ('adabins-lite', (300, 400), (240, 320)),
        ('adabins-nyu', (427, 565), (482, 638)),
        # Nearly 4:3, and not.
        ('adabins-lite', (499, 640), (240, 320)),
        ('adabins-lite', (424, 512), (240, 320)),
        ('adabins-lite', (400, 600), (240, 320)),
        ('adabins-lite', (400, 640), (240, 320)),
        ('adabins-nyu', (360, 480), (480, 640)),
        ('adabins-kitti', (374, 1238), (360, 1190)),
    ],
)
def test_common_cameras(name: str, camera: tuple[int, int], expected: tuple[int, int]) -> None:
    assert inference_size(camera, PRESETS[name]) == expected


@pytest.mark.parametrize('size', [(120, 160), (144, 192), (180, 240), (224, 224)])
def test_a_small_picture_is_understood_as_a_large_one(
    size: tuple[int, int], shared_data: Callable[[str], Path]
) -> None:
    folder = shared_data('sequence')
    camera = json.loads((folder / 'camera.json').read_text())
    predictor = DepthPredictor.from_pretrained('adabins-lite', device='cpu')
    shares = {'small': [], 'usual': []}
    for path in sorted((folder / 'rgb').iterdir())[::10]:
        image = cv2.imread(str(path))[..., ::-1]
        depth = cv2.imread(str(folder / 'depth' / f'{path.stem}.png'), -1) / 1000
        if size == (224, 224):
            image, depth = image[8:232, 48:272], depth[8:232, 48:272]
        usual = inference_size(image.shape[:2], predictor.config)
        for name, wanted in (('small', size), ('usual', usual)):
            seen = cv2.resize(image, wanted[::-1], interpolation=cv2.INTER_AREA)
            truth = cv2.resize(depth, wanted[::-1], interpolation=cv2.INTER_NEAREST)
            focal = camera['fx'] * wanted[1] / image.shape[1]
            known = truth > 0
            ratio = predictor.predict(seen, focal).depth[known] / truth[known]
            shares[name].append(np.mean(np.abs(np.log(ratio)) < np.log(1.25)))
    assert np.mean(shares['small']) > np.mean(shares['usual']) - 0.03
    assert np.mean(shares['usual']) > 0.8


@pytest.mark.parametrize('size', [(45, 80), (360, 640), (200, 700)])
def test_a_wide_picture_is_seen_with_its_border_repeated(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    predictor = DepthPredictor.from_pretrained('adabins-lite', device='cpu')
    inner = inner_size(size, (240, 320))
    border = (240 - inner[0]) // 2
    shrinks = inner[0] * inner[1] < size[0] * size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(image, inner[::-1], interpolation=method)
    whole = np.pad(small, ((border, border), (0, 0), (0, 0)), 'edge')
    rows = slice(border // 2, -border // 2)
    wanted = predictor.predict(whole, 300.0 * 320 / size[1], upsample=False)
    seen = predictor.predict(image, 300.0, upsample=False)
    assert seen.inference_size == (240, 320) and seen.depth.shape == (inner[0] // 2, 160)
    np.testing.assert_allclose(seen.depth, wanted.depth[rows], rtol=1e-5)
    assert predictor.predict(image).std.shape == size


@pytest.mark.parametrize('aspect', [3 / 2, 16 / 10, 16 / 9])
def test_a_wide_picture_is_understood_like_a_high_one(
    aspect: float, shared_data: Callable[[str], Path]
) -> None:
    """Cut above and below, the sample has nearly the depth that it has as a whole."""
    folder = RgbdFolder(shared_data('sequence'))
    predictor = DepthPredictor.from_pretrained('adabins-lite', device='cpu')
    shares = []
    for frame in folder.frames[::6]:
        image, truth, focal = folder.colour(frame), folder.depth_m(frame), frame.camera.fx
        height = round(image.shape[1] / aspect)
        first = (image.shape[0] - height) // 2
        part = slice(first, first + height)
        wide = predictor.predict(np.ascontiguousarray(image[part]), focal).depth
        known = truth[part] > 0
        ratios = wide[known] / truth[part][known]
        shares.append(np.mean(np.abs(np.log(ratios)) < np.log(1.25)))
    assert np.mean(shares) > 0.82


def test_a_size_far_from_the_trainings_is_taken_with_a_hint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    predictor = DepthPredictor.from_pretrained(
        'adabins-lite', device='cpu', inference_size=(120, 160)
    )
    estimate = predictor.predict(np.zeros((240, 320, 3), np.uint8))
    assert estimate.inference_size == (120, 160)
    assert '120x160 is 0.5 times the scale of 240x320' in caplog.text
    caplog.clear()
    DepthPredictor.from_pretrained('adabins-lite', device='cpu', inference_size=(240, 330))
    assert not caplog.text


def test_a_budget_shrinks_a_legal_size() -> None:
    config = PRESETS['adabins-nyu']
    height, width = inference_size((480, 640), config, pixel_budget=200_000)
    assert height * width <= 1.05 * 200_000
    assert height / width == pytest.approx(0.75, rel=0.01)
    assert inference_size((480, 640), config, pixel_budget=400_000) == (480, 640)


def test_the_token_limit_outweighs_a_budget() -> None:
    config = PRESETS['adabins-nyu']
    size = inference_size((480, 640), config, pixel_budget=1000)
    assert config.is_legal_size(*size)
    assert config.tokens(*size) < 145


def test_a_requested_size_is_taken_or_refused() -> None:
    config = PRESETS['adabins-nyu']
    assert inference_size((480, 640), config, requested=(352, 704)) == (352, 704)
    with pytest.raises(ValueError, match=r'224x224.*is 49 and must lie in 129\.\.500.*480x640'):
        inference_size((480, 640), config, requested=(224, 224))
    with pytest.raises(ValueError, match='inference_size'):
        inference_size((480, 640), config, requested=(-480, -640))


@pytest.mark.parametrize('size', [(1, 4000), (4000, 1), (3, 3), (1, 1), (8, 8000)])
def test_strange_strips_still_fit(size: tuple[int, int]) -> None:
    for config in PRESETS.values():
        assert config.is_legal_size(*inference_size(size, config))


def test_nonsense_is_refused() -> None:
    config = PRESETS['adabins-lite']
    with pytest.raises(ValueError, match='no pixels'):
        inference_size((0, 640), config)
    with pytest.raises(ValueError, match='pixel_budget -1'):
        inference_size((480, 640), config, pixel_budget=-1)

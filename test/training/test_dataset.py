# SPDX-License-Identifier: Apache-2.0
"""Frames as tensors: geometry that holds, changes that repeat, damage that is survived."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from adabins_ros.messages import image_fields
from adabins_ros.recordings import RecordingError, survey
from adabins_ros.training.augmentation import Augmentation, change_looks
from adabins_ros.training.config import AugmentationConfig
from adabins_ros.training.cropping import cut_out, largest_box
from adabins_ros.training.dataset import RgbdDataset, source_name
from adabins_ros.training.loaders import EpochDataset
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

IMAGE = 'sensor_msgs/msg/Image'
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000
Record = Callable[..., Path]
Truth = Callable[[int], list[Any]]
OFF = AugmentationConfig(
    flip=0, crop=0, wide=0, rotation_deg=0, colour=0, blur=0, noise=0, jpeg=0, depth_dropout=0
)


def _all(source: Any) -> list[tuple[int, int]]:
    return [(0, index) for index in range(len(source))]


def test_a_frame_as_the_network_gets_it(record: Record, aligned: Truth) -> None:
    source = survey(record(aligned))
    dataset = RgbdDataset(
        [source],
        _all(source),
        (24, 32),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        training_focal_length_px=100.0,
    )
    element = dataset[4]
    assert element['image'].shape == (3, 24, 32)
    assert element['image'][0].unique().tolist() == pytest.approx([(40 / 255 - 0.5) / 0.25])
    # fx is 25 px at this size: the network is to say four times the depth.
    assert element['focal_scale'] == 4
    assert element['depth'].shape == (1, 24, 32)
    assert element['depth'][0, 12, 16] == 8
    assert element['name'] == source.frame_name(4)


def test_a_crop_carries_the_focal_length(record: Record, aligned: Truth) -> None:
    """A board of 0.8 m at 2 m is as many pixels wide as the focal length says."""
    source = survey(record(aligned))
    changes = Augmentation(OFF.model_copy(update={'crop': 0.4}))
    dataset = RgbdDataset(
        [source], _all(source), (96, 128), changes, training_focal_length_px=100.0
    )
    zooms = set()
    for index in range(len(dataset)):
        element = dataset[index]
        focal = 100 / float(element['focal_scale'])
        depth = element['depth'][0] / element['focal_scale']
        widest = int((depth == 2).sum(-1).max())
        assert widest == pytest.approx(0.8 * focal / 2, abs=5)
        zooms.add(round(focal))
    assert len(zooms) > 3
    assert min(zooms) >= 100


@pytest.mark.parametrize('angle', [0.0, 7.0])
@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('sparse', [False, True])
def test_colour_and_depth_stay_together(angle: float, flip: bool, sparse: bool) -> None:
    columns = np.tile(np.arange(1, 201, dtype=np.uint8), (150, 1))
    depth = columns.astype(np.float32)
    if sparse:
        kept = np.zeros_like(depth)
        kept[::4, ::4] = depth[::4, ::4]
        depth = kept
    image = np.repeat(columns[..., None], 3, -1)
    box = largest_box((150, 200), (60, 80))
    assert box == (0, 0, 200, 150)
    box = box._replace(x=30, y=20, width=120, height=90)
    cut, cut_depth = cut_out(image, depth, box, (60, 80), angle, flip)
    known = cut_depth > 0
    share = known.mean()
    assert share == 1 or (sparse and share > 0.1)
    # Half a target pixel is 0.75 source pixels.
    assert np.abs(cut[..., 0].astype(float) - cut_depth)[known].max() <= 2
    assert (cut[30, 5, 0] > cut[30, 75, 0]) == flip


def test_wide_frames_are_cropped_and_nearly_fitting_ones_stretched() -> None:
    assert largest_box((375, 1242), (240, 320)) == (371, 0, 500, 375)
    assert largest_box((640, 480), (240, 320)) == (0, 140, 480, 360)
    assert largest_box((427, 565), (240, 320)) == (0, 0, 565, 427)


def test_a_wide_picture_is_seen_whole_between_its_borders() -> None:
    image = np.tile(np.arange(192, dtype=np.uint8)[:, None, None], (1, 320, 3))
    depth = np.tile(np.arange(1, 321, dtype=np.float32), (192, 1))
    seen, known, zoom = Augmentation(OFF)(
        image, depth, (120, 160), np.random.default_rng(0), borders=True
    )
    assert seen.shape == (120, 160, 3) and zoom == 0.5
    assert not known[:12].any() and not known[108:].any() and known[12:108].all()
    assert (np.ptp(known[12:108], axis=1) >= 316).all()
    assert (seen[:12] == seen[12]).all() and (seen[108:] == seen[107]).all()
    _, known, zoom = Augmentation(OFF)(image, depth, (120, 160), np.random.default_rng(0))
    assert known.all() and zoom == pytest.approx(160 / 256)


def test_others_are_cut_to_be_as_wide_now_and_then() -> None:
    image, depth = np.zeros((240, 320, 3), np.uint8), np.ones((240, 320), np.float32)
    changes = Augmentation(OFF.model_copy(update={'wide': 0.5}))
    rows = [
        changes(image, depth, (120, 160), np.random.default_rng(seed), borders=True)[1]
        .any(1)
        .sum()
        for seed in range(100)
    ]
    assert 25 < sum(count < 120 for count in rows) < 60
    assert 60 <= min(rows) < 70 and {(120 - count) % 4 for count in rows} == {0}


def test_changes_depend_on_seed_epoch_and_frame_alone(record: Record, aligned: Truth) -> None:
    source = survey(record(aligned))
    everything = AugmentationConfig(blur=1, noise=1, jpeg=1, depth_dropout=1, colour=1)

    def dataset(seed: int = 0, epoch: int = 0) -> RgbdDataset:
        made = RgbdDataset([source], _all(source), (24, 32), Augmentation(everything), seed=seed)
        made.epoch = epoch
        return made

    first = dataset()
    reference = [first[index] for index in range(8)]
    for workers in (0, 2):
        loader = DataLoader(dataset(), batch_size=2, num_workers=workers, shuffle=True)
        for batch in loader:
            for row, index in enumerate(batch['index'].tolist()):
                assert torch.equal(batch['image'][row], reference[index]['image'])
                assert torch.equal(batch['depth'][row], reference[index]['depth'])
    for other in (dataset(seed=1), dataset(epoch=1)):
        assert not torch.equal(other[0]['image'], reference[0]['image'])


def test_every_epoch_of_a_run_has_its_own_changes(record: Record, aligned: Truth) -> None:
    source = survey(record(aligned))
    frames = RgbdDataset([source], _all(source), (24, 32), Augmentation(AugmentationConfig()))
    drawn = EpochDataset(frames)
    seen = [drawn[epoch, 2]['image'] for epoch in (0, 1, 0)]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(
    'change', [{x: 1.0} for x in ('colour', 'blur', 'noise', 'jpeg', 'depth_dropout', 'flip')]
)
def test_each_change_can_be_switched_on_alone(change: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    depth = rng.uniform(1, 5, (48, 64)).astype(np.float32)
    still, still_depth, zoom = Augmentation(OFF)(image, depth, (48, 64), rng)
    np.testing.assert_array_equal(still, image)
    np.testing.assert_array_equal(still_depth, depth)
    assert zoom == 1
    changed, changed_depth, _ = Augmentation(OFF.model_copy(update=change))(
        image, depth, (48, 64), rng
    )
    in_colour = not np.array_equal(changed, image)
    in_depth = not np.array_equal(changed_depth, depth)
    assert in_colour == ('depth_dropout' not in change)
    assert in_depth == ('depth_dropout' in change or 'flip' in change)
    assert set(np.unique(changed_depth)) <= {0, *np.unique(depth)}


def test_a_damaged_frame_is_replaced_by_its_neighbour_and_named(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')

    def truth(frame: int) -> list[Any]:
        fields = {**depth, 'data': depth['data'][:50]} if frame in (3, 4) else depth
        stamp = START_NS + frame * STEP_NS
        return [('/camera/depth/image_raw', IMAGE, fields, 'optical', stamp)]

    source = survey(record(truth))
    dataset = RgbdDataset([source], _all(source), (24, 32))
    for workers in (0, 2):
        names = [name for x in DataLoader(dataset, num_workers=workers) for name in x['name']]
        expected = [source.frame_name(index) for index in (0, 1, 2, 2, 5, 5, 6, 7)]
        assert names == expected
    found = dataset.unusable_frames()
    assert [text.partition(':')[0] for text in found] == [source.frame_name(x) for x in (3, 4)]
    assert 'needs 6144 bytes, 50 were given' in found[0]


def test_a_recording_without_any_usable_frame_ends_in_words(record: Record) -> None:
    depth = image_fields(np.full((48, 64), 1500, np.uint16), '16UC1')
    depth['data'] = depth['data'][:50]

    def truth(frame: int) -> list[Any]:
        return [('/camera/depth/image_raw', IMAGE, depth, 'optical', START_NS + frame * STEP_NS)]

    source = survey(record(truth))
    with pytest.raises(RecordingError, match=r'none of the 8 frames can be used.*50 were given'):
        RgbdDataset([source], _all(source), (24, 32))[3]


def test_an_unknown_focal_length_counts_as_that_of_the_training(
    record: Record, aligned: Truth
) -> None:
    source = survey(record(aligned, camera=None))
    assert RgbdDataset([source], _all(source), (24, 32))[0]['focal_scale'] == 1


def test_sources_are_drawn_and_teach_scale_as_their_names_say(
    record: Record, aligned: Truth
) -> None:
    source = survey(record(aligned))
    name = source_name(source)
    dataset = RgbdDataset([source], _all(source), (24, 32), scale_unknown=[name], draws={name: 3})
    assert set(dataset.draws.tolist()) == {3.0}
    assert not dataset[0]['scale_known']
    plain = RgbdDataset([source], _all(source), (24, 32))
    assert plain[0]['scale_known']
    assert set(plain.draws.tolist()) == {1.0}


def test_colours_move_towards_those_of_another_picture() -> None:
    torch.manual_seed(3)
    dark, bright = torch.full((2, 1, 1, 1), -1.0), torch.full((2, 1, 1, 1), 1.0)
    images = torch.cat([dark, bright]) + 0.1 * torch.rand(4, 3, 16, 16)
    black, white = torch.full((3, 1, 1), -1.1), torch.full((3, 1, 1), 1.1)
    assert change_looks(images, black, white) is images
    changed = change_looks(images, black, white, exchange=1.0)
    before, after = images.mean((1, 2, 3)), changed.mean((1, 2, 3))
    assert (before - after).abs().max() > 0.2
    assert after.min() > -1
    assert after.max() < 1.1
    assert changed.max() <= 1.1
    assert changed.min() >= -1.1
    flat = torch.zeros(2, 3, 16, 16)
    assert change_looks(flat, black, white, exchange=1.0).isfinite().all()


def test_a_random_filter_changes_textures_and_leaves_shapes() -> None:
    torch.manual_seed(5)
    rough = 0.005 * torch.rand(6, 3, 32, 32)
    step = torch.zeros(6, 3, 32, 32)
    step[..., 16:] = 1.0
    images, black, white = rough + step, torch.full((3, 1, 1), -0.5), torch.full((3, 1, 1), 1.5)
    changed = change_looks(images, black, white, textures=1.0)
    assert ((changed - images).abs().mean((1, 2, 3)) > 0.01).all()
    assert changed.max() <= 1.5
    assert changed.min() >= -0.5
    # Away from the step, where the filter has one surface before it, each is still of one colour.
    for side in (changed[..., 3:12], changed[..., 20:29]):
        assert (side.std((2, 3)) < 0.25 * changed.std((2, 3)).amax(1, keepdim=True)).all()
    flat = torch.zeros(2, 3, 16, 16)
    assert change_looks(flat, black, white, textures=1.0).isfinite().all()

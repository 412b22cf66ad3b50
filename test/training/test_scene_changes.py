# SPDX-License-Identifier: Apache-2.0
"""Pasted things and painted floors: new pictures whose depth is still true."""

from adabins_ros.training.scene_changes import painted, pasted
import pytest
import torch

HEIGHT, WIDTH, FOCAL_PX = 96, 128, 100.0
BLACK, WHITE = torch.full((3, 1, 1), -1.0), torch.full((3, 1, 1), 1.0)


def _room(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Give grey pictures of a floor 1 m below the camera with a wall 5 m before it."""
    below = (torch.arange(HEIGHT) - (HEIGHT - 1) / 2).clamp_min(1e-3)
    depth = (FOCAL_PX / below).clamp_max(5.0).view(1, 1, -1, 1).expand(count, 1, HEIGHT, WIDTH)
    return torch.zeros(count, 3, HEIGHT, WIDTH), depth.clone()


def test_a_near_thing_of_one_picture_stands_in_the_next_one() -> None:
    torch.manual_seed(0)
    images, depth = _room(2)
    images[0, :, 30:50, 40:60], depth[0, :, 30:50, 40:60] = 0.7, 0.8
    known = torch.ones(2, dtype=torch.bool)
    changed, true = pasted(images, depth, known, 1.0)
    thing = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    thing[30:50, 40:60] = True
    assert (changed[1, :, thing] == 0.7).all()
    assert (true[1, :, thing] == 0.8).all()
    assert (changed[1, :, ~thing] == 0).all()
    # What is pasted lies before what was there, everywhere.
    assert (true <= depth).all()


def test_nothing_is_pasted_from_or_into_what_has_no_depth() -> None:
    images, depth = _room(3)
    images += torch.arange(3.0).view(-1, 1, 1, 1) / 10
    depth[0] = 0.5
    for known, unseen in (([True, False, True], 2.0), ([True, True, True], 0.0)):
        torch.manual_seed(1)
        depth[1] = unseen
        changed, true = pasted(images, depth, torch.tensor(known), 1.0)
        assert torch.equal(changed[1], images[1])
        assert torch.equal(true[1], depth[1])


def test_rugs_lie_on_the_floor_and_not_on_the_legs_above_it() -> None:
    torch.manual_seed(2)
    images, depth = _room(32)
    leg = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    leg[20:80, 60:64] = True
    depth[:, :, leg] = 1.1
    depth[:, :, :, 100:] = 0
    changed = painted(images, depth, FOCAL_PX, BLACK, WHITE, 1.0)
    touched = (changed != images).any(1)
    # Of most pictures something, and never all.
    assert (touched.sum((1, 2)) > 20).sum() > 16
    assert touched.float().mean((1, 2)).max() < 0.9
    assert not touched[:, :, 100:].any()
    # Far away on the floor and on the wall, rugs go on to the left and to the right of the leg.
    across = touched[:, :, 58] & touched[:, :, 65]
    assert across.any()
    behind = leg & (_room(1)[1][0, 0] > 1.5)
    assert not touched[:, behind].any()
    assert changed.min() >= -1
    assert changed.max() <= 1


@pytest.mark.parametrize('rough', [0.0, 0.4])
def test_paint_keeps_off_what_is_not_flat(rough: float) -> None:
    torch.manual_seed(3)
    images, depth = _room(8)
    depth = depth * (1 + rough * torch.rand_like(depth))
    changed = painted(images, depth, FOCAL_PX, BLACK, WHITE, 1.0)
    assert torch.equal(changed, images) == (rough > 0)


def test_probability_zero_paints_and_pastes_nothing() -> None:
    images, depth = _room(4)
    depth[0] = 0.5
    assert torch.equal(painted(images, depth, FOCAL_PX, BLACK, WHITE, 0.0), images)
    changed, true = pasted(images, depth, torch.ones(4, dtype=torch.bool), 0.0)
    assert torch.equal(changed, images)
    assert torch.equal(true, depth)

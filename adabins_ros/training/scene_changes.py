# SPDX-License-Identifier: Apache-2.0
"""Changes of pictures that keep depth true: things before other rooms, paint on what is flat."""

from __future__ import annotations

import torch

# What is pasted lies nearer than this part of its picture's mean depth, and so much before what is
# there.
_NEAR = (0.4, 0.9)
_BEFORE = 0.95
# A plane is fitted to 5 x 5 pixels, so many pixels apart; it is flat if the inverse depth of all
# stays within the first part of it, and goes on where it stays within the second.
_REACH, _SPACING = 2, (2, 7)
_FLAT, _ON_PLANE = 0.012, 0.025
# Half sides of what is painted, of the distance.
_HALF_SIDES = (0.06, 0.6)
_MOST_PAINTED = 3
_STRIPES = (1.0, 6.0)


def pasted(
    images: torch.Tensor, depth: torch.Tensor, scale_known: torch.Tensor, probability: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Put what stands near in one picture of a batch before what is seen in the next one.

    Both are seen at one focal length, so that their depths can be compared. New rooms come of old
    ones, and things stand where nothing about the room tells their size.

    Parameters
    ----------
    images : torch.Tensor
        (B, 3, H, W).
    depth : torch.Tensor
        (B, 1, H, W), m; where it is 0, unknown, nothing is put or taken.
    scale_known : torch.Tensor
        (B,) bool; pictures where it is false stay as they are.
    probability : float
        For each picture.

    Returns
    -------
    images, depth : torch.Tensor
        As they came.

    """
    count, place = len(images), depth.device
    others, theirs = images.roll(1, 0), depth.roll(1, 0)
    there = theirs > 0
    mean = theirs.sum((1, 2, 3)) / there.sum((1, 2, 3)).clamp_min(1)
    low, high = _NEAR
    near = mean * (low + (high - low) * torch.rand(count)).to(place)
    chosen = (torch.rand(count) < probability).to(place) & scale_known & scale_known.roll(1, 0)
    put = there & (theirs < near.view(-1, 1, 1, 1)) & (theirs < _BEFORE * depth)
    put &= chosen.view(-1, 1, 1, 1)
    return torch.where(put, others, images), torch.where(put, theirs, depth)


def painted(
    images: torch.Tensor,
    depth: torch.Tensor,
    focal_length_px: float,
    black: torch.Tensor,
    white: torch.Tensor,
    probability: float,
) -> torch.Tensor:
    """
    Lay rugs and papers, and hang pictures, where a picture shows something flat.

    Colour changes there, depth does not: an edge of colour is no edge of a thing. Up to three
    rectangles and ovals in planes that are fitted to the depth, each in one colour, in two
    (stripes, checks, a margin) or with another picture on it, in the light of what was there.

    Parameters
    ----------
    images : torch.Tensor
        (B, 3, H, W), normalised.
    depth : torch.Tensor
        (B, 1, H, W), m along the optical axis, 0 where unknown.
    focal_length_px : float
        That depth is seen at. The principal point is taken to be the middle: another one shears
        space, in which planes stay planes.
    black, white : torch.Tensor
        (3, 1, 1), the darkest and the brightest normalised pixel.
    probability : float
        For each picture.

    Returns
    -------
    torch.Tensor
        (B, 3, H, W).

    """
    count, place = len(images), depth.device
    height, width = depth.shape[-2:]
    z = depth[:, 0]
    x = (torch.arange(width, device=place) - (width - 1) / 2) / focal_length_px
    y = (torch.arange(height, device=place) - (height - 1) / 2).view(-1, 1) / focal_length_px
    rays = torch.stack(torch.broadcast_tensors(x, y, torch.ones_like(x)))
    inverse = torch.where(z > 0, 1 / z.clamp_min(1e-3), 0.0)
    chosen = torch.rand(count) < probability
    for _ in range(_MOST_PAINTED):
        normals, centres, flat = _planes(inverse, rays, focal_length_px)
        across, along, on_plane = _in_plane(inverse, rays, normals, centres)
        oval = (torch.rand(count) < 0.2).to(place).view(-1, 1, 1)
        inside = torch.where(
            oval, across.square() + along.square() < 1, (across.abs() < 1) & (along.abs() < 1)
        )
        put = inside & on_plane & (flat & chosen.to(place)).view(-1, 1, 1)
        put = put.unsqueeze(1)
        plain = (images - black) / (white - black)
        light, pixels = plain.mean(1, keepdim=True), put.sum((2, 3), keepdim=True)
        usual = (light * put).sum((2, 3), keepdim=True) / pixels.clamp_min(1)
        shading = (light / usual.clamp_min(0.02)).clamp(0.3, 2).pow(0.8)
        paint = (_paint(plain.roll(1, 0), across, along) * shading).clamp(0, 1)
        cover = torch.empty(count, 1, 1, 1).uniform_(0.75, 1).to(images)
        covered = torch.lerp(images, black + (white - black) * paint, cover)
        images = torch.where(put, covered, images)
    return images


def _planes(
    inverse: torch.Tensor, rays: torch.Tensor, focal_length_px: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Fit a plane around one pixel of each picture, more often a low one.

    In a plane inverse depth is linear in the pixel: 1 = normal . point. Returns the normals
    (B, 3) in 1/m, the points of the pixels (B, 3) in m, and whether it is flat there (B,).
    """
    count, height, width = inverse.shape
    place = inverse.device
    spacing = torch.randint(_SPACING[0], _SPACING[1] + 1, (count,)).to(place)
    reach = _REACH * _SPACING[1]
    row = reach + ((height - 2 * reach - 1) * torch.rand(count).sqrt()).long().to(place)
    column = reach + ((width - 2 * reach - 1) * torch.rand(count)).long().to(place)
    steps = torch.arange(-_REACH, _REACH + 1, device=place)
    offsets = spacing.view(-1, 1) * steps
    picture = torch.arange(count, device=place)
    rows = (row.view(-1, 1) + offsets).view(count, -1, 1)
    columns = (column.view(-1, 1) + offsets).view(count, 1, -1)
    seen = inverse[picture.view(-1, 1, 1), rows, columns]
    weights = steps / (len(steps) * steps.square().sum())
    middle = seen.mean((1, 2))
    to_right = (seen * weights).sum((1, 2)) / spacing
    down = (seen * weights.view(-1, 1)).sum((1, 2)) / spacing
    fitted = to_right.view(-1, 1, 1) * (columns - column.view(-1, 1, 1))
    fitted = fitted + down.view(-1, 1, 1) * (rows - row.view(-1, 1, 1)) + middle.view(-1, 1, 1)
    flat = (seen > 0).all(2).all(1) & ((seen - fitted).abs().amax((1, 2)) < _FLAT * middle)
    ray = rays[:, row, column].T
    slopes = torch.stack([to_right, down], 1) * focal_length_px
    normals = torch.cat([slopes, (middle - (slopes * ray[:, :2]).sum(1)).unsqueeze(1)], 1)
    return normals, ray / middle.clamp_min(1e-3).unsqueeze(1), flat


def _in_plane(
    inverse: torch.Tensor, rays: torch.Tensor, normals: torch.Tensor, centres: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Lay a rectangle of random sides and direction into each plane.

    Returns where every pixel lies along its two directions (B, H, W), its edges at -1 and 1, and
    whether the pixel is of the plane (B, H, W).
    """
    count, place = len(normals), normals.device
    along_rays = torch.einsum('bi,ihw->bhw', normals, rays)
    on_plane = (inverse > 0) & ((inverse - along_rays).abs() < _ON_PLANE * inverse)
    unit = torch.nn.functional.normalize(normals, dim=1)
    first = torch.linalg.cross(unit, torch.randn(count, 3).to(unit))
    first = torch.nn.functional.normalize(first, dim=1)
    directions = torch.stack([first, torch.linalg.cross(unit, first)], 1)
    low, high = _HALF_SIDES
    sides = (low * (high / low) ** torch.rand(count, 2)).to(place) * centres[:, 2:].clamp_min(0.1)
    directions = directions / sides.unsqueeze(2)
    points = rays / inverse.clamp_min(1e-3).unsqueeze(1)
    places = torch.einsum('bki,bihw->bkhw', directions, points - centres.view(-1, 3, 1, 1))
    return places[:, 0], places[:, 1], on_plane


def _paint(others: torch.Tensor, across: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Choose colours (B, 3, H, W), 0 to 1, for places in a rectangle; or one of the pictures."""
    count, place = len(others), others.device
    levels = torch.rand(2, count, 1, 1, 1) ** 1.5
    tints = 1 - 0.6 * torch.rand(2, count, 1, 1, 1) * torch.rand(2, count, 3, 1, 1)
    one, two = (levels * tints).to(others)
    stripes = torch.empty(2, count, 1, 1).uniform_(*_STRIPES).to(others) * torch.pi
    striped, crossed = (stripes[0] * across).sin() > 0, (stripes[1] * along).sin() > 0
    margin = (across.abs() > 0.85) | (along.abs() > 0.85)
    kinds = torch.stack([torch.zeros_like(margin), striped, striped ^ crossed, margin])
    chances = torch.tensor([0.45, 0.15, 0.12, 0.14, 0.14])
    kind = torch.multinomial(chances, count, replacement=True).to(place)
    picture = torch.arange(count, device=place)
    second = kinds[kind.clamp_max(3), picture].unsqueeze(1)
    hung = torch.nn.functional.grid_sample(
        others, torch.stack([across, along], 3).clamp(-1, 1), align_corners=False
    )
    return torch.where((kind == 4).view(-1, 1, 1, 1), hung, torch.where(second, two, one))

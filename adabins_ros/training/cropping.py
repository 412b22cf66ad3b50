# SPDX-License-Identifier: Apache-2.0
"""Cutting colour and depth out of a frame at the network's size."""

from __future__ import annotations

from typing import NamedTuple

from adabins_ros.geometry.occlusion import nearest_depth
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Depth = NDArray[np.float32]

# A frame is stretched by so much rather than losing its borders.
LARGEST_STRETCH = 1.05
# Truth with fewer known pixels is a lidar's: of its points none is left out by resizing.
SPARSE_SHARE = 0.25
# Beyond this reduction pixels are averaged before they are interpolated.
_AVERAGED_FROM = 1.5


class Box(NamedTuple):
    """A part of an image, px; edges, not pixel centres."""

    x: float
    y: float
    width: float
    height: float


def largest_box(image_size: tuple[int, int], size: tuple[int, int]) -> Box:
    """Return the central part of an image (height, width) with the shape of the size."""
    height, width = image_size
    stretch = (width / height) / (size[1] / size[0])
    if 1 / LARGEST_STRETCH <= stretch <= LARGEST_STRETCH:
        return Box(0, 0, width, height)
    if stretch > 1:
        narrow = height * size[1] / size[0]
        return Box((width - narrow) / 2, 0, narrow, height)
    low = width * size[0] / size[1]
    return Box(0, (height - low) / 2, width, low)


def cut_out(
    image: Image,
    depth: Depth,
    box: Box,
    size: tuple[int, int],
    angle_deg: float = 0.0,
    flip: bool = False,
) -> tuple[Image, Depth]:
    """
    Return a part of a frame at a size.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB.
    depth : (H, W) float32
        0 unknown.
    box : Box
        The part.
    size : (int, int)
        Height and width of what comes out, px.
    angle_deg : float
        Turn about the centre of the part. What lies outside of the image is mirrored in colour
        and unknown in depth.
    flip : bool
        Mirror left and right.

    Returns
    -------
    image : (h, w, 3) uint8
        Averaged where it shrinks, else linear.
    depth : (h, w) float32
        The nearest pixel's; of sparse truth every point that has a place.

    """
    matrix = _source_from_target(box, size, angle_deg, flip)
    if cv2.countNonZero(depth) < SPARSE_SHARE * depth.size:
        cut_depth = _scattered(depth, matrix, size)
    else:
        nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        cut_depth = np.asarray(
            cv2.warpAffine(depth, matrix, size[::-1], flags=nearest), np.float32
        )
    reduction = min(box.width / size[1], box.height / size[0])
    shrink = round(reduction) if reduction >= _AVERAGED_FROM else 1
    if shrink > 1:
        rows, columns = image.shape[0] // shrink, image.shape[1] // shrink
        scale = np.array([columns / image.shape[1], rows / image.shape[0]])
        smaller = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        image = np.asarray(smaller, np.uint8)
        matrix = matrix * scale[:, None]
        matrix[:, 2] += 0.5 * scale - 0.5
    cut_image = cv2.warpAffine(
        image,
        matrix,
        size[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(cut_image, np.uint8), cut_depth


def _source_from_target(
    box: Box, size: tuple[int, int], angle_deg: float, flip: bool
) -> NDArray[np.float64]:
    """Return the (2, 3) matrix from target to source pixel centres."""
    height, width = size
    across, down = box.width / width, box.height / height
    turn = np.deg2rad(angle_deg)
    cosine, sine = np.cos(turn), np.sin(turn)
    scale = np.diag([-across if flip else across, down])
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ scale
    centre = np.array([box.x + box.width / 2 - 0.5, box.y + box.height / 2 - 0.5])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([linear, centre - linear @ middle])


def _scattered(depth: Depth, matrix: NDArray[np.float64], size: tuple[int, int]) -> Depth:
    """Move each known pixel to its place; the nearest stays."""
    rows, columns = np.nonzero(depth)
    inverse = np.linalg.inv(matrix[:, :2])
    places = inverse @ (np.stack([columns, rows]) - matrix[:, 2:])
    return nearest_depth(places.T, depth[rows, columns], size)

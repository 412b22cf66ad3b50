# SPDX-License-Identifier: Apache-2.0
"""A camera's image at the size that the network sees, and depth back at the image's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_BLOCK = 16
"""New elements in one product: small ones stay in one thread of the BLAS and in the cache."""


def check_image(image: NDArray[np.uint8]) -> None:
    """
    Refuse what is no colour image.

    Raises
    ------
    ValueError
        With what it is.

    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f'image must be a numpy array, not {type(image).__name__}')
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f'image must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}; convert it first'
        )


def resized(
    image: NDArray[np.uint8], size: tuple[int, int], height: int | None = None
) -> NDArray[np.uint8]:
    """
    Resize an image: by areas if it shrinks, else linearly.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W, 3) uint8 RGB.
    size : (int, int)
        Height and width, pixels.
    height : int, optional
        Of the image within that; its first and last row fill what is above and below.

    Returns
    -------
    numpy.ndarray
        (h, w, 3) uint8, contiguous; the image itself if it has that size.

    """
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    inner = height or size[0]
    shrinks = inner * size[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(image, (size[1], inner), interpolation=method), np.uint8)
    return bordered(image, size[0])


def bordered(plane: NDArray[Any], height: int, kind: int = cv2.BORDER_REPLICATE) -> NDArray[Any]:
    """
    Fill what is missing to a height, half above and half below.

    Parameters
    ----------
    plane : numpy.ndarray
        (h, W) or (h, W, 3), of any type.
    height : int
        H, pixels.
    kind : int
        OpenCV's border: the first and the last row by default, or BORDER_CONSTANT for zeros.

    Returns
    -------
    numpy.ndarray
        (H, W) or (H, W, 3); the plane itself if it has that height.

    """
    missing = height - plane.shape[0]
    if not missing:
        return plane
    above = missing // 2
    return np.asarray(cv2.copyMakeBorder(plane, above, missing - above, 0, 0, kind))


def upsampled(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """
    Resize maps linearly, their corners on the new corners (torch's align_corners=True).

    OpenCV's own linear resizing has no such corners, and its `remap` rounds places to 1/32 pixel
    before version 5. Here columns, then rows are products with a few of the old ones at a time,
    in single precision.

    Parameters
    ----------
    maps : numpy.ndarray
        (M, h, w) float32.
    size : (int, int)
        Height and width, pixels.

    Returns
    -------
    numpy.ndarray
        (M, H, W) float32; the maps themselves if they have that size.

    """
    count, height, width = maps.shape
    if (height, width) == size:
        return maps
    wide = np.empty((count, height, size[1]), np.float32)
    made = np.empty((count, *size), np.float32)
    rows, wide_rows = maps.reshape(-1, width), wide.reshape(-1, size[1])
    for new, old, shares in _blocks(width, size[1]):
        np.matmul(rows[:, old], shares, out=wide_rows[:, new])
    for new, old, shares in _blocks(height, size[0]):
        np.matmul(shares.T, wide[:, old], out=made[:, new])
    return made


def sampled(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """
    Return the nearest pixels of a plane at fewer places, corners kept, as `upsampled` keeps them.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W), of any type.
    size : (int, int)
        Height and width, pixels.

    Returns
    -------
    numpy.ndarray
        (h, w), a copy.

    """
    rows, columns = (
        np.rint(np.linspace(0, full - 1, small)).astype(np.intp)
        for full, small in zip(plane.shape, size, strict=True)
    )
    return plane[rows[:, None], columns]


@lru_cache(maxsize=32)
def _blocks(size: int, full_size: int) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """Return some new elements at a time, the old ones that they lie among, and their shares."""
    # In single precision, as torch: far along a row its places are off by 1e-5 pixels.
    step = np.float32(size - 1) / np.float32(max(full_size - 1, 1))
    places = np.arange(full_size, dtype=np.float32) * step
    first = np.minimum(places.astype(np.intp), max(size - 2, 0))
    share = places - first.astype(np.float32)
    blocks = []
    for start in range(0, full_size, _BLOCK):
        new = slice(start, min(start + _BLOCK, full_size))
        old = slice(int(first[start]), min(int(first[new.stop - 1]) + 2, size))
        column = np.arange(new.stop - start)
        shares = np.zeros((old.stop - old.start, len(column)), np.float32)
        shares[first[new] - old.start, column] = 1 - share[new]
        if size > 1:
            shares[first[new] - old.start + 1, column] = share[new]
        blocks.append((new, old, shares))
    return blocks

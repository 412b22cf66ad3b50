# SPDX-License-Identifier: Apache-2.0
"""A camera's image at the size that the network sees, and depth back at the image's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_CACHED_PIXELS = 65536


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


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """
    Resize an image: by areas if it shrinks, else linearly.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W, 3) uint8 RGB.
    size : (int, int)
        Height and width, pixels.

    Returns
    -------
    numpy.ndarray
        (h, w, 3) uint8, contiguous; the image itself if it has that size.

    """
    height, width = size
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def upsampled(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """
    Resize maps linearly, their corners on the new corners (torch's align_corners=True).

    OpenCV's own linear resizing has no such corners, and its `remap` rounds places to 1/32 pixel.
    Here columns, then rows are interpolated in single precision, columns as the rows of the
    transposed maps, which are copied at once.

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
    rows = np.ascontiguousarray(maps).reshape(count * height, width)
    columns: NDArray[Any] = cv2.transpose(rows)
    wide: NDArray[Any] = cv2.transpose(_interpolated(columns[None], size[1])[0])
    return _interpolated(wide.reshape(count, height, size[1]), size[0])


def _interpolated(maps: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """Resize (M, n, w) to (M, rows, w), as many rows at a time as the processor's cache holds."""
    above, below, share = _places(maps.shape[1], rows)
    made = np.empty((maps.shape[0], rows, maps.shape[2]), np.float32)
    step = max(1, _CACHED_PIXELS // maps.shape[2])
    scratch = np.empty((min(step, rows), maps.shape[2]), np.float32)
    for old, new in zip(maps, made, strict=True):
        for start in range(0, rows, step):
            part = slice(start, start + step)
            block = new[part]
            upper = scratch[: len(block)]
            # With a mode that needs no check, `take` writes where it is told to.
            np.take(old, above[part], 0, out=upper, mode='clip')
            np.take(old, below[part], 0, out=block, mode='clip')
            block -= upper
            block *= share[part]
            block += upper
    return made


@lru_cache(maxsize=32)
def _places(
    size: int, full_size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the two old rows between which each new one lies, and the share of the second."""
    # In single precision, as torch: far along a row its places are off by 1e-5 pixels.
    step = np.float32(size - 1) / np.float32(max(full_size - 1, 1))
    places = np.arange(full_size, dtype=np.float32) * step
    first = np.minimum(places.astype(np.intp), max(size - 2, 0))
    share = (places - first.astype(np.float32))[:, None]
    return first, np.minimum(first + 1, size - 1), share

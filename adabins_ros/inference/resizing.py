# SPDX-License-Identifier: Apache-2.0
"""A camera's image at the size that the network sees."""

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional


def resized_pixels(
    image: NDArray[np.uint8], size: tuple[int, int], device: torch.device
) -> torch.Tensor:
    """
    Resize an image: on the CPU with OpenCV, on a GPU there, after one upload.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W, 3) uint8 RGB.
    size : (int, int)
        Height and width, pixels.
    device : torch.device
        Where the pixels are wanted.

    Returns
    -------
    torch.Tensor
        (1, h, w, 3) of 0 to 255; uint8, but float32 when resized on a GPU.

    """
    if device.type == 'cpu':
        return torch.from_numpy(np.ascontiguousarray(_resized(image, size)))[None]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)[None]
    if image.shape[:2] == size:
        return pixels
    planes = pixels.permute(0, 3, 1, 2).float()
    planes = functional.interpolate(planes, size, mode='bilinear', antialias=True)
    return planes.permute(0, 2, 3, 1)


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


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""A camera's image at the size that the network sees."""

from functools import lru_cache

from adabins_ros.inference.transfers import StagedUpload
import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional


class FrameResizer:
    """
    Bring images to where the network runs and to the size that it sees.

    Parameters
    ----------
    device : torch.device
        On the CPU OpenCV resizes; to a GPU each image is uploaded once, and resized there.

    """

    def __init__(self, device: torch.device) -> None:
        self._upload = None if device.type == 'cpu' else StagedUpload(device)

    def __call__(
        self, image: NDArray[np.uint8], size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Resize an image.

        Parameters
        ----------
        image : numpy.ndarray
            (H, W, 3) uint8 RGB.
        size : (int, int)
            Height and width, pixels.

        Returns
        -------
        pixels : torch.Tensor
            (1, h, w, 3) whole numbers of 0 to 255; uint8, but float32 when resized on a GPU.
        uploaded : torch.Tensor or None
            (H, W, 3) uint8, the image itself on the GPU.

        """
        if self._upload is None:
            # Writeable, for torch warns of arrays that are not, such as a message's image.
            pixels = np.require(_resized(image, size), None, ['C', 'W'])
            return torch.from_numpy(pixels)[None], None
        uploaded = self._upload(image)
        return resized_on_device(uploaded, size), uploaded


def resized_on_device(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    Resize where an image lies, as OpenCV does on the CPU: by areas if it shrinks, else linearly.

    Parameters
    ----------
    image : torch.Tensor
        (H, W, 3) uint8.
    size : (int, int)
        Height and width, pixels.

    Returns
    -------
    torch.Tensor
        (1, h, w, 3) whole numbers of 0 to 255: uint8 of the same size, else float32.

    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image[None]
    pixels = image.float()
    if size[0] <= height and size[1] <= width:
        rows = _shares(height, size[0], image.device)
        columns = _shares(width, size[1], image.device)
        narrow = columns @ pixels
        averages = (rows @ narrow.flatten(1)).view(1, *size, 3)
        # To halve an image, which is common, OpenCV rounds up from .5 on.
        return (averages + 0.5).floor()
    planes = pixels.permute(2, 0, 1)[None]
    planes = functional.interpolate(planes, size, mode='bilinear', antialias=True)
    return planes.permute(0, 2, 3, 1).round()


@lru_cache(maxsize=16)
def _shares(full_size: int, size: int, device: torch.device) -> torch.Tensor:
    """Return (size, full_size) float32: which part of each new pixel lies in each old one."""
    edges = torch.arange(size + 1, dtype=torch.float64) * full_size / size
    old = torch.arange(full_size, dtype=torch.float64)
    ends = torch.minimum(edges[1:, None], old + 1)
    shares = (ends - torch.maximum(edges[:-1, None], old)).clamp_min(0) * size / full_size
    return shares.float().to(device)


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

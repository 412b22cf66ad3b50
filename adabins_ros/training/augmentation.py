# SPDX-License-Identifier: Apache-2.0
"""Changes of colour and depth together, so that few recordings show more."""

from __future__ import annotations

from adabins_ros.inference.input_size import inner_size
from adabins_ros.inference.resizing import bordered
from adabins_ros.training.config import AugmentationConfig
from adabins_ros.training.cropping import Box, cut_out, Depth, Image, largest_box
import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional

_BLUR_SIGMA = (0.4, 1.5)
_MOTION_LENGTHS = (3, 5, 7)
_NOISE_SIGMA = (1.0, 8.0)
_JPEG_QUALITY = (25, 85)
_MOST_HOLES = 4
_LARGEST_HOLE = 0.25
_LOST_SHARE = (0.1, 0.6)
_FILTER_SIZES = (1, 3, 5)
_WIDEST = 2.0


class Augmentation:
    """
    Change frames at random: the same for the same generator, in any process.

    Parameters
    ----------
    config : AugmentationConfig
        What is done, and how much; a 0 switches its kind off.

    """

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config

    def __call__(
        self,
        image: Image,
        depth: Depth,
        size: tuple[int, int],
        rng: np.random.Generator,
        *,
        borders: bool = False,
    ) -> tuple[Image, Depth, float]:
        """
        Return a changed frame at the network's size.

        Parameters
        ----------
        image : (H, W, 3) uint8
            RGB.
        depth : (H, W) float32
            Metres, 0 unknown; the values stay.
        size : (int, int)
            Height and width, px.
        rng : numpy.random.Generator
            Where the changes come from.
        borders : bool
            Whether wide images are seen with their border repeated, else cut (`inner_size`).

        Returns
        -------
        image : (h, w, 3) uint8
        depth : (h, w) float32
        zoom : float
            The focal length fx is so many times that of the frame given.

        """
        config = self.config
        # The generator is used alike whatever is switched off, so that a run without blur, say,
        # sees the same crops.
        crop, place_x, place_y, turn = rng.random(4)
        chances = rng.random(6)
        colours = rng.uniform(-1, 1, 5)
        chance, wider = rng.random(), rng.uniform(1, _WIDEST)
        inner = size
        if borders:
            inner = inner_size((image.shape[0], image.shape[1]), size)
            if inner == size and chance < config.wide:
                inner = inner_size((size[0], round(size[1] * wider)), size)
        box = _part(largest_box(image.shape[:2], inner), 1 - config.crop * crop)
        if config.crop > 0:
            box = _moved(box, image.shape[:2], place_x, place_y)
        angle = config.rotation_deg * (2 * turn - 1)
        image, depth = cut_out(image, depth, box, inner, angle, bool(chances[0] < config.flip))
        if chances[1] < config.colour:
            image = self._coloured(image, colours)
        if chances[2] < config.blur:
            image = _blurred(image, rng)
        if chances[3] < config.noise:
            image = _noisy(image, rng)
        if chances[4] < config.jpeg:
            image = _through_jpeg(image, rng)
        if chances[5] < config.depth_dropout:
            depth = _with_holes(depth, rng)
        depth = bordered(depth, size[0], cv2.BORDER_CONSTANT)
        return bordered(image, size[0]), depth, size[1] / box.width

    def _coloured(self, image: Image, draws: NDArray[np.float64]) -> Image:
        """Apply gamma, brightness and the channels' factors through one table."""
        config = self.config
        gamma = 1 + config.gamma * draws[0]
        factors = (1 + config.brightness * draws[1]) * (1 + config.channels * draws[2:5])
        levels = (np.arange(256) / 255) ** gamma * 255
        table = np.clip(np.rint(levels[:, None] * factors), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def change_looks(
    images: torch.Tensor,
    black: torch.Tensor,
    white: torch.Tensor,
    *,
    exchange: float = 0.0,
    textures: float = 0.0,
) -> torch.Tensor:
    """
    Give images other colours and surfaces, so that a room's look does not tell its size.

    Each moves a random part of the way to the mean and standard deviation of each channel of
    another image of the batch (Reinhard et al., CG&A 2001, in RGB), then one to itself behind a
    convolution with random weights (Xu et al., Robust and Generalizable Visual Representation
    Learning via Random Convolutions, ICLR 2021) that keeps its mean and standard deviation.

    Parameters
    ----------
    images : torch.Tensor
        (B, 3, H, W), normalised.
    black, white : torch.Tensor
        (3, 1, 1), the darkest and the brightest normalised pixel.
    exchange, textures : float
        Probability of either change, for each image.

    Returns
    -------
    torch.Tensor
        (B, 3, H, W); the generator is torch's own.

    """
    for change, probability in ((_in_others_colours, exchange), (_filtered, textures)):
        if probability:
            count = len(images)
            part = torch.rand(count) * (torch.rand(count) < probability)
            images = torch.lerp(images, change(images), part.to(images.device).view(-1, 1, 1, 1))
            images = torch.minimum(torch.maximum(images, black), white)
    return images


def _in_others_colours(images: torch.Tensor) -> torch.Tensor:
    mean, std = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True)
    other = torch.randperm(len(images))
    return (images - mean) * (std[other] / std.clamp_min(1e-3)) + mean[other]


def _filtered(images: torch.Tensor) -> torch.Tensor:
    count, channels = images.shape[:2]
    size = _FILTER_SIZES[int(torch.randint(len(_FILTER_SIZES), ()))]
    weights = torch.randn(count * channels, channels, size, size).to(images)
    together = functional.pad(images.flatten(0, 1)[None], [size // 2] * 4, mode='replicate')
    filtered = functional.conv2d(together, weights, groups=count).view_as(images)
    axes = (1, 2, 3)
    mean, std = filtered.mean(axes, keepdim=True), filtered.std(axes, keepdim=True)
    scale = images.std(axes, keepdim=True) / std.clamp_min(1e-3)
    return (filtered - mean) * scale + images.mean(axes, keepdim=True)


def _part(box: Box, scale: float) -> Box:
    """Return the middle of a box."""
    width, height = box.width * scale, box.height * scale
    return Box(box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height)


def _moved(box: Box, image_size: tuple[int, int], place_x: float, place_y: float) -> Box:
    """Put the box anywhere in the image."""
    x = (image_size[1] - box.width) * place_x
    y = (image_size[0] - box.height) * place_y
    return box._replace(x=x, y=y)


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    """Blur as a lens out of focus, or as a camera that moved."""
    if rng.random() < 0.5:
        sigma = rng.uniform(*_BLUR_SIGMA)
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    length = int(rng.choice(_MOTION_LENGTHS))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    middle = (length - 1) / 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    start, end = np.rint(middle - reach).astype(int), np.rint(middle + reach).astype(int)
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _noisy(image: Image, rng: np.random.Generator) -> Image:
    sigma = rng.uniform(*_NOISE_SIGMA)
    noise = rng.standard_normal(image.shape, np.float32)
    noise *= np.float32(sigma)
    noise += image
    return np.clip(np.rint(noise, out=noise), 0, 255).astype(np.uint8)


def _through_jpeg(image: Image, rng: np.random.Generator) -> Image:
    quality = int(rng.integers(*_JPEG_QUALITY))
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _with_holes(depth: Depth, rng: np.random.Generator) -> Depth:
    """Forget rectangles, or scattered pixels, of the truth."""
    depth = depth.copy()
    height, width = depth.shape
    if rng.random() < 0.5:
        depth[rng.random(depth.shape, np.float32) < rng.uniform(*_LOST_SHARE)] = 0
        return depth
    for _ in range(int(rng.integers(1, _MOST_HOLES + 1))):
        tall, wide = (rng.uniform(0, _LARGEST_HOLE, 2) * (height, width)).astype(int)
        y, x = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
        depth[y:, x:][:tall, :wide] = 0
    return depth

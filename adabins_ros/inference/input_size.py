# SPDX-License-Identifier: Apache-2.0
"""Which size an image has when the network sees it."""

import math

from adabins_ros.model.config import AdaBinsConfig

# Scales tried around the wanted one, nearest first: 2 % steps, up to 300 times larger or smaller.
_STEPS = sorted(range(-288, 289), key=abs)


def inference_size(
    image_size: tuple[int, int],
    config: AdaBinsConfig,
    requested: tuple[int, int] | None = None,
    pixel_budget: int | None = None,
) -> tuple[int, int]:
    """
    Choose a legal input size for an image.

    A legal size is used as it is. Otherwise, or above the budget, the image is scaled with its
    aspect to about the budget, and on to the nearest legal size where the token limits ask for it
    (they outweigh the budget). An image too narrow for any legal size of its aspect is stretched.

    Parameters
    ----------
    image_size : (int, int)
        Height and width of the camera's image, pixels.
    config : AdaBinsConfig
        Its token limits decide what is legal, its input size the default budget.
    requested : (int, int), optional
        Height and width to use whatever the image.
    pixel_budget : int, optional
        Most pixels that the network should see.

    Returns
    -------
    (int, int)
        Height and width, legal for the network.

    Raises
    ------
    ValueError
        If the requested size is illegal, or a size or the budget is not positive.

    """
    height, width = image_size
    if height < 1 or width < 1:
        raise ValueError(f'an image of {height}x{width} pixels has no pixels')
    if pixel_budget is not None and pixel_budget < 1:
        raise ValueError(f'pixel_budget {pixel_budget} must be positive')
    if requested is not None:
        check_legal(requested, config)
        return requested
    if config.is_legal_size(height, width) and height * width <= (pixel_budget or math.inf):
        return height, width
    budget = pixel_budget or math.prod(config.input_size)
    wanted = math.sqrt(budget / (height * width))
    for step in _STEPS:
        scale = wanted * 1.02**step
        size = max(1, round(height * scale)), max(1, round(width * scale))
        if config.is_legal_size(*size):
            return size
    return _stretched(height / width, config)


def check_legal(size: tuple[int, int], config: AdaBinsConfig) -> None:
    """
    Refuse a size that the network can't take.

    Raises
    ------
    ValueError
        With the reason and the way out.

    """
    height, width = size
    if height < 1 or width < 1 or not config.is_legal_size(height, width):
        stride = 2 * config.patch_size
        tokens = config.tokens(max(height, 0), max(width, 0))
        raise ValueError(
            f'inference_size {height}x{width} is not legal for {config.name}: '
            f'floor(height / {stride}) * floor(width / {stride}) is {tokens} and must lie in '
            f'{config.min_tokens}..{config.max_tokens}, such as '
            f'{config.input_size[0]}x{config.input_size[1]}'
        )


def _stretched(aspect: float, config: AdaBinsConfig) -> tuple[int, int]:
    """Find the legal size whose aspect (height / width) comes nearest."""
    stride = max(2 * config.patch_size, 32)
    most = config.max_tokens
    grids = ((rows, columns) for rows in range(1, most + 1) for columns in range(1, most + 1))
    sizes = ((rows * stride, columns * stride) for rows, columns in grids)
    legal = (size for size in sizes if config.is_legal_size(*size))
    return min(legal, key=lambda size: abs(math.log(size[0] / size[1] / aspect)))

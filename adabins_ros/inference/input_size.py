# SPDX-License-Identifier: Apache-2.0
"""Which size an image has when the network sees it."""

import math

from adabins_ros.model.config import AdaBinsConfig

# Sides over those of training within which an image is taken as it is. adabins-lite loses fast
# below 1 (kitchen d1 .66 at 1, .61 at .95, .55 at .9, .38 at .8), where it does not see everything
# as much farther as the focal length says, and of wide images above it (.66 at 1, .44 at 1.05).
_LEAST, _MOST = 0.97, 1.03
# Aspects (height over width) over that of training up to which a narrower image is stretched to
# the size of training, whose patches the network knows by their places: d1 of 29 pictures,
# stretched and not: 5:4 .59 and .56, 6:5 .59 and .56.
_STRETCH = 1.13
# And a wider one; beyond, its border is repeated, as training does it: d1 of 134 pictures, with
# the border and with their aspect: 16:9 .50 and .44, 16:10 .55 and .49; and stretched: 3:2 .54 and
# .53.
_STRETCH_WIDE = 1.05
# And of a size that was asked for without a hint.
_FAR = 1.2
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

    The network sees images at the scale of its training: as many pixels, whatever the aspect. The
    configuration's exact sizes are used as they are; where it has none, an image of nearly the
    aspect of training, or wider (`inner_size`), is seen at the size of training; a legal size of
    about as many pixels is used as it is, and other images are scaled with their aspect, and on to
    the nearest legal size where the token limits ask for it (they outweigh the budget). An image
    too narrow for any legal size of its aspect is stretched.

    Parameters
    ----------
    image_size : (int, int)
        Height and width of the camera's image, pixels.
    config : AdaBinsConfig
        Its token limits decide what is legal, its input size the scale.
    requested : (int, int), optional
        Height and width to use whatever the image.
    pixel_budget : int, optional
        Most pixels that the network should see, in place of those of training.

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
    pixels, usual = height * width, math.prod(config.input_size)
    most = pixel_budget or _MOST**2 * usual
    least = min(_LEAST**2 * usual, most)
    legal = config.is_legal_size(height, width)
    if legal and image_size in config.exact_sizes and pixels <= (pixel_budget or pixels):
        return image_size
    aspect = (height / width) / (config.input_size[0] / config.input_size[1])
    known = not config.exact_sizes and config.is_legal_size(*config.input_size)
    if known and usual <= most and aspect <= _STRETCH:
        return config.input_size
    if legal and least <= pixels <= most:
        return image_size
    goal = pixel_budget or usual
    if pixels < least:
        goal = min(goal, usual)
    wanted = math.sqrt(goal / pixels)
    for step in _STEPS:
        scale = wanted * 1.02**step
        size = max(1, round(height * scale)), max(1, round(width * scale))
        if config.is_legal_size(*size):
            return size
    return _stretched(height / width, config)


def inner_size(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """
    Say which part of what the network sees is the image: in its middle, the border fills the rest.

    Parameters
    ----------
    image_size, size : (int, int)
        Height and width of the camera's image, and of what the network sees, pixels.

    Returns
    -------
    (int, int)
        Height and width, pixels; what is above and below is a whole number of depth's pixels.

    """
    height, width = size
    fraction = image_size[0] / image_size[1] * width / height
    if fraction * _STRETCH_WIDE >= 1:
        return size
    # Depth has half the pixels, so each of the two borders is to have an even number.
    border = 2 * round(height * (1 - fraction) / 4)
    return max(height - 2 * border, height % 4 or 4), width


def far_from_training(size: tuple[int, int], config: AdaBinsConfig) -> str | None:
    """Say what a size that was asked for costs, if the network was trained on quite another."""
    height, width = config.input_size
    scale = math.sqrt(math.prod(size) / (height * width))
    if size in config.exact_sizes or _LEAST <= scale <= _FAR:
        return None
    return (
        f'inference_size {size[0]}x{size[1]} is {scale:.2g} times the scale of {height}x{width}, '
        f'on which {config.name} was trained: depth will be less exact'
    )


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

# SPDX-License-Identifier: Apache-2.0
"""What a prediction is, and the way of an image to it: resized, an engine, up-sampled, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from adabins_ros.inference.engines.engine import Engine
from adabins_ros.inference.input_size import inner_size
from adabins_ros.inference.resizing import resized, upsampled
from adabins_ros.inference.smoothing import run_smoothed, Smoothing
from adabins_ros.model.config import AdaBinsConfig
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DepthEstimate:
    """
    What the network says about one image of H x W pixels; depth is along the optical axis.

    Until it is up-sampled, H x W are half of what the network saw of the image, with its corner
    pixels.
    """

    depth: NDArray[np.float32]
    """(H, W), metres."""
    std: NDArray[np.float32]
    """(H, W), one standard deviation in metres; NaN for the regression strategy."""
    bin_centers: NDArray[np.float32]
    """(N,), metres, increasing; empty for the regression strategy."""
    inference_size: tuple[int, int]
    """Height and width that the network saw, pixels; of wide images, with the repeated border."""
    focal_scale: float = 1.0
    """Factor by which the focal correction has multiplied all of the above."""
    scene_changed: bool | None = None
    """Whether that is another scene than the last frame's; None if no last frame counted."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time taken by the stages ``resize``, ``network`` and ``upsample``; in a batch, by all."""

    def upsampled(self, size: tuple[int, int], ends: tuple[float, float]) -> DepthEstimate:
        """
        Return the estimate at an image's size, its corner pixels kept.

        Parameters
        ----------
        size : (int, int)
            Height and width, pixels.
        ends : (float, float)
            The least and the largest depth that can be right, metres.

        """
        started = perf_counter()
        depth, std = upsampled(np.stack([self.depth, self.std]), size)
        # Rounding alone leads beyond them.
        np.clip(depth, *np.array(ends, np.float32), out=depth)
        seconds = {**self.seconds, 'upsample': perf_counter() - started}
        return replace(self, depth=depth, std=std, seconds=seconds)


def estimate_together(
    engine: Engine,
    images: Sequence[NDArray[np.uint8]],
    scales: Sequence[float],
    size: tuple[int, int],
    *,
    config: AdaBinsConfig,
    flip_average: bool = False,
    smoothings: Sequence[Smoothing | None] | None = None,
    upsample: bool = True,
) -> list[DepthEstimate]:
    """
    Estimate the depth of images in one run of an engine.

    Parameters
    ----------
    engine : Engine
        Runs the network.
    images : sequence of numpy.ndarray
        (H, W, 3) uint8 RGB, each of its own size.
    scales : sequence of float
        For each, by how much its camera's focal length multiplies depth.
    size : (int, int)
        Height and width that the network is to see, pixels.
    config : AdaBinsConfig
        The network's.
    flip_average : bool
        Average with the mirrored images, which are part of the batch.
    smoothings : sequence of Smoothing or None, optional
        The memory of each image's camera.
    upsample : bool
        Whether estimates are of the images' sizes.

    Returns
    -------
    list of DepthEstimate

    """
    started = perf_counter()
    shapes = [image.shape[:2] if config.repeats_borders else size for image in images]
    inner = [inner_size((shape[0], shape[1]), size)[0] for shape in shapes]
    seen = [resized(image, size, height) for image, height in zip(images, inner, strict=True)]
    if flip_average:
        seen += [image[:, ::-1] for image in seen]
    batch = np.stack(seen) if len(seen) > 1 else seen[0][None]
    ready = perf_counter()
    memories = smoothings or [None] * len(images)
    outputs, changed = run_smoothed(engine, np.ascontiguousarray(batch), memories, config)
    ran = perf_counter()
    moments = np.stack([outputs['depth'], outputs['std']], 1)
    if flip_average:
        moments = averaged_with_mirrored(moments)
    seconds = {'resize': ready - started, 'network': ran - ready}
    estimates = []
    for index, (image, scale) in enumerate(zip(images, scales, strict=True)):
        # What is scaled before it is up-sampled is a sixteenth as much.
        factor = np.float32(scale)
        border = (size[0] - inner[index]) // 4
        rows = slice(border, moments.shape[2] - border)
        depth, std = moments[index, :, rows] * factor
        centers = outputs['bin_centers'][index] * factor
        estimate = DepthEstimate(depth, std, centers, size, scale, changed[index], seconds)
        if upsample:
            ends = config.min_depth * scale, config.max_depth * scale
            estimate = estimate.upsampled(image.shape[:2], ends)
        estimates.append(estimate)
    return estimates


def averaged_with_mirrored(moments: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Average images' predictions with their mirrored images'.

    Parameters
    ----------
    moments : numpy.ndarray
        (2 B, 2, h, w): depth and standard deviation of the images, then of the images mirrored.

    Returns
    -------
    numpy.ndarray
        (B, 2, h, w): the mean depth, and the standard deviation of the two distributions mixed
        half and half; metres.

    """
    straight, other = np.split(moments, 2)
    other = other[..., ::-1]
    depth = (straight[:, 0] + other[:, 0]) / 2
    spread = (straight[:, 0] - other[:, 0]) / 2
    variance = (straight[:, 1] ** 2 + other[:, 1] ** 2) / 2 + spread**2
    return np.stack([depth, np.sqrt(variance)], 1)

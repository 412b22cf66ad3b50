# SPDX-License-Identifier: Apache-2.0
"""The way of a frame: resized, through an engine, up-sampled, and scaled to its camera."""

from __future__ import annotations

from collections.abc import Sequence
import math

from adabins_ros.inference.engines import Engine
from adabins_ros.inference.estimate import DeviceEstimate, merge_flipped
from adabins_ros.inference.resizing import check_image, FrameResizer
from adabins_ros.inference.sizing import inference_size
from adabins_ros.inference.stage_times import StageTimes
from adabins_ros.model.config import AdaBinsConfig
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional


class FrameEstimator:
    """
    Estimate the depth of images with an engine, all on the engine's device.

    Parameters
    ----------
    engine : Engine
        Is closed by its owner.
    config : AdaBinsConfig
        Of the engine's network.
    flip_average, focal_correction, inference_size, pixel_budget
        As ``DepthPredictor`` takes them.

    """

    def __init__(
        self,
        engine: Engine,
        config: AdaBinsConfig,
        *,
        flip_average: bool = False,
        focal_correction: bool = True,
        inference_size: tuple[int, int] | None = None,
        pixel_budget: int | None = None,
    ) -> None:
        self.engine = engine
        self._config = config
        self._flip_average = flip_average
        self._focal_correction = focal_correction
        self._requested_size = inference_size
        self._pixel_budget = pixel_budget
        self._resize = FrameResizer(engine.device)

    @torch.inference_mode()
    def __call__(
        self, images: Sequence[NDArray[np.uint8]], focal_lengths_px: Sequence[float | None]
    ) -> list[DeviceEstimate]:
        """
        Estimate the depth of images; those that the network sees in one size are one batch.

        Parameters
        ----------
        images : sequence of numpy.ndarray
            (H, W, 3) uint8 RGB, each of its own size.
        focal_lengths_px : sequence of float or None
            One for each.

        Raises
        ------
        ValueError
            If an image is not (H, W, 3) uint8, a focal length is not positive, or their numbers
            differ.

        """
        if len(focal_lengths_px) != len(images):
            raise ValueError(
                f'{len(focal_lengths_px)} focal_lengths_px for {len(images)} images: give one, '
                'or None, for each image'
            )
        batches: dict[tuple[int, int], list[int]] = {}
        scales = []
        for index, (image, focal) in enumerate(zip(images, focal_lengths_px, strict=True)):
            check_image(image)
            size = inference_size(
                image.shape[:2], self._config, self._requested_size, self._pixel_budget
            )
            scales.append(self._focal_scale(focal, size[1] / image.shape[1]))
            batches.setdefault(size, []).append(index)
        estimates: dict[int, DeviceEstimate] = {}
        for size, members in batches.items():
            made = self._batch([(images[n], scales[n]) for n in members], size)
            estimates.update(zip(members, made, strict=True))
        return [estimates[index] for index in range(len(images))]

    def _batch(
        self, frames: Sequence[tuple[NDArray[np.uint8], float]], size: tuple[int, int]
    ) -> list[DeviceEstimate]:
        """Estimate the depth of images, each with its scale, that the network sees in one size."""
        times = StageTimes(self.engine.device)
        with times.stage('resize'):
            resized = [self._resize(image, size) for image, _ in frames]
            seen = [pixels for pixels, _ in resized]
            if self._flip_average:
                seen += [pixels.flip(2) for pixels in seen]
            # One batch reads the weights once.
            batch = torch.cat(seen) if len(seen) > 1 else seen[0]
        with times.stage('network'):
            output = self.engine(batch)
        with times.stage('upsample'):
            merged = merge_flipped(output) if self._flip_average else torch.cat(output[:2], 1)
            full = [
                self._upsampled(moments, image.shape[:2], scale)
                for moments, (image, scale) in zip(merged, frames, strict=True)
            ]
            centers = [output.bin_centers[n] * scale for n, (_, scale) in enumerate(frames)]
        return [
            DeviceEstimate(full[n], centers[n], resized[n][1], size, scale, times)
            for n, (_, scale) in enumerate(frames)
        ]

    def _upsampled(
        self, moments: torch.Tensor, size: tuple[int, int], scale: float
    ) -> torch.Tensor:
        """Bring depth and std (2, h, w) to an image's size and its camera's scale."""
        full = functional.interpolate(
            moments[None], size=size, mode='bilinear', align_corners=True
        )[0]
        full[0].clamp_(self._config.min_depth, self._config.max_depth)
        return full * scale if scale != 1 else full

    def _focal_scale(self, focal_length_px: float | None, resize_factor: float) -> float:
        if focal_length_px is None or not self._focal_correction:
            return 1.0
        if not (math.isfinite(focal_length_px) and focal_length_px > 0):
            raise ValueError(f'focal_length_px {focal_length_px} must be positive, in pixels')
        return focal_length_px * resize_factor / self._config.training_focal_length_px

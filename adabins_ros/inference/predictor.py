# SPDX-License-Identifier: Apache-2.0
"""DepthPredictor: one RGB array in, metric depth with its standard deviation out."""

from collections.abc import Callable
from dataclasses import dataclass, field
import math
import os
from time import perf_counter
from typing import TypeVar

from adabins_ros.inference.device import check_engine, choose_device, choose_precision
from adabins_ros.inference.folding import fold_batch_norms
from adabins_ros.inference.sizing import check_legal, inference_size
from adabins_ros.model.adabins import AdaBins, DepthDistribution
from adabins_ros.model.checkpoint import load_model
from adabins_ros.model.config import AdaBinsConfig
from adabins_ros.model.errors import ModelError
import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional

_Result = TypeVar('_Result')


@dataclass(frozen=True)
class DepthEstimate:
    """What the network says about one image of H x W pixels; depth is along the optical axis."""

    depth: NDArray[np.float32]
    """(H, W), metres."""
    std: NDArray[np.float32]
    """(H, W), one standard deviation in metres; NaN for the regression strategy."""
    bin_centers: NDArray[np.float32]
    """(N,), metres, increasing; empty for the regression strategy."""
    inference_size: tuple[int, int]
    """Height and width that the network saw, pixels."""
    focal_scale: float = 1.0
    """Factor by which the focal correction has multiplied all of the above."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time taken by the stages ``resize``, ``network`` and ``upsample``."""


class DepthPredictor:
    """
    A loaded network on its device. Make one with ``from_pretrained``.

    ``predict`` is meant for one thread at a time.
    """

    def __init__(
        self,
        network: AdaBins,
        *,
        device: str = 'auto',
        precision: str = 'auto',
        engine: str = 'auto',
        flip_average: bool = False,
        inference_size: tuple[int, int] | None = None,
        pixel_budget: int | None = None,
        focal_correction: bool = True,
    ) -> None:
        check_engine(engine)
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        self.config: AdaBinsConfig = network.config
        self.flip_average = flip_average
        self.focal_correction = focal_correction
        self._requested_size = inference_size
        self._pixel_budget = pixel_budget
        try:
            if inference_size is not None:
                check_legal(inference_size, self.config)
            if pixel_budget is not None and pixel_budget < 1:
                raise ValueError(f'pixel_budget {pixel_budget} must be positive')
        except ValueError as error:
            raise ModelError(str(error)) from error
        self.parameter_count = sum(parameter.numel() for parameter in network.parameters())
        # Full convolutions run 12 % faster channels-last on a CPU, but by other kernels, and
        # random weights magnify their rounding to centimetres: the authors' figures come first.
        self._as_written = self.device.type == 'cpu' and self.config.decoder_convolution == 'full'
        self._memory_format = torch.contiguous_format if self._as_written else torch.channels_last
        self._network: AdaBins | None = self._deployed(network)
        shape = (1, 3, 1, 1)
        mean = torch.tensor(self.config.mean, device=self.device).view(shape)
        std = torch.tensor(self.config.std, device=self.device).view(shape)
        self._mean, self._std = mean, std

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        depth_range: tuple[float, float] | None = None,
        device: str = 'auto',
        precision: str = 'auto',
        engine: str = 'auto',
        flip_average: bool = False,
        inference_size: tuple[int, int] | None = None,
        pixel_budget: int | None = None,
        focal_correction: bool = True,
    ) -> 'DepthPredictor':
        """
        Load a preset or a model file.

        Parameters
        ----------
        model : str or path
            ``adabins-lite``, ``adabins-nyu``, ``adabins-kitti``, or a file: a checkpoint of this
            package or of the authors (``AdaBins_nyu.pt``).
        depth_range : (float, float), optional
            d_min and d_max in metres, for an authors' file whose name does not tell.
        device : str
            'auto' (the GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.
        precision : str
            'auto' (float16 on a GPU), 'float32', 'float16' or 'bfloat16'.
        engine : str
            'auto' or 'torch'.
        flip_average : bool
            Average with the prediction of the mirrored image, as the paper's figures do.
        inference_size : (int, int), optional
            Height and width that the network sees; chosen by the image's size otherwise.
        pixel_budget : int, optional
            Most pixels that the network should see.
        focal_correction : bool
            Scale depth by the ratio of the camera's focal length to the training one.

        Returns
        -------
        DepthPredictor

        Raises
        ------
        ModelError
            If the model can't be loaded or an option can't be had here; the text says why.

        """
        check_engine(engine)
        choose_precision(precision, choose_device(device))
        return cls(
            load_model(model, depth_range),
            device=device,
            precision=precision,
            engine=engine,
            flip_average=flip_average,
            inference_size=inference_size,
            pixel_budget=pixel_budget,
            focal_correction=focal_correction,
        )

    @property
    def is_trained(self) -> bool:
        """Whether the weights were trained; without that, depth is meaningless."""
        return self.config.trained

    @property
    def description(self) -> str:
        """One line for people: the model, its state, range, size and place."""
        state = '' if self.is_trained else ' (untrained: depth is meaningless)'
        precision = str(self.dtype).removeprefix('torch.')
        return (
            f'{self.config.name}{state}, {self.config.min_depth:g} to '
            f'{self.config.max_depth:g} m, {self.parameter_count / 1e6:.1f} M parameters, '
            f'{self.device} {precision}'
        )

    @torch.inference_mode()
    def predict(
        self, image: NDArray[np.uint8], focal_length_px: float | None = None
    ) -> DepthEstimate:
        """
        Estimate the depth of one image.

        Parameters
        ----------
        image : numpy.ndarray
            (H, W, 3) uint8 RGB, without lens distortion.
        focal_length_px : float, optional
            The camera's horizontal focal length fx, in pixels of this image. With it, depth is
            scaled by the ratio of focal lengths, both in pixels as the network sees them.

        Returns
        -------
        DepthEstimate
            At the image's size.

        Raises
        ------
        ValueError
            If the image is not (H, W, 3) uint8 or the focal length not positive.
        RuntimeError
            If the predictor is closed.

        """
        network = self._alive()
        _check_image(image)
        height, width = image.shape[:2]
        size = inference_size(
            (height, width), self.config, self._requested_size, self._pixel_budget
        )
        scale = self._focal_scale(focal_length_px, size[1] / width)
        seconds: dict[str, float] = {}
        batches = self._timed(seconds, 'resize', lambda: self._prepare(image, size))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outputs = self._timed(
                seconds, 'network', lambda: [network(image) for image in batches]
            )

        def finish() -> NDArray[np.float32]:
            moments = (
                _merge_flipped(*outputs) if self.flip_average else torch.cat(outputs[0][:2], 1)
            )
            full = functional.interpolate(
                moments, size=(height, width), mode='bilinear', align_corners=True
            )
            full[:, 0].clamp_(self.config.min_depth, self.config.max_depth)
            return (full[0] * scale if scale != 1 else full[0]).cpu().numpy()

        depth, std = self._timed(seconds, 'upsample', finish)
        centers = outputs[0].bin_centers[0].float().cpu().numpy() * np.float32(scale)
        return DepthEstimate(depth, std, centers, size, scale, seconds)

    def warm_up(self) -> None:
        """Run one frame of the training size, so that the first real one is not slow."""
        self.predict(np.zeros((*self.config.input_size, 3), np.uint8))

    def close(self) -> None:
        """Free the network and the device's memory; the predictor can't be used afterwards."""
        self._network = None
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def _alive(self) -> AdaBins:
        if self._network is None:
            raise RuntimeError('this DepthPredictor is closed; make another with from_pretrained')
        return self._network

    def _deployed(self, network: AdaBins) -> AdaBins:
        try:
            network = network.eval().requires_grad_(False)
            if not self._as_written:
                network = fold_batch_norms(network)
            return network.to(self.device).to(memory_format=self._memory_format)
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            raise ModelError(
                f'{network.config.name} does not fit into the memory of {self.device}: '
                f'{str(error).splitlines()[0]}; close what else uses it, or use adabins-lite or '
                'device cpu'
            ) from error

    def _focal_scale(self, focal_length_px: float | None, resize_factor: float) -> float:
        if focal_length_px is None or not self.focal_correction:
            return 1.0
        if not (math.isfinite(focal_length_px) and focal_length_px > 0):
            raise ValueError(f'focal_length_px {focal_length_px} must be positive, in pixels')
        return focal_length_px * resize_factor / self.config.training_focal_length_px

    def _prepare(self, image: NDArray[np.uint8], size: tuple[int, int]) -> list[torch.Tensor]:
        """Resize and normalise into (1, 3, h, w); for flip averaging, the mirrored one too."""
        if self.device.type == 'cpu':
            pixels = torch.from_numpy(np.ascontiguousarray(_resized(image, size)))
            batch = pixels.permute(2, 0, 1).unsqueeze(0).float()
        else:
            pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
            batch = pixels.permute(2, 0, 1).unsqueeze(0).float()
            if batch.shape[-2:] != size:
                batch = functional.interpolate(batch, size, mode='bilinear', antialias=True)
        # In the authors' order of roundings: deep random networks magnify any other one.
        batch = batch.div_(255).sub_(self._mean).div_(self._std)
        batches = [batch, batch.flip(-1)] if self.flip_average else [batch]
        return [each.contiguous(memory_format=self._memory_format) for each in batches]

    def _timed(
        self, seconds: dict[str, float], stage: str, work: Callable[[], _Result]
    ) -> _Result:
        start = perf_counter()
        result = work()
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        seconds[stage] = perf_counter() - start
        return result


def _check_image(image: NDArray[np.uint8]) -> None:
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


def _merge_flipped(straight: DepthDistribution, mirrored: DepthDistribution) -> torch.Tensor:
    """
    Average an image's prediction with its mirrored image's.

    Returns (1, 2, h, w): the mean depth, and the standard deviation of the two distributions mixed
    half and half.
    """
    depths = torch.cat([straight.depth, mirrored.depth.flip(-1)])
    stds = torch.cat([straight.std, mirrored.std.flip(-1)])
    depth = depths.mean(0, keepdim=True)
    variance = stds.square().mean(0, keepdim=True) + depths.var(0, correction=0, keepdim=True)
    return torch.cat([depth, variance.sqrt()], 1)

# SPDX-License-Identifier: Apache-2.0
"""DepthPredictor: one RGB array in, metric depth with its standard deviation out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import os
from typing import TYPE_CHECKING

from adabins_ros.inference.choosing import Running
from adabins_ros.inference.estimate import DepthEstimate, estimate_together
from adabins_ros.inference.finding import find, Model, of_network
from adabins_ros.inference.input_size import check_legal, far_from_training, inference_size
from adabins_ros.inference.resizing import check_image
from adabins_ros.inference.smoothing import can_smooth, Smoothing
from adabins_ros.model.errors import ModelError
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.model.adabins import AdaBins

__all__ = ['DepthEstimate', 'DepthPredictor', 'Smoothing']
log = logging.getLogger(__name__)


class DepthPredictor:
    """
    A loaded network on its device. Make one with ``from_pretrained``.

    ``predict`` and ``settle`` are meant for one thread at a time.
    """

    def __init__(
        self,
        network: AdaBins | Model,
        *,
        device: str = 'auto',
        precision: str = 'auto',
        engine: str = 'auto',
        flip_average: bool = False,
        inference_size: tuple[int, int] | None = None,
        pixel_budget: int | None = None,
        focal_correction: bool = True,
        wait: bool = True,
        still_wanted: Callable[[], bool] | None = None,
    ) -> None:
        model = network if isinstance(network, Model) else of_network(network)
        self.config = model.config
        self.parameter_count = model.parameter_count
        self.flip_average = flip_average
        self.focal_correction = focal_correction
        self._pixel_budget = pixel_budget
        fixed_size = model.exported.fixed_size if model.exported else None
        if fixed_size is not None and inference_size not in (None, fixed_size):
            raise ModelError(
                f'{model.file} takes images of {fixed_size} pixels alone; leave inference_size '
                f'{inference_size} out, or export it without a size'
            )
        self._requested_size = fixed_size or inference_size
        try:
            if inference_size is not None:
                check_legal(inference_size, self.config)
                if hint := far_from_training(inference_size, self.config):
                    log.warning('%s', hint)
            usual = self._size(self.config.input_size)
        except ValueError as error:
            raise ModelError(str(error)) from error
        shape = (2 if flip_average else 1, *usual)
        self._running: Running | None = Running(
            model, engine, device, precision, shape, wait, still_wanted
        )
        self._description = self._running.engine.description
        self.device: str = self._running.engine.device

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
        wait: bool = True,
        still_wanted: Callable[[], bool] | None = None,
        untrained: bool = False,
    ) -> DepthPredictor:
        """
        Load a preset or a model file.

        A checkpoint is exported, checked and measured once, in another process; the result is kept
        in the user's cache folder for later starts.

        Parameters
        ----------
        model : str or path
            ``adabins-lite``; ``adabins-nyu``, ``adabins-kitti`` or ``hf:OWNER/NAME/FILE`` once
            ``adabins fetch`` has got them; or a file: a checkpoint of this package or of the
            authors (``AdaBins_nyu.pt``), or what ``adabins export`` wrote (``.onnx``).
        depth_range : (float, float), optional
            d_min and d_max in metres, for an authors' file whose name does not tell.
        device : str
            'auto' (the NVIDIA GPU where there is one and something installed that can use it, else
            the CPU), 'cpu', 'cuda' or 'cuda:N'.
        precision : str
            'auto' (float16 on a GPU), 'float32', 'float16' or 'bfloat16'.
        engine : str
            'auto', 'torch', 'torch_compile', 'onnx' or 'openvino'. 'auto' takes ONNX Runtime, or
            OpenVINO where that is installed and at least a tenth faster; torch for a checkpoint on
            a GPU without ONNX Runtime's build for it.
        flip_average : bool
            Average with the prediction of the mirrored image, as the paper's figures do.
        inference_size : (int, int), optional
            Height and width that the network sees; chosen by the image's size otherwise.
        pixel_budget : int, optional
            Most pixels that the network should see.
        focal_correction : bool
            Scale depth by the ratio of the camera's focal length to the training one.
        wait : bool
            Return when the final engine is ready. Otherwise return as soon as something can run;
            ``settle`` changes over when the final engine is built.
        still_wanted : callable, optional
            For who has another model running meanwhile: an engine that must be built is waited
            for, and torch does not stand in, unless this returns False.
        untrained : bool
            Random weights in place of a preset's, to measure with.

        Returns
        -------
        DepthPredictor

        Raises
        ------
        ModelError
            If the model can't be loaded or an option can't be had here; the text says why.

        """
        return cls(
            find(model, depth_range, engine, untrained=untrained),
            device=device,
            precision=precision,
            engine=engine,
            flip_average=flip_average,
            inference_size=inference_size,
            pixel_budget=pixel_budget,
            focal_correction=focal_correction,
            wait=wait,
            still_wanted=still_wanted,
        )

    @property
    def is_trained(self) -> bool:
        """Whether the weights were trained; without that, depth is meaningless."""
        return self.config.trained

    @property
    def description(self) -> str:
        """One line for people: the model, its state, range, size and engine."""
        state = '' if self.is_trained else ' (untrained: depth is meaningless)'
        return (
            f'{self.config.name}{state}, {self.config.min_depth:g} to '
            f'{self.config.max_depth:g} m, {self.parameter_count / 1e6:.1f} M parameters, '
            f'{self._description}'
        )

    @property
    def engine(self) -> str:
        """Name of the engine that runs the network now; never 'auto'."""
        return self._alive().engine.name

    @property
    def notice(self) -> str | None:
        """Say what a user should know: a GPU that is not used, an engine that was refused."""
        return self._alive().notice

    @property
    def can_smooth(self) -> bool:
        """Whether the network takes the last frame; fixed bins and earlier .onnx files do not."""
        return can_smooth(self._alive().engine)

    def settle(self) -> bool:
        """
        Change over to the final engine if it was built meanwhile; cheap, to ask between frames.

        Returns
        -------
        bool
            Whether the engine is another one now.

        """
        running = self._alive()
        changed = running.settle()
        if changed:
            self._description = running.engine.description
            self.device = running.engine.device
        return changed

    def predict(
        self,
        image: NDArray[np.uint8],
        focal_length_px: float | None = None,
        smoothing: Smoothing | None = None,
        *,
        upsample: bool = True,
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
        smoothing : Smoothing, optional
            The memory of the image's camera, ``at`` the image's time. Without it, or if not
            ``can_smooth``, the estimate is of this image alone.
        upsample : bool
            False leaves depth and std at the network's resolution, for who works on them before
            ``DepthEstimate.upsampled``.

        Returns
        -------
        DepthEstimate
            At the image's size.

        Raises
        ------
        ValueError
            If the image is not (H, W, 3) uint8 or the focal length not 1e-6 to 1e12 px.
        RuntimeError
            If the predictor is closed.

        """
        return self.predict_batch([image], [focal_length_px], [smoothing], upsample=upsample)[0]

    def predict_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        focal_lengths_px: Sequence[float | None] | None = None,
        smoothings: Sequence[Smoothing | None] | None = None,
        *,
        upsample: bool = True,
    ) -> list[DepthEstimate]:
        """
        Estimate the depth of several images, such as those of a robot's cameras.

        On a GPU those that the network sees in the same size go through it together. On a CPU they
        go one by one: a batch takes as long, and engines plan anew for each size of it.

        Parameters
        ----------
        images : sequence of numpy.ndarray
            Of any sizes, each as ``predict`` takes it.
        focal_lengths_px : sequence of float or None, optional
            One for each image.
        smoothings : sequence of Smoothing or None, optional
            The memory of each image's camera; no two the same.
        upsample : bool
            As in ``predict``.

        Returns
        -------
        list of DepthEstimate
            As ``predict`` gives them one by one, up to rounding.

        Raises
        ------
        ValueError
            If there is not one focal length or memory for each image, or as ``predict``.
        RuntimeError
            If the predictor is closed.

        """
        engine = self._alive().engine
        focals = [None] * len(images) if focal_lengths_px is None else focal_lengths_px
        memories = [None] * len(images) if smoothings is None else smoothings
        for name, given in (('focal_lengths_px', focals), ('smoothings', memories)):
            if len(given) != len(images):
                raise ValueError(
                    f'{len(given)} {name} for {len(images)} images: give one, or None, for each '
                    'image'
                )
        batches: dict[tuple[int, ...], list[int]] = {}
        scales = []
        for index, (image, focal) in enumerate(zip(images, focals, strict=True)):
            check_image(image)
            size = self._size((image.shape[0], image.shape[1]))
            scales.append(self._focal_scale(focal, size[1] / image.shape[1]))
            together: tuple[int, ...] = size if engine.device != 'cpu' else (*size, index)
            batches.setdefault(together, []).append(index)
        estimates: dict[int, DepthEstimate] = {}
        for (height, width, *_), members in batches.items():
            made = estimate_together(
                engine,
                [images[n] for n in members],
                [scales[n] for n in members],
                (height, width),
                config=self.config,
                flip_average=self.flip_average,
                smoothings=[memories[n] for n in members],
                upsample=upsample,
            )
            estimates.update(zip(members, made, strict=True))
        return [estimates[index] for index in range(len(images))]

    def warm_up(self) -> None:
        """Run one frame of the training size, so that the first real one is not slow."""
        self.predict(np.zeros((*self.config.input_size, 3), np.uint8))

    def close(self) -> None:
        """Free the network and the device's memory; the predictor can't be used afterwards."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return inference_size(image_size, self.config, self._requested_size, self._pixel_budget)

    def _focal_scale(self, focal_length_px: float | None, resize_factor: float) -> float:
        if focal_length_px is None or not self.focal_correction:
            return 1.0
        if not 1e-6 <= focal_length_px <= 1e12:  # beyond, float32 does not hold the depth
            raise ValueError(f'focal_length_px {focal_length_px} must be 1e-6 to 1e12, in pixels')
        return focal_length_px * resize_factor / self.config.training_focal_length_px

    def _alive(self) -> Running:
        if self._running is None:
            raise RuntimeError('this DepthPredictor is closed; make another with from_pretrained')
        return self._running

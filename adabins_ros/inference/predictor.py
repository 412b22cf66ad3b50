# SPDX-License-Identifier: Apache-2.0
"""DepthPredictor: one RGB array in, metric depth with its standard deviation out."""

from collections.abc import Sequence
import os

from adabins_ros.inference.device import choose_device, choose_precision
from adabins_ros.inference.engines import (
    check_engine,
    is_onnx,
    NetworkSource,
    OnnxModel,
    open_engine,
    open_file,
    Place,
    read_onnx,
)
from adabins_ros.inference.estimate import DepthEstimate, DeviceEstimate
from adabins_ros.inference.frame_estimator import FrameEstimator
from adabins_ros.inference.sizing import check_legal
from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.checkpoint import load_model
from adabins_ros.model.config import AdaBinsConfig
from adabins_ros.model.errors import ModelError
from adabins_ros.model.model_file import find_model, ModelFile
import numpy as np
from numpy.typing import NDArray


class DepthPredictor:
    """
    A loaded network on its device. Make one with ``from_pretrained``.

    ``predict`` is meant for one thread at a time.
    """

    def __init__(
        self,
        network: AdaBins | ModelFile | OnnxModel,
        *,
        device: str = 'auto',
        precision: str = 'auto',
        engine: str = 'auto',
        patient: bool = False,
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
        if isinstance(network, OnnxModel) and network.fixed_size is not None:
            if inference_size not in (None, network.fixed_size):
                raise ModelError(
                    f'{network.path} takes images of {network.fixed_size} pixels alone; leave '
                    f'inference_size {inference_size} out, or export it without a size'
                )
            inference_size = network.fixed_size
        try:
            if inference_size is not None:
                check_legal(inference_size, self.config)
            if pixel_budget is not None and pixel_budget < 1:
                raise ValueError(f'pixel_budget {pixel_budget} must be positive')
        except ValueError as error:
            raise ModelError(str(error)) from error
        place = Place(self.device, self.dtype, prefers_gpu=device == 'auto')
        if isinstance(network, OnnxModel):
            self.parameter_count = network.parameter_count
            opened = open_file(engine, network, place)
        else:
            source = NetworkSource(network)
            self.parameter_count = source.parameter_count
            opened = open_engine(engine, source, place, patient=patient)
        self._engine_description = opened.description
        self._estimator: FrameEstimator | None = FrameEstimator(
            opened,
            self.config,
            flip_average=flip_average,
            focal_correction=focal_correction,
            inference_size=inference_size,
            pixel_budget=pixel_budget,
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        depth_range: tuple[float, float] | None = None,
        device: str = 'auto',
        precision: str = 'auto',
        engine: str = 'auto',
        patient: bool = False,
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
            package or of the authors (``AdaBins_nyu.pt``), or what ``adabins export`` wrote
            (``.onnx``).
        depth_range : (float, float), optional
            d_min and d_max in metres, for an authors' file whose name does not tell.
        device : str
            'auto' (the GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.
        precision : str
            'auto' (float16 on a GPU), 'float32', 'float16' or 'bfloat16'.
        engine : str
            'auto' (what is installed and fastest here), 'torch', 'torch_compile', 'onnx' or
            'openvino'; see ``engines.open_engine``.
        patient : bool
            Let 'auto' try all engines, with a large network too, which takes minutes once.
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
        if is_onnx(model) and depth_range is not None:
            raise ModelError(
                f'model file {model} holds its depth range: leave depth_range {depth_range} out, '
                'or export it anew'
            )
        network = read_onnx(model) if is_onnx(model) else find_model(model, depth_range)
        return cls(
            network or load_model(model, depth_range),
            device=device,
            precision=precision,
            engine=engine,
            patient=patient,
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
        """One line for people: the model, its state, range, size and engine."""
        state = '' if self.is_trained else ' (untrained: depth is meaningless)'
        return (
            f'{self.config.name}{state}, {self.config.min_depth:g} to '
            f'{self.config.max_depth:g} m, {self.parameter_count / 1e6:.1f} M parameters, '
            f'{self._engine_description}'
        )

    @property
    def engine(self) -> str:
        """Name of the engine that runs the network; never 'auto'."""
        return self._alive().engine.name

    @property
    def on_gpu(self) -> bool:
        """Whether estimates are computed and lie on a GPU (torch's memory there)."""
        return self._alive().engine.device.type == 'cuda'

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
        return self.predict_on_device(image, focal_length_px).on_host()

    def predict_on_device(
        self, image: NDArray[np.uint8], focal_length_px: float | None = None
    ) -> DeviceEstimate:
        """
        Do what ``predict`` does, but leave the result where it was computed.

        On a GPU this returns before it is computed. The result stays valid.
        """
        return self._alive()([image], [focal_length_px])[0]

    def predict_batch_on_device(
        self,
        images: Sequence[NDArray[np.uint8]],
        focal_lengths_px: Sequence[float | None] | None = None,
    ) -> list[DeviceEstimate]:
        """Do what ``predict_batch`` does, but leave the results where they were computed."""
        estimator = self._alive()
        focals = [None] * len(images) if focal_lengths_px is None else focal_lengths_px
        return estimator(images, focals)

    def predict_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        focal_lengths_px: Sequence[float | None] | None = None,
    ) -> list[DepthEstimate]:
        """
        Estimate the depth of several images, such as those of a robot's cameras.

        Those that the network sees in the same size go through it together.

        Parameters
        ----------
        images : sequence of numpy.ndarray
            Of any sizes, each as ``predict`` takes it.
        focal_lengths_px : sequence of float or None, optional
            One for each image.

        Returns
        -------
        list of DepthEstimate
            As ``predict`` gives them one by one, up to rounding.

        Raises
        ------
        ValueError
            If there is not one focal length for each image, or as ``predict``.
        RuntimeError
            If the predictor is closed.

        """
        left = self.predict_batch_on_device(images, focal_lengths_px)
        return [estimate.on_host() for estimate in left]

    def warm_up(self) -> None:
        """Run one frame of the training size, so that the first real one is not slow."""
        self.predict(np.zeros((*self.config.input_size, 3), np.uint8))

    def close(self) -> None:
        """Free the network and the device's memory; the predictor can't be used afterwards."""
        if self._estimator is not None:
            self._estimator.engine.close()
            self._estimator = None

    def _alive(self) -> FrameEstimator:
        if self._estimator is None:
            raise RuntimeError('this DepthPredictor is closed; make another with from_pretrained')
        return self._estimator

# SPDX-License-Identifier: Apache-2.0
"""The way of a frame: decoded, with its camera, rectified, through the network, into messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any, TYPE_CHECKING

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.rectification import Rectifier
from adabins_ros.inference.smoothing import Smoothing
from adabins_ros.messages.compressed import decode_compressed_rgb
from adabins_ros.messages.fields import ReusedArrays, stamp_ns
from adabins_ros.messages.images import decode_rgb
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.diagnostics import FrameStatistics
from adabins_ros.ros.frame import Frame, NotMade
from adabins_ros.ros.parameters import DepthNodeSettings
from adabins_ros.ros.products import Product, PRODUCTS
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor


class DepthPipeline:
    """
    Compute what is asked for from one image of a camera after another.

    Parameters
    ----------
    predictor
        Anything with `predict` and `config` of `DepthPredictor`.
    cameras
        Knows the intrinsics of the images.
    statistics
        Gets the durations of the stages.
    warn
        Takes a cause and a text for what is wrong but does not stop the frame.
    anchor
        Brings a frame's estimate to the true scale.

    """

    def __init__(
        self,
        predictor: DepthPredictor,
        cameras: CameraSource,
        statistics: FrameStatistics,
        warn: Callable[[str, str], object],
        anchor: Callable[[Frame], Frame] = lambda frame: frame,
    ) -> None:
        self._predictor = predictor
        self._cameras = cameras
        self._statistics = statistics
        self._anchor = anchor
        self._warn = warn
        self._memory = ReusedArrays()
        self._rectifier: tuple[PinholeCamera, Rectifier] | None = None
        self._smoothing: Smoothing | None = None
        self.focal_scale = 1.0
        self.inference_size: tuple[int, int] | None = None
        self.image_size: tuple[int, int] | None = None

    def with_model(
        self, predictor: DepthPredictor, anchor: Callable[[Frame], Frame]
    ) -> DepthPipeline:
        """Return what goes on with another model; a frame that is in work keeps its own."""
        other = copy(self)
        other._predictor, other._anchor = predictor, anchor
        return other

    def messages(
        self, image: Any, wanted: Collection[str], settings: DepthNodeSettings
    ) -> Iterator[tuple[Product, Any]]:
        """
        Yield each wanted product as soon as it is made.

        Parameters
        ----------
        image
            sensor_msgs/Image or CompressedImage; its header is that of every message.
        wanted
            Names of `PRODUCTS`. The network runs only if something that needs it is wanted and can
            be made: without intrinsics there are no points.
        settings
            The node's parameters for this frame.

        Yields
        ------
        (product, message)

        Raises
        ------
        MessageError
            If the image can't be used.

        """
        frame = self._seen(image, settings)
        due = [product for product in PRODUCTS if product.name in wanted]
        if frame.camera is None:
            due = [product for product in due if not product.needs_intrinsics]
        yield from self._made(frame, [product for product in due if not product.needs_network])
        due = [product for product in due if product.needs_network]
        if due:
            frame = self._estimated(frame)
            if frame.is_held:
                due = [product for product in due if not product.can_be_held]
            yield from self._made(frame, due)

    def _seen(self, image: Any, settings: DepthNodeSettings) -> Frame:
        """Decode and, if asked for, rectify an image."""
        with self._statistics.timed('decode'):
            rgb = decode_compressed_rgb(image) if hasattr(image, 'format') else decode_rgb(image)
        self.image_size = rgb.shape[0], rgb.shape[1]
        camera = self._cameras.camera_for(rgb.shape[:2], image.header, settings)
        seen = None
        if camera is not None and settings.rectify and camera.is_distorted:
            with self._statistics.timed('rectify'):
                rgb, camera, seen = self._rectified(rgb, camera)
        return Frame(image.header, rgb, camera, settings, self._memory, seen)

    def _estimated(self, frame: Frame) -> Frame:
        """Run the network on a frame."""
        estimate = self._predictor.predict(
            frame.rgb,
            focal_length_px=frame.focal_length_px,
            smoothing=self._smoothed(frame),
            upsample=False,
        )
        self.focal_scale, self.inference_size = estimate.focal_scale, estimate.inference_size
        config = self._predictor.config
        ends = config.min_depth * estimate.focal_scale, config.max_depth * estimate.focal_scale
        frame = replace(frame, estimate=estimate, model_range=ends)
        # A sixteenth of the pixels is scaled.
        with self._statistics.timed('scale'):
            frame = self._anchor(frame)
        estimate = frame.estimated.upsampled(frame.rgb.shape[:2], frame.model_range)
        for stage, duration in estimate.seconds.items():
            self._statistics.record(stage, duration)
        if frame.seen is not None:
            depth, std = (
                np.where(frame.seen, metres, np.float32(np.nan))
                for metres in (estimate.depth, estimate.std)
            )
            estimate = replace(estimate, depth=depth, std=std)
        return replace(frame, estimate=estimate)

    def _smoothed(self, frame: Frame) -> Smoothing | None:
        """Return the memory of the last frame; None if smoothing is off."""
        time_s = frame.settings.temporal_smoothing
        if not time_s:
            self._smoothing = None
            return None
        if self._smoothing is None:
            self._smoothing = Smoothing(time_s)
        self._smoothing.time_s = time_s
        return self._smoothing.at(stamp_ns(frame.header.stamp) / 1e9)

    def _made(self, frame: Frame, products: Iterable[Product]) -> Iterator[tuple[Product, Any]]:
        for product in products:
            try:
                with self._statistics.timed(product.name):
                    message = product.make(frame)
            except NotMade as error:
                self._warn(product.name, f'no {product.topic}: {error}')
                continue
            yield product, message

    def _rectified(
        self, rgb: NDArray[np.uint8], camera: PinholeCamera
    ) -> tuple[NDArray[np.uint8], PinholeCamera, NDArray[np.bool_] | None]:
        """Return the image without lens distortion, its camera and which pixels the lens saw."""
        if self._rectifier is None or self._rectifier[0] != camera:
            try:
                self._rectifier = camera, Rectifier(camera)
            except ValueError as error:
                self._cameras.problem = f'the image is not rectified: {error}'
                self._warn('rectify', self._cameras.problem)
                return rgb, camera, None
        rectifier = self._rectifier[1]
        return rectifier.rectify(rgb), rectifier.camera, rectifier.seen

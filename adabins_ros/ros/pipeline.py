# SPDX-License-Identifier: Apache-2.0
"""An image message in, the messages that were asked for out; the node publishes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.rectification import Rectifier
from adabins_ros.messages.buffers import ReusedArrays
from adabins_ros.messages.compressed import decode_compressed_rgb
from adabins_ros.messages.images import decode_rgb
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.frame_arrays import HostArrays, ProductLimits
from adabins_ros.ros.frame_statistics import FrameStatistics
from adabins_ros.ros.parameters import DepthNodeSettings, PRODUCTS
from adabins_ros.ros.products import camera_info_message, FrameProducts
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.estimate import DepthEstimate
    from adabins_ros.inference.predictor import DepthPredictor

NEEDS_CAMERA = frozenset({'points', 'camera_info'})


@dataclass(frozen=True)
class PreparedFrame:
    """
    Hold an image that is ready for the network.

    Attributes
    ----------
    header : std_msgs.msg.Header
        Of the image; every message carries it.
    rgb : (H, W, 3) uint8
        Rectified if that was asked for.
    camera : PinholeCamera or None
        Intrinsics of `rgb`, if they are known.
    wanted : frozenset of str
        The products that are wanted and can be made.
    settings : DepthNodeSettings
        The node's parameters for this frame.

    """

    header: Any
    rgb: NDArray[np.uint8]
    camera: PinholeCamera | None
    wanted: frozenset[str]
    settings: DepthNodeSettings

    @property
    def needs_network(self) -> bool:
        """Tell whether anything is wanted that needs the network."""
        return any(name in self.wanted for name in PRODUCTS)

    @property
    def focal_length_px(self) -> float | None:
        """Return fx of `rgb`, or None where depth is not to be corrected for it, px."""
        if self.camera is None or not self.settings.focal_correction:
            return None
        return self.camera.fx


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

    """

    def __init__(
        self,
        predictor: DepthPredictor,
        cameras: CameraSource,
        statistics: FrameStatistics,
        warn: Callable[[str, str], object],
    ) -> None:
        self._predictor = predictor
        self._cameras = cameras
        self._statistics = statistics
        self._warn = warn
        self._memory = ReusedArrays()
        self._rectifier: tuple[PinholeCamera, Rectifier] | None = None
        self.focal_scale = 1.0
        self.inference_size: tuple[int, int] | None = None

    def messages(
        self, image: Any, wanted: Collection[str], settings: DepthNodeSettings
    ) -> Iterator[tuple[str, Any]]:
        """
        Yield each wanted product as soon as it is made.

        Parameters
        ----------
        image
            sensor_msgs/Image or CompressedImage; its header is that of every message.
        wanted
            Of `PRODUCTS` and 'camera_info'. The network runs only if something that needs it is
            wanted and can be made: without intrinsics there are no points.
        settings
            The node's parameters for this frame.

        Yields
        ------
        (name, message)

        Raises
        ------
        MessageError
            If the image can't be used.

        """
        frame = self.prepare(image, wanted, settings)
        yield from self.camera_info(frame)
        if frame.needs_network:
            yield from self.products(frame, self.estimate(frame))

    def prepare(
        self, image: Any, wanted: Collection[str], settings: DepthNodeSettings
    ) -> PreparedFrame:
        """Decode and, if asked for, rectify an image; the first part of `messages`."""
        with self._statistics.timed('decode'):
            rgb = decode_compressed_rgb(image) if hasattr(image, 'format') else decode_rgb(image)
        height, width = rgb.shape[:2]
        camera = self._cameras.camera_for(
            width, height, image.header.frame_id, settings.horizontal_fov_deg
        )
        if camera is None:
            wanted = frozenset(wanted) - NEEDS_CAMERA
        elif settings.rectify and camera.is_distorted:
            with self._statistics.timed('rectify'):
                rgb, camera = self._rectified(rgb, camera)
        return PreparedFrame(image.header, rgb, camera, frozenset(wanted), settings)

    def camera_info(self, frame: PreparedFrame) -> Iterator[tuple[str, Any]]:
        """Yield the camera_info of the depth, if it is wanted; the second part of `messages`."""
        if frame.camera is not None and 'camera_info' in frame.wanted:
            yield 'camera_info', camera_info_message(frame.camera, frame.header)

    def estimate(self, frame: PreparedFrame) -> DepthEstimate:
        """Run the network on a frame; the third part of `messages`."""
        estimate = self._predictor.predict(frame.rgb, focal_length_px=frame.focal_length_px)
        self.focal_scale, self.inference_size = estimate.focal_scale, estimate.inference_size
        for stage, duration in estimate.seconds.items():
            self._statistics.record(stage, duration)
        return estimate

    def products(self, frame: PreparedFrame, estimate: DepthEstimate) -> Iterator[tuple[str, Any]]:
        """Yield what needs the network, each as soon as it is made; the end of `messages`."""
        limits = ProductLimits(
            frame.settings, self._predictor.config.max_depth * estimate.focal_scale
        )
        arrays = HostArrays(frame.rgb, frame.camera, estimate, limits, self._memory)
        made = FrameProducts(frame.header, arrays)
        for name in PRODUCTS:
            if name in frame.wanted:
                with self._statistics.timed(name):
                    message = getattr(made, name)()
                yield name, message

    def _rectified(
        self, rgb: NDArray[np.uint8], camera: PinholeCamera
    ) -> tuple[NDArray[np.uint8], PinholeCamera]:
        """Return the image without lens distortion and its camera; the maps are made once."""
        if self._rectifier is None or self._rectifier[0] != camera:
            try:
                self._rectifier = camera, Rectifier(camera)
            except ValueError as error:
                self._warn('rectify', f'the image is not rectified: {error}')
                return rgb, camera
        return self._rectifier[1].rectify(rgb), camera.rectified()

# SPDX-License-Identifier: Apache-2.0
"""An image message in, the messages that were asked for out; the node publishes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, TYPE_CHECKING

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.rectification import Rectifier
from adabins_ros.messages.compressed import decode_compressed_rgb
from adabins_ros.messages.images import decode_rgb
from adabins_ros.ros.camera_source import CameraSource
from adabins_ros.ros.frame_arrays import FrameArrays, HostArrays, ProductLimits
from adabins_ros.ros.frame_statistics import FrameStatistics
from adabins_ros.ros.parameters import DepthNodeSettings, PRODUCTS
from adabins_ros.ros.products import camera_info_message, FrameProducts
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.estimate import DepthEstimate, DeviceEstimate
    from adabins_ros.inference.predictor import DepthPredictor
    from adabins_ros.inference.transfers import StagedDownloads

NEEDS_CAMERA = frozenset({'points', 'camera_info'})


class DepthPipeline:
    """
    Compute what is asked for from one image after another.

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
    on_device
        Make the products where the network runs, which pays on a GPU; else on the CPU.

    """

    def __init__(
        self,
        predictor: DepthPredictor,
        cameras: CameraSource,
        statistics: FrameStatistics,
        warn: Callable[[str, str], object],
        *,
        on_device: bool = False,
    ) -> None:
        self._predictor = predictor
        self._cameras = cameras
        self._statistics = statistics
        self._warn = warn
        self._on_device = on_device
        self._downloads: StagedDownloads | None = None
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
        timed, header = self._statistics.timed, image.header
        with timed('decode'):
            rgb = decode_compressed_rgb(image) if hasattr(image, 'format') else decode_rgb(image)
        height, width = rgb.shape[:2]
        camera = self._cameras.camera_for(
            width, height, header.frame_id, settings.horizontal_fov_deg
        )
        if camera is None:
            wanted = frozenset(wanted) - NEEDS_CAMERA
        elif settings.rectify and camera.is_distorted:
            with timed('rectify'):
                rgb, camera = self._rectified(rgb, camera)
        if camera is not None and 'camera_info' in wanted:
            yield 'camera_info', camera_info_message(camera, header)
        if not any(name in wanted for name in PRODUCTS):
            return

        focal_length_px = camera.fx if camera and settings.focal_correction else None
        arrays = self._arrays(rgb, camera, focal_length_px, wanted, settings)
        frame = FrameProducts(header, arrays)
        for name in PRODUCTS:
            if name in wanted:
                with timed(name):
                    message = getattr(frame, name)()
                yield name, message

    def _arrays(
        self,
        rgb: NDArray[np.uint8],
        camera: PinholeCamera | None,
        focal_length_px: float | None,
        wanted: Collection[str],
        settings: DepthNodeSettings,
    ) -> FrameArrays:
        """Run the network; return what is wanted of its estimate, or all on the CPU."""
        if not self._on_device:
            estimate = self._predictor.predict(rgb, focal_length_px=focal_length_px)
            self._note(estimate, estimate.seconds)
            return HostArrays(rgb, camera, estimate, self._limits(settings, estimate))
        # Not at the top: torch takes seconds to import, and the CPU's way does without it.
        from adabins_ros.inference.transfers import StagedDownloads
        from adabins_ros.ros.device_arrays import DeviceArrays

        left = self._predictor.predict_on_device(rgb, focal_length_px=focal_length_px)
        if self._downloads is None:
            self._downloads = StagedDownloads(left.moments.device)
        limits = self._limits(settings, left)
        arrays = DeviceArrays(rgb, camera, left, limits, wanted, self._downloads)
        # It waits for the network, so not before the products are under way.
        self._note(left, left.times.seconds())
        return arrays

    def _note(self, estimate: DepthEstimate | DeviceEstimate, seconds: dict[str, float]) -> None:
        self.focal_scale, self.inference_size = estimate.focal_scale, estimate.inference_size
        for stage, duration in seconds.items():
            self._statistics.record(stage, duration)

    def _limits(
        self, settings: DepthNodeSettings, estimate: DepthEstimate | DeviceEstimate
    ) -> ProductLimits:
        return ProductLimits(settings, self._predictor.config.max_depth * estimate.focal_scale)

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

# SPDX-License-Identifier: Apache-2.0
"""An image message in, the messages that were asked for out; the node publishes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast, TYPE_CHECKING

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.rectification import Rectifier
from adabins_ros.messages.buffers import ReusedArrays
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
        self._memory = ReusedArrays()
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
        frame = self.prepare(image, wanted, settings)
        yield from self.camera_info(frame)
        if frame.needs_network:
            (estimate,) = estimate_together(self._predictor, [frame], self._on_device)
            yield from self.products(frame, estimate)

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

    def products(
        self, frame: PreparedFrame, estimate: DepthEstimate | DeviceEstimate
    ) -> Iterator[tuple[str, Any]]:
        """Yield what needs the network, each as soon as it is made; the end of `messages`."""
        made = FrameProducts(frame.header, self._arrays(frame, estimate))
        for name in PRODUCTS:
            if name in frame.wanted:
                with self._statistics.timed(name):
                    message = getattr(made, name)()
                yield name, message

    def _arrays(
        self, frame: PreparedFrame, estimate: DepthEstimate | DeviceEstimate
    ) -> FrameArrays:
        """Return what is wanted of an estimate on a device, or all of one on the CPU."""
        model_farthest = self._predictor.config.max_depth * estimate.focal_scale
        limits = ProductLimits(frame.settings, model_farthest)
        if not self._on_device:
            on_host = cast('DepthEstimate', estimate)
            self._note(on_host, on_host.seconds)
            return HostArrays(frame.rgb, frame.camera, on_host, limits, self._memory)
        # Not at the top: torch takes seconds to import, and the CPU's way does without it.
        from adabins_ros.inference.transfers import StagedDownloads
        from adabins_ros.ros.device_arrays import DeviceArrays

        left = cast('DeviceEstimate', estimate)
        if self._downloads is None:
            self._downloads = StagedDownloads(left.moments.device)
        arrays = DeviceArrays(frame.rgb, frame.camera, left, limits, frame.wanted, self._downloads)
        # It waits for the network, so not before the products are under way.
        self._note(left, left.times.seconds())
        return arrays

    def _note(self, estimate: DepthEstimate | DeviceEstimate, seconds: dict[str, float]) -> None:
        self.focal_scale, self.inference_size = estimate.focal_scale, estimate.inference_size
        for stage, duration in seconds.items():
            self._statistics.record(stage, duration)

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


def estimate_together(
    predictor: DepthPredictor, frames: Sequence[PreparedFrame], on_device: bool
) -> list[DepthEstimate | DeviceEstimate]:
    """
    Run the network on frames, of several cameras, in one batch for each size that it sees.

    Parameters
    ----------
    predictor
        The loaded model.
    frames
        One or more.
    on_device
        Leave the estimates where the network runs.

    """
    images, focals = [frame.rgb for frame in frames], [frame.focal_length_px for frame in frames]
    if on_device:
        return [*predictor.predict_batch_on_device(images, focals)]
    if len(frames) == 1:
        return [predictor.predict(images[0], focal_length_px=focals[0])]
    return [*predictor.predict_batch(images, focals)]

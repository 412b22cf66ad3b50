# SPDX-License-Identifier: Apache-2.0
"""The stream with the true depth, message by message."""

from __future__ import annotations

from dataclasses import dataclass

from adabins_ros.camera_topics import COMPRESSED_IMAGE
from adabins_ros.frames.errors import RecordingError
from adabins_ros.frames.true_depth import (
    aligned_depth,
    cloud_points,
    lidar_depth,
    reprojected_depth,
)
from adabins_ros.geometry.camera import CameraError, PinholeCamera
from adabins_ros.messages import (
    decode_compressed_depth,
    decode_compressed_rgb,
    decode_depth,
    decode_rgb,
    MessageError,
    read_cloud,
)
import numpy as np
from numpy.typing import NDArray

from .cameras import RecordedCameras
from .recorded_message import RecordedMessage

UNUSABLE = (MessageError, RecordingError, CameraError)
"""What a frame that can't be used raises."""


@dataclass(frozen=True)
class Truth:
    """
    The stream with the true depth.

    Attributes
    ----------
    topic : str
    kind : str
        'aligned', 'reprojected' or 'lidar'.
    cameras : RecordedCameras or None
        Of depth images that are reprojected.
    matrix : (4, 4) float64 or None
        Turns points of the truth's frame into the colour camera's optical frame.
    far : bool
        Depth images hold more than the 65.535 m that millimetres in 16 bits can say.

    """

    topic: str
    kind: str
    cameras: RecordedCameras | None = None
    matrix: NDArray[np.float64] | None = None
    far: bool = False

    def depth(
        self, message: RecordedMessage, size: tuple[int, int], camera: PinholeCamera | None
    ) -> NDArray[np.float32]:
        """Return (height, width) float32 m, 0 unknown; raises what UNUSABLE names."""
        if self.matrix is None:
            return aligned_depth(decode_depth_image(message), size)
        if camera is None:
            raise MessageError('uncalibrated', f'{self.topic} needs the camera_info of the image')
        if self.cameras is None:
            points = cloud_points(read_cloud(message.decode()))
            return lidar_depth(points, camera, self.matrix)
        depth = decode_depth_image(message)
        source = self.cameras.at(message.stamp_ns(), (depth.shape[0], depth.shape[1]))
        if source is None:
            raise MessageError('uncalibrated', f'no camera_info for {self.topic}')
        return reprojected_depth(depth, source, camera, self.matrix)


def decode_colour(message: RecordedMessage) -> NDArray[np.uint8]:
    """Return the RGB picture of a recorded Image or CompressedImage; raises MessageError."""
    decode = decode_compressed_rgb if message.msgtype == COMPRESSED_IMAGE else decode_rgb
    return decode(message.decode())


def decode_depth_image(message: RecordedMessage) -> NDArray[np.float32]:
    """Return the metres of a recorded depth Image or CompressedImage; raises MessageError."""
    decode = decode_compressed_depth if message.msgtype == COMPRESSED_IMAGE else decode_depth
    return decode(message.decode())

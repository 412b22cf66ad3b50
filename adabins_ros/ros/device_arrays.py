# SPDX-License-Identifier: Apache-2.0
"""The arrays behind a frame's products, made on the device where the estimate lies."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.on_device.cloud import packed_cloud, read_packed_cloud
from adabins_ros.geometry.on_device.filtering import valid_points
from adabins_ros.geometry.on_device.images import depth_colors, mark_range, millimetres
from adabins_ros.inference.estimate import DeviceEstimate
from adabins_ros.inference.transfers import Download, StagedDownloads
from adabins_ros.ros.frame_arrays import ProductLimits
from adabins_ros.ros.parameters import PRODUCTS
import numpy as np
from numpy.typing import NDArray
import torch


class DeviceArrays:
    """
    Make a frame's arrays on a device; `HostArrays` for an estimate that is still there.

    All that is wanted is begun at once, and each is downloaded once: while the first is published
    the device makes the others.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
        The image as the network saw it; for an estimate that has none on its device.
    camera : PinholeCamera or None
        Intrinsics of the image; points need them.
    estimate : DeviceEstimate
        Of the image.
    limits : ProductLimits
        From the node's parameters.
    wanted : collection of str
        Of `PRODUCTS`; nothing else is computed.
    downloads : StagedDownloads
        Kept from frame to frame.

    """

    def __init__(
        self,
        rgb: NDArray[np.uint8],
        camera: PinholeCamera | None,
        estimate: DeviceEstimate,
        limits: ProductLimits,
        wanted: Collection[str],
        downloads: StagedDownloads,
    ) -> None:
        self._rgb = rgb
        self._camera = camera
        self._estimate = estimate
        self._limits = limits
        self._downloads: dict[str, Download] = {}
        with torch.inference_mode():
            for name in PRODUCTS:
                if name in wanted:
                    made: torch.Tensor = getattr(self, f'_made_{name}')()
                    self._downloads[name] = downloads.start(name, made)

    def image(self) -> NDArray[np.float32]:
        """Return depth (H, W), metres, marked as REP 117 says."""
        return self._downloads['image'].wait()

    def image_raw(self) -> NDArray[np.uint16]:
        """Return depth (H, W), millimetres; 0 for what is unknown or out of range."""
        return self._downloads['image_raw'].wait().view(np.uint16)

    def std(self) -> NDArray[np.float32]:
        """Return one standard deviation of depth (H, W), metres."""
        return self._downloads['std'].wait()

    def color(self) -> NDArray[np.uint8]:
        """Return depth as RGB colours (H, W, 3)."""
        return self._downloads['color'].wait()

    def bin_centers(self) -> NDArray[np.float32]:
        """Return the centres of this frame's depth bins (N,), metres."""
        return self._downloads['bin_centers'].wait()

    def points(self) -> tuple[NDArray[Any], bool]:
        """Return the organised cloud and whether all points are valid."""
        height, width = self._estimate.depth.shape
        stride = self._limits.settings.point_stride
        packed = self._downloads['points'].wait()
        return read_packed_cloud(packed, -(-height // stride), -(-width // stride))

    @cached_property
    def _marked(self) -> torch.Tensor:
        return mark_range(self._estimate.depth, self._limits.nearest, self._limits.farthest)

    def _made_image(self) -> torch.Tensor:
        return self._marked

    def _made_image_raw(self) -> torch.Tensor:
        return millimetres(self._marked)

    def _made_std(self) -> torch.Tensor:
        return self._estimate.std

    def _made_color(self) -> torch.Tensor:
        return depth_colors(self._marked, 0.0, self._limits.farthest_color)

    def _made_bin_centers(self) -> torch.Tensor:
        return self._estimate.bin_centers

    def _made_points(self) -> torch.Tensor:
        assert self._camera is not None
        stride = self._limits.settings.point_stride
        depth, std, rgb = self._estimate.depth, self._estimate.std, self._estimate.image
        if rgb is None:
            rgb = torch.tensor(self._rgb, device=depth.device)
        valid = valid_points(depth, std, stride=stride, **self._limits.gates)
        return packed_cloud(depth, rgb, std, valid, self._camera, stride)

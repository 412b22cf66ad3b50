# SPDX-License-Identifier: Apache-2.0
"""One frame beside its truth: colour, true and predicted depth, relative error, certainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from adabins_ros.evaluation.pictures import Prediction, value_range
from adabins_ros.geometry.colors import (
    DEPTH_COLORS,
    depth_colors,
    STD_COLORS,
    std_colors,
    UNKNOWN_COLOR,
)
import cv2
from matplotlib import colormaps
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
_Value = TypeVar('_Value', np.uint8, np.float32)

LARGEST_WIDTH = 480
# Relative errors at the ends of the scale: what d1 allows, twice.
_LARGEST_ERROR = 0.5
# Sparse truth is drawn with larger dots, else nobody sees it.
_SPARSE_SHARE = 0.25
_DOT_RADIUS_PX = 2

_ERROR_COLORS = np.array(colormaps['RdBu'](np.linspace(0, 1, 256))[:, :3] * 255, np.uint8)


@dataclass(frozen=True)
class Panel:
    """
    One picture with its scale.

    Attributes
    ----------
    title : str
    image : (H, W, 3) uint8
        RGB.
    low, high : str
        What stands at the ends of the scale; empty without one.
    colors : (N, 3) uint8
        Colours of the scale, from low to high.

    """

    title: str
    image: Picture
    low: str = ''
    high: str = ''
    colors: Picture | None = None


def frame_panels(
    rgb: Picture,
    truth: NDArray[np.float32],
    counted: NDArray[np.float32],
    estimate: Prediction,
) -> list[Panel]:
    """
    Draw a frame.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
        What the network saw.
    truth, counted : (H, W) float32
        True depth, and the part of it that the figures are of, m; 0 where unknown.
    estimate : Prediction
        Depth and standard deviation, (H, W).

    Returns
    -------
    list of Panel
        Colour, truth, prediction, relative error, and standard deviation if there is one. Truth
        and prediction share a scale.

    """
    known = np.where(truth > 0, truth, np.nan)
    ranges = value_range(known), value_range(estimate.depth)
    low, high = min(one[0] for one in ranges), max(one[1] for one in ranges)
    high = max(high, low + 1e-3)
    depth_scale = (f'{low:.2f} m', f'{high:.2f} m', DEPTH_COLORS[1:, 0])
    with np.errstate(divide='ignore', invalid='ignore'):
        relative = np.where(counted > 0, estimate.depth / counted - 1, np.nan).astype(np.float32)
    panels = [
        Panel('colour', shrunk(rgb)),
        Panel('true depth', depth_colors(_visible(known), low, high), *depth_scale),
        Panel('predicted depth', depth_colors(shrunk(estimate.depth), low, high), *depth_scale),
        Panel(
            'relative error',
            _error_colors(_visible(relative)),
            f'{-_LARGEST_ERROR:.0%} too near',
            f'+{_LARGEST_ERROR:.0%} too far',
            _ERROR_COLORS,
        ),
    ]
    if np.isfinite(estimate.std).any():
        largest = max(value_range(estimate.std)[1], 1e-3)
        image = std_colors(shrunk(estimate.std), largest)
        panels.append(
            Panel('standard deviation', image, '0 m', f'{largest:.2f} m', STD_COLORS[1:, 0])
        )
    return panels


def shrunk(image: NDArray[_Value]) -> NDArray[_Value]:
    """Return an image, (H, W) or (H, W, 3), at LARGEST_WIDTH if it is wider."""
    height, width = image.shape[:2]
    if width <= LARGEST_WIDTH:
        return image
    size = (LARGEST_WIDTH, max(1, round(height * LARGEST_WIDTH / width)))
    resized: NDArray[_Value] = np.asarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA), image.dtype
    )
    return resized


def _visible(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values with NaN at LARGEST_WIDTH, those of sparse truth as dots."""
    height, width = values.shape
    known = np.isfinite(values)
    if 0 < np.count_nonzero(known) < _SPARSE_SHARE * values.size:
        distance, places = cv2.distanceTransformWithLabels(
            (~known).astype(np.uint8), cv2.DIST_C, 3, labelType=cv2.DIST_LABEL_PIXEL
        )
        nearest = np.empty(int(places.max()) + 1, np.float32)
        nearest[places[known]] = values[known]
        values = np.where(distance <= _DOT_RADIUS_PX, nearest[places], np.float32(np.nan))
    if width <= LARGEST_WIDTH:
        return values
    size = (LARGEST_WIDTH, max(1, round(height * LARGEST_WIDTH / width)))
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _error_colors(relative: NDArray[np.float32]) -> Picture:
    place = (np.nan_to_num(relative) / _LARGEST_ERROR + 1) / 2
    drawn = _ERROR_COLORS[(place * 255).clip(0, 255).astype(int)]
    drawn[~np.isfinite(relative)] = UNKNOWN_COLOR
    return np.ascontiguousarray(drawn)

# SPDX-License-Identifier: Apache-2.0
"""Predictions as pictures: what the camera saw, depth, errors, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TYPE_CHECKING, TypeVar

from adabins_ros.geometry.colors import (
    DEPTH_COLORS,
    depth_colors,
    STD_COLORS,
    std_colors,
    UNKNOWN_COLOR,
)
import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.estimate import DepthEstimate

Picture = NDArray[np.uint8]
_Value = TypeVar('_Value', np.uint8, np.float32)

# The longer side of each panel of a prediction, px: large enough to read, small enough to send.
SMALLEST_PANEL, LARGEST_PANEL = 320, 960
# Width of the panels of the report, px.
LARGEST_WIDTH = 480
# Share of the values that the colour scale leaves out at each end.
OUTLIERS_PERCENT = 1

# Relative errors at the ends of the scale: what d1 allows, twice.
_LARGEST_ERROR = 0.5
# Sparse truth is drawn with larger dots, else nobody sees it.
_SPARSE_SHARE = 0.25
_DOT_RADIUS_PX = 2
_BACKGROUND, _INK = (24, 24, 24), (235, 235, 235)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Panel:
    """
    One picture with its scale.

    Attributes
    ----------
    title : str
    image : (H, W, 3) uint8
        RGB.
    labels : tuple of str
        What stands along the scale, from low to high; empty without one.
    colors : (N, 3) uint8 or None
        Colours of the scale, likewise.

    """

    title: str
    image: Picture
    labels: tuple[str, ...] = ()
    colors: Picture | None = None


def prediction_picture(
    rgb: Picture,
    estimate: DepthEstimate,
    min_depth: float | None = None,
    max_depth: float | None = None,
) -> Picture:
    """
    Draw colour, depth and standard deviation side by side, each scale in metres under it.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
        The image that the prediction was made from.
    estimate : DepthEstimate
        Depth and standard deviation at the image's size.
    min_depth, max_depth : float, optional
        Ends of the depth's colour scale, m; the range of this depth without its outliers if None.

    Returns
    -------
    (H', W', 3) uint8
        RGB.

    """
    nearest, farthest = value_range(estimate.depth)
    nearest = nearest if min_depth is None else min_depth
    farthest = max(farthest if max_depth is None else max_depth, nearest + 1e-3)
    std = _std_panel(estimate.std)
    if std is None:
        std = Panel('no standard deviation', std_colors(estimate.std, 1.0))
    depth = _depth_panel(estimate.depth, nearest, farthest)
    panels = [_drawn(panel) for panel in (Panel('colour', rgb), depth, std)]
    height, width = panels[0].shape[:2]
    gap = np.full((height, width // 24, 3), _BACKGROUND, np.uint8)
    return np.hstack([gap, *(part for panel in panels for part in (panel, gap))])


def frame_panels(
    rgb: Picture,
    truth: NDArray[np.float32],
    counted: NDArray[np.float32],
    estimate: DepthEstimate,
) -> list[Panel]:
    """
    Draw a frame beside its truth.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
        What the network saw.
    truth, counted : (H, W) float32
        True depth, and the part of it that the figures are of, m; 0 where unknown.
    estimate : DepthEstimate
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
    with np.errstate(divide='ignore', invalid='ignore'):
        relative = np.where(counted > 0, estimate.depth / counted - 1, np.nan).astype(np.float32)
    std = _std_panel(shrunk(estimate.std))
    return [
        Panel('colour', shrunk(rgb)),
        _depth_panel(_visible(known), low, high, 'true depth'),
        _depth_panel(shrunk(estimate.depth), low, high, 'predicted depth'),
        _error_panel(_visible(relative)),
        *([] if std is None else [std]),
    ]


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and largest finite value without outliers; (0, 0) if there is none."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(finite, [OUTLIERS_PERCENT, 100 - OUTLIERS_PERCENT])
    return float(low), float(high)


def shrunk(image: NDArray[_Value], interpolation: int = cv2.INTER_AREA) -> NDArray[_Value]:
    """Return an image, (H, W) or (H, W, 3), at LARGEST_WIDTH if it is wider."""
    height, width = image.shape[:2]
    if width <= LARGEST_WIDTH:
        return image
    size = (LARGEST_WIDTH, max(1, round(height * LARGEST_WIDTH / width)))
    resized: NDArray[_Value] = np.asarray(
        cv2.resize(image, size, interpolation=interpolation), image.dtype
    )
    return resized


def _depth_panel(
    depth: NDArray[np.float32], low: float, high: float, title: str = 'depth'
) -> Panel:
    return Panel(title, depth_colors(depth, low, high), _metres(low, high), DEPTH_COLORS[1:, 0])


def _std_panel(std: NDArray[np.float32]) -> Panel | None:
    """Return the standard deviation on a scale from 0; None if it is known nowhere."""
    if not np.isfinite(std).any():
        return None
    largest = max(value_range(std)[1], 1e-3)
    labels = _metres(0.0, largest)
    return Panel('standard deviation', std_colors(std, largest), labels, STD_COLORS[1:, 0])


def _error_panel(relative: NDArray[np.float32]) -> Panel:
    colors = _error_colors()
    place = (np.nan_to_num(relative) / _LARGEST_ERROR + 1) / 2
    drawn = colors[(place * 255).clip(0, 255).astype(int)]
    drawn[~np.isfinite(relative)] = UNKNOWN_COLOR
    labels = (f'{-_LARGEST_ERROR:.0%} too near', f'+{_LARGEST_ERROR:.0%} too far')
    return Panel('relative error', np.ascontiguousarray(drawn), labels, colors)


@cache
def _error_colors() -> Picture:
    """Return red for too near, white, and blue for too far."""
    from matplotlib import colormaps

    return np.array(colormaps['RdBu'](np.linspace(0, 1, 256))[:, :3] * 255, np.uint8)


def _metres(low: float, high: float) -> tuple[str, ...]:
    return tuple(f'{value:.2f} m' for value in (low, (low + high) / 2, high))


def with_dots(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values with NaN where unknown; those of sparse truth as dots, which are seen."""
    known = np.isfinite(values)
    if 0 < np.count_nonzero(known) < _SPARSE_SHARE * values.size:
        distance, places = cv2.distanceTransformWithLabels(
            (~known).astype(np.uint8), cv2.DIST_C, 3, labelType=cv2.DIST_LABEL_PIXEL
        )
        nearest = np.empty(int(places.max()) + 1, np.float32)
        nearest[places[known]] = values[known]
        values = np.where(distance <= _DOT_RADIUS_PX, nearest[places], np.float32(np.nan))
    return values


def _visible(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return shrunk(with_dots(values), cv2.INTER_NEAREST)


def _drawn(panel: Panel) -> Picture:
    """Return the image at a readable size between its title and its colour scale."""
    height, width = panel.image.shape[:2]
    longer = max(height, width)
    factor = min(max(longer, SMALLEST_PANEL), LARGEST_PANEL) / longer
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    resized = cv2.resize(panel.image, size, interpolation=interpolation)
    line = max(16, size[0] // 16)
    header = np.full((line * 3 // 2, size[0], 3), _BACKGROUND, np.uint8)
    _write(header, panel.title, 0.5, line)
    footer = np.full((line * 5 // 2, size[0], 3), _BACKGROUND, np.uint8)
    if panel.colors is not None:
        ramp = np.ascontiguousarray(panel.colors[np.newaxis])
        top = line // 3
        footer[top:line] = cv2.resize(ramp, (size[0], 1), interpolation=cv2.INTER_NEAREST)
        for position, label in zip((0.0, 0.5, 1.0), panel.labels, strict=True):
            _write(footer[line:], label, position, line)
    return np.vstack([header, resized, footer])


def _write(strip: Picture, text: str, position: float, line: int) -> None:
    """Write one line of text into the strip; position 0 is its left end, 1 its right end."""
    (width, height), _ = cv2.getTextSize(text, _FONT, 1, 1)
    font_scale = min(0.6 * line / height, 0.32 * strip.shape[1] / width * (1 + (position == 0.5)))
    thickness = max(1, round(line / 24))
    (width, height), _ = cv2.getTextSize(text, _FONT, font_scale, thickness)
    x = round((strip.shape[1] - width) * position)
    y = (strip.shape[0] + height) // 2
    cv2.putText(strip, text, (x, y), _FONT, font_scale, _INK, thickness, cv2.LINE_AA)

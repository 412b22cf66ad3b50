# SPDX-License-Identifier: Apache-2.0
"""One prediction as one picture: what the camera saw, the depth and how sure it is."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from adabins_ros.geometry.colors import DEPTH_COLORS, depth_colors, STD_COLORS, std_colors
import cv2
import numpy as np
from numpy.typing import NDArray

# The longer side of each of the three panels, px: large enough to read, small enough to send.
SMALLEST_PANEL = 320
LARGEST_PANEL = 960
# Share of the values that the colour scale leaves out at each end.
OUTLIERS_PERCENT = 1

_BACKGROUND = (24, 24, 24)
_INK = (235, 235, 235)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Prediction(Protocol):
    """Anything with a depth and a standard deviation, such as a DepthEstimate."""

    @property
    def depth(self) -> NDArray[np.float32]:
        """Return (H, W) float32, m."""

    @property
    def std(self) -> NDArray[np.float32]:
        """Return (H, W) float32, m; NaN unknown."""


class _Legend(NamedTuple):
    """Hold the ends of a colour scale, m, and its table."""

    low: float
    high: float
    table: NDArray[np.uint8]


def prediction_picture(
    rgb: NDArray[np.uint8],
    estimate: Prediction,
    min_depth: float | None = None,
    max_depth: float | None = None,
) -> NDArray[np.uint8]:
    """
    Draw colour, depth and standard deviation side by side, each scale in metres under it.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
        The image that the prediction was made from.
    estimate : Prediction
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
    largest_std = max(value_range(estimate.std)[1], 1e-3)
    has_std = bool(np.isfinite(estimate.std).any())
    panels = [
        _panel(rgb, 'colour', None),
        _panel(
            depth_colors(estimate.depth, nearest, farthest),
            'depth',
            _Legend(nearest, farthest, DEPTH_COLORS),
        ),
        _panel(
            std_colors(estimate.std, largest_std),
            'standard deviation' if has_std else 'no standard deviation',
            _Legend(0.0, largest_std, STD_COLORS) if has_std else None,
        ),
    ]
    height, width = panels[0].shape[:2]
    gap = np.full((height, width // 24, 3), _BACKGROUND, np.uint8)
    return np.hstack([gap, panels[0], gap, panels[1], gap, panels[2], gap])


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and largest finite value without outliers; (0, 0) if there is none."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(finite, [OUTLIERS_PERCENT, 100 - OUTLIERS_PERCENT])
    return float(low), float(high)


def _panel(image: NDArray[np.uint8], title: str, legend: _Legend | None) -> NDArray[np.uint8]:
    """Return the image at a readable size between its title and its colour scale."""
    height, width = image.shape[:2]
    longer = max(height, width)
    factor = min(max(longer, SMALLEST_PANEL), LARGEST_PANEL) / longer
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrinking = factor < 1
    resized = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_NEAREST
    )
    line = max(16, size[0] // 16)
    header = np.full((line * 3 // 2, size[0], 3), _BACKGROUND, np.uint8)
    _write(header, title, 0.5, line)
    footer = np.full((line * 5 // 2, size[0], 3), _BACKGROUND, np.uint8)
    if legend is not None:
        ramp = legend.table[1:].transpose(1, 0, 2)
        bar = cv2.resize(ramp, (size[0], 1), interpolation=cv2.INTER_NEAREST)
        top = line // 3
        footer[top:line] = bar
        labels = footer[line:]
        for position in (0.0, 0.5, 1.0):
            value = legend.low + position * (legend.high - legend.low)
            _write(labels, f'{value:.2f} m', position, line)
    return np.vstack([header, resized, footer])


def _write(strip: NDArray[np.uint8], text: str, position: float, line: int) -> None:
    """Write one line of text into the strip; position 0 is its left end, 1 its right end."""
    (width, height), _ = cv2.getTextSize(text, _FONT, 1, 1)
    font_scale = min(0.6 * line / height, 0.32 * strip.shape[1] / width * (1 + (position == 0.5)))
    thickness = max(1, round(line / 24))
    (width, height), _ = cv2.getTextSize(text, _FONT, font_scale, thickness)
    x = round((strip.shape[1] - width) * position)
    y = (strip.shape[0] + height) // 2
    cv2.putText(strip, text, (x, y), _FONT, font_scale, _INK, thickness, cv2.LINE_AA)

# SPDX-License-Identifier: Apache-2.0
"""Several frames on one page, from the colour image to the histogram with its adaptive bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adabins_ros.evaluation.pictures import value_range
from adabins_ros.geometry.colors import DEPTH_COLORS, depth_colors, STD_COLORS, std_colors
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
WIDTH_INCHES = 20.0
HISTOGRAM_BARS = 80
# Rows of the cloud's map.
MAP_ROWS = 160
# Height of the strip of bin centres under the histogram, relative to the histogram's.
RUG_HEIGHT = 0.22

# Of the page: margins, and what stands between panels.
LEFT_INCHES, GAP_INCHES, BETWEEN_ROWS_INCHES = 0.65, 0.2, 0.55
TOP_INCHES, HEADLINE_INCHES, BAR_INCHES = 0.5, 0.5, 0.18

_MAP_BACKGROUND = (60, 60, 60)


@dataclass(frozen=True)
class SheetRow:
    """
    Hold what one row of the sheet shows.

    Attributes
    ----------
    title : str
        Name of the frame, such as its time.
    rgb : (H, W, 3) uint8
        The image of the camera.
    depth, std : (H, W) float32
        The prediction and one standard deviation, m; NaN unknown.
    bin_centers : (N,) float32
        The bins of this frame, m; empty for a network without bins.
    truth : (H, W) float32 or None
        True depth, m; NaN or 0 unknown.
    cloud : array of CLOUD_DTYPE or None
        Points in the camera's optical frame with their colours.

    """

    title: str
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    std: NDArray[np.float32]
    bin_centers: NDArray[np.float32]
    truth: NDArray[np.float32] | None = None
    cloud: NDArray[Any] | None = None


@dataclass(frozen=True)
class _Scales:
    """Hold what all rows share: ends of the scales, m, and the form of the panels."""

    nearest: float
    farthest: float
    largest_std: float
    farthest_point: float
    height_over_width: float


def contact_sheet(
    path: str | Path,
    rows: Sequence[SheetRow],
    *,
    headline: str = '',
) -> None:
    """
    Write a picture with one row of panels a frame, 2000 px wide.

    Panels: colour, depth, standard deviation, ground truth (if any row has it), the cloud from
    above, and the histogram of depth with the bin centres under it, as in the paper's Figure 1.

    Parameters
    ----------
    path : str or Path
        File to write; its suffix tells the format.
    rows : sequence of SheetRow
        At least one.
    headline : str
        What a reader has to know first, such as 'untrained network: depth is meaningless'.

    Raises
    ------
    ValueError
        If there is no row.

    """
    if not rows:
        raise ValueError(f'no frame to draw in {path}: a contact sheet needs at least one row')
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scales = _common_scales(rows)
    columns = ['colour', 'depth', 'standard deviation', 'cloud from above', 'depth histogram']
    if any(row.truth is not None for row in rows):
        columns.insert(3, 'ground truth')
    figure, panels, bars = _pages(columns, len(rows), scales.height_over_width, headline)
    depth_scale = (Normalize(scales.nearest, scales.farthest), _colormap(DEPTH_COLORS))
    bar_scales = {'depth': depth_scale, 'ground truth': depth_scale}
    if scales.largest_std > 0:
        std_scale = (Normalize(0, scales.largest_std), _colormap(STD_COLORS))
        bar_scales['standard deviation'] = std_scale
    for name, bar in bars.items():
        panels[0][name].set_title(name, fontsize=14, pad=10)
        for row, axes in zip(rows, panels, strict=True):
            _draw_panel(axes[name], name, row, scales)
        if name in bar_scales:
            scale = ScalarMappable(*bar_scales[name])
            figure.colorbar(scale, cax=bar, orientation='horizontal', label='m')
        else:
            bar.set_axis_off()
    for row, axes in zip(rows, panels, strict=True):
        axes['colour'].set_ylabel(row.title, fontsize=12)
    figure.savefig(path)


def _pages(
    columns: Sequence[str], rows: int, height_over_width: float, headline: str
) -> tuple[Figure, list[dict[str, Axes]], dict[str, Axes]]:
    """
    Return the figure, the panels of each row and the colour bars below, by their columns.

    Places are computed here: matplotlib's constrained layout takes as long as all of the drawing.
    """
    from matplotlib.figure import Figure

    before = [LEFT_INCHES, *(GAP_INCHES for _ in columns[1:])]
    before[columns.index('cloud from above')] = LEFT_INCHES  # it has an axis
    width = (WIDTH_INCHES - sum(before) - GAP_INCHES) / len(columns)
    lefts = [sum(before[: n + 1]) + n * width for n in range(len(columns))]
    top = TOP_INCHES + (HEADLINE_INCHES if headline else 0)
    step = width * height_over_width + BETWEEN_ROWS_INCHES
    height = top + rows * step + BAR_INCHES + BETWEEN_ROWS_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH)
    if headline:
        y = 1 - 0.1 / height
        figure.suptitle(headline, fontsize=17, fontweight='bold', y=y, va='top')

    def axes(down: float, tall: float) -> dict[str, Axes]:
        share = (height - down - tall) / height, tall / height
        return {
            name: figure.add_axes((left / WIDTH_INCHES, share[0], width / WIDTH_INCHES, share[1]))
            for name, left in zip(columns, lefts, strict=True)
        }

    panels = [axes(top + row * step, step - BETWEEN_ROWS_INCHES) for row in range(rows)]
    return figure, panels, axes(top + rows * step, BAR_INCHES)


def _draw_panel(axes: Axes, name: str, row: SheetRow, scales: _Scales) -> None:
    """Draw the panel that has this name."""
    if name == 'colour':
        _draw_image(axes, row.rgb)
    elif name == 'depth':
        _draw_image(axes, depth_colors(row.depth, scales.nearest, scales.farthest))
    elif name == 'standard deviation':
        _draw_image(axes, std_colors(row.std, scales.largest_std or 1.0))
        if not np.isfinite(row.std).any():
            _say(axes, 'not known')
    elif name == 'ground truth':
        truth = np.full_like(row.depth, np.nan) if row.truth is None else row.truth
        known = np.where(truth > 0, truth, np.nan)
        _draw_image(axes, depth_colors(known, scales.nearest, scales.farthest))
        if not np.isfinite(known).any():
            _say(axes, 'not known')
    elif name == 'cloud from above':
        _draw_from_above(axes, row.cloud, scales)
    else:
        _draw_histogram(axes, row, scales)


def _common_scales(rows: Sequence[SheetRow]) -> _Scales:
    """Return scales that fit every row, without outliers."""
    depths = [row.depth for row in rows]
    depths += [row.truth[row.truth > 0] for row in rows if row.truth is not None]
    ranges = [value_range(depth) for depth in depths]
    nearest = min(low for low, _ in ranges)
    farthest = max(max(high for _, high in ranges), nearest + 1e-3)
    point_ranges = [value_range(row.cloud['z'])[1] for row in rows if row.cloud is not None]
    height, width = rows[0].depth.shape
    return _Scales(
        nearest,
        farthest,
        max(value_range(row.std)[1] for row in rows),
        1.1 * max([*point_ranges, 0]) or farthest,
        min(max(height / width, 0.6), 1.4),
    )


def _colormap(table: NDArray[np.uint8]) -> ListedColormap:
    """Return the known values' part of a colour table to matplotlib."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(table[1:, 0].astype(float) / 255)


def _draw_image(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Show an image without ticks."""
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_from_above(axes: Axes, cloud: NDArray[Any] | None, scales: _Scales) -> None:
    """Show the points over right and forward, the camera at the bottom."""
    farthest = scales.farthest_point
    half_width = farthest / scales.height_over_width / 2
    axes.imshow(
        _map_from_above(cloud, half_width, farthest),
        extent=(-half_width, half_width, 0, farthest),
    )
    if cloud is None or not np.isfinite(cloud['z']).any():
        _say(axes, 'no points')
    axes.plot(0, 0, marker='^', color='white', markersize=9, clip_on=False, markeredgecolor='0.2')
    axes.set_ylabel('forward, m', fontsize=10)
    axes.set_xlabel('right, m', fontsize=10)
    axes.tick_params(labelsize=10)


def _map_from_above(
    cloud: NDArray[Any] | None, half_width: float, farthest: float
) -> NDArray[np.uint8]:
    """Return a picture of the points from above; where several meet, the highest is seen."""
    cells_per_metre = MAP_ROWS / farthest
    columns = round(2 * half_width * cells_per_metre)
    seen = np.full((MAP_ROWS, columns, 3), _MAP_BACKGROUND, np.uint8)
    if cloud is None:
        return seen
    points = cloud[np.isfinite(cloud['z']) & (cloud['z'] < farthest)]
    points = points[np.abs(points['x']) < half_width]
    points = points[np.argsort(-points['y'], kind='stable')]
    row = MAP_ROWS - 1 - (points['z'] * cells_per_metre).astype(int).clip(0, MAP_ROWS - 1)
    column = ((points['x'] + half_width) * cells_per_metre).astype(int).clip(0, columns - 1)
    bits = np.ascontiguousarray(points['rgb']).view(np.uint32)
    seen[row, column] = np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=-1)
    return seen


def _draw_histogram(axes: Axes, row: SheetRow, scales: _Scales) -> None:
    """Show how often each depth occurs, and where the bins are."""
    edges = np.linspace(0, scales.farthest, HISTOGRAM_BARS + 1)
    counts = _share_of_pixels(row.depth, edges)
    axes.stairs(counts, edges, fill=True, color='tab:blue', alpha=0.75, label='depth')
    tallest = float(counts.max())
    if row.truth is not None:
        true_counts = _share_of_pixels(row.truth, edges)
        axes.stairs(true_counts, edges, color='black', linewidth=1.2, label='ground truth')
        tallest = max(tallest, float(true_counts.max()))
    top = 1.05 * tallest or 1.0
    bottom = 0.0
    if row.bin_centers.size:
        bottom = -RUG_HEIGHT * top
        label = f'{row.bin_centers.size} bin centres'
        ends = (0.95 * bottom, 0.15 * bottom)
        axes.vlines(row.bin_centers, *ends, 'tab:red', linewidth=0.7, label=label)
        axes.axhline(0, color='black', linewidth=0.8)
    axes.set(xlim=(0, scales.farthest), ylim=(bottom, top))
    axes.set_yticks([])
    axes.set_xlabel('depth, m', fontsize=10)
    axes.tick_params(labelsize=10)
    axes.legend(fontsize=9, loc='upper right', framealpha=0.7, handlelength=1.2)


def _share_of_pixels(depth: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[Any]:
    """Return the share of the known pixels between neighbouring edges."""
    known = depth[np.isfinite(depth) & (depth > 0)]
    return np.histogram(known, edges)[0] / max(1, known.size)


def _say(axes: Axes, text: str) -> None:
    """Write into the middle of a dark panel."""
    axes.text(0.5, 0.5, text, color='white', fontsize=12, ha='center', transform=axes.transAxes)

# SPDX-License-Identifier: Apache-2.0
"""Plots of an evaluation, as PNG."""

from __future__ import annotations

import io

from adabins_ros.evaluation.calibration import CalibrationErrors, ONE_STD_SHARE
from adabins_ros.evaluation.depth_ranges import RangeErrors
from adabins_ros.evaluation.evaluate import FrameResult
from adabins_ros.evaluation.sparsification import SparsificationErrors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_BLUE, _ORANGE, _GREY = '#2563a8', '#d1731f', '#8a8f98'
_SIZE = (5.4, 3.6)
_DPI = 150


def plot_depth_ranges(ranges: list[RangeErrors]) -> bytes:
    """Draw relative and absolute errors by true depth."""
    figure = _figure()
    axes = figure.add_subplot()
    places = range(len(ranges))
    axes.bar(places, [100 * one.abs_rel for one in ranges], color=_BLUE, alpha=0.85, width=0.7)
    axes.set_xticks(places, [one.label.removesuffix(' m') for one in ranges])
    axes.set_xlabel('true depth, m')
    axes.set_ylabel('mean relative error, %', color=_BLUE)
    other = axes.twinx()
    other.plot(places, [one.rms for one in ranges], 'o-', color=_ORANGE)
    other.set_ylabel('RMS error, m', color=_ORANGE)
    other.set_ylim(bottom=0)
    return _png(figure)


def plot_calibration(calibration: CalibrationErrors) -> bytes:
    """Draw the share of the truth that is found over the share that is promised."""
    figure = _figure()
    axes = figure.add_subplot()
    expected = [100 * one for one, _ in calibration.reliability]
    found = [100 * one for _, one in calibration.reliability]
    axes.plot([0, 100], [0, 100], '--', color=_GREY, label='calibrated')
    axes.plot(expected, found, 'o-', color=_BLUE, label='this network')
    axes.plot(
        [100 * ONE_STD_SHARE],
        [100 * calibration.within_one_std],
        'o',
        color=_ORANGE,
        markersize=9,
        label='one standard deviation',
    )
    axes.fill_between([0, 100], [0, 100], 0, color=_GREY, alpha=0.08)
    axes.text(97, 4, 'too sure', ha='right', color=_GREY)
    axes.text(3, 93, 'not sure enough', color=_GREY)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_xlabel('share of a normal distribution, %')
    axes.set_ylabel('share of the true depths, %')
    axes.legend(loc='center right', bbox_to_anchor=(1, 0.3), frameon=False)
    return _png(figure)


def plot_sparsification(errors: SparsificationErrors) -> bytes:
    """Draw the errors of what is left over the share that was removed."""
    figure = _figure()
    axes = figure.add_subplot()
    removed = 100 * errors.removed
    axes.axhline(1, color=_GREY, linestyle=':', label='random order')
    for color, title, curve, oracle in (
        (_BLUE, 'REL', errors.abs_rel, errors.abs_rel_oracle),
        (_ORANGE, 'RMS', errors.rms, errors.rms_oracle),
    ):
        axes.plot(removed, curve, color=color, label=f'{title}, by standard deviation')
        axes.plot(removed, oracle, '--', color=color, label=f'{title}, by true error')
        axes.fill_between(removed, oracle, curve, color=color, alpha=0.1)
    axes.set(xlim=(0, removed[-1]), ylim=(0, None))
    axes.set_xlabel('least sure pixels left out, %')
    axes.set_ylabel('error of the rest, relative')
    axes.legend(frameon=False, fontsize=8, ncols=2, loc='upper center', bbox_to_anchor=(0.5, 1.24))
    return _png(figure)


def plot_frames(frames: list[FrameResult]) -> bytes:
    """Draw the relative error of each frame in their order, metric and median-scaled."""
    figure = Figure(figsize=(2 * _SIZE[0], 2.6), dpi=_DPI, layout='constrained')
    axes = figure.add_subplot()
    numbers = [frame.number for frame in frames]
    marker = '.' if len(frames) > 60 else 'o'
    for color, title, values in (
        (_BLUE, 'metric', [100 * frame.errors.abs_rel for frame in frames]),
        (_ORANGE, 'median-scaled', [100 * frame.scaled.abs_rel for frame in frames]),
    ):
        axes.plot(numbers, values, marker, color=color, markersize=3, label=title, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel('frame')
    axes.set_ylabel('mean relative error, %')
    axes.set_ylim(bottom=0)
    axes.grid(axis='y', alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc='upper right', bbox_to_anchor=(1, 1.2))
    return _png(figure)


def _figure() -> Figure:
    return Figure(figsize=_SIZE, dpi=_DPI, layout='constrained')


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.spines['top'].set_visible(False)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()

# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import io
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adabins_ros.evaluation.depth_errors import RangeErrors
from adabins_ros.evaluation.evaluate import Evaluation, FrameResult, predict
from adabins_ros.evaluation.flicker import RULE
from adabins_ros.evaluation.frames import Frames
from adabins_ros.evaluation.pictures import frame_panels, Panel
from adabins_ros.evaluation.protocols import Protocol
from adabins_ros.evaluation.results import figure_text, FIGURES, figures_of, NO_STD, sections
from adabins_ros.evaluation.uncertainty import (
    CalibrationErrors,
    ONE_STD_SHARE,
    SparsificationErrors,
)
from adabins_ros.messages.still_pictures import encode_picture
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor

_MOST_NAMED = 50
# Stops of a colour scale as CSS draws it.
_STOPS = 13
_BLUE, _ORANGE, _GREY = '#2563a8', '#d1731f', '#8a8f98'
_WIDTH = 5.4


@dataclass(frozen=True)
class NotableFrame:
    """A frame to look at: 'best', 'median' or 'worst', its figures and its pictures."""

    kind: str
    result: FrameResult
    panels: list[Panel]


def draw_notable(
    predictor: DepthPredictor, frames: Frames, protocol: Protocol, evaluation: Evaluation
) -> list[NotableFrame]:
    """Predict the best, median and worst frame once more, and draw them."""
    notable = evaluation.notable()
    panels: dict[int, list[Panel]] = {}
    for number, sample in frames.read([result.number for result in notable.values()]):
        assert not isinstance(sample, Exception)
        estimate = predict(predictor, sample, protocol)
        counted = protocol.counted(sample.depth)
        panels[number] = frame_panels(sample.image, sample.depth, counted, estimate)
    return [NotableFrame(kind, one, panels[one.number]) for kind, one in notable.items()]


def write_report(
    file: Path,
    values: Mapping[str, Any],
    evaluation: Evaluation,
    notable: Sequence[NotableFrame],
) -> None:
    """Write what `results.collect` gave as .html, with plots of the same and frames to show."""
    environment = Environment(
        loader=PackageLoader('adabins_ros.evaluation', '.'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure_text, percent=lambda share: f'{100 * share:.1f} %')
    environment.filters.update(picture=_picture, scale=_scale)
    rows = sections(values)
    text = environment.get_template('report.html.j2').render(
        **values,
        headings=FIGURES,
        columns=figures_of(rows),
        sections=rows,
        plots=_plots(evaluation),
        notable=notable,
        no_std=NO_STD,
        flicker_rule=RULE,
        most_named=_MOST_NAMED,
    )
    file.write_text(text, encoding='utf-8')


def _plots(evaluation: Evaluation) -> dict[str, str]:
    """Return each plot as a data URL."""
    drawn = {
        'frames': _plot_frames(evaluation.frames),
        'depth_ranges': _plot_depth_ranges(evaluation.depth_ranges.errors()),
    }
    calibration = evaluation.calibration.errors()
    sparsification = evaluation.sparsification.errors()
    if calibration and sparsification:
        drawn['calibration'] = _plot_calibration(calibration)
        drawn['sparsification'] = _plot_sparsification(sparsification)
    return drawn


def _picture(panel: Panel) -> str:
    """Return a panel as a data URL: JPEG for what a camera saw, PNG for colour scales."""
    kind = 'jpeg' if panel.colors is None else 'png'
    data = encode_picture(np.ascontiguousarray(panel.image[..., ::-1]), f'.{kind}').tobytes()
    return _url(kind, data)


def _url(kind: str, data: bytes) -> str:
    return f'data:image/{kind};base64,{b64encode(data).decode()}'


def _scale(colors: NDArray[np.uint8]) -> str:
    """Return a colour scale as CSS."""
    chosen = colors[np.linspace(0, len(colors) - 1, _STOPS).astype(int)].tolist()
    return 'linear-gradient(to right,' + ','.join('rgb({},{},{})'.format(*c) for c in chosen) + ')'


def _plot_depth_ranges(ranges: list[RangeErrors]) -> str:
    """Draw relative and absolute errors by true depth."""
    axes = _axes()
    places = range(len(ranges))
    axes.bar(places, [100 * one.abs_rel for one in ranges], color=_BLUE, alpha=0.85, width=0.7)
    axes.set_xticks(places, [one.label.removesuffix(' m') for one in ranges])
    axes.set_xlabel('true depth, m')
    axes.set_ylabel('mean relative error, %', color=_BLUE)
    other = axes.twinx()
    other.plot(places, [one.rms for one in ranges], 'o-', color=_ORANGE)
    other.set_ylabel('RMS error, m', color=_ORANGE)
    other.set_ylim(bottom=0)
    return _drawn(axes)


def _plot_calibration(calibration: CalibrationErrors) -> str:
    """Draw the share of the truth that is found over the share that is promised."""
    axes = _axes()
    expected = [100 * one for one, _ in calibration.reliability]
    found = [100 * one for _, one in calibration.reliability]
    axes.plot([0, 100], [0, 100], '--', color=_GREY, label='calibrated')
    axes.plot(expected, found, 'o-', color=_BLUE, label='this network')
    one = [100 * ONE_STD_SHARE], [100 * calibration.within_one_std]
    axes.plot(*one, 'o', color=_ORANGE, markersize=9, label='one standard deviation')
    axes.fill_between([0, 100], [0, 100], 0, color=_GREY, alpha=0.08)
    axes.text(97, 4, 'too sure', ha='right', color=_GREY)
    axes.text(3, 93, 'not sure enough', color=_GREY)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_xlabel('share of a normal distribution, %')
    axes.set_ylabel('share of the true depths, %')
    axes.legend(loc='center right', bbox_to_anchor=(1, 0.3), frameon=False)
    return _drawn(axes)


def _plot_sparsification(errors: SparsificationErrors) -> str:
    """Draw the errors of what is left over the share that was removed."""
    axes = _axes()
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
    axes.legend(frameon=False, fontsize=8, ncol=2, loc='upper center', bbox_to_anchor=(0.5, 1.24))
    return _drawn(axes)


def _plot_frames(frames: list[FrameResult]) -> str:
    """Draw the relative error of each frame in their order, metric and median-scaled."""
    axes = _axes(2 * _WIDTH, 2.6)
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
    axes.legend(frameon=False, ncol=2, loc='upper right', bbox_to_anchor=(1, 1.2))
    return _drawn(axes)


def _axes(width: float = _WIDTH, height: float = 3.6) -> Axes:
    figure = Figure(figsize=(width, height), dpi=150, layout='constrained')
    return figure.add_subplot()


def _drawn(axes: Axes) -> str:
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    for one in figure.axes:
        one.spines['top'].set_visible(False)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return _url('png', stream.getvalue())

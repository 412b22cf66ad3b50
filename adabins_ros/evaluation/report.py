# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adabins_ros.evaluation import plots
from adabins_ros.evaluation.evaluate import Evaluation, FrameResult, predict, Predictor
from adabins_ros.evaluation.frame_pictures import frame_panels, Panel
from adabins_ros.evaluation.frames import Frames
from adabins_ros.evaluation.protocols import Protocol
from adabins_ros.evaluation.results import NO_STD
from adabins_ros.evaluation.tables import figure_text, FIGURES, figures_of, Sections
from adabins_ros.messages.still_pictures import encode_picture
from jinja2 import Environment, PackageLoader, StrictUndefined
import numpy as np
from numpy.typing import NDArray

_MOST_NAMED = 50
# Stops of a colour scale as CSS draws it.
_STOPS = 13


@dataclass(frozen=True)
class NotableFrame:
    """A frame to look at: 'best', 'median' or 'worst', its figures and its pictures."""

    kind: str
    result: FrameResult
    panels: list[Panel]


def draw_notable(
    predictor: Predictor, frames: Frames, protocol: Protocol, evaluation: Evaluation
) -> list[NotableFrame]:
    """Predict the best, median and worst frame once more, and draw them."""
    found = []
    for kind, result in evaluation.notable().items():
        sample = frames[result.number]
        estimate = predict(predictor, sample)
        counted = protocol.counted(sample.depth)
        panels = frame_panels(sample.image, sample.depth, counted, estimate)
        found.append(NotableFrame(kind, result, panels))
    return found


def write_report(
    file: Path,
    values: Mapping[str, Any],
    evaluation: Evaluation,
    sections: Sections,
    notable: Sequence[NotableFrame],
) -> None:
    """
    Write the report.

    Parameters
    ----------
    file : Path
        The .html to write.
    values : dict
        From `results.collect`.
    evaluation : Evaluation
        The same, for the plots.
    sections : Sections
        The table of errors: ours, and what is published.
    notable : sequence of NotableFrame
        Frames to show.

    """
    environment = Environment(
        loader=PackageLoader('adabins_ros.evaluation', '.'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure_text, percent=_percent, scale=_scale, png=_png)
    environment.filters['picture'] = _picture
    text = environment.get_template('report.html.j2').render(
        **values,
        headings=FIGURES,
        columns=figures_of(sections),
        sections=sections,
        plots=_plots(evaluation),
        notable=notable,
        no_std=NO_STD,
        most_named=_MOST_NAMED,
    )
    file.write_text(text, encoding='utf-8')


def _plots(evaluation: Evaluation) -> dict[str, bytes]:
    drawn = {
        'frames': plots.plot_frames(evaluation.frames),
        'depth_ranges': plots.plot_depth_ranges(evaluation.depth_ranges.errors()),
    }
    calibration = evaluation.calibration.errors()
    sparsification = evaluation.sparsification.errors()
    if calibration and sparsification:
        drawn['calibration'] = plots.plot_calibration(calibration)
        drawn['sparsification'] = plots.plot_sparsification(sparsification)
    return drawn


def _png(data: bytes) -> str:
    return f'data:image/png;base64,{b64encode(data).decode()}'


def _picture(panel: Panel) -> str:
    """Return a panel as a data URL: JPEG for what a camera saw, PNG for colour scales."""
    suffix = '.png' if panel.colors is not None else '.jpg'
    data = encode_picture(np.ascontiguousarray(panel.image[..., ::-1]), suffix).tobytes()
    kind = 'png' if panel.colors is not None else 'jpeg'
    return f'data:image/{kind};base64,{b64encode(data).decode()}'


def _scale(colors: NDArray[np.uint8]) -> str:
    """Return a colour scale as CSS."""
    chosen = colors[np.linspace(0, len(colors) - 1, _STOPS).astype(int)].tolist()
    return 'linear-gradient(to right,' + ','.join('rgb({},{},{})'.format(*c) for c in chosen) + ')'


def _percent(share: float) -> str:
    return f'{100 * share:.1f} %'

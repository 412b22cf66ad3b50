# SPDX-License-Identifier: Apache-2.0
"""An evaluation as plain values: metrics.json, frames.csv with a line per frame, and a table."""

from __future__ import annotations

from collections.abc import Mapping
import csv
from dataclasses import asdict, fields
import json
import math
import os
from pathlib import Path
from typing import Any, TYPE_CHECKING

from adabins_ros.evaluation.depth_errors import average, DepthErrors
from adabins_ros.evaluation.evaluate import Evaluation, FrameResult
from adabins_ros.evaluation.flicker import RULE
from adabins_ros.evaluation.frames import Frames
from adabins_ros.evaluation.protocols import Protocol, published
from adabins_ros.evaluation.scale_factor import ScaleFactor
from adabins_ros.evaluation.uncertainty import ONE_STD_SHARE, TWO_STD_SHARE
from adabins_ros.provenance import environment, sha256
import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from adabins_ros.inference.predictor import DepthPredictor

Rows = Mapping[str, Mapping[str, float]]
"""Name of a method or run -> figure by its name in DepthErrors; `asdict` of one is a row."""
Sections = Mapping[str, Rows]
"""Heading -> rows; the rows without a heading ('') are ours."""

FIGURES = {
    'd1': 'd1',
    'd2': 'd2',
    'd3': 'd3',
    'abs_rel': 'REL',
    'sq_rel': 'SqREL [m]',
    'rms': 'RMS [m]',
    'rms_log': 'RMS log',
    'log10': 'log10',
    'silog': 'SILog',
}
"""Heading of each figure, in the order of the papers."""
NO_STD = 'the network gives no standard deviation (strategy regression)'

_ROW_NAME_WIDTH = 13


def collect(
    evaluation: Evaluation,
    frames: Frames,
    protocol: Protocol,
    model: str,
    predictor: DepthPredictor,
) -> dict[str, Any]:
    """Return everything that was found, as JSON can hold it; the model as it was asked for."""
    counted = {name: getattr(protocol, name) for name in ('crop', 'min_depth', 'max_depth')}
    return {
        'model': _describe(model, predictor, protocol),
        'data': {
            'frames': frames.choice,
            'sources': [
                {
                    **asdict(source.report),
                    'evaluated_frames': int((frames.indices[:, 0] == number).sum()),
                }
                for number, source in enumerate(frames.sources)
            ],
        },
        'protocol': {'dataset': protocol.dataset, **counted},
        'frames': {
            'evaluated': len(evaluation.frames),
            'without_truth': evaluation.without_truth,
            'unusable': evaluation.unusable,
            **{name: frame.name for name, frame in evaluation.notable().items()},
        },
        'errors': asdict(evaluation.errors),
        'errors_median_scaled': _without_scaled(evaluation.scaled),
        'errors_anchored': {
            name: {
                'given': float(np.mean([frame.given[name] for frame in evaluation.frames])),
                **_without_scaled(average(frame.anchored[name] for frame in evaluation.frames)),
            }
            for name in (evaluation.frames[0].anchored if evaluation.frames else ())
        },
        'by_source': {
            source: {
                'frames': len(found),
                'errors': asdict(average(frame.errors for frame in found)),
                'errors_median_scaled': _without_scaled(average(x.scaled for x in found)),
                'within_one_std': float(np.mean([frame.within_one_std for frame in found])),
            }
            for source, found in evaluation.by_source().items()
        },
        'scale': _spread([frame.scale for frame in evaluation.frames]),
        'scale_factor': asdict(evaluation.factor),
        'flicker': _flicker(evaluation.frames),
        'by_depth': [
            {'range': one.label, **asdict(one)} for one in evaluation.depth_ranges.errors()
        ],
        'calibration': _calibration(evaluation),
        'sparsification': _sparsification(evaluation),
        'published': published(protocol.dataset),
        'median_seconds': _median([frame.seconds for frame in evaluation.frames]),
        'environment': environment(),
    }


def sections(values: Mapping[str, Any]) -> Sections:
    """Return our rows, those of each recording, and those of papers to read them against."""
    ours = {
        values['model']['config']['name']: values['errors'],
        'median-scaled': values['errors_median_scaled'],
        **{f'scaled by {name}': one for name, one in values['errors_anchored'].items()},
    }
    each = values['by_source']
    if len(each) < 2:
        return {'': ours, **values['published']}
    alone = {name: one['errors'] for name, one in each.items()}
    scaled = {name: one['errors_median_scaled'] for name, one in each.items()}
    return {
        '': ours,
        'each recording': {**alone, 'their mean': _mean(alone)},
        'each recording, median-scaled': {**scaled, 'their mean': _mean(scaled)},
        **values['published'],
    }


def _mean(rows: Rows) -> dict[str, float]:
    """Return the mean of rows with the same figures, each counting alike."""
    return {
        name: float(np.mean([row[name] for row in rows.values()]))
        for name in next(iter(rows.values()))
    }


def errors_table(title: str, rows: Sections) -> Table:
    """
    Return a table of errors for the terminal.

    Parameters
    ----------
    title : str
        Above the table.
    rows : Sections
        Such as our runs under '', then published ones. Missing figures and NaN become '-', and
        figures that no row has get no column.

    """
    table = Table(
        title=escape(title),
        title_justify='left',
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column('', min_width=_ROW_NAME_WIDTH)
    columns = figures_of(rows)
    for name in columns:
        table.add_column(escape(FIGURES[name].replace(' ', '\n')), justify='right', no_wrap=True)
    for heading, section in rows.items():
        if heading:
            table.add_row(Text(heading, style='dim'))
        for row, figures in section.items():
            texts = (figure_text(name, figures.get(name)) for name in columns)
            table.add_row(Text(row, style='' if heading else 'bold'), *texts)
        table.add_section()
    return table


def summary(values: Mapping[str, Any]) -> list[str]:
    """Return what there is to say beside the errors."""
    frames, calibration = values['frames'], values['calibration']
    lines = [f'{frames["evaluated"]} frames evaluated.']
    for texts, what in (
        (frames['without_truth'], 'without true depth that counts'),
        (frames['unusable'], 'unreadable'),
    ):
        if texts:
            lines.append(f'{len(texts)} frames {what}, such as {texts[0]}')
    flicker = values['flicker']
    if flicker['pairs']:
        text = (
            f'Flicker from frame to frame ({flicker["pairs"]} pairs): '
            f'{flicker["scale"]:.1%} of the scale against truth, {flicker["still"]:.1%} of depth '
            'where the truth stays'
        )
        smoothed = flicker['smoothed_scale'], flicker['smoothed_still']
        if not math.isnan(smoothed[0]):
            text += '; with smoothing {:.1%} and {:.1%}'.format(*smoothed)
        lines.append(f'{text}.')
    else:
        lines.append(f'No flicker is told, as no frames follow each other: {RULE}.')
    lines += [
        f'Scaled by {name}: a scale in {one["given"]:.0%} of the frames'
        for name, one in values['errors_anchored'].items()
        if one['given'] < 1
    ]
    subject = 'What was evaluated' if len(values['by_source']) > 1 else 'The recording'
    lines += ScaleFactor(**values['scale_factor']).lines(subject)
    if calibration is None:
        return [*lines, f'Calibration and sparsification are left out: {NO_STD}.']
    sparsification = values['sparsification']
    within = {name: one['within_one_std'] for name, one in values['by_source'].items()}
    if len(within) > 1:
        shares = ', '.join(f'{name} {share:.0%}' for name, share in within.items())
        mean = np.mean(list(within.values()))
        lines.append(f'Truth within one standard deviation: {mean:.0%} in the mean of {shares}')
    return [
        *lines,
        f'{calibration["within_one_std"]:.1%} of the truth lies within one standard deviation '
        f'({calibration["expected_within_one_std"]:.1%} of a normal distribution), '
        f'{calibration["within_two_std"]:.1%} within two; factor on it for the first to be right: '
        f'{calibration["temperature"]:.2f}',
        f'AUSE by standard deviation: REL {sparsification["ause_abs_rel"]:.3f}, RMS '
        f'{sparsification["ause_rms"]:.3f}; gain over random order: REL '
        f'{sparsification["gain_abs_rel"]:+.3f}, RMS {sparsification["gain_rms"]:+.3f}',
    ]


def figures_of(rows: Sections) -> list[str]:
    """Return the names of the figures that any row has, in the order of the papers."""
    present = {
        name for section in rows.values() for figures in section.values() for name in figures
    }
    return [name for name in FIGURES if name in present]


def figure_text(name: str, value: float | None) -> str:
    """Return a figure as papers print it: three digits, SILog two; '-' for none."""
    if value is None or math.isnan(value):
        return '-'
    return f'{value:.2f}' if name == 'silog' else f'{value:.3f}'


def write_metrics(file: Path, values: dict[str, Any]) -> None:
    """Write the values as JSON; NaN and infinity as null."""
    text = json.dumps(_finite(values), indent=2, default=os.fspath, allow_nan=False)
    file.write_text(text + '\n', encoding='utf-8')


def write_frames(file: Path, evaluation: Evaluation) -> None:
    """Write a line of figures per frame; what there is not stays empty."""
    told_apart = ('number', 'name', 'source', 'errors', 'scaled', 'anchored', 'given')
    sensors = list(evaluation.frames[0].anchored) if evaluation.frames else []
    others = [field.name for field in fields(FrameResult) if field.name not in told_apart]
    scaled = [f'{name}_median_scaled' for name in FIGURES]
    with file.open('w', newline='', encoding='utf-8') as stream:
        lines = csv.writer(stream)
        by_sensor = [f'd1_scaled_by_{name.replace(" ", "_")}' for name in sensors]
        lines.writerow(['frame', 'source', 'pixels', *FIGURES, *scaled, *others, *by_sensor])
        for frame in evaluation.frames:
            figures = [
                *(getattr(frame.errors, name) for name in FIGURES),
                *(getattr(frame.scaled, name) for name in FIGURES),
                *(getattr(frame, name) for name in others),
                *(frame.anchored[name].d1 for name in sensors),
            ]
            cells = ['' if math.isnan(value) else f'{value:.6g}' for value in figures]
            lines.writerow([frame.name, frame.source, frame.errors.pixels, *cells])


def _describe(model: str, predictor: DepthPredictor, protocol: Protocol) -> dict[str, Any]:
    """Return what was evaluated: name, settings, licence, provenance, and the file's SHA-256."""
    path = Path(model).expanduser()
    config = predictor.config
    return {
        'model': model,
        'description': predictor.description,
        'trained': config.trained,
        'licence': config.licence,
        'provenance': config.provenance,
        'sha256': sha256(path) if path.is_file() else None,
        'parameters': predictor.parameter_count,
        'flip_average': predictor.flip_average,
        'focal_correction': protocol.uses_focal_lengths,
        'config': config.model_dump(mode='json'),
    }


def _calibration(evaluation: Evaluation) -> dict[str, Any] | None:
    found = evaluation.calibration.errors()
    if found is None:
        return None
    return {
        **asdict(found),
        'expected_within_one_std': ONE_STD_SHARE,
        'expected_within_two_std': TWO_STD_SHARE,
    }


def _sparsification(evaluation: Evaluation) -> dict[str, Any] | None:
    found = evaluation.sparsification.errors()
    if found is None:
        return None
    areas = ('ause_abs_rel', 'ause_rms', 'gain_abs_rel', 'gain_rms')
    curves = {name: values.tolist() for name, values in vars(found).items()}
    return {**{name: getattr(found, name) for name in areas}, **curves}


def _without_scaled(errors: DepthErrors) -> dict[str, float]:
    """Return the errors without d1_scaled, which is d1 where everything is scaled."""
    return {name: value for name, value in asdict(errors).items() if name != 'd1_scaled'}


def _spread(scales: list[float]) -> dict[str, float]:
    """Return how the median scales of the frames differ: their median, and std over median."""
    median = _median(scales)
    return {
        'median': median,
        'relative_std': float(np.std(scales)) / median if scales else math.nan,
    }


def _flicker(frames: list[FrameResult]) -> dict[str, float]:
    """Return the means over pairs of frames, and how many pairs there are."""
    found: dict[str, float] = {}
    for smoothed in ('', 'smoothed_'):
        for name in ('scale', 'still'):
            values = [getattr(frame, f'{smoothed}flicker_{name}') for frame in frames]
            known = [value for value in values if not math.isnan(value)]
            found.setdefault('pairs', len(known))
            found[f'{smoothed}{name}'] = float(np.mean(known)) if known else math.nan
    return found


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else math.nan


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

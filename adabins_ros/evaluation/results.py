# SPDX-License-Identifier: Apache-2.0
"""An evaluation as plain values: metrics.json, and frames.csv with a line per frame."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
import json
import math
import os
from pathlib import Path
from typing import Any

from adabins_ros.evaluation.calibration import ONE_STD_SHARE, TWO_STD_SHARE
from adabins_ros.evaluation.errors import average, DepthErrors
from adabins_ros.evaluation.evaluate import Evaluation, FrameResult
from adabins_ros.evaluation.frames import Frames
from adabins_ros.evaluation.protocols import Protocol
from adabins_ros.evaluation.published import published
from adabins_ros.evaluation.tables import FIGURES
from adabins_ros.inference.predictor import DepthPredictor
from adabins_ros.provenance import environment, sha256
import numpy as np

NO_STD = 'the network gives no standard deviation (strategy regression)'


def describe_model(model: str, predictor: DepthPredictor) -> dict[str, Any]:
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
        'focal_correction': predictor.focal_correction,
        'config': config.model_dump(mode='json'),
    }


def collect(
    evaluation: Evaluation,
    frames: Frames,
    protocol: Protocol,
    model: dict[str, Any],
    choice: str,
) -> dict[str, Any]:
    """
    Return everything that was found, as JSON can hold it.

    Parameters
    ----------
    evaluation : Evaluation
        Of all frames.
    frames : Frames
        What was evaluated.
    protocol : Protocol
        Which pixels and depths counted.
    model : dict
        From `describe_model`.
    choice : str
        In words, which frames were chosen.

    """
    return {
        'model': model,
        'data': {
            'frames': choice,
            'sources': [
                {
                    **asdict(source.report),
                    'evaluated_frames': int((frames.indices[:, 0] == number).sum()),
                }
                for number, source in enumerate(frames.sources)
            ],
        },
        'protocol': asdict(protocol),
        'frames': {
            'evaluated': len(evaluation.frames),
            'without_truth': evaluation.without_truth,
            'unusable': evaluation.unusable,
            **{name: frame.name for name, frame in evaluation.notable().items()},
        },
        'errors': asdict(evaluation.errors),
        'errors_median_scaled': _without_scaled(evaluation.scaled),
        'by_source': {
            source: {
                'frames': len(found),
                'errors': asdict(average(frame.errors for frame in found)),
                'errors_median_scaled': _without_scaled(average(x.scaled for x in found)),
                'within_one_std': float(np.mean([frame.within_one_std for frame in found])),
            }
            for source, found in evaluation.by_source().items()
        },
        'scale': _spread(evaluation),
        'by_depth': [
            {'range': one.label, **asdict(one)} for one in evaluation.depth_ranges.errors()
        ],
        'calibration': _calibration(evaluation),
        'sparsification': _sparsification(evaluation),
        'published': published(protocol.dataset),
        'median_seconds': _median([frame.seconds for frame in evaluation.frames]),
        'environment': environment(),
    }


def write_metrics(file: Path, values: dict[str, Any]) -> None:
    """Write the values as JSON; NaN and infinity as null."""
    text = json.dumps(_finite(values), indent=2, default=os.fspath, allow_nan=False)
    file.write_text(text + '\n', encoding='utf-8')


def write_frames(file: Path, evaluation: Evaluation) -> None:
    """Write a line of figures per frame; what there is not stays empty."""
    names = list(FIGURES)
    columns = [field.name for field in fields(FrameResult)]
    told_apart = ('number', 'name', 'source', 'errors', 'scaled')
    others = [name for name in columns if name not in told_apart]
    with file.open('w', newline='', encoding='utf-8') as stream:
        lines = csv.writer(stream)
        lines.writerow(
            [
                'frame',
                'source',
                'pixels',
                *names,
                *(f'{name}_median_scaled' for name in names),
                *others,
            ]
        )
        for frame in evaluation.frames:
            lines.writerow(
                [
                    frame.name,
                    frame.source,
                    frame.errors.pixels,
                    *(_cell(getattr(frame.errors, name)) for name in names),
                    *(_cell(getattr(frame.scaled, name)) for name in names),
                    *(_cell(getattr(frame, name)) for name in others),
                ]
            )


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


def _spread(evaluation: Evaluation) -> dict[str, float]:
    """Return how the median scales of the frames differ: their median, and std over median."""
    scales = [frame.scale for frame in evaluation.frames]
    median = _median(scales)
    spread = float(np.std(scales)) / median if scales else math.nan
    return {'median': median, 'relative_std': spread}


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else math.nan


def _cell(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.6g}'


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

# SPDX-License-Identifier: Apache-2.0
"""What a training run read, and which of it the run held out."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from adabins_ros.evaluation.protocols import EvaluationError
from adabins_ros.frames import (
    FolderSource,
    FrameSource,
    is_rgbd_folder,
    open_sources,
    SourceConfig,
)
from adabins_ros.frames.rgbd_folder import ORIGIN, read_object
from adabins_ros.recordings import extract_frames
import numpy as np
from numpy.typing import NDArray
import yaml


def data_of_run(run: Path) -> tuple[dict[str, Any], Path]:
    """Return how the data of a training run are read, and where the frames of recordings lie."""
    file = run / 'config.yaml'
    try:
        data = yaml.safe_load(file.read_text(encoding='utf-8'))['data']
        known = {name: data[name] for name in SourceConfig.model_fields if name in data}
        known['bags'] = [*(data.get('bags') or []), *(data.get('validation_bags') or [])]
        return known, Path(data.get('frames') or run / 'frames')
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise EvaluationError(
            f'{run} is no training run: {file} can not be used ({error})'
        ) from None


def open_run(
    run: Path, extracted: Path, bags: Sequence[Path], config: SourceConfig
) -> list[FrameSource]:
    """Return what a run was trained on, or some of its recordings: the frames made of them."""
    known = _ranges(run)
    recorded = {_known_name(run, str(bag), known): bag for bag in bags or config.bags}
    sources = [_extracted(name, bag, extracted, config) for name, bag in recorded.items()]
    rest = config.model_copy(update={'bags': ()})
    if not sources or rest.folders or rest.kitti or rest.nyu:
        sources += open_sources(rest)
    return sources


def held_out(run: Path, sources: Sequence[FrameSource]) -> list[NDArray[np.int64]]:
    """Return which frames of each source the run did not train on, nor near."""
    ranges = _ranges(run)
    found = []
    for source in sources:
        name = source.report.name
        parts = [np.arange(a, b + 1) for a, b in ranges[_known_name(run, name, ranges)]]
        frames = np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)
        if frames.size and frames[-1] >= len(source):
            raise EvaluationError(
                f'{name} has {len(source)} frames, but {run} held out frame {frames[-1]}: it is '
                'not what the run read'
            )
        found.append(frames)
    return found


def _extracted(name: str, bag: Path, folder: Path, config: SourceConfig) -> FrameSource:
    """Return the frames of a recording, which may have been moved or removed since."""
    if is_rgbd_folder(bag):
        return FolderSource(bag, config.every)
    if Path(name).exists():
        bag = Path(name)
    else:
        for origin in sorted(folder.glob(f'*/{ORIGIN}')):
            if read_object(origin).get('recording') == name:
                return FolderSource(origin.parent, config.every, recording=True)
    (path,) = extract_frames([bag], folder, config)
    return FolderSource(path, config.every, recording=True)


def _ranges(run: Path) -> dict[str, list[list[int]]]:
    """Return the first and last frames that a run held out, by the name of the source."""
    file = run / 'split.json'
    try:
        described = json.loads(file.read_text(encoding='utf-8'))['sources']
        return {one['source']: one['validation'] for one in described}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f'the split {file} can not be used ({error})') from None


def _known_name(run: Path, name: str, ranges: dict[str, Any]) -> str:
    """Return the name of a source in the split; it may have been moved since."""
    same = [one for one in ranges if Path(one).name == Path(name).name]
    if name not in ranges and len(same) != 1:
        raise EvaluationError(
            f'{name} is not among the data of {run}, which are {", ".join(ranges)}'
        )
    return name if name in ranges else same[0]

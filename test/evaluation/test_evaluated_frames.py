# SPDX-License-Identifier: Apache-2.0
"""Which frames an evaluation sees, from recordings, folders, benchmarks and training runs."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from adabins_ros.evaluation.evaluate import evaluate
from adabins_ros.evaluation.frames import EvaluationError, FrameChoice, Frames, open_frames
from adabins_ros.evaluation.protocols import Protocol
from adabins_ros.frames.config import DataSettings
from adabins_ros.messages import image_fields
from adabins_ros.recordings import (
    extract_frames,
    open_recording,
    pack_folder,
    recorded_pairs,
    RecordingError,
)
from adabins_ros.settings import ConfigError, load_settings
from adabins_ros.training.config import load_config, save_config
from adabins_ros.training.data import build_data
import numpy as np
import pytest


def _names(frames: Frames) -> list[str]:
    return [frames.name(number)[-3:] for number in range(len(frames))]


@pytest.mark.parametrize(
    ('choice', 'expected'),
    [
        (FrameChoice(), '0 1 2 3 4 5'),
        (FrameChoice(start=-2), '4 5'),
        (FrameChoice(start=1, stop=4), '1 2 3'),
        (FrameChoice(every=3), '0 3'),
    ],
)
def test_a_part_of_each_source_can_be_chosen(walls, choice, expected):
    frames = open_frames('folder', [walls('a'), walls('b')], choice=choice)
    assert _names(frames) == [f'00{number}' for number in expected.split()] * 2


def test_a_recording_is_read_by_the_settings_of_its_data(walls, tmp_path):
    bag = tmp_path / 'walls.mcap'
    pack_folder(walls(), bag)
    assert len(open_frames('bags', [bag])) == 6
    assert len(open_frames('bags', [bag], overrides=['data.every=2'])) == 3
    with pytest.raises(RecordingError, match='/nowhere'):
        open_frames('bags', [bag], overrides=['data.depth_topic=/nowhere'])
    with pytest.raises(ConfigError, match=r'did you mean data\.image_topic'):
        open_frames('bags', [bag], overrides=['data.imagetopic=/camera'])


def test_one_path_needs_no_list_and_may_start_from_home(walls, tmp_path, monkeypatch):
    """As people write it in a configuration: `bags: ~/run1`."""
    pack_folder(walls(frames=1), tmp_path / 'run1.mcap')
    monkeypatch.setenv('HOME', str(tmp_path))
    words = ['data.bags=~/run1.mcap', 'data.folders=[~/walls]']
    config = load_settings(DataSettings, {}, words).data
    assert config.bags == (tmp_path / 'run1.mcap',)
    assert config.folders == (tmp_path / 'walls',)


def _list(
    write_frame: Callable[..., None], folder: Path, size: tuple[int, int], units: float
) -> Path:
    """Write two frames as the authors' lists name them; the right half is far away."""
    lines = []
    for number in (1, 2):
        metres = np.full(size, 2.0)
        right = size[1] // 2
        metres[:, right:] = 4.0
        colour, depth = f'hall/rgb_{number}.png', f'hall/depth_{number}.png'
        write_frame(folder / colour, folder / depth, metres, units)
        lines.append(f'/{colour} /{depth} 518.8579')
    lines.append('hall/rgb_1.png None 518.8579')
    file = folder / 'list.txt'
    file.write_text('\n'.join(lines))
    return file


def test_nyu_is_seen_whole_and_counted_in_the_eigen_crop(tmp_path, frame_writer, colour_reader):
    file = _list(frame_writer, tmp_path, (480, 640), 1000)
    frames = open_frames('nyu', [tmp_path], list_file=file)
    reader = colour_reader()
    found = evaluate(reader, frames, Protocol('nyu', 'eigen', 1e-3, 10.0))
    assert reader.seen == [((480, 640, 3), None)] * 2
    assert [frame.errors.pixels for frame in found.frames] == [426 * 560] * 2
    assert found.errors.abs_rel == 0
    assert 'have no depth' in frames.sources[0].report.remarks[0]


def test_kitti_is_seen_and_counted_after_the_kb_crop(tmp_path, frame_writer, colour_reader):
    file = _list(frame_writer, tmp_path, (375, 1242), 256)
    frames = open_frames('kitti', [tmp_path], list_file=file)
    reader = colour_reader()
    found = evaluate(reader, frames, Protocol('kitti', 'garg', 1e-3, 80.0))
    assert reader.seen == [((352, 1216, 3), None)] * 2
    assert found.frames[0].errors.pixels == (349 - 143) * (1172 - 43)
    assert found.errors.abs_rel == 0


def test_the_labelled_file_of_nyu_gives_measured_depth_of_chosen_frames(tmp_path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(tmp_path / 'nyu_depth_v2_labeled.mat', 'w') as file:
        file['images'] = np.zeros((3, 3, 64, 48), np.uint8)
        file['depths'] = np.full((3, 64, 48), 2, np.float32)
        file['rawDepths'] = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 64, 48))
    assert len(open_frames('nyu', [tmp_path])) == 3
    numbers = tmp_path / 'test.txt'
    numbers.write_text('2\n3\n')
    frames = open_frames('nyu', [tmp_path], list_file=numbers)
    assert [float(frames[number].depth.max()) for number in range(2)] == [1, 2]
    assert frames[0].depth.shape == (48, 64)
    numbers.write_text('4')
    with pytest.raises(EvaluationError, match=r'frames 4\.\.4; there are 1\.\.3'):
        open_frames('nyu', [tmp_path], list_file=numbers)
    numbers.write_text('rgb.jpg depth.png 518')
    with pytest.raises(EvaluationError, match=r'splits\.mat'):
        open_frames('nyu', [tmp_path], list_file=numbers)


def _run(tmp_path: Path, bag: Path) -> Path:
    """Write of a training run what says which frames it held out."""
    config = load_config(None, [f'data.bags=["{bag}"]', 'data.split_gap_s=0.01'])
    run = tmp_path / 'run'
    run.mkdir()
    save_config(config, run / 'config.yaml')
    (run / 'split.json').write_text(json.dumps(build_data(config).split))
    return run


def test_what_a_training_run_held_out_is_found_again(walls, tmp_path):
    bag = tmp_path / 'walls.mcap'
    pack_folder(walls(frames=10), bag)
    run = _run(tmp_path, bag)
    held_out = open_frames('bags', [], choice=FrameChoice(run=run))
    assert held_out.indices.tolist() == [[0, 8], [0, 9]]
    moved = tmp_path / 'archive' / 'walls.mcap'
    moved.parent.mkdir()
    bag.rename(moved)
    assert len(open_frames('bags', [moved], choice=FrameChoice(run=run))) == 2
    assert len(open_frames('bags', [moved], choice=FrameChoice(run=run, start=-1))) == 1
    other = tmp_path / 'other.mcap'
    pack_folder(walls('b'), other)
    with pytest.raises(EvaluationError, match='not among the data of'):
        open_frames('bags', [other], choice=FrameChoice(run=run))


def test_the_frames_of_a_run_are_enough_when_its_recording_is_gone(walls, tmp_path):
    bag = tmp_path / 'walls.mcap'
    pack_folder(walls(frames=10), bag)
    run = _run(tmp_path, bag)
    extract_frames([bag], run / 'frames')
    bag.unlink()
    held_out = open_frames('bags', [], choice=FrameChoice(run=run))
    assert held_out.indices.tolist() == [[0, 8], [0, 9]]
    red = int(held_out[0].image[32, 48, 0])
    assert red == pytest.approx(held_out[0].depth[32, 48] * 40, abs=3)
    assert open_frames('bags', [bag], choice=FrameChoice(run=run)).name(1) == held_out.name(1)


def test_a_recording_is_read_straight_through(walls, tmp_path, colour_reader, monkeypatch):
    bag = tmp_path / 'walls.mcap'
    pack_folder(walls(frames=10), bag)
    opened = []

    def count(path, **options):
        opened.append(path)
        return open_recording(path, **options)

    monkeypatch.setattr(recorded_pairs, 'open_recording', count)
    frames = open_frames('bags', [bag], choice=FrameChoice(start=-6, every=2))
    found = evaluate(colour_reader(), frames, Protocol('bags', 'none', 0.1, 10.0))
    assert len(found.frames) == 3
    assert [number for number, _ in frames.read([2, 0])] == [0, 2]
    # To find the pairs, to evaluate them, and to draw some.
    assert len(opened) == 3


def test_a_broken_frame_of_a_recording_is_named_and_the_others_count(
    record, aligned, colour_reader
):
    def colour(frame: int) -> dict[str, Any]:
        fields = image_fields(np.full((48, 64, 3), 80, np.uint8), 'rgb8')
        return {**fields, 'data': fields['data'][:100]} if frame == 3 else fields

    frames = open_frames('bags', [record(aligned, colour=colour)])
    found = evaluate(colour_reader(), frames, Protocol('bags', 'none', 0.1, 10.0))
    assert [frame.number for frame in found.frames] == [0, 1, 2, 4, 5, 6, 7]
    (text,) = found.unusable
    assert text.startswith(f'{frames.name(3)}: ')


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'dataset': 'bags', 'paths': []}, '--bags'),
        ({'dataset': 'nyu', 'paths': ['.']}, 'nyu_depth_v2_labeled.mat'),
        ({'dataset': 'kitti', 'paths': ['.']}, '--list'),
        ({'dataset': 'kitti', 'paths': ['.', '..']}, 'one folder, not 2'),
        ({'dataset': 'folder', 'paths': ['.'], 'list_file': 'a.txt'}, '--list is for'),
        (
            {'dataset': 'bags', 'paths': [], 'choice': FrameChoice(run=Path('.'))},
            'no training run',
        ),
    ],
)
def test_what_is_missing_is_told(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [Path(path) for path in arguments.pop('paths')]
    with pytest.raises(EvaluationError, match=said):
        open_frames(arguments.pop('dataset'), paths, **arguments)


def test_a_choice_that_leaves_nothing_says_how_many_frames_there_are(walls):
    with pytest.raises(EvaluationError, match=r'frames \[9:\] of each source.*has 6'):
        open_frames('folder', [walls()], choice=FrameChoice(start=9))

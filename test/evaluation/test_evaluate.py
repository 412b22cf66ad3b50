# SPDX-License-Identifier: Apache-2.0
"""Frame by frame: what counts, what is left out, and what is kept of it."""

from __future__ import annotations

import json

from adabins_ros import DepthPredictor
from adabins_ros.evaluation.depth_errors import average, depth_errors
from adabins_ros.evaluation.evaluate import evaluate
from adabins_ros.evaluation.frames import FrameChoice, open_frames
from adabins_ros.evaluation.protocols import Protocol
import cv2
import numpy as np
import pytest

PROTOCOL = Protocol('folder', 'none', 0.1, 10.0)


def test_figures_are_per_image_and_averaged(walls, colour_reader):
    frames = open_frames('folder', [walls()])
    reader = colour_reader(1.1, 0.5, 1.0)
    found = evaluate(reader, frames, PROTOCOL)
    expected = [
        depth_errors(factor * frames[number].depth, frames[number].depth, 0.1, 10.0)
        for number, factor in enumerate((1.1, 0.5, 1.0) * 2)
    ]
    assert found.errors.abs_rel == pytest.approx(average(expected).abs_rel, rel=1e-5)
    assert found.errors.rms == pytest.approx(average(expected).rms, rel=1e-5)
    assert [frame.errors.d1 for frame in found.frames] == [1, 0, 1, 1, 0, 1]
    assert found.scaled.d1 == 1
    assert found.scaled.abs_rel == pytest.approx(0, abs=1e-3)
    assert found.frames[1].scale == pytest.approx(2, rel=1e-3)
    names = {kind: frame.name for kind, frame in found.notable().items()}
    assert names['worst'] in ('walls/001', 'walls/004')
    assert names['best'] in ('walls/002', 'walls/005')
    assert names['median'] in ('walls/000', 'walls/003')


def test_each_frame_is_predicted_with_its_focal_length(walls, colour_reader):
    reader = colour_reader()
    evaluate(reader, open_frames('folder', [walls(frames=2)]), PROTOCOL)
    assert reader.seen == [((64, 96, 3), 80.0)] * 2


@pytest.mark.parametrize('benchmark', ['nyu', 'kitti'])
def test_no_focal_length_scales_what_stands_beside_published_figures(
    walls, colour_reader, benchmark
):
    reader = colour_reader()
    frames = open_frames('folder', [walls(frames=1)])
    evaluate(reader, frames, Protocol(benchmark, 'none', 1e-3, 80.0))
    evaluate(reader, frames, Protocol(benchmark, 'none', 1e-3, 80.0, focal_correction=True))
    assert [focal_length_px for _, focal_length_px in reader.seen] == [None, 80.0]


def test_frames_that_are_broken_or_without_truth_are_named_and_left_out(walls, colour_reader):
    folder = walls()
    cv2.imwrite(str(folder / 'depth' / '002.png'), np.zeros((64, 96), np.uint16))
    (folder / 'rgb' / '004.png').write_bytes(b'no picture')
    found = evaluate(colour_reader(), open_frames('folder', [folder]), PROTOCOL)
    assert [frame.name[-3:] for frame in found.frames] == ['000', '001', '003', '005']
    assert found.without_truth == ['walls/002']
    (text,) = found.unusable
    assert text.startswith('walls/004: ')
    assert '004.png' in text


def test_only_pixels_inside_the_crop_count(walls, colour_reader):
    frames = open_frames('folder', [walls(frames=1)])
    cropped = Protocol('folder', 'garg', 0.1, 10.0)
    (frame,) = evaluate(colour_reader(), frames, cropped).frames
    rows, columns = cropped.window(64, 96)
    assert frame.errors.pixels == (rows.stop - rows.start) * (columns.stop - columns.start)


def test_the_std_of_one_tenth_of_a_metre_is_compared_with_the_errors(walls, colour_reader):
    frames = open_frames('folder', [walls(frames=1)])
    found = evaluate(colour_reader(1.1, std=0.2), frames, PROTOCOL)
    depth = frames[0].depth
    calibration = found.calibration.errors()
    assert calibration.within_one_std == pytest.approx(np.mean(0.1 * depth < 0.2), abs=0.02)
    assert calibration.within_two_std == pytest.approx(np.mean(0.1 * depth < 0.4), abs=0.02)
    assert found.frames[0].within_one_std == calibration.within_one_std
    assert found.sparsification.errors() is not None


def test_without_a_std_there_are_errors_but_no_calibration(walls, colour_reader):
    frames = open_frames('folder', [walls(frames=2)])
    found = evaluate(colour_reader(std=float('nan')), frames, PROTOCOL)
    assert found.errors.d1 == 1
    assert found.calibration.errors() is None
    assert found.sparsification.errors() is None
    assert np.isnan(found.frames[0].within_one_std)


def test_the_errors_by_range_are_over_all_pixels(walls, colour_reader):
    found = evaluate(colour_reader(1.2), open_frames('folder', [walls()]), PROTOCOL)
    ranges = found.depth_ranges.errors()
    assert [one.low for one in ranges] == [1, 2, 3, 5]
    assert sum(one.pixels for one in ranges) == 6 * 64 * 96 == found.errors.pixels
    for one in ranges:
        assert one.abs_rel == pytest.approx(0.2, abs=1e-3)
        assert one.d1 == 1


def test_a_row_or_one_range_of_true_depth_brings_the_scale_back(walls, colour_reader):
    found = evaluate(colour_reader(0.6), open_frames('folder', [walls()]), PROTOCOL)
    assert found.errors.d1 == 0
    for name, d1 in (('one row', 0.99), ('one range', 0.9)):
        assert all(frame.given[name] for frame in found.frames)
        assert average(frame.anchored[name] for frame in found.frames).d1 > d1
    assert found.factor.factor == pytest.approx(1 / 0.6, rel=0.01)
    assert found.factor.spread < 0.01


def test_depth_that_jumps_from_frame_to_frame_flickers(walls, colour_reader):
    frames = open_frames('folder', [walls(frames=5)])
    pairs = evaluate(colour_reader(1.0, 1.1), frames, PROTOCOL).frames[1:]
    assert len(pairs) == 4
    for frame in pairs:
        assert frame.flicker_scale == pytest.approx(np.log(1.1), abs=0.01)
        assert frame.flicker_still == pytest.approx(np.log(1.1), abs=0.02)
    for frame in evaluate(colour_reader(1.1), frames, PROTOCOL).frames[1:]:
        assert frame.flicker_scale < 0.01


def test_unrelated_places_do_not_flicker(colour_reader, frame_writer, tmp_path):
    """A folder without times gives its frames a rate, whether or not they belong together."""
    for number, metres in enumerate((1.0, 3.0, 2.0)):
        stem = f'{number}.png'
        frame_writer(
            tmp_path / 'rgb' / stem, tmp_path / 'depth' / stem, np.full((64, 96), metres), 1000
        )
    camera = {'fx': 80.0, 'fy': 80.0, 'cx': 47.5, 'cy': 31.5, 'width': 96, 'height': 64}
    (tmp_path / 'camera.json').write_text(json.dumps(camera))
    found = evaluate(colour_reader(1.0, 1.5), open_frames('folder', [tmp_path]), PROTOCOL)
    assert all(np.isnan(frame.flicker_scale) for frame in found.frames)
    assert [frame.given['one row'] for frame in found.frames] == [True] * 3
    assert average(frame.anchored['one row'] for frame in found.frames).d1 == 1


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'every'), [('sequence', 5), ('redkitchen_7scenes', 12)])
def test_a_row_of_a_recording_is_worth_the_true_scale(name, every, shared_data):
    """At most 0.04 below what the median of all true depth gives."""
    predictor = DepthPredictor.from_pretrained('adabins-lite')
    frames = open_frames('folder', [shared_data(name)], choice=FrameChoice(every=every))
    found = evaluate(predictor, frames, PROTOCOL)
    by_row = average(frame.anchored['one row'] for frame in found.frames)
    assert by_row.d1 > found.scaled.d1 - 0.04

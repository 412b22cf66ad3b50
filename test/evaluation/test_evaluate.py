# SPDX-License-Identifier: Apache-2.0
"""Frame by frame: what counts, what is left out, and what is kept of it."""

from __future__ import annotations

from adabins_ros.evaluation.depth_errors import average, depth_errors
from adabins_ros.evaluation.evaluate import evaluate
from adabins_ros.evaluation.frames import open_frames
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

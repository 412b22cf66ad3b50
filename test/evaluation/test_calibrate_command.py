# SPDX-License-Identifier: Apache-2.0
"""The factor on depth that recordings ask for, and the line that sets it."""

from __future__ import annotations

import json
import re

from adabins_ros.evaluation.calibrate_command import main
from adabins_ros.evaluation.evaluate_command import main as evaluate
from adabins_ros.evaluation.scale_factor import frame_factor, scale_factor
from adabins_ros.recordings import pack_folder
import numpy as np
import pytest
import yaml


def line_for_the_file(said: str) -> float:
    """Return the factor of the line that a user copies."""
    (line,) = re.findall(r'^ +(scale_factor: .*)$', said, re.MULTILINE)
    value = yaml.safe_load(line)['scale_factor']
    assert isinstance(value, float)
    return value


def test_the_factor_is_a_median_that_a_few_wrong_frames_do_not_move():
    depth = np.linspace(1, 4, 99)
    truth = 1.25 * depth
    truth[:20] = 40.0
    depth[30] = 0.0
    assert frame_factor(depth, truth) == pytest.approx(1.25)
    assert np.isnan(frame_factor(np.zeros(3), np.ones(3)))
    found = scale_factor([1.2, 1.25, 1.25, 1.3, 7.0, float('nan')])
    assert found.factor == pytest.approx(1.25)
    assert 0.01 < found.spread < 0.1


def test_recordings_and_folders_ask_for_the_same_factor(walls, tiny_model, tmp_path, capsys):
    folder, bag, model = walls(), tmp_path / 'walls.mcap', tiny_model()
    pack_folder(folder, bag)
    assert main(['--bags', str(bag), '--model', str(model), '--device', 'cpu']) == 0
    said = capsys.readouterr().out
    factor = line_for_the_file(said)
    assert re.search(r'walls: a factor of \d+\.\d\d on depth .* it varies by \d+%', said)
    assert main([str(folder), '--model', str(model), '--device', 'cpu']) == 0
    assert line_for_the_file(capsys.readouterr().out) == pytest.approx(factor, rel=0.01)
    words = ['--bags', str(bag), '--model', str(model), '--device', 'cpu']
    assert evaluate([*words, '--output', str(tmp_path / 'report')]) == 0
    assert line_for_the_file(capsys.readouterr().out) == factor
    values = json.loads((tmp_path / 'report' / 'metrics.json').read_text())
    assert values['scale_factor']['factor'] == pytest.approx(factor, abs=1e-3)


def test_several_recordings_are_told_apart_and_together(walls, tiny_model, tmp_path, capsys):
    folders = [str(walls(name, frames)) for name, frames in (('near', 2), ('far', 4))]
    assert main([*folders, '--model', str(tiny_model()), '--every', '2', '--device', 'cpu']) == 0
    said = capsys.readouterr().out
    assert said.index('near: ') < said.index('far: ') < said.index('All together: ')
    assert line_for_the_file(said) > 0


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ([], 'no frames are given'),
        (['nothing.bag'], 'nothing.bag does not exist'),
        (['WALLS', 'nothing.bag'], 'one kind at a time'),
    ],
)
def test_mistakes_are_told_in_one_sentence(words, said, walls, capsys):
    words = [str(walls(frames=1)) if word == 'WALLS' else word for word in words]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert said in error and error.startswith('adabins calibrate: ')

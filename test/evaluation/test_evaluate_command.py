# SPDX-License-Identifier: Apache-2.0
"""The command `evaluate`, from a recording to files that stand alone."""

from __future__ import annotations

import csv
import hashlib
from html.parser import HTMLParser
import json
import subprocess
import sys

from adabins_ros import DepthPredictor
from adabins_ros.evaluation.depth_errors import average, depth_errors
from adabins_ros.evaluation.evaluate_command import main
from adabins_ros.evaluation.frames import open_frames
from adabins_ros.inference.export import export_onnx
from adabins_ros.recordings import pack_folder
from adabins_ros.training.train_command import main as train
import numpy as np
import pytest


class References(HTMLParser):
    """What a page loads, and what it runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loaded += [value for name, value in attributes if name in ('src', 'href')]


@pytest.fixture
def light_environment(ros_environment, tmp_path) -> dict[str, str]:
    """Return an environment where the extra [train] is not installed, with an empty cache."""
    (tmp_path / 'sitecustomize.py').write_text(
        'import sys\n'
        "for name in ('torch', 'timm', 'safetensors', 'onnx', 'pytorch_lightning'):\n"
        '    sys.modules[name] = None\n'
    )
    paths = f'{tmp_path}:{ros_environment["PYTHONPATH"]}'
    return {**ros_environment, 'PYTHONPATH': paths, 'ADABINS_CACHE': str(tmp_path / 'cache')}


def _evaluate_alone(environment, *words) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'adabins_ros.cli', 'evaluate', *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_recording_becomes_a_report(walls, tiny_model, tmp_path, capsys):
    bag, model, output = tmp_path / 'walls.mcap', tiny_model(), tmp_path / 'report'
    pack_folder(walls(), bag)
    words = ['--model', str(model), '--bags', str(bag), '--output', str(output), '--device', 'cpu']
    assert main([*words, '--start', '-4', '--ros-args', '-r', '__node:=evaluate']) == 0
    said = capsys.readouterr().out
    for text in ('RMS', 'median-scaled', '4 frames evaluated', 'AUSE', 'report.html'):
        assert text in said, text

    values = json.loads((output / 'metrics.json').read_text())
    predictor = DepthPredictor.from_pretrained(model, device='cpu')
    frames = open_frames('bags', [bag])
    expected = average(
        depth_errors(predictor.predict(frames[i].image, 80.0).depth, frames[i].depth, 0.2, 6.0)
        for i in range(2, 6)
    )
    assert values['errors']['abs_rel'] == pytest.approx(expected.abs_rel, rel=1e-6)
    assert values['errors']['silog'] == pytest.approx(expected.silog, rel=1e-6)
    assert values['errors_median_scaled']['d1'] == pytest.approx(expected.d1_scaled, rel=1e-6)
    assert values['model']['sha256'] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert values['protocol'] == {
        'dataset': 'bags',
        'crop': 'none',
        'min_depth': 0.2,
        'max_depth': 6.0,
    }
    assert values['data']['sources'][0]['evaluated_frames'] == 4
    assert 0 <= values['calibration']['within_one_std'] <= 1
    assert 'ause_rms' in values['sparsification']
    assert values['environment']['versions']['torch']

    with (output / 'frames.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    mean = np.mean([float(row['abs_rel']) for row in rows])
    assert mean == pytest.approx(expected.abs_rel, rel=1e-4)

    text = (output / 'report.html').read_text()
    page = References(text)
    assert page.loaded
    assert all(reference.startswith('data:image/') for reference in page.loaded)
    assert not {'script', 'link', 'iframe'} & set(page.tags)
    assert 'http' not in text
    # Four plots; colour, truth, prediction, error and std of three frames.
    assert page.tags.count('img') == 4 + 3 * 5

    before = {path: path.read_bytes() for path in output.iterdir()}
    assert main(words) == 1
    assert 'not empty' in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in output.iterdir()}


def test_several_recordings_are_told_apart(walls, tiny_model, tmp_path, capsys):
    for name in ('near', 'far'):
        pack_folder(walls(), tmp_path / f'{name}.mcap')
    bags = [str(tmp_path / f'{name}.mcap') for name in ('near', 'far')]
    output = tmp_path / 'report'
    words = ['--model', str(tiny_model()), '--bags', *bags, '--output', str(output)]
    assert main([*words, '--device', 'cpu', '--every', '3']) == 0
    said = capsys.readouterr().out
    assert said.index('each recording') < said.index('far') < said.index('median-scaled', 800)
    values = json.loads((output / 'metrics.json').read_text())
    each = values['by_source']
    assert {name: one['frames'] for name, one in each.items()} == {'near': 2, 'far': 2}
    assert each['near']['errors'] == pytest.approx(each['far']['errors'])
    mean = np.mean([one['errors']['d1'] for one in each.values()])
    assert values['errors']['d1'] == pytest.approx(mean)
    page = (output / 'report.html').read_text()
    assert 'each recording' in page
    assert 'their mean' in page
    rows = [line.split() for line in said.splitlines() if line.startswith(' their mean')]
    assert float(rows[0][2]) == pytest.approx(mean, abs=6e-4)
    within = np.mean([one['within_one_std'] for one in each.values()])
    assert f'{within:.0%} in the mean of near' in said


@pytest.mark.slow
def test_what_a_training_run_held_out_is_evaluated_by_its_weights(
    walls, tiny_model, tmp_path, light_environment
):
    """On the frames that the run made of its recording, which may be gone since."""
    bag, run, output = tmp_path / 'walls.mcap', tmp_path / 'run', tmp_path / 'report'
    pack_folder(walls(frames=10), bag)
    settings = ['data.split_gap_s=0.01', 'data.workers=0', 'trainer.max_steps=1']
    words = ['--bags', str(bag), '--model', str(tiny_model()), '--output', str(run), *settings]
    assert train([*words, 'data.batch_size=2', 'trainer.accelerator=cpu']) == 0
    bag.unlink()
    assert main(['--split', str(run), '--output', str(output), '--device', 'cpu']) == 0
    values = json.loads((output / 'metrics.json').read_text())
    assert values['frames']['evaluated'] == 2
    assert values['data']['sources'][0]['name'] == str(bag)
    assert values['data']['frames'] == f'held out by {run}'
    assert values['model']['model'] == str(run / 'best.safetensors')
    elsewhere = tmp_path / 'without_torch'
    done = _evaluate_alone(light_environment, '--split', run, '--output', elsewhere)
    assert done.returncode == 0, done.stderr
    exported = json.loads((elsewhere / 'metrics.json').read_text())
    assert exported['model']['model'] == str(run / 'best.onnx')
    assert exported['errors']['abs_rel'] == pytest.approx(values['errors']['abs_rel'], rel=1e-3)


def test_a_network_without_a_std_says_what_is_left_out(walls, tiny_model, tmp_path, capsys):
    model = tiny_model(bin_strategy='regression')
    output = tmp_path / 'report'
    words = ['--dataset', 'folder', '--data', str(walls(frames=1)), '--output', str(output)]
    assert main([*words, '--model', str(model), '--flip-average']) == 0
    assert 'no standard deviation' in capsys.readouterr().out
    values = json.loads((output / 'metrics.json').read_text())
    assert values['calibration'] is values['sparsification'] is None
    assert values['model']['flip_average'] is True
    text = (output / 'report.html').read_text()
    assert 'Left out: the network gives no standard deviation' in text
    assert References(text).tags.count('img') == 2 + 4


def test_nyu_is_printed_beside_the_tables_of_the_paper(tiny_model, frame_writer, tmp_path, capsys):
    data, output = tmp_path / 'nyu', tmp_path / 'report'
    frame_writer(data / 'rgb_1.png', data / 'depth_1.png', np.full((480, 640), 3.0), 1000)
    listed = data / 'list.txt'
    listed.write_text('rgb_1.png depth_1.png 518.8579')
    words = ['--dataset', 'nyu', '--data', str(data), '--list', str(listed)]
    assert main([*words, '--model', str(tiny_model()), '--output', str(output)]) == 0
    said = ' '.join(capsys.readouterr().out.split())
    for row in (
        'Table 2',
        '0.893 0.981 0.995 0.109 - 0.381',
        'Table 3',
        'BTS 0.885 0.978 0.994 0.110 - 0.392 - 0.047',
    ):
        assert row in said, row
    protocol = json.loads((output / 'metrics.json').read_text())['protocol']
    assert protocol == {'dataset': 'nyu', 'crop': 'eigen', 'min_depth': 1e-3, 'max_depth': 10.0}
    assert 'AdaBins paper, Table 3' in (output / 'report.html').read_text()


def test_kitti_is_evaluated_as_the_papers_do(tiny_model, frame_writer, tmp_path, monkeypatch):
    """Drives of two cameras: neither scales depth, and a GPU does not round it."""
    data, lines = tmp_path / 'kitti', []
    for drive, focal in (('26', 721.5), ('30', 707.1)):
        colour, depth = f'{drive}/1.png', f'{drive}/depth/1.png'
        frame_writer(data / colour, data / depth, np.full((352, 1216), 3.0), 256)
        lines.append(f'{colour} {depth} {focal}')
    listed = data / 'list.txt'
    listed.write_text('\n'.join(lines))
    options, load = {}, DepthPredictor.from_pretrained

    def from_pretrained(*words, **asked):
        options.update(asked)
        return load(*words, **asked)

    monkeypatch.setattr(DepthPredictor, 'from_pretrained', from_pretrained)
    words = ['--dataset', 'kitti', '--data', str(data), '--list', str(listed)]
    assert main([*words, '--model', str(tiny_model()), '--output', str(tmp_path / 'report')]) == 0
    values = json.loads((tmp_path / 'report' / 'metrics.json').read_text())
    first, second = values['by_source'].values()
    assert first['errors'] == second['errors']
    assert values['model']['focal_correction'] is False
    assert options['precision'] == 'float32'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--bags', 'nothing.bag'], 'nothing.bag does not exist'),
        ([], 'no frames are given'),
        (['--dataset', 'nyu'], '--data DIR'),
        (['--data', 'here'], '--data needs --dataset'),
        (['--dataset', 'folder', '--data', 'WALLS', '--model', 'adabins-huge'], 'adabins-huge'),
        (
            ['--dataset', 'folder', '--data', 'WALLS', '--min-depth', '9', '--max-depth', '2'],
            '9 to',
        ),
        (
            ['--dataset', 'folder', '--data', 'WALLS', 'data.topic=/a'],
            'data.topic is not a setting',
        ),
        (['--split', 'nowhere'], 'nowhere is no training run'),
    ],
)
def test_mistakes_are_told_in_one_sentence_and_leave_no_folder(
    words, said, walls, tmp_path, capsys
):
    words = [str(walls(frames=1)) if word == 'WALLS' else word for word in words]
    assert main([*words, '--output', str(tmp_path / 'report')]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith('adabins evaluate: ')
    assert not (tmp_path / 'report').exists()


def test_data_without_truth_in_range_leave_nothing_to_evaluate(
    walls, tiny_model, tmp_path, capsys
):
    words = ['--dataset', 'folder', '--data', str(walls(frames=2)), '--model', str(tiny_model())]
    far = ['--min-depth', '7', '--max-depth', '9', '--output', str(tmp_path / 'report')]
    assert main([*words, *far]) == 1
    assert 'none of the 2 frames can be evaluated: no true depth' in capsys.readouterr().err
    assert not list((tmp_path / 'report').iterdir())


@pytest.mark.parametrize('model', ['adabins-lite', 'exported'])
def test_an_onnx_model_is_evaluated_without_torch(
    model, tiny_model, walls, light_environment, tmp_path
):
    if model == 'exported':
        model = tmp_path / 'tiny.onnx'
        export_onnx(tiny_model(), model)
    bag, output = tmp_path / 'walls.mcap', tmp_path / 'report'
    pack_folder(walls(frames=3), bag)
    done = _evaluate_alone(light_environment, '--model', model, '--bags', bag, '--output', output)
    assert done.returncode == 0, done.stderr
    assert '3 frames evaluated' in done.stdout
    assert {path.name for path in output.iterdir()} == {
        'report.html',
        'metrics.json',
        'frames.csv',
    }


def test_a_checkpoint_without_torch_is_one_line_with_the_command(
    tiny_model, walls, light_environment, tmp_path
):
    words = ['--dataset', 'folder', '--data', walls(frames=1), '--output', tmp_path / 'report']
    done = _evaluate_alone(light_environment, *words, '--model', tiny_model())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith('adabins evaluate: ')
    assert line.endswith("adaptive.safetensors needs the extra [train]: pip install '.[train]'")
    assert not (tmp_path / 'report').exists()


def test_help_comes_without_loading_torch(ros_environment):
    code = (
        'import sys\n'
        'from adabins_ros.evaluation.evaluate_command import main\n'
        "assert main(['--help']) == 0\n"
        "assert not {'torch', 'matplotlib', 'rosbags'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], env=ros_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for option in ('--bags', '--dataset', '--crop', '--split', '--output'):
        assert option in done.stdout

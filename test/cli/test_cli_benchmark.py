# SPDX-License-Identifier: Apache-2.0
"""`adabins benchmark`: the table, and the file with the same figures."""

from __future__ import annotations

import json
from pathlib import Path

from adabins_ros.cli import app
from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint
import pytest
from typer.testing import CliRunner


@pytest.fixture(scope='module')
def checkpoint(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (repository / 'test/training/tiny_network.json').read_text()
    path = tmp_path_factory.mktemp('model') / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(text)), path)
    return path


def test_each_engine_is_held_against_torch(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    report = tmp_path / 'new' / 'latency.json'
    words = ['benchmark', '--model', str(checkpoint), '--rounds', '3', '--json', str(report)]
    words += ['--engine', 'torch', '--engine', 'onnx', '--size', '96x64', '--size', '160x120']
    done = CliRunner().invoke(app, words, env={'COLUMNS': '160'})
    assert done.exit_code == 0, done.output
    assert '160x120' in done.output
    assert 'engine auto takes' in done.output
    saved = json.loads(report.read_text())
    assert {'versions', 'git_revision', 'processor', 'threads', 'engines'} <= set(saved)
    (model,) = saved['models'].values()
    assert model['auto'] in ('torch', 'onnx', 'openvino')
    assert all(megabytes > 50 for megabytes in model['peak_memory_mb'].values())
    rows = {(row['engine'], tuple(row['image_size'])): row for row in model['figures']}
    assert len(rows) == 4
    for row in rows.values():
        assert 0 < row['p50_ms'] <= row['p90_ms']
        low, middle, high = row['speedup']
        assert low <= middle <= high
        assert row['difference_m'] < 1e-4
    assert rows['torch', (64, 96)]['speedup'] == [1, 1, 1]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--size', '640'], "size '640' must be WIDTHxHEIGHT"),
        (['--engine', 'tensorflow'], "engine 'tensorflow' is unknown"),
        (['--engine', 'auto'], "engine 'auto' is one of the others"),
        (['--model', 'nothing.pt', '--engine', 'torch'], "model 'nothing.pt' is not a preset"),
    ],
)
def test_what_can_not_be_measured_is_said_in_one_line(options: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ['benchmark', *options])
    assert done.exit_code == 1
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1

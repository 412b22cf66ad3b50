# SPDX-License-Identifier: Apache-2.0
"""A start from the cache is small and quick, and what fills the cache is another process."""

import logging
import os
from pathlib import Path
import select
import signal
import subprocess
import sys

from adabins_ros import DepthPredictor
from adabins_ros.inference import building
from adabins_ros.inference.kept import Kept, key_of_file
from adabins_ros.model import AdaBins, AdaBinsConfig, load_model, ModelError, save_checkpoint
import numpy as np
import pytest
import torch

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

PICTURE = np.arange(64 * 96 * 3, dtype=np.uint8).reshape(64, 96, 3)
PROGRAM = r"""
import re, sys
from pathlib import Path
from adabins_ros import DepthPredictor
import numpy as np
predictor = DepthPredictor.from_pretrained(sys.argv[1], device='cpu', engine=sys.argv[2])
predictor.predict(np.zeros((480, 640, 3), np.uint8))
heavy = {'torch', 'timm', 'onnx', 'openvino', 'matplotlib', 'typer'} & {*sys.modules}
peak_kib = re.search(r'VmHWM:\s*(\d+)', Path('/proc/self/status').read_text())[1]
print(predictor.engine, peak_kib, *heavy)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which this test's engines are kept."""
    folder = tmp_path / 'cache'
    monkeypatch.setenv('ADABINS_CACHE', str(folder))
    return folder


@pytest.fixture
def model_file(repository: Path, tmp_path: Path) -> Path:
    """Return a checkpoint of a tiny network."""
    text = (repository / 'test/training/tiny_network.json').read_text()
    torch.manual_seed(0)
    path = tmp_path / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(text)).eval(), path)
    return path


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a script, to be written, which new Python processes of this one run instead."""
    script = tmp_path / 'interpreter'
    script.touch(0o755)
    monkeypatch.setattr(sys, 'executable', str(script))
    return script


def test_neither_the_first_start_nor_one_from_the_cache_imports_torch(
    model_file: Path, cache: Path, ros_environment: dict[str, str]
) -> None:
    environment = {**ros_environment, 'ADABINS_CACHE': str(cache)}
    built: list[dict[Path, int]] = []
    for _ in ('first', 'from the cache'):
        said = subprocess.run(
            [sys.executable, '-c', PROGRAM, str(model_file), 'onnx'],
            env=environment,
            capture_output=True,
            text=True,
        )
        engine, peak_kib, *heavy = said.stdout.split()
        assert (engine, heavy, said.stderr) == ('onnx', [], '')
        assert int(peak_kib) * 1024 < 300e6
        built.append({file: file.stat().st_mtime_ns for file in cache.glob('*.[jo]*')})
    assert built[0] == built[1]
    assert [file.suffix for file in built[0]].count('.onnx') == 1


def test_torch_runs_a_checkpoint_until_its_engine_is_built_and_the_change_is_exact(
    model_file: Path, cache: Path
) -> None:
    predictor = DepthPredictor.from_pretrained(model_file, device='cpu', engine='onnx', wait=False)
    assert predictor.engine == 'torch'
    before = predictor.predict(PICTURE)
    predictor._running._elsewhere.wait()
    assert predictor.settle()
    assert (predictor.engine, predictor.notice) == ('onnx', None)
    assert 'ONNX Runtime' in predictor.description
    assert not predictor.settle()
    np.testing.assert_allclose(predictor.predict(PICTURE).depth, before.depth, rtol=0, atol=1e-4)
    # A later start needs torch no more.
    again = DepthPredictor.from_pretrained(model_file, device='cpu', engine='onnx', wait=False)
    assert (again.engine, again.settle()) == ('onnx', False)


def test_an_engine_that_takes_too_long_is_given_up(
    model_file: Path, cache: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter.write_text('#!/bin/sh\nexec sleep 600\n')
    monkeypatch.setattr(building, 'TIME_LIMIT_S', 0.3)
    predictor = DepthPredictor.from_pretrained(model_file, device='cpu', wait=False)
    child = predictor._running._elsewhere._process
    ended = os.pidfd_open(child.pid)
    while not select.select([ended], [], [], 0.05)[0]:
        assert not predictor.settle()
    assert not predictor.settle()
    assert child.returncode == -signal.SIGKILL
    assert predictor.engine == 'torch'
    assert 'was ended after' in predictor.notice
    assert 'runs on' in predictor.notice
    predictor.predict(PICTURE)
    with pytest.raises(ModelError, match='was ended after'):
        DepthPredictor.from_pretrained(model_file, device='cpu', engine='onnx')


def test_closing_ends_what_is_being_built(
    model_file: Path, cache: Path, interpreter: Path
) -> None:
    interpreter.write_text('#!/bin/sh\nexec sleep 600\n')
    predictor = DepthPredictor.from_pretrained(model_file, device='cpu', wait=False)
    child = predictor._running._elsewhere._process
    predictor.close()
    assert child.returncode == -signal.SIGKILL


def test_the_other_process_mends_the_cache_and_gives_the_depth_of_the_file(
    model_file: Path, cache: Path
) -> None:
    depth_range = (0.5, 3.0)
    kept = Kept(key_of_file(model_file, depth_range), cache)
    kept.onnx_path.write_bytes(b'of what was written')
    kept.note_exported()
    kept.onnx_path.write_bytes(b'damaged')
    other = DepthPredictor.from_pretrained(
        model_file, device='cpu', engine='onnx', depth_range=depth_range
    )
    plain = DepthPredictor(load_model(model_file, depth_range), device='cpu', engine='torch')
    assert other.engine == 'onnx'
    assert other.parameter_count == plain.parameter_count
    assert other.config == plain.config
    expected, actual = plain.predict(PICTURE), other.predict(PICTURE)
    np.testing.assert_allclose(actual.depth, expected.depth, rtol=0, atol=1e-4)
    np.testing.assert_allclose(actual.bin_centers, expected.bin_centers, rtol=0, atol=1e-4)


def test_other_files_and_another_range_are_other_engines(model_file: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / 'copy.safetensors', tmp_path / 'other.safetensors'
    copy.write_bytes(model_file.read_bytes())
    assert key_of_file(copy) == key_of_file(model_file)
    assert key_of_file(model_file, (0.5, 3.0)) != key_of_file(model_file)
    assert key_of_file(model_file, [0.5, 3]) == key_of_file(model_file, (0.5, 3.0))
    save_checkpoint(load_model(model_file), other, half=True)
    assert key_of_file(other) != key_of_file(model_file)
    # The name of an authors' file tells its depth range.
    names = [tmp_path / f'AdaBins_{name}.pt' for name in ('nyu', 'kitti')]
    for name in names:
        name.write_bytes(b'the same')
    assert key_of_file(names[0]) != key_of_file(names[1])


def test_a_file_that_is_replaced_meanwhile_is_not_taken_for_the_old_one(
    model_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = DepthPredictor.from_pretrained(model_file, device='cpu', wait=False)
    predictor._running._elsewhere.end()
    other = load_model(model_file)
    with torch.no_grad():
        other.decoder.bottleneck.bias += 1
    save_checkpoint(other, model_file, overwrite=True)
    with pytest.raises(ModelError, match='was replaced while it was loaded; load it again'):
        building.build(predictor._running._work)
    assert not list(cache.glob('*.onnx'))


def test_without_another_process_this_one_builds_the_engine(
    model_file: Path, cache: Path, interpreter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interpreter.write_text('#!/bin/sh\necho one line >&2\necho why not >&2\nexit 3\n')
    with caplog.at_level(logging.WARNING):
        predictor = DepthPredictor.from_pretrained(model_file, device='cpu', engine='onnx')
    assert predictor.engine == 'onnx'
    assert caplog.messages == [
        'the process that builds engines failed (why not); this one does it'
    ]
    assert list(cache.glob('*.onnx'))


def test_a_runtime_that_crashes_does_not_take_the_user_along(
    model_file: Path, cache: Path, interpreter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interpreter.write_text('#!/bin/sh\nkill -SEGV $$\n')
    with pytest.raises(ModelError, match=r'engine onnx .* SIGSEGV'):
        DepthPredictor.from_pretrained(model_file, device='cpu', engine='onnx')
    with caplog.at_level(logging.WARNING):
        predictor = DepthPredictor.from_pretrained(model_file, device='cpu')
    assert predictor.engine == 'torch'
    assert 'SIGSEGV; torch runs instead' in caplog.text
    assert 'SIGSEGV; torch runs instead' in predictor.notice


@pytest.mark.skipif(not hasattr(os, 'pidfd_open'), reason='needs pidfd_open to wait')
def test_the_other_process_ends_with_the_one_that_started_it(
    model_file: Path, cache: Path, tmp_path: Path, ros_environment: dict[str, str]
) -> None:
    started, interpreter = tmp_path / 'started', tmp_path / 'interpreter'
    os.mkfifo(started)
    interpreter.write_text(f'#!/bin/sh\necho $$ > {started}\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    program = f'import sys\nsys.executable = {str(interpreter)!r}\n{PROGRAM}'
    with subprocess.Popen(
        [sys.executable, '-c', program, str(model_file), 'onnx'],
        env={**ros_environment, 'ADABINS_CACHE': str(cache)},
    ) as parent:
        # Reading blocks until the other process is there.
        child = os.pidfd_open(int(started.read_text()))
        parent.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([child], [], [], 60)
    os.close(child)
    assert ended
    assert not list(cache.glob('*.onnx'))

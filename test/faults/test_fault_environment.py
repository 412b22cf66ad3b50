# SPDX-License-Identifier: Apache-2.0
"""Environment and processes: what a machine lacks, and what ends a command; the work is done."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

from adabins_ros.command_line import arguments_of
from adabins_ros.inference.engines.engine import Place
from adabins_ros.package_files import cache_folder
from adabins_ros.settings import ConfigError
from adabins_ros.whole_files import unfinished_folder, whole_file
import numpy as np
import pytest

Run = Callable[..., Any]


@pytest.fixture(scope='module')
def depth(photo: Path, run_adabins: Run, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Return the depth of the photo as it is when nothing is wrong."""
    output = tmp_path_factory.mktemp('right')
    ran = run_adabins('predict', photo, '--output', output)
    assert ran.returncode == 0, ran.stderr
    return np.load(output / 'good.npz')['depth']


SURROUNDINGS: dict[str, dict[str, str]] = {
    'no HOME': {'HOME': ''},
    'a HOME that can not be made': {'HOME': '/proc/nowhere'},
    'a cache that can not be made': {'ADABINS_CACHE': '/proc/nowhere'},
    'ASCII': {'PYTHONIOENCODING': 'ascii', 'LC_ALL': 'C'},
    'many threads': {'OMP_NUM_THREADS': '100000'},
}


@pytest.mark.parametrize('name', SURROUNDINGS)
def test_what_a_machine_lacks_changes_no_depth(
    photo: Path, depth: np.ndarray, run_adabins: Run, tmp_path: Path, name: str
) -> None:
    odd = tmp_path / 'küche_\udce9.png'
    odd.write_bytes(photo.read_bytes())
    ran = run_adabins('predict', odd, '--output', tmp_path / 'out', environment=SURROUNDINGS[name])
    assert ran.returncode == 0 and 'Traceback' not in ran.stderr, ran.stderr
    (arrays,) = (tmp_path / 'out').glob('*.npz')
    np.testing.assert_allclose(np.load(arrays)['depth'], depth, atol=1e-4)


@pytest.mark.parametrize('where', ['/dev/full', 'closed'])
def test_depth_is_kept_where_the_table_can_not_be_shown(
    photo: Path, depth: np.ndarray, run_adabins: Run, tmp_path: Path, where: str
) -> None:
    command = ('predict', photo, '--output', tmp_path / 'out')
    if where == 'closed':
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open(where, os.O_WRONLY)
    ran = run_adabins(*command, stdout=write)
    os.close(write)
    assert 'Traceback' not in ran.stderr
    np.testing.assert_array_equal(np.load(tmp_path / 'out' / 'good.npz')['depth'], depth)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_whole_files(
    photo: Path,
    ros_environment: dict[str, str],
    adabins_program: tuple[str, ...],
    run_adabins: Run,
    tmp_path: Path,
    number: int,
) -> None:
    folder, output = tmp_path / 'photos', tmp_path / 'out'
    folder.mkdir()
    for index in range(300):
        (folder / f'{index:03}.png').symlink_to(photo)
    process = subprocess.Popen(
        [*adabins_program, 'predict', str(folder), '--output', str(output)],
        env=ros_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stopped = threading.Event()
    while process.poll() is None and len(list(output.glob('*.npz'))) < 3:
        stopped.wait(0.02)
    process.send_signal(number)
    errors = process.communicate(timeout=20)[1]
    assert 'Traceback' not in errors
    found = sorted(output.glob('*.npz'))
    assert 3 <= len(found) < 300
    depths = [np.load(file)['depth'] for file in found]
    assert all(np.array_equal(each, depths[0]) for each in depths)
    ran = run_adabins('predict', folder / '299.png', '--output', output)
    assert ran.returncode == 0
    np.testing.assert_array_equal(np.load(output / '299.npz')['depth'], depths[0])


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / 'a[1].txt'
    (tmp_path / '.a[1].txt.unfinished-dead').mkdir()
    with whole_file(path) as outer, whole_file(path) as inner:
        assert outer.parent.is_dir() and outer != inner
        (inner.parent / 'what a library writes beside it').touch()
        inner.write_text('first')
        outer.write_text('last')
    assert path.read_text() == 'last'
    with unfinished_folder(tmp_path / 'b') as folder:
        (folder / 'x').touch()
    assert {x.name for x in tmp_path.iterdir()} == {path.name}


def test_a_full_disk_leaves_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    path.write_text('before')
    with pytest.raises(OSError), whole_file(path) as partial:
        partial.write_text('half')
        raise OSError(28, 'No space left on device')
    assert path.read_text() == 'before' and [x.name for x in tmp_path.iterdir()] == ['a.txt']


def test_a_cache_may_be_switched_off_or_have_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ADABINS_CACHE', '')
    assert cache_folder() is None
    monkeypatch.setenv('OMP_NUM_THREADS', '0x7')
    assert 1 <= Place().threads <= len(os.sched_getaffinity(0))


def test_a_node_without_a_home_says_where_its_log_is(
    ros_environment: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip('rclpy')
    program = 'from adabins_ros.ros.process import init_ros; init_ros([]); print("runs")'
    environment = {**ros_environment, 'HOME': '/proc/nowhere', 'TMPDIR': str(tmp_path)}
    for name in ('ROS_LOG_DIR', 'ROS_HOME'):
        environment.pop(name, None)
    ran = subprocess.run(
        [sys.executable, '-c', program], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0 and ran.stdout == 'runs\n'
    assert 'set ROS_LOG_DIR' in ran.stderr and str(tmp_path) in ran.stderr


def test_the_cases_of_settings_are_read(shared_data: Callable[[str], Path]) -> None:
    from adabins_ros.training.config import load_config

    folder = shared_data('../cases/Y02')
    for name in ('a', 'b'):
        (bag,) = load_config(folder / f'{name}.yaml').data.bags
        assert str(bag) == os.path.expanduser('~/run1')
    with pytest.raises(ConfigError, match='depth_topic'):
        load_config(folder / 'c.yaml')
    assert arguments_of(['--bags=~/run1']) == [f'--bags={os.path.expanduser("~/run1")}']


def test_kill_9_at_any_moment_leaves_what_is_whole(repository: Path) -> None:
    pytest.importorskip('torch')
    script = repository / 'benchmarks' / 'kill_moments.py'
    ran = subprocess.run(
        [sys.executable, script, '--moments', '2', '--kinds', 'weights', 'checkpoint', 'bag'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1'},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize('place', ['/proc', '/nowhere', 'small'])
def test_without_shared_memory_one_process_loads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, place: str
) -> None:
    pytest.importorskip('pytorch_lightning')
    from adabins_ros.training import loaders

    class Frames:
        """One MiB each."""

        def __getitem__(self, index: int) -> dict[str, np.ndarray]:
            return {'image': np.zeros(1 << 20, np.uint8)}

    monkeypatch.setattr(loaders, 'SHARED_MEMORY', str(tmp_path) if place == 'small' else place)
    if place == 'small':
        monkeypatch.setattr(loaders.shutil, 'disk_usage', lambda _: SimpleNamespace(free=64 << 20))
    assert loaders.usable_workers(2, 16, Frames()) == 0
    assert '--shm-size' in caplog.text
    assert loaders.usable_workers(0, 16, Frames()) == 0
    if place == 'small':
        assert loaders.usable_workers(2, 4, Frames()) == 2

# SPDX-License-Identifier: Apache-2.0
"""The launch file of the training says what the command understands."""

import ast
from collections.abc import Callable
import inspect
from pathlib import Path
import shlex
from typing import Any

from adabins_ros.ros.record_command import record
from adabins_ros.training.train_command import main
import pytest

Values = dict[str, str]


@pytest.fixture
def command_line(repository: Path) -> Callable[[Values], list[str]]:
    """Return the function of the launch file that makes the words; it needs no ROS install."""
    tree = ast.parse((repository / 'launch' / 'training.launch.py').read_text())
    (function,) = (node for node in tree.body if getattr(node, 'name', '') == 'command_line')
    names: dict[str, object] = {'shlex': shlex}
    exec(compile(ast.Module([function], []), 'training.launch.py', 'exec'), names)
    made = names['command_line']
    assert callable(made)
    return made


@pytest.fixture
def values(repository: Path, tmp_path: Path) -> Values:
    """Return a value for each argument, as a user would give them."""
    return {
        'bags': f"'{tmp_path}/my run.mcap' {tmp_path}/other.bag",
        'output': str(tmp_path / 'run'),
        'model': 'adabins-lite',
        'config_file': str(repository / 'config' / 'training.yaml'),
        'max_minutes': '3',
        'resume': 'false',
        'dry_run': 'false',
        'settings': 'data.batch_size=4',
    }


def test_every_word_is_understood_and_the_recordings_are_found(
    command_line: Callable[[Values], list[str]],
    values: Values,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for dry_run in ('false', 'true'):
        words = command_line({**values, 'dry_run': dry_run})
        assert f'{tmp_path}/my run.mcap' in words
        assert main([*words, '--ros-args', '--log-level', 'info']) == 1
        assert f'{tmp_path}/my run.mcap does not exist' in capsys.readouterr().err


def test_a_run_is_resumed_without_its_settings_file(
    command_line: Callable[[Values], list[str]],
    values: Values,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = command_line({**values, 'resume': 'true', 'bags': '', 'settings': ''})
    assert '--config' not in words
    assert main(words) == 1
    assert 'there is nothing to resume' in capsys.readouterr().err


def test_every_argument_is_used_and_described(repository: Path, values: Values) -> None:
    text = (repository / 'launch' / 'training.launch.py').read_text()
    (arguments,) = (
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ARGUMENTS'
    )
    assert isinstance(arguments, ast.Dict)
    assert {ast.literal_eval(key) for key in arguments.keys if key} == set(values)


def test_the_launch_file_of_the_recorder_has_the_options_of_its_command(repository: Path) -> None:
    tree = ast.parse((repository / 'launch' / 'record.launch.py').read_text())
    (arguments,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ARGUMENTS'
    )
    options = set(inspect.signature(record).parameters) - {'context'}
    assert set(ast.literal_eval(arguments)) == options
    (function,) = (node for node in tree.body if getattr(node, 'name', '') == 'command_line')
    names: dict[str, Any] = {}
    exec(compile(ast.Module([function], []), 'record.launch.py', 'exec'), names)
    words = names['command_line']({'output': 'a.mcap', 'image_topic': '/i', 'rate': ''})
    assert words == ['--output', 'a.mcap', '--image-topic', '/i']

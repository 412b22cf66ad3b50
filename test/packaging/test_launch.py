# SPDX-License-Identifier: Apache-2.0
"""The launch file starts what the package has, with what its arguments say."""

import ast
from dataclasses import fields
import importlib.util
import os
from pathlib import Path
import re
import sys
from types import ModuleType
from typing import Any

from adabins_ros.recordings import RecordingWriter
import pytest


@pytest.fixture(scope='module')
def tree(repository) -> ast.Module:
    """Return the launch file, parsed."""
    return ast.parse((repository / 'launch' / 'depth.launch.py').read_text())


def constant(tree: ast.Module, name: str) -> Any:
    """Return the value of a constant of the module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f'{name} is not in the launch file')


def calls(tree: ast.Module, function: str) -> list[ast.Call]:
    """Return the calls of a function, in the order of the file."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == function
    ]


def executables_of(tree: ast.Module) -> dict[str, str]:
    """Return the executables that are started, with their packages."""
    package = {'PACKAGE': constant(tree, 'PACKAGE')}
    started = {}
    for call in calls(tree, 'Node'):
        words = {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}
        started[words['executable'].strip("'")] = package.get(
            words['package'], words['package'].strip("'")
        )
    return started


def test_every_executable_of_ours_is_a_console_script(tree, repository):
    scripts = re.findall(r"'(\w+) = adabins_ros\.", (repository / 'setup.py').read_text())
    started = executables_of(tree)
    ours = {name for name, package in started.items() if package == 'adabins_ros'}
    assert ours == {'depth_node', 'play_bag'}
    assert ours <= set(scripts)


def test_every_other_package_that_it_starts_is_a_dependency(tree, repository):
    manifest = (repository / 'package.xml').read_text()
    for package in set(executables_of(tree).values()) - {'adabins_ros'}:
        assert f'<exec_depend>{package}</exec_depend>' in manifest


def test_every_file_of_config_that_it_names_exists(tree, repository):
    names = [ast.literal_eval(call.args[0]) for call in calls(tree, 'config_file')]
    assert set(names) == {'depth.yaml', 'depth.rviz', 'fastdds.xml'}
    for name in names:
        assert (repository / 'config' / name).is_file()


def test_every_parameter_that_it_sets_is_one_of_the_nodes(tree):
    pytest.importorskip('rclpy')
    from adabins_ros.ros.parameters import DepthNodeSettings

    declared = {row.name: type(row.default).__name__ for row in fields(DepthNodeSettings)}
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'PARAMETERS'
    )
    rows = {ast.literal_eval(row.elts[0]): row.elts[1].id for row in table.values}
    assert rows.items() <= declared.items()


def test_everything_that_it_imports_of_the_package_exists(tree):
    found = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith('adabins_ros')
        for alias in node.names
    }
    assert found
    for module, name in found:
        assert hasattr(importlib.import_module(module), name), f'{module}.{name}'


def test_the_view_is_remapped_from_the_topics_that_its_file_names(tree, repository):
    shown = set(re.findall(r'Value: (/\S+)', (repository / 'config' / 'depth.rviz').read_text()))
    (viewer,) = (call for call in calls(tree, 'Node') if 'rviz2' in ast.unparse(call))
    remapped = next(k.value for k in viewer.keywords if k.arg == 'remappings')
    assert {ast.literal_eval(pair.elts[0]) for pair in remapped.elts} == shown


@pytest.fixture
def launch_file(repository) -> ModuleType:
    """Return the launch file as a module; needs a ROS install."""
    pytest.importorskip('launch_ros')
    path = repository / 'launch' / 'depth.launch.py'
    spec = importlib.util.spec_from_file_location('depth_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def share(tmp_path, repository, monkeypatch) -> Path:
    """Register this source tree as an installed package; return its share folder."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'adabins_ros').touch()
    share = tmp_path / 'share' / 'adabins_ros'
    share.symlink_to(repository)
    executables = tmp_path / 'lib' / 'adabins_ros'
    executables.mkdir(parents=True)
    for name in ('depth_node', 'play_bag'):
        # Prints its arguments and environment, as a stand-in that ends at once.
        (executables / name).write_text(
            f'#!{sys.executable}\nimport os, pathlib, sys\n'
            'text = sys.argv[1:]\n'
            'text += [f"{k}={v}" for k, v in os.environ.items() if "_PROFILES_" in k]\n'
            'text += [pathlib.Path(a).read_text() for a in sys.argv if "launch_params" in a]\n'
            f'pathlib.Path({str(tmp_path)!r}, {name!r}).write_text("\\n".join(text))\n'
        )
        (executables / name).chmod(0o755)
    prefixes = [str(tmp_path), *filter(None, [os.environ.get('AMENT_PREFIX_PATH')])]
    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join(prefixes))
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    for name in ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'):
        # First set, so that monkeypatch removes what the launch file sets.
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    return share


def launched(
    launch_file: ModuleType, share: Path, *before: Any, status: int = 0, **arguments: str
) -> dict[str, str]:
    """Launch to the end, after some actions; return what each stand-in has written."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import SetLaunchConfiguration

    service = LaunchService()
    service.include_launch_description(
        LaunchDescription(
            [
                *before,
                *(SetLaunchConfiguration(name, value) for name, value in arguments.items()),
                *launch_file.generate_launch_description().entities,
            ]
        )
    )
    assert service.run() == status
    written = {}
    for name in ('depth_node', 'play_bag'):
        path = share.parents[1] / name
        if path.exists():
            written[name] = path.read_text()
    return written


def test_every_argument_has_a_description(launch_file, share):
    arguments = launch_file.generate_launch_description().get_launch_arguments()
    assert {argument.name for argument in arguments} == set(launch_file.ARGUMENTS)
    assert all(argument.description for argument in arguments)


def test_by_default_the_node_starts_with_the_shipped_parameters(launch_file, share):
    written = launched(launch_file, share)
    assert list(written) == ['depth_node']
    lines = written['depth_node'].splitlines()
    assert str(share / 'config' / 'depth.yaml') in lines
    assert 'find_camera: true' in written['depth_node']
    assert not any(line.startswith('image_raw:=') for line in lines)
    assert 'model:' not in written['depth_node'], 'the parameter file has the say'


@pytest.mark.parametrize(
    ('release', 'variable'),
    [
        ('humble', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ('jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ('lyrical', 'FASTDDS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_the_shipped_profile_is_set_under_the_name_that_the_release_reads(
    launch_file, share, monkeypatch, release, variable
):
    monkeypatch.setenv('ROS_DISTRO', release)
    lines = launched(launch_file, share)['depth_node'].splitlines()
    profiles = [line for line in lines if '_PROFILES_' in line]
    assert profiles == [f'{variable}={share / "config" / "fastdds.xml"}']


def test_a_profile_of_the_users_own_is_kept(launch_file, share, monkeypatch):
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', 'mine.xml')
    text = launched(launch_file, share)['depth_node']
    assert 'FASTDDS_DEFAULT_PROFILES_FILE=mine.xml' in text
    assert 'fastdds.xml' not in text


def test_the_arguments_reach_the_node(launch_file, share):
    text = launched(
        launch_file,
        share,
        model='adabins-lite',
        device='cpu',
        transport='compressed',
        image_topic='/cam/rgb',
        camera_info_topic='/cam/info',
        namespace='robot',
        use_sim_time='true',
        point_stride='4',
        max_std_ratio='0.2',
        publish='image points',
        log_level='debug',
    )['depth_node']
    for remap in (
        '__ns:=/robot',
        'image_raw/compressed:=/cam/rgb/compressed',
        'camera_info:=/cam/info',
    ):
        assert remap in text.splitlines()
    for parameter in (
        '/robot/depth_node:',
        'model: adabins-lite',
        'point_stride: 4',
        'max_std_ratio: 0.2',
        'publish_points: true',
        'publish_scan: false',
        'device: cpu',
        'image_transport: compressed',
        'use_sim_time: true',
    ):
        assert parameter in text
    assert '--log-level\ndebug' in text


def test_a_recording_is_played_onto_the_topics_that_the_node_listens_to(
    launch_file, share, tmp_path
):
    recording = tmp_path / 'robot.mcap'
    with RecordingWriter(recording) as writer:
        for topic, kind, fields_ in (
            ('/front/color/compressed', 'CompressedImage', {'format': 'jpeg'}),
            ('/front/camera_info', 'CameraInfo', {}),
        ):
            writer.write(topic, f'sensor_msgs/msg/{kind}', fields_, log_ns=10**9)
    written = launched(
        launch_file, share, bag=str(recording), use_sim_time='true', loop='true', start='2.5'
    )
    words = written['play_bag'].splitlines()
    assert words[:5] == [
        str(recording),
        '--remap',
        '/front/color/compressed:=/camera/image_raw/compressed',
        '--remap',
        '/front/camera_info:=/camera/camera_info',
    ]
    options = words[5:]
    assert (
        ' '.join(options[: options.index('--ros-args')])
        == '--rate 1.0 --start 2.5 --for /depth_node --wait 600 --loop --clock'
    )
    assert 'image_transport: compressed' in written['depth_node']


def test_of_two_recorded_cameras_it_says_which_and_lets_choose(launch_file, share, tmp_path):
    recording = tmp_path / 'stereo.mcap'
    with RecordingWriter(recording) as writer:
        for name in ('left', 'right'):
            kind = 'sensor_msgs/msg/Image'
            writer.write(f'/{name}/image_raw', kind, {'encoding': 'rgb8'}, log_ns=1)
    values = {'bag': str(recording), 'bag_image_topic': ''}
    said = launch_file.replay(values, '/cam/image_raw', '/cam/camera_info').description
    assert '/left/image_raw is played to the node' in said
    assert 'bag_image_topic:= takes another one: /right/image_raw' in said
    written = launched(launch_file, share, bag=str(recording), bag_image_topic='/right/image_raw')
    assert '/right/image_raw:=/camera/image_raw' in written['play_bag'].splitlines()


def test_a_namespace_that_is_pushed_around_it_holds(launch_file, share, tmp_path):
    from launch_ros.actions import PushRosNamespace

    recording = tmp_path / 'robot.mcap'
    with RecordingWriter(recording) as writer:
        fields_ = {'encoding': 'rgb8'}
        writer.write('/front/image_raw', 'sensor_msgs/msg/Image', fields_, log_ns=1)
    written = launched(
        launch_file,
        share,
        PushRosNamespace('robot_1'),
        namespace='front',
        bag=str(recording),
        image_topic='cam/image_raw',
        point_stride='3',
    )
    lines = written['depth_node'].splitlines()
    assert '__ns:=/robot_1/front' in lines
    assert 'image_raw:=cam/image_raw' in lines
    assert 'camera_info:=cam/camera_info' in lines
    assert '/robot_1/front/depth_node:' in written['depth_node']
    words = written['play_bag'].splitlines()
    assert words[words.index('--for') + 1] == '/robot_1/front/depth_node'
    assert '/front/image_raw:=cam/image_raw' in words


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ({'params_file': '~/nowhere.yaml'}, '/nowhere.yaml does not exist'),
        ({'bag': '/nowhere.mcap'}, 'bag: /nowhere.mcap does not exist'),
        ({'model': 'adabins-moon'}, "model: model 'adabins-moon' is not a preset"),
        ({'point_stride': 'two'}, 'point_stride:=two: a value of the type int is expected'),
        ({'publish': 'points, clouds'}, 'publish: there is no output clouds'),
        ({'cameras': 'left right', 'image_topic': '/x'}, 'cameras: each listens to NAME/image'),
        ({'rviz': 'true'}, 'rviz: rviz2 is not installed; sudo apt install ros-'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_what_can_not_work_ends_the_launch_in_a_sentence_before_anything_starts(
    launch_file, share, caplog, monkeypatch, arguments, sentence
):
    def absent(package: str) -> str:
        raise launch_file.PackageNotFoundError(package)

    monkeypatch.setattr(launch_file, 'get_package_prefix', absent)
    assert launched(launch_file, share, status=1, **arguments) == {}
    said = caplog.text
    assert sentence in said
    assert '~' not in said
    assert 'Traceback' not in said


def test_an_unattended_launch_ends_with_an_error_when_its_node_does(launch_file, share, caplog):
    (share.parents[1] / 'lib' / 'adabins_ros' / 'depth_node').write_text('#!/bin/sh\nexit 1\n')
    launched(launch_file, share, status=1, exit_on_failure='true')
    assert 'depth_node ended with status 1' in caplog.text

# SPDX-License-Identifier: Apache-2.0
"""
Train on recordings, as `ros2 run adabins_ros training` does.

`ros2 launch adabins_ros training.launch.py bags:='run1 run2.mcap' output:=my_run`
"""

import shlex

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

PACKAGE = 'adabins_ros'
ARGUMENTS = {
    'bags': ('', 'Recordings, or folders of frames, with spaces between them'),
    'output': ('training_run', 'New folder for the weights and all else of the run'),
    'model': ('', 'Preset or file to start from; empty: what config_file says (adabins-lite)'),
    'config_file': (
        PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', 'training.yaml']),
        'Settings, a YAML file',
    ),
    'max_minutes': (
        '',
        'End after so long, with what it had before resume, the rates coming down in time; empty: '
        'what config_file says',
    ),
    'resume': ('false', 'Go on with the run in the output folder'),
    'dry_run': ('false', 'Only show what would be trained on'),
    'settings': ('', 'KEY=VALUE words with spaces between them: data.batch_size=4'),
}
"""Each argument with its default and its description."""


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; `processes` makes the rest from their values."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=processes)])


def processes(context: LaunchContext) -> list[Node]:
    """Make the training from the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    return [
        Node(
            package=PACKAGE,
            executable='training',
            output='screen',
            emulate_tty=True,
            # It saves itself when it is interrupted, at the end of a step.
            sigterm_timeout='60',
            sigkill_timeout='60',
            arguments=command_line(values),
        )
    ]


def command_line(values: dict[str, str]) -> list[str]:
    """Return the words of the command `training` for the arguments' values."""
    words = ['--output', values['output']]
    resumes = values['resume'].lower() in ('true', '1')
    if not resumes:
        words += ['--config', values['config_file']]
    for option in ('model', 'max_minutes'):
        if values[option]:
            words += ['--' + option.replace('_', '-'), values[option]]
    if resumes:
        words.append('--resume')
    if values['dry_run'].lower() in ('true', '1'):
        words.append('--dry-run')
    for bag in shlex.split(values['bags']):
        words += ['--bags', bag]
    return [*words, *shlex.split(values['settings'])]

# SPDX-License-Identifier: Apache-2.0
"""
Record what training needs of a running robot, as `ros2 run adabins_ros record` does.

`ros2 launch adabins_ros record.launch.py output:=kitchen.mcap rate:=5 seconds:=600`
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PACKAGE = 'adabins_ros'
ARGUMENTS = {
    'output': ('', 'The .mcap to write; empty: recording_DATE_TIME.mcap'),
    'rate': ('5', 'At most so many frames a second; empty: all'),
    'seconds': ('', 'End after so long; empty: on Ctrl-C'),
    'megabytes': ('', 'End when the file is so large; empty: never'),
    'image_topic': ('', 'Images; empty: of the one camera there is'),
    'truth_topic': ('', "Depth images or a lidar's cloud; empty: what there is"),
    'wait': ('', 'Longest wait for the topics, seconds; empty: 30'),
}
"""Each argument with its default and its description: the options of the command."""


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; `processes` makes the rest from their values."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=processes)])


def processes(context: LaunchContext) -> list[Node]:
    """Make the recorder from the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    return [
        Node(
            package=PACKAGE,
            executable='record',
            output='screen',
            emulate_tty=True,
            # It finishes the file and checks it when it is interrupted.
            sigterm_timeout='60',
            sigkill_timeout='60',
            arguments=command_line(values),
        )
    ]


def command_line(values: dict[str, str]) -> list[str]:
    """Return the words of the command `record` for the arguments' values."""
    return [
        word
        for name, value in values.items()
        if value
        for word in ('--' + name.replace('_', '-'), value)
    ]

# SPDX-License-Identifier: Apache-2.0
"""
Start the depth node on a camera's topics, or on a recording; with RViz if wanted.

`ros2 launch adabins_ros depth.launch.py --show-args` lists the arguments.
"""

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = 'adabins_ros'
# Each release of ROS 2 reads one of them; newer ones warn of the older name.
PROFILE_VARIABLES = {
    'humble': 'FASTRTPS_DEFAULT_PROFILES_FILE',
    'iron': 'FASTRTPS_DEFAULT_PROFILES_FILE',
    'jazzy': 'FASTRTPS_DEFAULT_PROFILES_FILE',
    'newer': 'FASTDDS_DEFAULT_PROFILES_FILE',
}
PARAMETERS = {'model': 'model', 'device': 'device', 'transport': 'image_transport'}
"""Arguments that set a parameter of the node, where they are not empty."""


def config_file(name: str) -> PathJoinSubstitution:
    """Return the path of an installed file of config/."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', name])


ARGUMENTS = {
    'model': ('', 'Preset or file of the network; empty: what params_file says (adabins-lite)'),
    'device': ('', 'auto, cpu, cuda or cuda:N; empty: what params_file says (auto)'),
    'image_topic': (
        '/camera/image_raw',
        'Images of the camera (sensor_msgs/Image); the base topic for compressed images too',
    ),
    'camera_info_topic': ('/camera/camera_info', 'Intrinsics of these images'),
    'transport': (
        '',
        'raw, or compressed to listen to <image_topic>/compressed; empty: what the recording '
        'holds, or what params_file says (raw)',
    ),
    'namespace': ('', 'Namespace of the node and of the topics that it publishes'),
    'params_file': (config_file('depth.yaml'), 'Parameters of the node, a YAML file'),
    'use_sim_time': ('false', 'Take the time from /clock; a recording is played with --clock'),
    'rviz': ('false', 'Open RViz with config/depth.rviz'),
    'bag': ('', 'Recording to play onto image_topic and camera_info_topic; empty: none'),
    'log_level': ('info', 'debug, info, warn, error or fatal'),
}
"""Each argument with its default and its description."""


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; `processes` makes the rest from their values."""
    profile = []
    if not any(variable in os.environ for variable in PROFILE_VARIABLES.values()):
        release = os.environ.get('ROS_DISTRO')
        variable = PROFILE_VARIABLES.get(release, PROFILE_VARIABLES['newer'])
        profile = [SetEnvironmentVariable(variable, config_file('fastdds.xml'))]
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, *profile, OpaqueFunction(function=processes)])


def processes(context: LaunchContext) -> list[Node]:
    """Make the node, and where asked for the player and RViz, from the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    use_sim_time = IfCondition(LaunchConfiguration('use_sim_time')).evaluate(context)
    namespace = '/' + values['namespace'].strip('/')
    image, camera_info = values['image_topic'], values['camera_info_topic']

    nodes = []
    if values['bag']:
        values['transport'], play_arguments = replay(values['bag'], image, camera_info)
        nodes.append(
            Node(
                package=PACKAGE,
                executable='play_bag',
                namespace=namespace,
                output='screen',
                arguments=play_arguments + (['--clock'] if use_sim_time else []),
            )
        )
    overrides = {
        parameter: ParameterValue(values[argument], value_type=str)
        for argument, parameter in PARAMETERS.items()
        if values[argument]
    }
    nodes.append(
        Node(
            package=PACKAGE,
            executable='depth_node',
            name='depth_node',
            namespace=namespace,
            output='screen',
            parameters=[values['params_file'], {'use_sim_time': use_sim_time, **overrides}],
            remappings=[
                ('image_raw', image),
                ('image_raw/compressed', f'{image}/compressed'),
                ('camera_info', camera_info),
            ],
            ros_arguments=['--log-level', values['log_level']],
        )
    )
    published = namespace.rstrip('/')
    nodes.append(
        Node(
            package='rviz2',
            executable='rviz2',
            namespace=namespace,
            arguments=['-d', config_file('depth.rviz')],
            parameters=[{'use_sim_time': use_sim_time}],
            remappings=[
                ('/camera/image_raw', image),
                ('/camera/image_raw/compressed', f'{image}/compressed'),
                ('/depth/color', f'{published}/depth/color'),
                ('/points', f'{published}/points'),
            ],
            condition=IfCondition(LaunchConfiguration('rviz')),
        )
    )
    return nodes


def replay(bag: str, image: str, camera_info: str) -> tuple[str, list[str]]:
    """Return the transport of a recording's images, and the arguments that play it to them."""
    # Here, as only a recording needs it.
    from adabins_ros.recordings import find_camera_topics, open_recording

    path = os.path.expanduser(bag)
    with open_recording(path) as recording:
        topics = find_camera_topics(recording)
        compressed = 'CompressedImage' in recording.topics[topics.image].msgtype
    remaps = [(topics.image, f'{image}/compressed' if compressed else image)]
    if topics.camera_info:
        remaps.append((topics.camera_info, camera_info))
    arguments = [path]
    for recorded, played in remaps:
        if recorded != played:
            arguments += ['--remap', f'{recorded}:={played}']
    return ('compressed' if compressed else 'raw'), arguments

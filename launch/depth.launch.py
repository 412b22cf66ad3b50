# SPDX-License-Identifier: Apache-2.0
"""
Start the depth node on a camera's topics, or on a recording; with RViz if wanted.

`ros2 launch adabins_ros depth.launch.py --show-args` lists the arguments.
"""

from dataclasses import dataclass
import os
import re
from typing import Any

from adabins_ros.dds_profile import unset_variable
from ament_index_python.packages import get_package_prefix, PackageNotFoundError
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
import yaml

PACKAGE = 'adabins_ros'
PARAMETERS = {
    'model': ('model', str),
    'device': ('device', str),
    'transport': ('image_transport', str),
    'flip_average': ('flip_average', bool),
    'rectify': ('rectify', bool),
    'point_stride': ('point_stride', int),
    'max_std_ratio': ('max_std_ratio', float),
    'scale_source': ('scale_source', str),
    'exit_on_failure': ('exit_on_failure', bool),
}
"""Arguments that set a parameter of the node, and its type, where they are not empty."""
EMPTY = 'empty: what params_file says'


def config_file(name: str) -> PathJoinSubstitution:
    """Return the path of an installed file of config/."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', name])


ARGUMENTS = {
    'model': ('', f'Preset or file of the network; {EMPTY} (adabins-lite)'),
    'device': ('', f'auto, cpu, cuda or cuda:N; {EMPTY} (auto)'),
    'image_topic': (
        '',
        'Images of the camera (sensor_msgs/Image); the base topic for compressed images too; '
        'empty: of the one camera that is there',
    ),
    'camera_info_topic': ('', 'Intrinsics of these images; empty: camera_info beside image_topic'),
    'transport': (
        '',
        'raw, or compressed to listen to <image_topic>/compressed; empty: what the recording '
        'holds, or what params_file says (raw)',
    ),
    'cameras': ('', f'Namespaces of several cameras, with spaces between them; {EMPTY}'),
    'flip_average': ('', f'Average with the mirrored image; {EMPTY} (false)'),
    'rectify': ('', f'Remove the lens distortion; {EMPTY} (false)'),
    'point_stride': ('', f'Points come from every n-th row and column; {EMPTY} (2)'),
    'max_std_ratio': ('', f'Points less sure than this are dropped; {EMPTY} (0.0: none)'),
    'scale_source': ('', f'What measures the true scale; {EMPTY} (auto)'),
    'publish': (
        '',
        'Only these outputs, with spaces between them: image points scan ..., as publish_NAME in '
        f'config/depth.yaml; {EMPTY} (all)',
    ),
    'namespace': ('', 'Namespace of the node and of the topics that it publishes'),
    'params_file': (config_file('depth.yaml'), 'Parameters of the node, a YAML file'),
    'use_sim_time': ('false', 'Take the time from /clock; a recording is played with --clock'),
    'rviz': ('false', 'Open RViz with config/depth.rviz'),
    'bag': ('', 'Recording to play once the node listens; empty: none'),
    'bag_image_topic': ('', 'Which of its cameras; empty: as the log says'),
    'rate': ('1.0', 'Play the recording so much faster'),
    'start': ('0.0', 'Where to begin in the recording, seconds'),
    'loop': ('false', 'Begin again at the end of the recording'),
    'exit_on_failure': ('', f'End the launch with an error if the model is no good; {EMPTY}'),
    'respawn': ('false', 'Start the node again when it ends'),
    'log_level': ('info', 'debug, info, warn, error or fatal'),
}
"""Each argument with its default and its description."""
PLAYED_TO = '/camera/image_raw'
"""Where a recording is played if image_topic is empty."""
LONGEST_START_S = 600
"""So long a recording waits for the node, whose model may have to be exported first, seconds."""


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; `processes` makes the rest from their values."""
    variable = unset_variable(os.environ)
    profile = [SetEnvironmentVariable(variable, config_file('fastdds.xml'))] if variable else []
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, *profile, OpaqueFunction(function=processes)])


def processes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Make the node, and where asked for the player and RViz, from the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}

    def is_true(name: str) -> bool:
        return IfCondition(LaunchConfiguration(name)).evaluate(context)

    check(values, is_true('rviz'))
    use_sim_time = is_true('use_sim_time')
    # Relative, so that a PushRosNamespace around this file holds.
    namespace = values['namespace']
    image = values['image_topic'] or (PLAYED_TO if values['bag'] else '')
    if image.endswith('/compressed'):
        image, values['transport'] = image.removesuffix('/compressed'), 'compressed'
    camera_info = values['camera_info_topic'] or f'{image.rpartition("/")[0]}/camera_info'
    # A name without a slash in front lies beside the other topics of the node.
    camera_info = camera_info if image.startswith('/') else camera_info.lstrip('/')

    entities: list[LaunchDescriptionEntity] = []
    if values['bag']:
        played = replay(values, image, camera_info)
        values['transport'] = played.transport
        node_name = f'{whole_namespace(context, namespace)}/depth_node'
        options = ['--rate', values['rate'], '--start', values['start']]
        options += ['--for', node_name, '--wait', str(LONGEST_START_S)]
        options += ['--loop'] if is_true('loop') else []
        options += ['--clock'] if use_sim_time else []
        entities.append(LogInfo(msg=played.description))
        entities.append(
            Node(
                package=PACKAGE,
                executable='play_bag',
                namespace=namespace,
                output='screen',
                arguments=played.arguments + options,
            )
        )
    overrides: dict[str, Any] = {
        parameter: typed(argument, values[argument], kind)
        for argument, (parameter, kind) in PARAMETERS.items()
        if values[argument]
    }
    if values['cameras']:
        overrides['cameras'] = values['cameras'].split()
    elif not image:
        overrides['find_camera'] = True
    if values['publish']:
        with open(config_file('depth.yaml').perform(context), encoding='utf-8') as file:
            known = re.findall(r'^ *publish_(\w+):', file.read(), re.MULTILINE)
        wanted = values['publish'].replace(',', ' ').split()
        for name in wanted:
            if name not in known:
                raise RuntimeError(f'publish: there is no output {name}; there are {known}')
        overrides.update({f'publish_{name}': name in wanted for name in known})
    node = Node(
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
        ]
        if image
        else [],
        ros_arguments=['--log-level', values['log_level']],
        respawn=is_true('respawn'),
        respawn_delay=2.0,
    )
    entities.append(node)
    if values['exit_on_failure'] and is_true('exit_on_failure'):
        handler = OnProcessExit(target_action=node, on_exit=end_with_an_error)
        entities.append(RegisterEventHandler(handler))
    if is_true('rviz'):
        published = whole_namespace(context, namespace)
        shown = image or f'{published}/color/image'
        entities.append(
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=namespace,
                arguments=['-d', config_file('depth.rviz')],
                parameters=[{'use_sim_time': use_sim_time}],
                remappings=[
                    ('/camera/image_raw', shown),
                    ('/camera/image_raw/compressed', f'{shown}/compressed'),
                    ('/depth/color', f'{published}/depth/color'),
                    ('/points', f'{published}/points'),
                ],
            )
        )
    return entities


def check(values: dict[str, str], rviz: bool) -> None:
    """Refuse what could not work before anything is started; ~ becomes the home folder."""
    for name in ('params_file', 'model', 'bag'):
        if values[name].startswith('~'):
            values[name] = os.path.expanduser(values[name])
    if not os.path.isfile(values['params_file']):
        raise RuntimeError(f'params_file: {values["params_file"]} does not exist')
    if values['cameras'] and (values['image_topic'] or values['bag']):
        raise RuntimeError(
            'cameras: each listens to NAME/image_raw; leave image_topic and bag out'
        )
    if values['model']:
        # Here, as they take a while to import.
        from adabins_ros.inference.finding import check_head
        from adabins_ros.model.errors import ModelError

        try:
            check_head(values['model'])
        except ModelError as error:
            raise RuntimeError(f'model: {error}') from None
    if rviz:
        try:
            get_package_prefix('rviz2')
        except PackageNotFoundError:
            release = os.environ.get('ROS_DISTRO', '$ROS_DISTRO')
            raise RuntimeError(
                f'rviz: rviz2 is not installed; sudo apt install ros-{release}-rviz2'
            ) from None


def typed(name: str, text: str, kind: type) -> Any:
    """Return the value of an argument for the node."""
    if kind is str:
        return ParameterValue(text, value_type=str)
    value = yaml.safe_load(text)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise RuntimeError(f'{name}:={text}: a value of the type {kind.__name__} is expected')
    return value


def end_with_an_error(event: ProcessExited, context: LaunchContext) -> None:
    """End the launch, and have `ros2 launch` return an error, when the node has."""
    if event.returncode:
        raise RuntimeError(f'depth_node ended with status {event.returncode}; see its words above')


def whole_namespace(context: LaunchContext, namespace: str) -> str:
    """Return a namespace from the root on, '' for the root, as PushRosNamespace has it."""
    pushed = context.launch_configurations.get('ros_namespace', '')
    whole = namespace if namespace.startswith('/') else f'{pushed}/{namespace}'
    return '/'.join(['', *filter(None, whole.split('/'))]).rstrip('/')


@dataclass(frozen=True)
class Replay:
    """How a recording is played: the transport of its images, words for the player, in words."""

    transport: str
    arguments: list[str]
    description: str


def replay(values: dict[str, str], image: str, camera_info: str) -> Replay:
    """Choose a camera of a recording and play it to the topics of the node."""
    # Here, as only a recording needs it.
    from adabins_ros.camera_topics import camera_of
    from adabins_ros.recordings import (
        colour_topics,
        find_camera_topics,
        open_recording,
        RecordingError,
    )

    try:
        with open_recording(values['bag']) as recording:
            topics = find_camera_topics(recording, values['bag_image_topic'] or None)
            compressed = 'CompressedImage' in recording.topics[topics.image].msgtype
            cameras = colour_topics(recording)
            others = [x for x in cameras if camera_of(x) != camera_of(topics.image)]
    except RecordingError as error:
        raise RuntimeError(f'bag: {error}') from None
    description = f'{values["bag"]}: {topics.image} is played to the node'
    if others:
        description += f'; bag_image_topic:= takes another one: {", ".join(others)}'
    remaps = [(topics.image, f'{image}/compressed' if compressed else image)]
    if topics.camera_info:
        remaps.append((topics.camera_info, camera_info))
    arguments = [values['bag']]
    for recorded, played in remaps:
        if recorded != played:
            arguments += ['--remap', f'{recorded}:={played}']
    return Replay('compressed' if compressed else 'raw', arguments, description)

# SPDX-License-Identifier: Apache-2.0
"""RViz shows what the node publishes."""

import pytest
import yaml

DISPLAYS = {
    'sensor_msgs/msg/Image': 'rviz_default_plugins/Image',
    'sensor_msgs/msg/PointCloud2': 'rviz_default_plugins/PointCloud2',
}


@pytest.fixture(scope='module')
def displays(repository) -> dict[str, dict]:
    """Return the displays of config/depth.rviz by their names."""
    document = yaml.safe_load((repository / 'config' / 'depth.rviz').read_text())
    manager = document['Visualization Manager']
    assert manager['Global Options']['Fixed Frame'] == 'camera_color_optical_frame'
    return {display['Name']: display for display in manager['Displays']}


def test_every_topic_of_the_node_that_is_shown_has_the_display_of_its_type(displays):
    pytest.importorskip('rclpy')
    from adabins_ros.ros.products import PRODUCTS

    published = {
        f'/{product.topic}': f'{product.kind.__module__.split(".")[0]}/msg/{product.kind.__name__}'
        for product in PRODUCTS
    }
    shown = {
        display['Topic']['Value']: display['Class']
        for display in displays.values()
        if 'Topic' in display and not display['Topic']['Value'].startswith('/camera/')
    }
    assert set(shown) == {'/depth/color', '/points'}
    assert shown == {topic: DISPLAYS[published[topic]] for topic in shown}


def test_the_camera_is_shown_from_either_transport_best_effort(displays):
    cameras = [d['Topic'] for d in displays.values() if d['Name'].startswith('Camera')]
    assert [topic['Value'] for topic in cameras] == [
        '/camera/image_raw',
        '/camera/image_raw/compressed',
    ]
    assert {topic['Reliability Policy'] for topic in cameras} == {'Best Effort'}


def test_the_cloud_has_the_colours_of_the_camera_and_a_grid_and_frames_beside_it(displays):
    assert displays['Points']['Color Transformer'] == 'RGB8'
    assert displays['Grid']['Enabled'] and displays['TF']['Enabled']

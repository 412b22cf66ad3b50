# SPDX-License-Identifier: Apache-2.0
"""The topics that other nodes publish, as the ROS graph shows them."""

from __future__ import annotations

from collections import defaultdict

from adabins_ros.camera_topics import GraphTopic
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.topic_endpoint_info import TopicEndpointInfo

_NOT_KNOWN_YET = '_NODE_NAME_UNKNOWN_'  # rmw: a publisher is found before its node is


def published_topics(node: Node) -> list[GraphTopic]:
    """Return every topic that another node than this one publishes, in the order of the names."""
    own = (node.get_name(), node.get_namespace())
    types: dict[str, set[str]] = defaultdict(set)
    publishers: dict[str, set[str]] = defaultdict(set)
    # By node: the queries by topic would apply this node's remappings to the others' topics.
    for name, namespace in set(node.get_node_names_and_namespaces()) - {own}:
        for topic, kinds in _published_by(node, name, namespace):
            types[topic].update(kinds)
            publishers[topic].add(f'{namespace.rstrip("/")}/{name}')
    return [
        GraphTopic(topic, tuple(sorted(kinds)), tuple(sorted(publishers[topic])))
        for topic, kinds in sorted(types.items())
    ]


def node_name(endpoint: TopicEndpointInfo) -> str:
    """Return the whole name of the node that a publisher or a subscription belongs to."""
    if endpoint.node_name == _NOT_KNOWN_YET:
        return 'a node'
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'


def _published_by(node: Node, name: str, namespace: str) -> list[tuple[str, list[str]]]:
    """Return a node's topics and types; none if it has just left the graph."""
    try:
        return node.get_publisher_names_and_types_by_node(name, namespace)
    except NodeNameNonExistentError:
        return []

# SPDX-License-Identifier: Apache-2.0
"""The topics that other nodes publish, as the ROS graph shows them, and how to hear them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
import time
from typing import Any

from adabins_ros.camera_topics import GraphTopic
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo

SETTLED_S = 1.5
"""How long the graph must stay the same to be known, seconds."""
_NOT_KNOWN_YET = '_NODE_NAME_UNKNOWN_'  # rmw: a publisher is found before its node is


def published_topics(node: Node) -> list[GraphTopic]:
    """Return every topic that another node than this one publishes, in the order of the names."""
    own = (node.get_name(), node.get_namespace())
    types: dict[str, set[str]] = defaultdict(set)
    publishers: dict[str, set[str]] = defaultdict(set)
    # By node: the queries by topic would apply this node's remappings to the others' topics.
    for name, namespace in set(node.get_node_names_and_namespaces()) - {own}:
        try:
            published = node.get_publisher_names_and_types_by_node(name, namespace)
        except NodeNameNonExistentError:  # it has just left the graph
            continue
        for topic, kinds in published:
            types[topic].update(kinds)
            publishers[topic].add(f'{namespace.rstrip("/")}/{name}')
    return [
        GraphTopic(topic, tuple(sorted(kinds)), tuple(sorted(publishers[topic])))
        for topic, kinds in sorted(types.items())
    ]


def settled_topics(node: Node, timeout_s: float) -> Iterator[list[GraphTopic]]:
    """Yield what is published whenever that has not changed for a while, and at the timeout."""
    start = changed = time.monotonic()
    known: list[GraphTopic] = []
    is_over = False
    while not is_over:
        time.sleep(0.1)
        now = time.monotonic()
        if (found := published_topics(node)) != known:
            known, changed = found, now
        is_over = now - start >= timeout_s
        if is_over or now - changed >= SETTLED_S:
            yield known


def subscribe(node: Node, kind: type, topic: str, callback: Any) -> Any:
    """
    Subscribe with the QoS for sensor data, which qos_overrides parameters may change.

    Raises
    ------
    RuntimeError
        One of them is unusable.

    """
    return node.create_subscription(
        kind,
        topic,
        callback,
        # A fresh one, as overrides change it.
        QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
    )


def node_name(endpoint: TopicEndpointInfo) -> str:
    """Return the whole name of the node that a publisher or a subscription belongs to."""
    if endpoint.node_name == _NOT_KNOWN_YET:
        return 'a node'
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'

# SPDX-License-Identifier: Apache-2.0
"""The bond by which a lifecycle manager such as Nav2's knows that the node lives."""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.node import Node

HEARTBEAT_PERIOD_S = 0.25
"""As Nav2's own nodes have it; its manager waits for 4 s (bond_timeout)."""


class ManagerBond:
    """
    Form a bond on the topic `bond` under the node's name, where bondpy (bond_core 4.1) is there.

    Parameters
    ----------
    node
        Whose life it tells of.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bond: Any = None

    def form(self) -> None:
        """Begin to send heartbeats, or say what a manager needs to know without bondpy."""
        try:
            bondpy = importlib.import_module('bondpy.bondpy')
        except ImportError:
            self._node.get_logger().info(
                'no bond: bondpy is not installed, so that a lifecycle manager needs the '
                'parameter bond_timeout: 0.0'
            )
            return
        self._bond = bondpy.Bond(self._node, 'bond', self._node.get_name())
        self._bond.heartbeat_period = HEARTBEAT_PERIOD_S
        self._bond.start()

    def end(self) -> None:
        """Break the bond, if there is one."""
        if self._bond is not None:
            self._bond.shutdown()
            self._bond = None

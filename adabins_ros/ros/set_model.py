# SPDX-License-Identifier: Apache-2.0
"""Give a running depth node another model and wait until it runs: `adabins train --deploy`."""

from __future__ import annotations

from collections.abc import Sequence
import sys
import time
from typing import Any

from adabins_ros.ros.topic_names import RosError

NODE_S, MODEL_S = 10.0, 1200.0
"""How long to wait for the node and for its model, whose engine may have to be built, seconds."""


class DeployError(RuntimeError):
    """The node does not run the model; the text is for people."""


def set_model(node_name: str, model: str) -> None:
    """
    Set the parameter model of a node and wait until its model_active is that.

    Raises
    ------
    DeployError
        If ROS or the node is not there, or the node can't use the model.

    """
    try:
        from adabins_ros.ros.process import ros_node
        from rcl_interfaces.srv import GetParameters, SetParameters
        import rclpy
        from rclpy.parameter import Parameter, parameter_value_to_python
    except ImportError as error:
        raise DeployError(
            f'ROS is not to be found here ({error}); source the setup file of your ROS install, '
            'or install the extra [ros]'
        ) from None
    target = '/' + node_name.strip('/')
    with ros_node('set_model', []) as node:

        def call(kind: Any, service: str, request: Any) -> Any:
            client: Any = node.create_client(kind, f'{target}/{service}')
            end = time.monotonic() + NODE_S
            try:
                while client.wait_for_service(max(0.0, end - time.monotonic())):
                    # An answer is lost where the other side has not found this one yet.
                    future = client.call_async(request)
                    rclpy.spin_until_future_complete(node, future, timeout_sec=2.0)
                    if future.done():
                        return future.result()
            finally:
                node.destroy_client(client)
            raise DeployError(f'no node {target} answers within {NODE_S:g} s')

        request = SetParameters.Request(
            parameters=[Parameter('model', value=model).to_parameter_msg()]
        )
        (result,) = call(SetParameters, 'set_parameters', request).results
        if not result.successful:
            raise DeployError(f'{target} refuses it: {result.reason}')
        names = GetParameters.Request(names=['model_active', 'model_change'])
        end = time.monotonic() + MODEL_S
        while time.monotonic() < end:
            values = call(GetParameters, 'get_parameters', names).values
            active, change = (parameter_value_to_python(value) for value in values)
            if not isinstance(change, str):
                raise DeployError(f'{target} has no parameter model_active: is it a depth node?')
            if not change.startswith('loading'):
                if active == model and not change.startswith('failed'):
                    return
                raise DeployError(f'{target} runs {active or "no model"} (last change: {change})')
            rclpy.spin_once(node, timeout_sec=0.2)
        raise DeployError(f'{target} still loads after {MODEL_S / 60:g} minutes')


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the names of a node and a model; say what came of it and return the exit status."""
    node_name, model = sys.argv[1:] if arguments is None else arguments
    try:
        set_model(node_name, model)
    except (DeployError, RosError) as error:
        print(error)
        return 1
    print(f'{node_name} runs {model}')
    return 0


if __name__ == '__main__':
    sys.exit(main())

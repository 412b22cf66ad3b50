# SPDX-License-Identifier: Apache-2.0
"""The depth node's table of parameters as ROS parameters of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from adabins_ros.ros.model_loading import ModelStatus
from adabins_ros.ros.parameters import DepthNodeSettings, ParameterError, ROWS
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

NOT_OURS = ('qos_overrides.', 'use_sim_time', 'start_type_description_service')
"""What parameters of ROS itself begin with."""
READ_ONLY = {
    'model_active': 'The model that runs, as it was named; empty while none is loaded',
    'model_change': "What became of the last change of the parameter model: 'none', 'loading "
    "NAME', 'done' or 'failed NAME: why'",
}


class DepthNodeParameters:
    """
    Keep the node's parameters: declared with types and ranges, validated, live where sensible.

    Parameters
    ----------
    node
        Where they are declared.
    is_configured
        Whether the model is loaded: then what the model was loaded with can't be changed.
    change_model
        Called after a change of settings that names a model while one is loaded.

    Raises
    ------
    ParameterError
        If a value from the command line or a parameter file can't be used.

    """

    def __init__(
        self,
        node: Node,
        is_configured: Callable[[], bool],
        change_model: Callable[[], object],
    ) -> None:
        self._node = node
        self._is_configured = is_configured
        self._change_model = change_model
        try:
            values = {
                name: node.declare_parameter(name, _declared(row.default), _descriptor(row)).value
                for name, row in ROWS.items()
            }
        except InvalidParameterValueException as error:
            raise ParameterError(str(error)) from None
        self.settings = DepthNodeSettings().with_values(values)
        self._own_poses: dict[str, tuple[str, str]] = {}
        self._poses: dict[str, dict[str, Any]] = {}
        for name, description in READ_ONLY.items():
            descriptor = ParameterDescriptor(description=description, read_only=True)
            node.declare_parameter(name, '', descriptor, ignore_override=True)
        node.add_on_set_parameters_callback(self._on_set)

    def unknown(self) -> list[str]:
        """Return what is wrong with the parameters that were given but that nobody declares."""
        given = getattr(self._node, '_parameter_overrides', {})  # rclpy offers no other way
        names = [
            name
            for name in given
            if not self._node.has_parameter(name) and not name.startswith(NOT_OURS)
        ]
        texts = []
        for name in sorted(names):
            near = ' or '.join(get_close_matches(name, [*ROWS, *self._own_poses], n=2))
            hint = f'did you mean {near}?' if near else 'config/depth.yaml lists them all'
            texts.append(f'there is no parameter {name}, it is ignored; {hint}')
        return texts

    def declare_poses(self, cameras: Sequence[str]) -> None:
        """
        Declare for each camera NAME the parameters NAME.scale_pose.SENSOR.

        Raises
        ------
        ParameterError
            If a value from the command line or a parameter file can't be used.

        """
        for camera in filter(None, cameras):
            for pose in (name for name in ROWS if name.startswith('scale_pose.')):
                name = f'{camera.replace("/", ".")}.{pose}'
                if not self._node.has_parameter(name):
                    descriptor = ParameterDescriptor(
                        description=f'{pose} for the camera {camera}; all zero: {pose} itself',
                        dynamic_typing=True,
                    )
                    value: Any = self._node.declare_parameter(name, [0.0] * 6, descriptor).value
                    self._check_pose(camera, pose, value)
                    self._poses.setdefault(camera, {})[pose] = value
                    self._own_poses[name] = camera, pose

    def _check_pose(self, camera: str, pose: str, value: Any) -> None:
        try:
            self.settings.with_values({pose: value})
        except ParameterError as error:
            raise ParameterError(f'{camera.replace("/", ".")}.{error}') from None

    def settings_of(self, camera: str) -> DepthNodeSettings:
        """Return the settings with the poses of its own that a camera has."""
        poses = {name: pose for name, pose in self._poses.get(camera, {}).items() if any(pose)}
        return self.settings.with_values(poses) if poses else self.settings

    def tell_model(self, model: ModelStatus) -> None:
        """Set the parameters that nobody else can set."""
        values = dict(zip(READ_ONLY, (model.active, model.change), strict=True))
        descriptors = [self._node.describe_parameter(name) for name in values]
        for descriptor in descriptors:
            descriptor.read_only = False
        self._node.set_parameters([Parameter(name, value=text) for name, text in values.items()])
        for descriptor in descriptors:
            descriptor.read_only = True

    def _on_set(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Accept a set of changes as a whole, or reject it with a reason."""
        values = {p.name: p.value for p in parameters if p.name in ROWS}
        before = self.settings
        own = {self._own_poses[p.name]: p.value for p in parameters if p.name in self._own_poses}
        try:
            for (camera, pose), value in own.items():
                self._check_pose(camera, pose, value)
            after = before.with_values(values)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        for name in values:
            field = ROWS[name].name
            old, new = getattr(before, field), getattr(after, field)
            if old != new and not ROWS[name].metadata['live'] and self._is_configured():
                return SetParametersResult(
                    successful=False,
                    reason=f'{name} = {new!r}: the model is loaded with {name} = {old!r}; '
                    'deactivate and clean up the node (ros2 lifecycle set), set it, then '
                    'configure and activate again',
                )
        names_model = 'model' in values and self._is_configured()
        if names_model:
            # It is loaded with the model; before, it would keep the node from its first words.
            from adabins_ros.inference.finding import check_head

            try:
                check_head(after.model, after.depth_range if any(after.depth_range) else None)
            except Exception as error:  # a file may hold anything
                reason = f'model = {after.model!r}: {error}'
                return SetParametersResult(successful=False, reason=reason)
        self.settings = after
        for (camera, pose), value in own.items():
            self._poses[camera][pose] = value
        if names_model and self._node.executor is not None:
            # Later, as rclpy has not set it yet.
            self._node.executor.create_task(self._change_model)
        return SetParametersResult(successful=True)


def _declared(default: Any) -> Any:
    """Return a default as rclpy takes it: sequences as lists."""
    return list(default) if isinstance(default, tuple) else default


def _descriptor(row: Any) -> ParameterDescriptor:
    """Describe one row of the table for `ros2 param describe` and rqt."""
    # Types are checked by DepthNodeSettings: rclpy would say "expected '3' got '2'", and refuse 5
    # for 5.0.
    descriptor = ParameterDescriptor(
        description=row.metadata['description'],
        read_only=row.metadata['read_only'],
        dynamic_typing=True,
    )
    if row.metadata['choices']:
        descriptor.additional_constraints = 'one of ' + ', '.join(row.metadata['choices'])
    elif not row.metadata['live']:
        descriptor.additional_constraints = 'can be set while the node is unconfigured'
    if row.metadata['bounds'] is None:
        return descriptor
    lowest, highest = row.metadata['bounds']
    if isinstance(row.default, float):
        limits = FloatingPointRange(from_value=lowest, to_value=highest, step=0.0)
        descriptor.floating_point_range = [limits]
    else:
        limits = IntegerRange(from_value=lowest, to_value=highest, step=1)
        descriptor.integer_range = [limits]
    return descriptor

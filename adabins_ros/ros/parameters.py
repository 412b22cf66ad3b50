# SPDX-License-Identifier: Apache-2.0
"""The depth node's parameters: one typed table from which ROS's declarations are made."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
import math
import re
from typing import Any, TypeVar

from adabins_ros.geometry.camera import NARROWEST_FOV_DEG
from adabins_ros.inference.smoothing import USUAL_TIME_S
from adabins_ros.ros.products import PRODUCTS

LONGEST_DEPTH_M = 1000.0
SCALE_TOPICS = ('scan', 'cloud', 'range', 'depth')
Settings = TypeVar('Settings')
_CAMERA_NAME = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*)*', re.ASCII)


class ParameterError(ValueError):
    """A parameter's value can't be used; the text names it, the value and what is allowed."""


def _parameter(
    default: Any,
    description: str,
    *,
    live: bool = True,
    bounds: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    """Make one row of the table: a dataclass field that carries its ROS declaration."""
    metadata = {
        'description': description,
        'live': live,
        'bounds': bounds,
        'choices': choices,
        'read_only': read_only,
    }
    return field(default=default, metadata=metadata)


def _pose(sensor: str) -> Any:
    return _parameter(
        (0.0,) * 6,
        f'Pose of the sensor behind scale/{sensor} in the body frame of the camera (x forward '
        'along the optical axis, y left, z up): x y z roll pitch yaw, m and degrees; all zero: '
        + (
            'it covers the view of the camera'
            if sensor == 'depth'
            else 'as TF says, or without TF at the camera, looking along it'
        ),
    )


def _with_products(settings: type[Settings]) -> type[Settings]:
    """Add a switch, `publish_NAME`, for each product of the table."""
    for product in PRODUCTS:
        name = f'publish_{product.name}'
        settings.__annotations__[name] = 'bool'
        text = f'Publish {product.topic}: {product.description}'
        setattr(settings, name, _parameter(True, text))
    return settings


@dataclass(frozen=True)
@_with_products
class DepthNodeSettings:
    """
    Hold one consistent set of the node's parameters; every field is a ROS parameter.

    Those marked live apply from the next frame on, the model when it is loaded. The others say
    how to load it and where to listen; they can be set while the node is unconfigured and apply
    when it is configured.
    """

    model: str = _parameter(
        'adabins-lite',
        'adabins-lite, what `adabins fetch` got (adabins-nyu, hf:OWNER/NAME/FILE), or a file; set '
        'while the node runs, it is loaded beside the old one: see model_active and model_change',
    )
    device: str = _parameter('auto', 'auto, cpu, cuda or cuda:N', live=False)
    precision: str = _parameter(
        'auto',
        'Number format of the network',
        live=False,
        choices=('auto', 'float32', 'float16', 'bfloat16'),
    )
    engine: str = _parameter(
        'auto',
        'What runs the network; auto: the fastest that is installed',
        live=False,
        choices=('auto', 'torch', 'torch_compile', 'onnx', 'openvino'),
    )
    flip_average: bool = _parameter(
        False,
        'Average with the prediction of the mirrored image: better, half as fast',
        live=False,
    )
    inference_size: tuple[int, int] = _parameter(
        (0, 0), 'Height and width that the network sees, px; [0, 0]: chosen by itself', live=False
    )
    pixel_budget: int = _parameter(
        0,
        'Most pixels that the network sees; 0: as the model was trained',
        live=False,
        bounds=(0, 2**26),
    )
    depth_range: tuple[float, float] = _parameter(
        (0.0, 0.0),
        'Depth range of an official file whose name does not tell it, m; [0.0, 0.0]: of the model',
        live=False,
    )
    image_transport: str = _parameter(
        'raw',
        'raw listens to image_raw, compressed to image_raw/compressed',
        live=False,
        choices=('raw', 'compressed'),
    )
    cameras: tuple[str, ...] = _parameter(
        ('',),
        'Namespaces of the cameras, which take turns: [left, right] listens to '
        "left/image_raw and publishes left/points; ['']: one camera, image_raw and points",
        live=False,
    )
    autostart: bool = _parameter(
        True,
        'Configure and activate when the node starts; false leaves that to ros2 lifecycle',
        read_only=True,
    )
    exit_on_failure: bool = _parameter(
        False,
        'End with status 1 where autostart fails, as for a model that is not there; false: stay, '
        'to be corrected and configured again',
        read_only=True,
    )
    find_camera: bool = _parameter(
        False,
        'Listen to the one camera that is there, an image with a camera_info beside it, where '
        'image_raw is not remapped and there is one camera alone',
        live=False,
    )
    rectify: bool = _parameter(
        False, 'Remove the lens distortion that camera_info describes before inference'
    )
    rectified_input: str = _parameter(
        'auto',
        'Whether images are rectified, so that P of camera_info describes them and not K; auto: '
        'as the topic is called (image_rect and the like are)',
        choices=('auto', 'true', 'false'),
    )
    temporal_smoothing: float = _parameter(
        USUAL_TIME_S,
        'Time over which the bins and kernels of the network are smoothed against flicker, s; '
        '0: none',
        bounds=(0.0, 10.0),
    )
    focal_correction: bool = _parameter(
        True, "Scale depth by the camera's focal length over that of training"
    )
    horizontal_fov_deg: float = _parameter(
        0.0,
        'Horizontal field of view that stands in for a missing or uncalibrated camera_info, '
        'degrees; 0: none',
        bounds=(0.0, 179.0),
    )
    min_depth: float = _parameter(
        0.0,
        "Nearer than this is -Inf in the depth image and no point, m; 0: the end of the model's "
        'range, within 1 %',
        bounds=(0.0, LONGEST_DEPTH_M),
    )
    max_depth: float = _parameter(
        0.0,
        "Farther than this is +Inf in the depth image and no point, m; 0: the end of the model's "
        'range, within 1 %',
        bounds=(0.0, LONGEST_DEPTH_M),
    )
    point_stride: int = _parameter(2, 'Points come from every n-th row and column', bounds=(1, 64))
    max_std_ratio: float = _parameter(
        0.0,
        'Points whose standard deviation is more than this part of their depth are dropped; '
        '0: none',
        bounds=(0.0, 10.0),
    )
    edge_ratio: float = _parameter(
        0.05,
        'Points on a jump in depth of more than this part of it (flying pixels) are dropped; '
        '0: none',
        bounds=(0.0, 10.0),
    )
    sure_std: float = _parameter(
        0.0,
        'Points, depth/scan and points_clearing end this many standard deviations before their '
        'depth; 0: at it',
        bounds=(0.0, 10.0),
    )
    clear_range: float = _parameter(
        5.0,
        'Longest ray of points_clearing, m: farther away it clears nothing',
        bounds=(0.1, LONGEST_DEPTH_M),
    )
    remove_floor: bool = _parameter(
        False,
        'Leave the floor out of points: what is less than scan_min_height above it, or flat and '
        'hardly higher; points_clearing keeps it',
    )
    height_field: bool = _parameter(
        False,
        "Give points the field height, m above the floor, for Nav2's collision monitor "
        '(use_global_height)',
    )
    color_max_depth: float = _parameter(
        0.0,
        'Depth at the far end of the colours in depth/color, m; 0: as max_depth',
        bounds=(0.0, LONGEST_DEPTH_M),
    )

    scale_source: str = _parameter(
        'auto',
        'What measures the true scale: auto (those of the topics scale/scan, scale/cloud, '
        'scale/range and scale/depth that have a publisher), none, or names with commas: '
        'scan,cloud,range,depth,floor',
        live=False,
    )
    scale_pose_scan: tuple[float, ...] = _pose('scan')
    scale_pose_cloud: tuple[float, ...] = _pose('cloud')
    scale_pose_range: tuple[float, ...] = _pose('range')
    scale_pose_depth: tuple[float, ...] = _pose('depth')
    scale_tolerance: float = _parameter(
        0.1,
        'Largest difference between the stamps of an image and of what was measured, s',
        bounds=(0.0, 10.0),
    )
    scale_timeout: float = _parameter(
        10.0,
        'So long after the last good measurement the scale is none any more, s',
        bounds=(0.1, 3600.0),
    )
    when_unanchored: str = _parameter(
        'publish',
        'What happens while a source of scale is there but the scale is missing, stale or '
        'contradicted: publish (depth as the network says it), widen (the standard deviation '
        'grows with the age of the last good scale), hold (no points, clearing or scan)',
        choices=('publish', 'widen', 'hold'),
    )
    scale_factor: float = _parameter(
        1.0,
        'Depth is multiplied by this while no source measures the scale',
        bounds=(0.01, 100.0),
    )
    camera_height: float = _parameter(
        0.0,
        'Height of the camera above the floor, m; 0: from TF. The source floor, depth/scan, '
        'remove_floor and height_field need it',
        bounds=(0.0, 100.0),
    )
    camera_pitch: float = _parameter(
        0.0,
        'How far the camera looks down where TF does not tell, degrees',
        bounds=(-90.0, 90.0),
    )
    floor_frame: str = _parameter(
        'base_footprint', 'Frame on the floor that TF gives the height of the camera in'
    )
    base_frame: str = _parameter(
        '',
        "Frame on the floor that TF levels depth/scan, remove_floor and height_field by; '': "
        'base_footprint, else base_link; without TF camera_height and camera_pitch',
    )
    scan_frame: str = _parameter(
        '', "Level frame of depth/scan, which the node broadcasts; '': the camera's and _level"
    )
    scan_min_height: float = _parameter(
        0.1,
        'Height above the floor from which on a point is an obstacle, m',
        bounds=(-10.0, 100.0),
    )
    scan_max_height: float = _parameter(
        1.0,
        'Height above the floor up to which a point is an obstacle of depth/scan, m',
        bounds=(-10.0, 100.0),
    )

    @property
    def scale_sources(self) -> tuple[str, ...]:
        """Return the names that scale_source stands for."""
        if self.scale_source == 'auto':
            return SCALE_TOPICS
        names = tuple(name.strip() for name in self.scale_source.split(',') if name.strip())
        return () if names == ('none',) else names

    def publishes(self, product: str) -> bool:
        """Tell whether a product, by its name in `PRODUCTS`, is switched on."""
        return bool(getattr(self, f'publish_{product}'))

    def check(self) -> None:
        """Raise ParameterError where a value, or two together, can't be used."""
        for row in fields(self):
            value, choices = getattr(self, row.name), row.metadata['choices']
            if choices and value not in choices:
                raise ParameterError(
                    f'{row.name} = {value!r}: allowed are {", ".join(map(repr, choices))}'
                )
            lowest, highest = row.metadata['bounds'] or (None, None)
            if lowest is not None and not lowest <= value <= highest:
                raise ParameterError(
                    f'{row.name} = {value:g}: allowed is {lowest:g} to {highest:g}'
                )
        if self.min_depth and self.max_depth and self.min_depth >= self.max_depth:
            raise ParameterError(
                f'min_depth = {self.min_depth:g} m with max_depth = {self.max_depth:g} m: '
                'min_depth must be the smaller one (0 stands for the range of the model)'
            )
        if 0 < self.horizontal_fov_deg < NARROWEST_FOV_DEG:
            raise ParameterError(
                f'horizontal_fov_deg = {self.horizontal_fov_deg:g}: allowed is '
                f'{NARROWEST_FOV_DEG:g} to 179, or 0'
            )
        if self.scan_min_height >= self.scan_max_height:
            raise ParameterError(
                f'scan_min_height = {self.scan_min_height:g} m with scan_max_height = '
                f'{self.scan_max_height:g} m: scan_min_height must be the smaller one'
            )
        size = self.inference_size
        if len(size) != 2 or not (all(n == 0 for n in size) or all(n >= 32 for n in size)):
            raise ParameterError(
                f'inference_size = {list(size)}: give [height, width] of at least 32 px each, '
                'or [0, 0] to leave it to the node'
            )
        limits = self.depth_range
        if len(limits) != 2 or not (all(m == 0 for m in limits) or 0 < limits[0] < limits[1]):
            raise ParameterError(
                f'depth_range = {list(limits)}: give [nearest, farthest] in metres, '
                'both above 0, or [0.0, 0.0] for the range of the model'
            )
        unknown = set(self.scale_sources) - {*SCALE_TOPICS, 'floor'}
        if unknown:
            raise ParameterError(
                f'scale_source = {self.scale_source!r}: allowed are auto, none, or some of '
                f'{", ".join(SCALE_TOPICS)} and floor with commas between them'
            )
        for name in SCALE_TOPICS:
            pose = getattr(self, f'scale_pose_{name}')
            if len(pose) != 6 or not all(math.isfinite(number) for number in pose):
                raise ParameterError(
                    f'scale_pose.{name} = {list(pose)}: six numbers are expected, x y z in '
                    'metres and roll pitch yaw in degrees'
                )
        names = self.cameras
        if self.find_camera and names != ('',):
            raise ParameterError(
                f'find_camera = True with cameras = {list(names)}: it finds one; name it or them'
            )
        well_formed = names == ('',) or all(map(_CAMERA_NAME.fullmatch, names))
        if not names or not well_formed or len(set(names)) < len(names):
            raise ParameterError(
                f"cameras = {list(names)}: give different namespaces such as ['left', 'right'], "
                "or [''] for one camera without"
            )

    def with_values(self, values: Mapping[str, Any]) -> DepthNodeSettings:
        """Return a checked copy with some values changed; raise ParameterError if unusable."""
        typed: dict[str, Any] = {
            ROWS[name].name: _typed(name, value, ROWS[name].default)
            for name, value in values.items()
        }
        changed = replace(self, **typed)
        changed.check()
        return changed


_TYPE_NAMES = {
    str: 'a text',
    bool: 'true or false',
    int: 'a whole number',
    float: 'a decimal number',
}


def ros_name(field_name: str) -> str:
    """Return the ROS parameter's name of a field: a pose of many has a dot in it."""
    return field_name.replace('scale_pose_', 'scale_pose.')


ROWS = {ros_name(row.name): row for row in fields(DepthNodeSettings)}
"""The table by the names of the ROS parameters."""


def _typed(name: str, value: Any, default: Any) -> Any:
    """Return a value in the type of its default; whole numbers may stand for decimal ones."""
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple, array)):
            raise ParameterError(f'{name} = {value!r}: a list such as {list(default)} is expected')
        return tuple(_typed(name, element, default[0]) for element in value)
    wanted = type(default)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is bool and str(value).lower() in ROWS[name].metadata['choices']:
        return str(value).lower()  # what YAML makes of a plain true
    if type(value) is not wanted:
        raise ParameterError(
            f'{name} = {value!r} is {_TYPE_NAMES.get(type(value), "nothing")}; '
            f'{_TYPE_NAMES[wanted]} is expected'
        )
    return value

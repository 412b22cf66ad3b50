# SPDX-License-Identifier: Apache-2.0
"""Which frames are read, and how those of a recording are found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from adabins_ros.geometry.camera import NARROWEST_FOV_DEG
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)


def _several(value: Any) -> Any:
    return [value] if isinstance(value, (str, os.PathLike)) else value


HomePath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path that may start from ~."""
HomePaths = Annotated[tuple[HomePath, ...], BeforeValidator(_several)]
"""Several of them; one alone needs no list."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and a made one does not change."""

    model_config = ConfigDict(
        frozen=True, extra='forbid', coerce_numbers_to_str=True, validate_default=True
    )


class SourceConfig(Section):
    """Where frames with true depth come from."""

    bags: HomePaths = Field((), description='recordings')
    folders: HomePaths = Field((), description='RGB-D folders with rgb/ and depth/')
    kitti: HomePath | None = Field(None, description='folder of KITTI that kitti_list counts from')
    kitti_list: HomePath | None = Field(
        None, description='lines COLOUR DEPTH FOCAL, as Eigen split'
    )
    nyu: HomePath | None = Field(
        None, description='nyu_depth_v2_labeled.mat, or the folder that nyu_list counts from'
    )
    nyu_list: HomePath | None = Field(
        None, description='lines COLOUR DEPTH FOCAL, as the authors do'
    )
    image_topic: str | None = Field(None, description='none: found by type and name')
    camera_info_topic: str | None = Field(None, description='likewise')
    depth_topic: str | None = Field(None, description='likewise')
    depth_camera_info_topic: str | None = Field(
        None, description='of depth that is not aligned to the colour; likewise'
    )
    lidar_topic: str | None = Field(None, description='PointCloud2 to take the truth from')
    alignment: Literal['auto', 'aligned', 'unaligned'] = Field(
        'auto', description='whether depth pixels lie on the colour pixels'
    )
    tolerance_ms: float = Field(20.0, gt=0, description='between stamps of colour and truth')
    time_offset_ms: float = Field(0.0, description='added to the stamps of the truth')
    horizontal_fov_deg: float | None = Field(
        None,
        ge=NARROWEST_FOV_DEG,
        lt=180,
        description='of cameras without a calibrated camera_info',
    )
    every: int = Field(1, ge=1, description='take every so many-th frame')
    salvage: bool = Field(False, description='use what can be read of damaged recordings')

    @model_validator(mode='before')
    @classmethod
    def _without_cache(cls, values: Any) -> Any:
        """Take the configurations of earlier runs, which may name a cache."""
        if not isinstance(values, dict) or 'cache' not in values:
            return values
        if values['cache'] is not None:
            raise ValueError(
                'there is no cache any more: recordings become frames once, in the folder that '
                '--frames names; leave cache out'
            )
        return {name: value for name, value in values.items() if name != 'cache'}


class DataSettings(Section):
    """What KEY=VALUE words of commands that read frames may set."""

    data: SourceConfig = SourceConfig()

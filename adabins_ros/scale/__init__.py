# SPDX-License-Identifier: Apache-2.0
"""The true scale of a camera's depth, from what else the robot knows; numpy alone, no ROS."""

from adabins_ros.scale.evidence import EvidenceError
from adabins_ros.scale.metric_scale import MetricScale
from adabins_ros.scale.scale_fit import ScaleFit
from adabins_ros.scale.scale_options import ScaleOptions

__all__ = ['EvidenceError', 'MetricScale', 'ScaleFit', 'ScaleOptions']

# SPDX-License-Identifier: Apache-2.0
"""From an RGB array to metric depth, its standard deviation and the bins."""

from adabins_ros.inference.estimate import DepthEstimate, DeviceEstimate
from adabins_ros.inference.predictor import DepthPredictor
from adabins_ros.inference.sizing import inference_size

__all__ = ['DepthEstimate', 'DepthPredictor', 'DeviceEstimate', 'inference_size']

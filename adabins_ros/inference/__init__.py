# SPDX-License-Identifier: Apache-2.0
"""From an RGB array to metric depth, its standard deviation and the bins."""

from adabins_ros.inference.estimate import DepthEstimate
from adabins_ros.inference.input_size import inference_size
from adabins_ros.inference.predictor import DepthPredictor

__all__ = ['DepthEstimate', 'DepthPredictor', 'inference_size']

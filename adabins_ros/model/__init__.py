# SPDX-License-Identifier: Apache-2.0
"""The AdaBins network (Bhat, Alhashim, Wonka, CVPR 2021, arXiv 2011.14141) in torch and timm."""

from adabins_ros.model.adabins import AdaBins, DepthDistribution
from adabins_ros.model.checkpoint import load_model, ModelError, save_checkpoint
from adabins_ros.model.config import AdaBinsConfig, PRESETS

__all__ = [
    'PRESETS',
    'AdaBins',
    'AdaBinsConfig',
    'DepthDistribution',
    'ModelError',
    'load_model',
    'save_checkpoint',
]

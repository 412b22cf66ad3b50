# SPDX-License-Identifier: Apache-2.0
"""What runs a network: torch, ONNX Runtime or OpenVINO behind one call."""

from adabins_ros.inference.engines.engine import check_engine, Engine, ENGINES, Place
from adabins_ros.inference.engines.onnx_file import is_onnx, OnnxModel, read_onnx
from adabins_ros.inference.engines.opening import open_engine, open_file
from adabins_ros.inference.engines.source import NetworkSource

__all__ = [
    'ENGINES',
    'Engine',
    'NetworkSource',
    'OnnxModel',
    'Place',
    'check_engine',
    'is_onnx',
    'open_engine',
    'open_file',
    'read_onnx',
]

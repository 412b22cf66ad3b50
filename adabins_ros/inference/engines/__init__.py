# SPDX-License-Identifier: Apache-2.0
"""What runs a network: ONNX Runtime, OpenVINO or torch behind one call."""

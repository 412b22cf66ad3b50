# SPDX-License-Identifier: Apache-2.0
"""The camera's geometry: intrinsics, rectification, points and their filtering."""

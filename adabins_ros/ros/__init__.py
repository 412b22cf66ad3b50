# SPDX-License-Identifier: Apache-2.0
"""Everything that needs ROS: the depth node, its parts, and the player of recordings."""

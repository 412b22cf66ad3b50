# SPDX-License-Identifier: Apache-2.0
"""From an RGB array to metric depth, its standard deviation and the bins."""

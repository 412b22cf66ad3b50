# SPDX-License-Identifier: Apache-2.0
"""How long a frame takes on this machine."""

# SPDX-License-Identifier: Apache-2.0
"""The demo: player, node and collector in three processes, then pictures and a table."""

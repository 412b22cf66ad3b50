# SPDX-License-Identifier: Apache-2.0
"""The demo: a recording, the node and a collector in three processes, then pictures and a table."""

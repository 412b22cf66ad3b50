# SPDX-License-Identifier: Apache-2.0
"""What keeps a depth node from working here, found before or while it runs."""

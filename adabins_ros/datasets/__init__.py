# SPDX-License-Identifier: Apache-2.0
"""Colour with true depth from recordings, folders and public data sets, behind one interface."""

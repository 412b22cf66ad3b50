# SPDX-License-Identifier: Apache-2.0
"""The error for recordings and folders that can not be used."""


class RecordingError(ValueError):
    """A recording that can't be read or written; the text names the file and the way out."""

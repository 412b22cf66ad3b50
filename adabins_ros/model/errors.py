# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with models, in words for people."""


class ModelError(ValueError):
    """A model can't be used; the text names the thing, the value and the way out."""

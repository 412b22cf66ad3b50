# SPDX-License-Identifier: Apache-2.0
"""The error that every unusable message raises."""


class MessageError(ValueError):
    """
    A message that can't be used.

    The text names the thing, its value and the way out.

    Attributes
    ----------
    cause : str
        Short and stable, so that a warning can be given once per cause: 'encoding', 'zero size',
        'absurd size', 'short data', 'long data', 'step', 'odd size', 'data', 'format', 'corrupt',
        'layout', 'uncalibrated', 'fields' or 'stamp'.

    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause

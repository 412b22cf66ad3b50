# SPDX-License-Identifier: Apache-2.0
"""What the sources of a scale said last, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass
import math

from adabins_ros.scale.evidence import EvidenceError
from adabins_ros.scale.scale_options import ScaleOptions
import numpy as np
from numpy.typing import NDArray

_LEAST_FACTOR = 1.25


@dataclass(frozen=True)
class Statement:
    """
    What one source says, without what was known before.

    Attributes
    ----------
    stamp_s, log_pivot : float
        When, s, and at which ln of the network's depth, m.
    state : (2,) float64
        Offset ln d' - ln d there, and its slope over ln d (`ScaleFit`).
    sigma : float
        One standard deviation of the offset.

    """

    stamp_s: float
    log_pivot: float
    state: NDArray[np.float64]
    sigma: float


class Contradictions:
    """
    Compare what several sources say at about the same time.

    Parameters
    ----------
    options : ScaleOptions
        `contradiction_s` and `gate`.
    exponent_sigma : float
        Of the slope, for depths that only one of two sources sees.

    """

    def __init__(self, options: ScaleOptions, exponent_sigma: float) -> None:
        self._options, self._exponent_sigma = options, exponent_sigma
        self._statements: dict[str, Statement] = {}

    def forget(self) -> None:
        """Forget what was said."""
        self._statements = {}

    def others_spoke(self, source: str, stamp_s: float) -> bool:
        """Tell whether another source said something within `contradiction_s` of a time, s."""
        return bool(self._others(source, stamp_s))

    def check(self, source: str, said: Statement) -> None:
        """
        Keep what a source says, and compare it with the others, half way between what two saw.

        Parameters
        ----------
        source : str
            Its name, for the reason.
        said : Statement
            Replaces what it said before.

        Raises
        ------
        EvidenceError
            Two differ by more than their sigmas explain, and by a quarter at least.

        """
        self._statements[source] = said
        for name, other in self._others(source, said.stamp_s):
            half = (other.log_pivot - said.log_pivot) / 2
            ours = said.state[0] + said.state[1] * half
            theirs = other.state[0] - other.state[1] * half
            doubt = math.hypot(said.sigma, other.sigma, 2 * half * self._exponent_sigma)
            if abs(ours - theirs) > max(self._options.gate * doubt, math.log(_LEAST_FACTOR)):
                raise EvidenceError(
                    f'sources contradict each other: {source} says a factor of '
                    f'{math.exp(ours):.2f}, {name} {math.exp(theirs):.2f}'
                )

    def _others(self, source: str, stamp_s: float) -> list[tuple[str, Statement]]:
        return [
            (name, other)
            for name, other in self._statements.items()
            if name != source and abs(stamp_s - other.stamp_s) <= self._options.contradiction_s
        ]

# SPDX-License-Identifier: Apache-2.0
"""MetricScale: a small filter on the log of the scale, fed by whatever measures distances."""

from __future__ import annotations

import math

from adabins_ros.scale.evidence import Contradictions, Evidence, EvidenceError, gather, Statement
from adabins_ros.scale.robust_line import fit_line, inverse, Line
from adabins_ros.scale.scale_fit import ScaleFit
from adabins_ros.scale.scale_options import ScaleOptions
import numpy as np
from numpy.typing import ArrayLike, NDArray

# The scale is the sum of what holds for the camera and what the place adds.
_SEEN = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
_WIDEST_SLOPE = 0.6
_LONGEST_DRIFT_S = 100.0


class MetricScale:
    """
    The scale of one camera's depth from measured distances.

    The state is log d' - log d at a pivot (a part that holds for the camera and one that a place
    adds and time takes away) and the exponent; see `ScaleFit` for what becomes of a depth image.
    Measurements may come from several sources, in any order, many or one at a time. What is too
    little, too scattered or contradicts another source is refused, and `at` says why; the last
    good scale ages then.

    Parameters
    ----------
    options : ScaleOptions, optional

    Attributes
    ----------
    options : ScaleOptions
        May be replaced.
    reason : str
        Why the last measurement was refused; '' if it was not.

    """

    def __init__(self, options: ScaleOptions | None = None) -> None:
        self.options = options or ScaleOptions()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        o = self.options
        self._mean = np.zeros(3)
        self._covariance = np.diag(
            np.square([o.camera_sigma, o.place_sigma, self._exponent_sigma])
        )
        self._log_pivot = 0.0
        self._good_s = -math.inf
        self._support = 0
        self._floor = 0.0
        self.reason = 'nothing was measured yet'
        self._contradicted = False
        self._contradictions = Contradictions(o, self._exponent_sigma)
        self._good_sources: dict[str, float] = {}
        self._outliers: dict[str, int] = {}

    def update(
        self,
        predicted: ArrayLike,
        measured: ArrayLike,
        predicted_std: ArrayLike | None = None,
        measured_std: ArrayLike | None = None,
        stamp_s: float = 0.0,
        source: str = 'scan',
        scene_changed: bool | None = None,
    ) -> bool:
        """
        Take in what one source measured at the time of one image.

        Parameters
        ----------
        predicted : (N,) float
            The network's depth, unscaled, m.
        measured : (N,) float
            Depth along the optical axis at the same pixels, m. What is not positive and finite in
            either is left out. One point counts, with a wide sigma, as a range finder; two to four
            are too few.
        predicted_std, measured_std : (N,) or () float, optional
            Their standard deviations, m.
        stamp_s : float
            Time of the image, s.
        source : str
            A name for reasons and for finding contradictions.
        scene_changed : bool, optional
            Whether the camera sees another place than at the last stamp; None: unknown.

        Returns
        -------
        bool
            Whether it was taken in; if not, `at` gives the reason.

        Raises
        ------
        ValueError
            The shapes differ, or the stamp is not finite.

        """
        stamp_s = float(stamp_s)
        if not math.isfinite(stamp_s):
            raise ValueError(f'stamp_s = {stamp_s} is no time')
        try:
            evidence = gather(
                predicted, measured, predicted_std, measured_std, source, self.options
            )
            self._take(evidence, stamp_s, source, scene_changed)
        except EvidenceError as refusal:
            self.reason = str(refusal)
            return False
        self.reason = ''
        return True

    def refuse(self, reason: str) -> None:
        """Say why there is nothing to `update` with; the last good scale ages."""
        self.reason = reason

    def at(self, stamp_s: float) -> ScaleFit:
        """
        Return the scale at a time; never None.

        Parameters
        ----------
        stamp_s : float
            s, usually that of the last `update` or later.

        """
        age = abs(float(stamp_s) - self._good_s)
        _, covariance = self._predicted(self._log_pivot, age, None)
        state = _SEEN @ self._mean
        seen = _seen(covariance)
        variance = float(seen[0, 0])
        # Measured once is no more certain than its own residuals, however long it is averaged.
        now = float(_seen(self._covariance)[0, 0])
        variance = max(variance, self._floor**2 + variance - now)
        timeout = self.options.scale_timeout_s
        anchored = age <= timeout and not self._contradicted
        reason = self.reason
        if age > timeout and math.isfinite(age):
            last = f'the last good measurement is {age:.1f} s old (scale_timeout {timeout:g} s)'
            reason = f'{last}; since then: {reason}' if reason else last
        if not anchored:
            # Then the doubt is about the depth as the network says it.
            variance += float(state[0]) ** 2
        return ScaleFit(
            anchored=anchored,
            factor=math.exp(state[0]) if anchored else 1.0,
            pivot=math.exp(self._log_pivot),
            exponent=1.0 + float(state[1]) if anchored else 1.0,
            sigma=math.sqrt(variance),
            sigma_exponent=math.sqrt(float(seen[1, 1])),
            support=self._support,
            age_s=age,
            reason=reason,
            sources=tuple(
                name
                for name, good_s in self._good_sources.items()
                if abs(self._good_s - good_s) <= self.options.contradiction_s
            ),
        )

    @property
    def _exponent_sigma(self) -> float:
        return self.options.exponent_sigma if self.options.second_parameter else 1e-4

    def _take(
        self, evidence: Evidence, stamp_s: float, source: str, scene_changed: bool | None
    ) -> None:
        elapsed = stamp_s - self._good_s
        if elapsed < -self.options.backwards_s:
            elapsed = math.inf
            self._contradictions = Contradictions(self.options, self._exponent_sigma)
        elapsed = max(elapsed, 0.0)
        mean, covariance = self._predicted(evidence.log_pivot, elapsed, scene_changed)
        if evidence.single:
            line = self._single(evidence)
        else:
            # Without what is known: the points speak for themselves.
            line = self._line(evidence, *self._new_place(mean, covariance))
            self._check_share(evidence, line, source)
            self._check_contradiction(evidence, line, stamp_s, source)
        if math.isfinite(self._good_s) and self._is_beyond(line, mean, covariance):
            if not scene_changed:
                self._check_outlier(evidence, source, stamp_s)
            mean, covariance = self._new_place(mean, covariance)
        if not evidence.single:
            line = self._line(evidence, mean, covariance, line.state)
        self._absorb(line, mean, covariance)
        floor = self._image_sigma(line, evidence)
        self._floor = min(self._floor, floor) if stamp_s == self._good_s else floor
        self._log_pivot, self._good_s = evidence.log_pivot, stamp_s
        self._support = self._consistent(line)
        self._good_sources[source] = stamp_s
        self._outliers.pop(source, None)
        self._contradicted = False

    def _predicted(
        self, log_pivot: float, elapsed_s: float, scene_changed: bool | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the state after some time, at another pivot."""
        if not math.isfinite(self._good_s):
            return self._mean, self._covariance
        o = self.options
        shift = np.eye(3)
        shift[1, 2] = log_pivot - self._log_pivot
        mean, covariance = shift @ self._mean, shift @ self._covariance @ shift.T
        if elapsed_s == 0 and not scene_changed:
            return mean, covariance
        stays = math.exp(-elapsed_s / o.place_s)
        if scene_changed is not None:
            stays = 0.0 if scene_changed else 1.0
        keep = np.array([1.0, stays, 0.0])
        mean, covariance = keep * mean, covariance * np.outer(keep, keep)
        drift = o.drift_per_sqrt_s**2 * min(elapsed_s, _LONGEST_DRIFT_S)
        place = (1 - stays**2) * o.place_sigma**2 + o.frame_sigma**2
        return mean, covariance + np.diag([drift, place, self._exponent_sigma**2])

    def _new_place(
        self, mean: NDArray[np.float64], covariance: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the state with everything open but what is known of the camera."""
        o, keep = self.options, np.array([1.0, 0.0, 0.0])
        wide = np.square([o.camera_sigma, o.camera_sigma, self._exponent_sigma])
        return keep * mean, covariance * np.outer(keep, keep) + np.diag(wide)

    def _line(
        self,
        evidence: Evidence,
        mean: NDArray[np.float64],
        covariance: NDArray[np.float64],
        start: NDArray[np.float64] | None = None,
    ) -> Line:
        """Return the line through a scan or cloud."""
        return fit_line(
            evidence.position,
            evidence.value,
            evidence.weight,
            _SEEN @ mean,
            inverse(_seen(covariance)),
            effective=self._effective(evidence),
            smallest_spread=self.options.smallest_spread,
            start=start,
        )

    def _single(self, evidence: Evidence) -> Line:
        own = self.options.single_std_share * float(evidence.relative_std[0])
        sigma = math.hypot(self.options.single_sigma, own)
        information = np.array([[1 / sigma**2, 0.0], [0.0, 0.0]])
        state = np.array([float(evidence.value[0]), 0.0])
        return Line(state, information, np.zeros(1), sigma)

    def _absorb(
        self, line: Line, mean: NDArray[np.float64], covariance: NDArray[np.float64]
    ) -> None:
        """Bring offset and slope of the line's points into the state."""
        before = _seen(covariance)
        known = inverse(before)
        information, innovation = line.information, line.state - _SEEN @ mean
        if len(line.residuals) > 1:
            # Noise that all points share takes from what they are worth together.
            shared = np.diag([self.options.shared_sigma**2, 0.0])
            damped = inverse(np.eye(2) + information @ shared)
            pull = damped @ ((known + information) @ innovation)
            information = damped @ information
        else:
            pull = information @ innovation
        after = inverse(known + information)
        gain = covariance @ _SEEN.T @ known
        mean = mean + gain @ after @ pull
        covariance = covariance + gain @ (after - before) @ gain.T
        mean[2] = min(max(mean[2], -_WIDEST_SLOPE), _WIDEST_SLOPE)
        self._mean, self._covariance = mean, (covariance + covariance.T) / 2

    def _own_sigma(self, line: Line, evidence: Evidence) -> float:
        """Return the sigma that the residuals allow: what the standard deviations leave open."""
        if evidence.single:
            return self.options.single_sigma
        unexplained = math.sqrt(max(line.spread**2 - evidence.usual_variance, 0.0))
        return max(unexplained, line.spread / math.sqrt(self._effective(evidence)))

    def _image_sigma(self, line: Line, evidence: Evidence) -> float:
        """Return the sigma of the image's scale that the points leave, however often repeated."""
        o = self.options
        apart = 4.0 if evidence.single else self._effective(evidence)
        return math.hypot(self._own_sigma(line, evidence), o.image_sigma / math.sqrt(apart))

    def _effective(self, evidence: Evidence) -> float:
        """Return how many independent points there are."""
        o = self.options
        several = max(evidence.points / o.points_for_one, o.fewest_effective)
        return min(several, o.most_effective, evidence.points)

    def _consistent(self, line: Line) -> int:
        return int((np.abs(line.residuals) < self.options.consistent).sum())

    def _is_beyond(
        self, line: Line, mean: NDArray[np.float64], covariance: NDArray[np.float64]
    ) -> bool:
        """Tell whether the line's offset is too far off for what is known."""
        o = self.options
        variance = _seen(covariance)[0, 0] + o.shared_sigma**2
        variance += 1 / max(line.information[0, 0], 1e-9)
        return bool(abs(line.state[0] - (_SEEN @ mean)[0]) > o.gate * math.sqrt(variance))

    def _check_share(self, evidence: Evidence, line: Line, source: str) -> None:
        o = self.options
        count = self._consistent(line)
        if count < o.min_points:
            raise EvidenceError(
                f'too few points: only {count} of the {evidence.points} of {source} agree, at '
                f'least {o.min_points} are needed'
            )
        if count < o.min_share * evidence.points:
            raise EvidenceError(
                f'spread too wide: only {count} of the {evidence.points} points of {source} agree '
                f'within a factor of {math.exp(o.consistent):.1f}'
            )

    def _check_outlier(self, evidence: Evidence, source: str, stamp_s: float) -> None:
        """Let many points speak for a new place, few only when they go on saying so."""
        o = self.options
        if evidence.points >= 2 * o.min_points:
            return
        count = self._outliers[source] = self._outliers.get(source, 0) + 1
        stale = abs(stamp_s - self._good_s) > o.scale_timeout_s
        insists = stale or count >= o.outliers_in_a_row
        if not insists or self._contradictions.others(source, stamp_s):
            points = 'one point' if evidence.single else f'{evidence.points} points'
            raise EvidenceError(f'outlier: {points} of {source} far from the scale of before')

    def _check_contradiction(
        self, evidence: Evidence, line: Line, stamp_s: float, source: str
    ) -> None:
        sigma = math.hypot(self._own_sigma(line, evidence), self.options.shared_sigma)
        said = Statement(stamp_s, evidence.log_pivot, line.state, sigma)
        try:
            self._contradictions.check(source, said)
        except EvidenceError:
            self._contradicted = True
            raise


def _seen(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance of offset and slope, (2, 2), of that of the state."""
    return _SEEN @ covariance @ _SEEN.T

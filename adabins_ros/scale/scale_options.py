# SPDX-License-Identifier: Apache-2.0
"""What a scale is estimated with: sigmas, gates and times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScaleOptions:
    """
    How a scale is estimated; all sigmas are of natural logs of depth.

    Attributes
    ----------
    scale_timeout_s : float
        A scale this old is none any more.
    second_parameter : bool
        Estimate an exponent too, as far as the measurements span depth.
    camera_sigma, place_sigma : float
        What is believed before anything was measured: how far off the network is for a camera,
        and by how much more or less in one place.
    exponent_sigma : float
        How far exponents lie from 1. Points of one line err together in it, so that it is not
        carried over to other frames.
    place_s : float
        Seconds after which a camera may well be somewhere else.
    frame_sigma : float
        By how much the network's own scale jumps from frame to frame.
    drift_per_sqrt_s : float
        Growth of what holds for the camera, per square root of a second.
    smallest_spread : float
        Points are never believed to lie closer about the truth than this,
    points_for_one : float
        and so many of them count as one, since neighbours share the network's errors,
    fewest_effective, most_effective : float
        though all together as one at least and ten at most,
    shared_sigma : float
        which leaves this to all points of a line or a cloud,
    single_sigma : float
        and this to the one point of a range finder,
    single_std_share : float
        with so much of the network's relative std there, which is mostly doubt about the scale.
    image_sigma : float
        How far the rest of the image is from one such independent point; more of them look at
        more of it. It widens what is reported, not what is believed of the points.
    min_points : int
        A line or cloud needs as many consistent points.
    min_share : float
        Share of the points that must agree with each other,
    consistent : float
        which they do within this distance.
    gate : float
        An innovation beyond so many of its sigmas is a new place (many points) or an outlier.
    outliers_in_a_row : int
        So many outliers of a source, one after another, are a new place after all.
    contradiction_s : float
        Sources that far apart in time, s, must agree.
    backwards_s : float
        A stamp that far before the last one means that the clock was set back (a recording that
        starts anew).

    """

    scale_timeout_s: float = 10.0
    second_parameter: bool = True
    camera_sigma: float = 0.5
    place_sigma: float = 0.3
    exponent_sigma: float = 0.25
    place_s: float = 1.5
    frame_sigma: float = 0.08
    drift_per_sqrt_s: float = 0.03
    smallest_spread: float = 0.15
    points_for_one: float = 20.0
    fewest_effective: float = 1.0
    most_effective: float = 10.0
    shared_sigma: float = 0.06
    single_sigma: float = 0.22
    single_std_share: float = 0.25
    image_sigma: float = 0.5
    min_points: int = 5
    min_share: float = 0.35
    consistent: float = 0.4
    gate: float = 3.0
    outliers_in_a_row: int = 3
    contradiction_s: float = 0.3
    backwards_s: float = 1.0

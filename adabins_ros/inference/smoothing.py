# SPDX-License-Identifier: Apache-2.0
"""What a camera's frames say of the scene as a whole, smoothed from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

from adabins_ros.inference.engines.engine import Arrays, Engine
from adabins_ros.model.config import AdaBinsConfig
import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LAST_FRAME = ('last_widths', 'last_kernels', 'smoothing')
"""Inputs of a network that can smooth: (B, N), (B, C, E) and the last frame's weight, (B,)."""
THIS_FRAME = ('widths', 'kernels', 'agreement')
"""Its outputs for the next frame, and (B,), 0 where the scene is another one."""
USUAL_TIME_S = 2.0
"""Time constant that the node and the evaluation smooth with, s."""
_FORGOTTEN = 3.0
"""Time constants after which a frame counts as the first."""
_SMALL_SIZE = (20, 15)
_UNLIKE = 0.6
"""Correlation of two such small pictures, below which they show different scenes. Measured: .65 to
.99 from a frame to the next of a hand-held camera at 10 Hz; at most .56 for 99 % of cuts, .6 for
95 % of jumps to half the distance."""
_NO_CONTRAST = 2.0
"""Grey levels, below which differences in a small picture are noise."""


class Smoothing:
    """
    The memory of one camera for ``DepthPredictor.predict``.

    The network smooths its bin widths and the kernels of its range-attention maps over time; what
    it sees at each pixel is always of the new frame alone. It lets go of the last frame where the
    picture is another one, or the network finds another scene. Stamps that stand still, jump back
    or leave a gap of three time constants, and another model, begin anew.

    Parameters
    ----------
    time_s : float
        Time constant, seconds: the last frame weighs exp(-dt / time_s).

    Raises
    ------
    ValueError
        If the time constant is not positive and finite.

    """

    def __init__(self, time_s: float) -> None:
        if not 0 < time_s < math.inf:
            raise ValueError(f'time_s {time_s} must be positive, in seconds')
        self.time_s = time_s
        self._stamp_s: float | None = None
        self._last: _LastFrame | None = None

    def at(self, stamp_s: float) -> Smoothing:
        """Say when the next image was taken, seconds; returns itself."""
        self._stamp_s = stamp_s
        return self

    def last(
        self, config: AdaBinsConfig, rows: int, picture: Floats
    ) -> tuple[float, Floats, Floats] | None:
        """
        Return weight, widths (rows, N) and kernels (rows, C, E) of the last frame.

        None if it does not count, for a network and so many images of each frame; a weight of zero
        if it shows another scene than a small picture of this frame.
        """
        last = self._last
        if last is None or self._stamp_s is None:
            return None
        elapsed = (self._stamp_s - last.stamp_s) / self.time_s
        fits = last.config is config and len(last.widths) == rows
        if not (fits and 0 < elapsed <= _FORGOTTEN):
            return None
        # A mean of few frames deserves no more than its share.
        weight = min(math.exp(-elapsed), last.frames / (last.frames + 2))
        return weight * _alike(picture, last.picture), last.widths, last.kernels

    def keep(
        self,
        config: AdaBinsConfig,
        widths: Floats,
        kernels: Floats,
        agreement: float,
        picture: Floats,
    ) -> None:
        """Remember a frame and how far it agreed with the last; one that is not finite, never."""
        frames = 1 + agreement * (self._last.frames if self._last else 0)
        finite = np.isfinite(widths.sum() + kernels.sum())
        self._last = None
        if self._stamp_s is not None and finite:
            self._last = _LastFrame(self._stamp_s, config, widths, kernels, frames, picture)
        self._stamp_s = None


class _LastFrame(NamedTuple):
    stamp_s: float
    config: AdaBinsConfig
    widths: Floats
    kernels: Floats
    frames: float
    picture: Floats


def _small(image: NDArray[np.uint8]) -> Floats:
    """Return a picture (H, W, 3) uint8 as (15, 20) float32 grey levels less their mean."""
    small = cv2.resize(image, _SMALL_SIZE, interpolation=cv2.INTER_AREA).mean(2, dtype=np.float32)
    return np.asarray(small - small.mean())


def _alike(one: Floats, other: Floats) -> bool:
    """Tell by their correlation whether two small pictures may show one scene."""
    noise = one.size * _NO_CONTRAST**2
    product, energies = float((one * other).sum()), [float((a * a).sum()) for a in (one, other)]
    return product + noise >= _UNLIKE * (math.sqrt(energies[0] * energies[1]) + noise)


def can_smooth(engine: Engine) -> bool:
    """Tell whether the network that an engine runs takes the last frame."""
    return engine.input_names.issuperset(LAST_FRAME)


def run_smoothed(
    engine: Engine,
    batch: NDArray[np.uint8],
    smoothings: Sequence[Smoothing | None],
    config: AdaBinsConfig,
) -> tuple[Arrays, list[bool | None]]:
    """
    Run a network on images, each after the last frame of its camera.

    Parameters
    ----------
    engine : Engine
        Leaves the memories alone if it can't smooth.
    batch : numpy.ndarray
        (R len(smoothings), h, w, 3) uint8: all images R times, straight and mirrored.
    smoothings : sequence of Smoothing or None
        The memory for each image.
    config : AdaBinsConfig
        The network's.

    Returns
    -------
    outputs : dict of str to numpy.ndarray
        As ``Engine.run``.
    scene_changed : list of bool or None
        For each image; None without a last frame.

    """
    images = len(smoothings)
    if not (any(smoothings) and can_smooth(engine)):
        return engine.run({'image': batch}), [None] * images
    widths = np.zeros((len(batch), config.num_bins), np.float32)
    kernels = np.zeros((len(batch), config.num_kernels, config.embedding_dim), np.float32)
    weights = np.zeros(len(batch), np.float32)
    changed: list[bool | None] = [None] * images
    pictures = [_small(image) for image in batch[:images]]
    rows = [slice(index, None, images) for index in range(images)]
    for index, (each, row) in enumerate(zip(smoothings, rows, strict=True)):
        last = each.last(config, len(batch) // images, pictures[index]) if each else None
        if last is not None:
            weights[row], widths[row], kernels[row] = last
            changed[index] = True
    given = dict(zip(LAST_FRAME, (widths, kernels, weights), strict=True))
    outputs = engine.run({'image': batch, **given})
    agreement = np.where(weights > 0, outputs['agreement'], 0)
    for index, (each, row) in enumerate(zip(smoothings, rows, strict=True)):
        if each is not None:
            agreed = float(agreement[index])
            kept = outputs['widths'][row], outputs['kernels'][row]
            each.keep(config, *kept, agreed, pictures[index])
            changed[index] = changed[index] and agreed == 0
    return outputs, changed

# SPDX-License-Identifier: Apache-2.0
"""How benchmarks count: which pixels, between which depths; and what papers report on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Crop = Literal['none', 'eigen', 'garg']
Dataset = Literal['bags', 'folder', 'nyu', 'kitti']

BENCHMARK_CROPS: dict[Dataset, Crop] = {'nyu': 'eigen', 'kitti': 'garg'}
BENCHMARK_RANGES_M: dict[Dataset, tuple[float, float]] = {
    'nyu': (1e-3, 10.0),
    'kitti': (1e-3, 80.0),
}
"""Elsewhere the whole image and the model's own range count."""

# Shares of the height and of the width. KITTI's are those of the authors' code, which belong
# on the bottom 352 rows and centre 1216 columns (the kb-crop).
_SHARES: dict[str, tuple[float, float, float, float]] = {
    'eigen': (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    'garg': (0.40810811, 0.99189189, 0.03594771, 0.96405229),
}
# Rows and columns of NYU Depth v2's 480x640 images.
_NYU_EIGEN = (45, 471, 41, 601)
_NYU_SIZE = (480, 640)

Figures = dict[str, float]
_TABLE_3 = ('d1', 'd2', 'd3', 'abs_rel', 'rms', 'log10')
_TABLE_2 = _TABLE_3[:-1]

_NYU_VARIANTS = {
    'Base + R (regression)': (0.881, 0.980, 0.996, 0.111, 0.419),
    'Base + Uniform-Fix-HR': (0.892, 0.981, 0.995, 0.107, 0.383),
    'Base + Log-Fix-HR': (0.896, 0.981, 0.995, 0.108, 0.379),
    'Base + Train-Fix-HR': (0.893, 0.981, 0.995, 0.109, 0.381),
    'Base + AdaBins-HR': (0.903, 0.984, 0.997, 0.103, 0.364),
}
_NYU_METHODS = {
    'Eigen': (0.769, 0.950, 0.988, 0.158, 0.641),
    'Laina': (0.811, 0.953, 0.988, 0.127, 0.573, 0.055),
    'MS-CRF': (0.811, 0.954, 0.987, 0.121, 0.586, 0.052),
    'Hao': (0.841, 0.966, 0.991, 0.127, 0.555, 0.053),
    'Lee': (0.837, 0.971, 0.994, 0.131, 0.538),
    'Fu': (0.828, 0.965, 0.992, 0.115, 0.509, 0.051),
    'SharpNet': (0.836, 0.966, 0.993, 0.139, 0.502, 0.047),
    'Hu': (0.866, 0.975, 0.993, 0.115, 0.530, 0.050),
    'Chen': (0.878, 0.977, 0.994, 0.111, 0.514, 0.048),
    'Yin': (0.875, 0.976, 0.994, 0.108, 0.416, 0.048),
    'BTS': (0.885, 0.978, 0.994, 0.110, 0.392, 0.047),
    'DAV': (0.882, 0.980, 0.996, 0.108, 0.412),
    'AdaBins': (0.903, 0.984, 0.997, 0.103, 0.364, 0.044),
}


class EvaluationError(ValueError):
    """An evaluation that can't be made; the text is for people."""


@dataclass(frozen=True)
class Protocol:
    """
    What of the truth counts.

    Attributes
    ----------
    dataset : str
        'bags', 'folder', 'nyu' or 'kitti'; it decides which Eigen crop is meant.
    crop : str
        'none', 'eigen' (Eigen et al. 2014) or 'garg' (Garg et al. 2016).
    min_depth, max_depth : float
        True depths outside do not count, and predictions are clipped to it, m.
    focal_correction : bool or None
        Whether the focal length of each frame scales its depth. None: not in the benchmarks,
        whose published figures are without.

    """

    dataset: Dataset
    crop: Crop
    min_depth: float
    max_depth: float
    focal_correction: bool | None = None

    @property
    def uses_focal_lengths(self) -> bool:
        """Whether depth is scaled by the focal length of each frame."""
        if self.focal_correction is None:
            return self.dataset not in BENCHMARK_RANGES_M
        return self.focal_correction

    def counted(self, truth: NDArray[Any]) -> NDArray[np.float32]:
        """
        Return the truth with 0 wherever it does not count.

        Parameters
        ----------
        truth : (H, W) float
            Depth, m; 0, NaN or infinite where unknown.

        """
        rows, columns = self.window(truth.shape[0], truth.shape[1])
        inside = np.zeros(truth.shape, bool)
        inside[rows, columns] = True
        inside &= (truth > self.min_depth) & (truth < self.max_depth)
        return np.where(inside, truth, 0).astype(np.float32)

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """
        Return the rows and columns that count in an image of this size.

        NYU's Eigen crop is for 480x640 and scaled to other sizes; the other crops are shares of
        the image.
        """
        if self.crop == 'none':
            return slice(0, height), slice(0, width)
        if self.crop == 'eigen' and self.dataset != 'kitti':
            tall, wide = _NYU_SIZE
            top, bottom, left, right = _NYU_EIGEN
            return (
                slice(top * height // tall, bottom * height // tall),
                slice(left * width // wide, right * width // wide),
            )
        top_share, bottom_share, left_share, right_share = _SHARES[self.crop]
        return (
            slice(int(top_share * height), int(bottom_share * height)),
            slice(int(left_share * width), int(right_share * width)),
        )


def choose_protocol(
    dataset: Dataset,
    model_range: tuple[float, float],
    crop: Crop | None = None,
    min_depth: float | None = None,
    max_depth: float | None = None,
    focal_correction: bool | None = None,
) -> Protocol:
    """
    Return the protocol of a benchmark, or for other data one by the model's range, m.

    Raises
    ------
    EvaluationError
        The depths that are asked for are no range.

    """
    low, high = BENCHMARK_RANGES_M.get(dataset, model_range)
    low, high = low if min_depth is None else min_depth, high if max_depth is None else max_depth
    if not 0 < low < high:
        raise EvaluationError(
            f'the depths that count, {low:g} to {high:g} m, are no range; change --min-depth or '
            '--max-depth'
        )
    crop = crop or BENCHMARK_CROPS.get(dataset, 'none')
    return Protocol(dataset, crop, low, high, focal_correction)


def published(dataset: Dataset) -> dict[str, dict[str, Figures]]:
    """
    Return what papers report on a benchmark.

    Parameters
    ----------
    dataset : str
        'nyu': Tables 2 and 3 of the AdaBins paper (arXiv 2011.14141). 'kitti': AdaBins on the
        Eigen split, as later papers report it. Of anything else there is nothing.

    Returns
    -------
    dict
        Title of a table -> row -> figure by its name in `DepthErrors`; figures that a paper does
        not give are left out.

    """
    if dataset == 'nyu':
        return {
            'AdaBins paper, Table 2': _named(_NYU_VARIANTS, _TABLE_2),
            'AdaBins paper, Table 3': _named(_NYU_METHODS, _TABLE_3),
        }
    if dataset == 'kitti':
        return {'Later papers': {'AdaBins': {'d1': 0.964, 'abs_rel': 0.058, 'rms': 2.360}}}
    return {}


def _named(rows: Mapping[str, tuple[float, ...]], names: tuple[str, ...]) -> dict[str, Figures]:
    # Shorter rows lack the last figures.
    return {row: dict(zip(names, values, strict=False)) for row, values in rows.items()}

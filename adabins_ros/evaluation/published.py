# SPDX-License-Identifier: Apache-2.0
"""What papers report, to read our own figures against."""

from __future__ import annotations

from collections.abc import Mapping

from adabins_ros.evaluation.protocols import Dataset

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

# SPDX-License-Identifier: Apache-2.0
"""Errors on NYU Depth v2 as the paper prints them (arXiv 2011.14141), to stand beside ours."""

from __future__ import annotations

from typing import NamedTuple


class PublishedErrors(NamedTuple):
    """One row of a published table; None where the table has a dash."""

    method: str
    d1: float
    d2: float
    d3: float
    abs_rel: float
    rms: float
    """m."""
    log10: float | None = None


# By bin strategy: what the bins do for the same encoder and decoder.
TABLE_2 = {
    'regression': PublishedErrors('Base + R', 0.881, 0.980, 0.996, 0.111, 0.419),
    'uniform': PublishedErrors('Base + Uniform-Fix-HR', 0.892, 0.981, 0.995, 0.107, 0.383),
    'log': PublishedErrors('Base + Log-Fix-HR', 0.896, 0.981, 0.995, 0.108, 0.379),
    'trained': PublishedErrors('Base + Train-Fix-HR', 0.893, 0.981, 0.995, 0.109, 0.381),
    'adaptive': PublishedErrors('Base + AdaBins-HR', 0.903, 0.984, 0.997, 0.103, 0.364),
}

# Earlier methods, and the paper's own in the last row.
TABLE_3 = (
    PublishedErrors('Eigen', 0.769, 0.950, 0.988, 0.158, 0.641),
    PublishedErrors('Laina', 0.811, 0.953, 0.988, 0.127, 0.573, 0.055),
    PublishedErrors('MS-CRF', 0.811, 0.954, 0.987, 0.121, 0.586, 0.052),
    PublishedErrors('Hao', 0.841, 0.966, 0.991, 0.127, 0.555, 0.053),
    PublishedErrors('Lee', 0.837, 0.971, 0.994, 0.131, 0.538),
    PublishedErrors('Fu', 0.828, 0.965, 0.992, 0.115, 0.509, 0.051),
    PublishedErrors('SharpNet', 0.836, 0.966, 0.993, 0.139, 0.502, 0.047),
    PublishedErrors('Hu', 0.866, 0.975, 0.993, 0.115, 0.530, 0.050),
    PublishedErrors('Chen', 0.878, 0.977, 0.994, 0.111, 0.514, 0.048),
    PublishedErrors('Yin', 0.875, 0.976, 0.994, 0.108, 0.416, 0.048),
    PublishedErrors('BTS', 0.885, 0.978, 0.994, 0.110, 0.392, 0.047),
    PublishedErrors('DAV', 0.882, 0.980, 0.996, 0.108, 0.412),
    PublishedErrors('AdaBins', 0.903, 0.984, 0.997, 0.103, 0.364, 0.044),
)

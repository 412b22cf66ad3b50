# SPDX-License-Identifier: Apache-2.0
"""How a benchmark counts: which pixels, and between which depths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Crop = Literal['none', 'eigen', 'garg']
Dataset = Literal['bags', 'folder', 'nyu', 'kitti']

DEFAULT_CROPS: dict[Dataset, Crop] = {
    'bags': 'none',
    'folder': 'none',
    'nyu': 'eigen',
    'kitti': 'garg',
}
DEPTH_RANGES_M: dict[Dataset, tuple[float, float]] = {'nyu': (1e-3, 10.0), 'kitti': (1e-3, 80.0)}
"""Of the benchmarks; elsewhere the model's own range counts."""

# Shares of the height and of the width. KITTI's are those of the authors' code, which belong
# on the bottom 352 rows and centre 1216 columns (the kb-crop).
_SHARES: dict[str, tuple[float, float, float, float]] = {
    'eigen': (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    'garg': (0.40810811, 0.99189189, 0.03594771, 0.96405229),
}
# Rows and columns of NYU Depth v2's 480x640 images.
_NYU_EIGEN = (45, 471, 41, 601)
_NYU_SIZE = (480, 640)


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

    """

    dataset: Dataset
    crop: Crop
    min_depth: float
    max_depth: float

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

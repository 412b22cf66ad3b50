# SPDX-License-Identifier: Apache-2.0
"""The depth errors of papers as a torchmetrics Metric, right with any number of processes."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import Metric

NAMES = ('d1', 'd2', 'd3', 'abs_rel', 'sq_rel', 'rms', 'rms_log', 'log10', 'silog', 'd1_scaled')


class DepthErrorMetric(Metric):
    """
    Errors per image, averaged over images, as `adabins_ros.evaluation.errors` defines them.

    The state is the sum over images and their number, so the processes of a run add up to what
    one process would say. Images without valid truth do not count.

    Parameters
    ----------
    min_depth, max_depth : float
        Range of the evaluation, m.

    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    sums: torch.Tensor
    images: torch.Tensor

    def __init__(self, min_depth: float, max_depth: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_depth, self.max_depth = min_depth, max_depth
        sums = torch.zeros(len(NAMES), dtype=torch.float64)
        # A Metric's state keeps its dtype when the module around it is cast.
        self.add_state('sums', sums, dist_reduce_fx='sum')
        self.add_state('images', torch.zeros((), dtype=torch.int64), dist_reduce_fx='sum')

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """
        Add a batch.

        Parameters
        ----------
        prediction, truth : torch.Tensor
            (B, 1, H, W), m; truth 0 or NaN where unknown. Predictions are clipped to the range,
            and NaN counts as min_depth.

        Raises
        ------
        ValueError
            If the shapes differ.

        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f'prediction of shape {tuple(prediction.shape)} for a truth of shape '
                f'{tuple(truth.shape)}; resize the prediction to the truth first'
            )
        for predicted, true in zip(prediction, truth, strict=True):
            valid = (true > self.min_depth) & (true < self.max_depth)
            y = true[valid].to(self.sums.dtype)
            if len(y):
                p = predicted[valid].to(self.sums.dtype)
                self.sums += self._errors(p, y)
                self.images += 1

    def compute(self) -> dict[str, torch.Tensor]:
        """Return the means over all images by name; NaN if no image had valid truth."""
        means = torch.where(self.images > 0, self.sums / self.images, torch.nan)
        return dict(zip(NAMES, means.unbind(), strict=True))

    def _errors(self, p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Compute the errors of one image's valid pixels (P,), in the order of NAMES."""
        low, high = self.min_depth, self.max_depth
        p = p.nan_to_num(nan=low, posinf=high, neginf=low).clamp(low, high)
        difference, log_difference = y - p, torch.log(p) - torch.log(y)
        ratio = torch.maximum(y / p, p / y)
        scaled = (p * (_median(y) / _median(p))).clamp(low, high)
        scaled_ratio = torch.maximum(y / scaled, scaled / y)
        figures = (
            (ratio < 1.25).to(y.dtype).mean(),
            (ratio < 1.25**2).to(y.dtype).mean(),
            (ratio < 1.25**3).to(y.dtype).mean(),
            (difference.abs() / y).mean(),
            (difference.square() / y).mean(),
            difference.square().mean().sqrt(),
            log_difference.square().mean().sqrt(),
            (torch.log10(p) - torch.log10(y)).abs().mean(),
            100.0 * log_difference.std(correction=0),
            (scaled_ratio < 1.25).to(y.dtype).mean(),
        )
        return torch.stack(figures)


def _median(values: torch.Tensor) -> torch.Tensor:
    """Return the median; of an even number of values the mean of the middle two, as numpy."""
    ordered = values.sort().values
    count = len(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2

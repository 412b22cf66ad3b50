# SPDX-License-Identifier: Apache-2.0
"""The metric against the float64 numpy errors, in one process and in two."""

from collections.abc import Callable
from pathlib import Path

from adabins_ros.evaluation.depth_errors import average, depth_errors
from adabins_ros.training.metrics import DepthErrorMetric, NAMES, ScaleFactorMetric
import numpy as np
import pytest
import torch
from torch import distributed

RANGE = (0.3, 8.0)


def pictures(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predictions and truths with every kind of pixel, (count, 1, 12, 17) m."""
    generator = torch.Generator().manual_seed(3)
    truth = 9.0 * torch.rand(count, 1, 12, 17, generator=generator)
    prediction = truth * (0.7 + 0.9 * torch.rand(truth.shape, generator=generator))
    truth[:, :, 0], truth[:, :, 1] = 0.0, torch.nan
    prediction[:, :, 3, :4] = torch.tensor([torch.nan, torch.inf, -torch.inf, -1.0])
    truth[1] = 0.0
    truth[2, 0, 5:] = 0.0
    return prediction, truth


def expected(prediction: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    errors = average(
        depth_errors(p.numpy()[0], t.numpy()[0], *RANGE)
        for p, t in zip(prediction, truth, strict=True)
    )
    return {name: getattr(errors, name) for name in NAMES}


def check(actual: dict[str, torch.Tensor], wanted: dict[str, float]) -> None:
    assert actual.keys() == wanted.keys()
    for name, value in wanted.items():
        assert actual[name].item() == pytest.approx(value, rel=1e-10), name


def test_the_metric_is_the_numpy_errors_averaged_over_images() -> None:
    prediction, truth = pictures()
    metric = DepthErrorMetric(*RANGE)
    for batch in ([0], [1, 2], [3, 4]):
        metric.update(prediction[batch], truth[batch])
    check(metric.compute(), expected(prediction, truth))
    metric.reset()
    metric.update(prediction[:1], truth[:1])
    check(metric.compute(), expected(prediction[:1], truth[:1]))


def test_without_valid_truth_there_is_no_figure() -> None:
    metric = DepthErrorMetric(*RANGE)
    metric.update(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    assert all(np.isnan(value.item()) for value in metric.compute().values())


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match='resize the prediction'):
        DepthErrorMetric(*RANGE).update(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 4, 4))


@pytest.mark.slow
def test_two_processes_say_what_one_says(
    apart: Callable[..., Callable[[], int]], tmp_path: Path
) -> None:
    waits = [apart(half_of_the_images, rank, tmp_path) for rank in range(2)]
    assert [wait() for wait in waits] == [0, 0]
    for rank in range(2):
        check(torch.load(tmp_path / f'{rank}.pt'), expected(*pictures()))


def half_of_the_images(rank: int, folder: Path) -> None:
    """Save what one of two processes says: three images here, two there, one without truth."""
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2
    )
    prediction, truth = pictures()
    metric = DepthErrorMetric(*RANGE)
    metric.update(prediction[rank::2], truth[rank::2])
    torch.save(metric.compute(), folder / f'{rank}.pt')
    distributed.destroy_process_group()


def test_the_factor_that_images_ask_for_is_their_median():
    metric = ScaleFactorMetric(*RANGE)
    assert metric.compute()['scale_factor'].isnan()
    truth = 1.0 + torch.rand(5, 1, 12, 17)
    factors = torch.tensor([1.2, 1.25, 1.25, 1.3, 4.0]).view(-1, 1, 1, 1)
    metric.update(truth[:2] / factors[:2], truth[:2])
    metric.update(truth[2:] / factors[2:], truth[2:])
    metric.update(truth[:1], torch.zeros(1, 1, 12, 17))
    found = metric.compute()
    assert found['scale_factor'].item() == pytest.approx(1.25, rel=0.002)
    assert 0.02 < found['scale_spread'].item() < 0.1

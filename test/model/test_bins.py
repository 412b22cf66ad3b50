# SPDX-License-Identifier: Apache-2.0
"""Equations 1 to 3 against the same in float64 numpy."""

from adabins_ros.model.bins import (
    bin_centers,
    depth_and_std,
    FixedBins,
    moments_over_bins,
    normalized_widths,
)
from hypothesis import given, settings, strategies
import numpy as np
import pytest
import torch


def numpy_widths(raw: np.ndarray, eps: float) -> np.ndarray:
    return (raw + eps) / (raw + eps).sum(axis=-1, keepdims=True)


def numpy_centers(widths: np.ndarray, low: float, high: float) -> np.ndarray:
    centers = np.empty_like(widths)
    for i in range(widths.shape[-1]):
        before = widths[..., :i].sum(axis=-1)
        centers[..., i] = low + (high - low) * (widths[..., i] / 2 + before)
    return centers


def numpy_moments(logits: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    c = centers[:, :, None, None]
    mean = (c * p).sum(axis=1, keepdims=True)
    return mean, np.sqrt((((c - mean) ** 2) * p).sum(axis=1, keepdims=True))


@settings(deadline=None, max_examples=50)
@given(
    seed=strategies.integers(0, 2**32 - 1),
    num_bins=strategies.integers(2, 256),
    high=strategies.floats(1.0, 80.0),
    peak=strategies.floats(0.1, 30.0),
)
def test_the_three_equations_hold(seed: int, num_bins: int, high: float, peak: float) -> None:
    generator = np.random.default_rng(seed)
    raw = generator.exponential(size=(2, num_bins))
    logits = generator.normal(scale=peak, size=(2, num_bins, 3, 4))

    widths = normalized_widths(torch.from_numpy(raw).float(), 1e-3)
    centers = bin_centers(widths, 1e-3, high)
    depth, std = depth_and_std(torch.from_numpy(logits).float(), centers)

    expected_widths = numpy_widths(raw, 1e-3)
    expected_centers = numpy_centers(expected_widths, 1e-3, high)
    expected_depth, expected_std = numpy_moments(logits, expected_centers)
    np.testing.assert_allclose(widths, expected_widths, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(centers, expected_centers, rtol=1e-5)
    np.testing.assert_allclose(depth, expected_depth, rtol=1e-5, atol=1e-5 * high)
    np.testing.assert_allclose(std, expected_std, rtol=1e-3, atol=1e-3 * high)


def test_a_worked_example() -> None:
    widths = normalized_widths(torch.tensor([[1.0, 0.0, 2.0]]), 1.0)
    torch.testing.assert_close(widths, torch.tensor([[2 / 6, 1 / 6, 3 / 6]]))
    centers = bin_centers(widths, 1.0, 7.0)
    torch.testing.assert_close(centers, torch.tensor([[2.0, 3.5, 5.5]]))
    # From 1 to 64 m in the logarithm: the sixth, the fifth twelfth and three quarters of it.
    in_log = bin_centers(widths, 1.0, 64.0, 'log')
    torch.testing.assert_close(in_log, torch.tensor([[2.0, 2.0**2.5, 2.0**4.5]]))
    even = torch.zeros(1, 3, 1, 1)
    depth, std = depth_and_std(even, centers)
    assert depth.item() == pytest.approx(11 / 3, rel=1e-6)
    assert std.item() == pytest.approx(np.std([2.0, 3.5, 5.5]), rel=1e-5)


def test_a_certain_pixel_has_no_spread_and_a_finite_gradient() -> None:
    logits = torch.tensor([100.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    depth, std = depth_and_std(logits, torch.tensor([[2.0, 6.0]]))
    (depth + std).sum().backward()
    assert depth.item() == pytest.approx(2.0)
    assert std.item() < 1e-3
    assert torch.isfinite(logits.grad).all()


def test_half_precision_scores_keep_depth_accurate() -> None:
    logits = torch.randn(1, 256, 8, 8, generator=torch.manual_seed(0)).half()
    centers = torch.linspace(0.1, 80, 256)[None]
    expected, _ = numpy_moments(logits.double().numpy(), centers.double().numpy())
    depth, _ = depth_and_std(logits, centers)
    assert depth.dtype == torch.float32
    np.testing.assert_allclose(depth, expected, atol=1e-3)


@pytest.mark.parametrize('strategy', ['uniform', 'log', 'trained'])
def test_fixed_bins_fill_the_range(strategy: str) -> None:
    centers = FixedBins(strategy, 16, 0.5, 8.0, 1e-3)(3)
    assert centers.shape == (3, 16)
    assert (centers.diff(dim=1) > 0).all()
    assert 0.5 < centers.min() < centers.max() < 8.0


def test_uniform_and_log_bins_are_what_their_names_say() -> None:
    uniform = FixedBins('uniform', 4, 1.0, 9.0, 1e-3)(1)[0]
    torch.testing.assert_close(uniform, torch.tensor([2.0, 4.0, 6.0, 8.0]))
    log = FixedBins('log', 4, 1.0, 16.0, 1e-3)(1)[0]
    torch.testing.assert_close(log, torch.tensor([1.5, 3.0, 6.0, 12.0]))


def test_fixed_bins_of_another_name_are_refused() -> None:
    with pytest.raises(ValueError, match='adaptive'):
        FixedBins('adaptive', 4, 1.0, 2.0, 1e-3)


def test_offsets_of_the_bins_count_as_if_added_to_every_score():
    torch.manual_seed(0)
    scores, offsets = 3 * torch.randn(2, 35, 6).double(), 3 * torch.randn(2, 6).double()
    centers = torch.linspace(1, 9, 6).expand(2, 6)
    added = (scores + offsets[:, None]).transpose(1, 2).reshape(2, 6, 5, 7)
    made = moments_over_bins(scores, centers, offsets)
    for moment, expected in zip(made, depth_and_std(added, centers), strict=True):
        torch.testing.assert_close(moment.reshape(2, 1, 5, 7), expected, rtol=0, atol=1e-5)
    for moment in moments_over_bins(100 * scores.float(), centers, 1000 * offsets):
        assert moment.isfinite().all()

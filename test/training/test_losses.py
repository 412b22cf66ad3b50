# SPDX-License-Identifier: Apache-2.0
"""The losses against their formulas, at the edges of what data brings."""

import math

from adabins_ros.training.losses import BinCentersChamfer, LogGradient, SILog, StdLikelihood
import pytest
import torch

RANGE = (0.1, 10.0)


def random_depth(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + 9.0 * torch.rand(*shape, generator=generator)


def brute_force_chamfer(centers: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    total = centers.new_zeros(())
    for one_image, depth in zip(centers, truth, strict=True):
        points = depth[(depth > RANGE[0]) & (depth < RANGE[1])]
        if len(points):
            squares = (one_image[:, None] - points[None]).square()
            total = total + squares.min(dim=1).values.mean() + squares.min(dim=0).values.mean()
    return total / len(centers)


def test_silog_is_the_papers_formula() -> None:
    prediction, truth = random_depth(2, 1, 6, 8), random_depth(2, 1, 6, 8, seed=1)
    g = (prediction.log() - truth.log()).double()
    expected = 10 * torch.sqrt(g.var(correction=0) + 0.15 * g.mean() ** 2)
    torch.testing.assert_close(SILog(*RANGE)(prediction, truth).double(), expected)


def test_silog_leaves_out_unknown_and_out_of_range_truth() -> None:
    prediction, truth = random_depth(1, 1, 6, 8), random_depth(1, 1, 6, 8, seed=1)
    expected = SILog(*RANGE)(prediction[..., 3:], truth[..., 3:])
    truth[..., 0], truth[..., 1], truth[..., 2] = 0.0, 12.0, torch.nan
    prediction.requires_grad_()
    loss = SILog(*RANGE)(prediction, truth)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.isfinite().all()
    assert (gradient[..., :3] == 0).all()
    assert (gradient[..., 3:] != 0).all()


def test_silog_compares_at_the_truths_size() -> None:
    columns = torch.linspace(1.0, 5.0, 9)
    truth = columns.expand(1, 1, 5, 9)
    prediction = columns[::2].expand(1, 1, 3, 5)
    assert SILog(*RANGE)(prediction, truth) < 1e-4


def test_silog_with_lambda_one_forgives_a_common_factor() -> None:
    truth = random_depth(1, 1, 6, 8)
    assert SILog(*RANGE, lambda_=1.0)(1.5 * truth, truth) < 1e-4
    torch.testing.assert_close(
        SILog(*RANGE)(1.5 * truth, truth), 10 * 0.15**0.5 * torch.tensor(1.5).log()
    )


@pytest.mark.parametrize('valid_pixels', [0, 1])
def test_an_almost_empty_truth_gives_finite_gradients(valid_pixels: int) -> None:
    prediction = random_depth(1, 1, 6, 8).requires_grad_()
    centers = random_depth(1, 5).requires_grad_()
    truth = torch.zeros(1, 1, 6, 8)
    truth.flatten()[:valid_pixels] = 3.0
    silog, chamfer = SILog(*RANGE)(prediction, truth), BinCentersChamfer(*RANGE)(centers, truth)
    if valid_pixels == 0:
        assert silog == chamfer == 0
    else:
        assert silog > 0
        assert chamfer > 0
    for loss, leaf in ((silog, prediction), (chamfer, centers)):
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert gradient.isfinite().all()
        assert gradient.any() == (valid_pixels > 0)


def test_the_scale_of_a_frame_that_has_none_is_forgiven_and_its_shape_is_not() -> None:
    truth = random_depth(2, 1, 20, 30)
    truth[:, :, :4] = 0
    known = torch.tensor([True, False])
    doubled = truth.clamp_min(1e-3) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    assert SILog(*RANGE)(doubled, truth) > 1
    assert SILog(*RANGE)(doubled, truth, known) < 1e-4
    assert SILog(*RANGE)(doubled, truth, ~known) > 1
    bent = truth.clamp_min(1e-3) * torch.linspace(1, 2, 30)
    assert SILog(*RANGE)(bent, truth, ~known) > 0.5


def test_edges_count_at_every_scale_and_a_common_factor_does_not() -> None:
    truth = torch.full((1, 1, 64, 64), 2.0)
    truth[..., 32:] = 4.0
    gradient = LogGradient(*RANGE)
    assert gradient(1.7 * truth, truth) < 1e-5
    flat = torch.full_like(truth, 2.0)
    # ln 2 at one step of 63, 31, 15 and 7.
    expected = math.log(2) * (1 / 63 + 1 / 31 + 1 / 15 + 1 / 7) / 4
    assert float(gradient(flat, truth)) == pytest.approx(expected, rel=1e-4)
    hidden = truth.clone()
    hidden[..., 24:40] = 0
    assert gradient(flat, hidden) < 1e-5
    half = truth[..., ::2, ::2].clone().requires_grad_()
    (slope,) = torch.autograd.grad(gradient(half, torch.zeros_like(truth)), half)
    assert not slope.any()


def test_a_perfect_prediction_has_a_finite_gradient() -> None:
    prediction = torch.full((1, 1, 4, 4), 2.0, requires_grad=True)
    loss = SILog(*RANGE)(prediction, torch.full((1, 1, 4, 4), 2.0))
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert loss < 1e-4
    assert gradient.isfinite().all()


@pytest.mark.parametrize('empty', [None, 0, 2])
def test_chamfer_equals_brute_force_in_value_and_gradient(empty: int | None) -> None:
    centers = random_depth(3, 16).sort(dim=1).values.requires_grad_()
    truth = random_depth(3, 1, 25, 40, seed=1)
    truth[truth < 2.0] = 0.0
    truth[truth > 8.5] += 4.0
    if empty is not None:
        truth[empty] = 0.0
    loss = BinCentersChamfer(*RANGE)(centers, truth)
    (gradient,) = torch.autograd.grad(loss, centers)
    double = centers.detach().double().requires_grad_()
    expected = brute_force_chamfer(double, truth.double())
    (expected_gradient,) = torch.autograd.grad(expected, double)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-6, atol=1e-6)


def test_chamfer_takes_bins_in_any_order() -> None:
    truth = random_depth(1, 1, 9, 9)
    centers = random_depth(1, 12)
    assert BinCentersChamfer(*RANGE)(centers, truth) == BinCentersChamfer(*RANGE)(
        centers.flip(1), truth
    )


def test_half_precision_predictions_are_compared_in_single_precision() -> None:
    prediction, truth = random_depth(2, 1, 60, 80), random_depth(2, 1, 120, 160, seed=1)
    centers = random_depth(2, 16)
    for dtype in (torch.float16, torch.bfloat16):
        silog = SILog(*RANGE)(prediction.to(dtype), truth)
        chamfer = BinCentersChamfer(*RANGE)(centers.to(dtype), truth)
        assert silog.dtype == chamfer.dtype == torch.float32
        torch.testing.assert_close(silog, SILog(*RANGE)(prediction, truth), rtol=1e-2, atol=0)
        torch.testing.assert_close(
            chamfer, BinCentersChamfer(*RANGE)(centers, truth), rtol=0.1, atol=1e-3
        )


def test_the_likelihood_is_best_where_the_standard_deviation_is_the_error() -> None:
    prediction, truth = random_depth(2, 1, 6, 8), random_depth(2, 1, 6, 8, seed=1)
    error = (prediction.log() - truth.log()).abs()
    best = math.sqrt(2) * error * prediction
    expected = (math.sqrt(2) * error).log().mean() + 1
    likelihood = StdLikelihood(*RANGE)
    torch.testing.assert_close(likelihood(prediction, best, truth), expected)
    assert likelihood(prediction, 1.2 * best, truth) > expected
    assert likelihood(prediction, best / 1.2, truth) > expected


def test_the_likelihood_leaves_the_depth_alone_and_survives_missing_truth() -> None:
    prediction = random_depth(2, 1, 6, 8).requires_grad_()
    std = torch.full_like(prediction, 0.3).requires_grad_()
    truth = random_depth(2, 1, 6, 8, seed=1)
    truth[0], truth[1, :, :3] = 0, torch.nan
    StdLikelihood(*RANGE)(prediction, std, truth).backward()
    assert prediction.grad is None
    assert std.grad is not None
    assert std.grad[1, :, 3:].ne(0).all()
    assert std.grad[0].eq(0).all()
    loss = StdLikelihood(*RANGE)(prediction, std, torch.zeros_like(truth))
    loss.backward()
    assert float(loss) == 0.0
    assert std.grad.isfinite().all()

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.nets import build_net
from rawdenoise.nets.gaussians import (
    DIAGONAL,
    FACTOR,
    Prediction,
    constrained_negative_log_likelihood,
    diagonal_factor,
    mix,
    negative_log_likelihood,
    outer,
    posterior_mean,
)
from rawdenoise.training.objectives import NEED_BLIND_SPOTS, OBJECTIVES, Step

SHAPE = (2, 4, 3, 5)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def a_factor(seed: int) -> torch.Tensor:
    factor = 0.5 * drawn(2, FACTOR, 3, 5, seed=seed)
    factor[:, DIAGONAL] = factor[:, DIAGONAL].abs() + 0.3
    return factor


def a_prediction(seed: int = 1) -> Prediction:
    return Prediction(drawn(*SHAPE, seed=seed), a_factor(seed + 1), a_factor(seed + 2))


def matrices(factor: torch.Tensor) -> torch.Tensor:
    """The covariances as matrices, one per pixel."""
    lower = torch.zeros(2, 3, 5, 4, 4)
    for row in range(4):
        for column in range(row + 1):
            lower[..., row, column] = factor[:, row * (row + 1) // 2 + column]
    return lower @ lower.mT


def vectors(planes: torch.Tensor) -> torch.Tensor:
    return planes.movedim(1, -1)


def all_valid() -> torch.Tensor:
    return torch.ones(SHAPE, dtype=torch.bool)


def independent(factor: torch.Tensor) -> torch.Tensor:
    """The same without what the planes have in common."""
    return diagonal_factor(factor[:, DIAGONAL])


# Normal distributions, against torch's own


def test_likelihood_is_that_of_a_normal_distribution_of_four_planes() -> None:
    prediction, y = a_prediction(), drawn(*SHAPE, seed=9)
    covariance = matrices(prediction.signal) + matrices(prediction.noise)
    normal = torch.distributions.MultivariateNormal(vectors(prediction.mean), covariance)
    expected = -normal.log_prob(vectors(y)) - 2 * math.log(2 * math.pi)
    torch.testing.assert_close(negative_log_likelihood(prediction, y, all_valid()), expected)


def test_what_is_not_valid_has_no_say_and_is_told_by_the_other_planes() -> None:
    prediction, y, valid = a_prediction(), drawn(*SHAPE, seed=9), all_valid()
    valid[:, 2] = False
    others = [0, 1, 3]
    covariance = matrices(prediction.signal) + matrices(prediction.noise)
    normal = torch.distributions.MultivariateNormal(
        vectors(prediction.mean)[..., others], covariance[..., others, :][..., others]
    )
    expected = -normal.log_prob(vectors(y)[..., others]) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(negative_log_likelihood(prediction, y, valid), expected)
    wild = torch.where(valid, y, 1e4)
    for likelihood in (negative_log_likelihood, constrained_negative_log_likelihood):
        torch.testing.assert_close(likelihood(prediction, wild, valid), likelihood(prediction, y, valid))
    # What is said of the plane that is left out makes no difference either.
    factors = [independent(prediction.signal), independent(prediction.noise)]
    for likelihood in (negative_log_likelihood, constrained_negative_log_likelihood):
        one = likelihood(Prediction(prediction.mean, *factors), y, valid)
        louder = [torch.cat([each[:, :5], 7 * each[:, 5:6], each[:, 6:]], dim=1) for each in factors]
        torch.testing.assert_close(likelihood(Prediction(prediction.mean, *louder), y, valid), one)


def test_posterior_mean_is_bayes_rule_and_exact_for_normal_signals() -> None:
    prediction, y = a_prediction(), drawn(*SHAPE, seed=9)
    signal, noise = matrices(prediction.signal), matrices(prediction.noise)
    gain = signal @ torch.linalg.inv(signal + noise)
    expected = vectors(prediction.mean) + (gain @ vectors(y - prediction.mean)[..., None])[..., 0]
    torch.testing.assert_close(vectors(posterior_mean(prediction, y)), expected, rtol=1e-4, atol=1e-5)


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(-50, 50), st.floats(-50, 50))
def test_a_posterior_lies_between_prior_mean_and_observation(
    signal: float, noise: float, mean: float, y: float
) -> None:
    ones = torch.ones(1, 4, 1, 1)
    prediction = Prediction(mean * ones, diagonal_factor(signal * ones), diagonal_factor(noise * ones))
    found = float(posterior_mean(prediction, y * ones)[0, 0, 0, 0])
    low, high = sorted((mean, y))
    assert low - 1e-3 <= found <= high + 1e-3
    assert found == pytest.approx((y * signal**2 + mean * noise**2) / (signal**2 + noise**2), abs=1e-2)


def test_the_constrained_likelihood_is_an_upper_bound_near_for_little_signal() -> None:
    prediction, y = a_prediction(), drawn(*SHAPE, seed=9)
    for scale, most in ((1.0, math.inf), (1e-2, 1e-3)):
        scaled = replace(prediction, signal=scale * prediction.signal)
        gap = constrained_negative_log_likelihood(scaled, y, all_valid()) - negative_log_likelihood(
            scaled, y, all_valid()
        )
        assert float(gap.min()) + 1e-5 >= 0
        assert float(gap.max()) < most


def test_mixed_noise_has_the_covariance_of_its_factor() -> None:
    factor = a_factor(3)[:1, :, :1, :1].expand(20_000, -1, 1, 1)
    noise = vectors(mix(factor, drawn(20_000, 4, 1, 1, seed=4)))[:, 0, 0]
    torch.testing.assert_close(torch.cov(noise.T), matrices(a_factor(3))[0, 0, 0], rtol=0, atol=0.04)
    assert outer(factor)[0, 0, 0, 0] == pytest.approx(float(factor[0, 0, 0, 0]) ** 2)


# Networks


def awake(name: str) -> torch.nn.Module:
    """A network whose every weight has its say."""
    torch.manual_seed(0)
    net = build_net(name)
    for weights in net.parameters():
        torch.nn.init.normal_(weights, std=0.1 if weights.ndim < 2 else 1 / math.sqrt(weights[0].numel()))
    return net


@pytest.mark.parametrize("name", ["d-bsn", "d-bsn-light", "d-bsn-light-planes"])
@pytest.mark.parametrize("place", [(0, 0), (1, 1), (0, 9), (2, 1), (12, 13), (23, 22), (21, 23), (22, 8)])
def test_no_answer_depends_on_its_own_pixel(name: str, place: tuple[int, int]) -> None:
    row, column = place
    net = awake(name)
    y = (20 + 3 * drawn(1, 4, 24, 24, seed=2)).requires_grad_()
    prediction = net.predict(y, torch.full((1, 4), 80.0))
    answers = torch.cat([prediction.mean, prediction.signal, prediction.noise], dim=1)[0, :, row, column]
    (gradient,) = torch.autograd.grad((answers * drawn(24, seed=3)).sum(), y)
    assert not gradient[0, :, row, column].any()
    near = gradient[0, :, max(0, row - 3) : row + 4, max(0, column - 3) : column + 4].abs().amax(dim=0)
    assert (near > 0).sum() == near.numel() - 1


def test_its_radius_holds_all_it_looks_at() -> None:
    net = awake("d-bsn-light")
    y = (20 + 3 * drawn(1, 4, 48, 48, seed=2)).requires_grad_()
    mean = net.predict(y, torch.full((1, 4), 80.0)).mean
    (gradient,) = torch.autograd.grad(mean[0, :, 24, 24].sum(), y)
    rows, columns = gradient[0].abs().amax(dim=0).nonzero().T
    assert max((rows - 24).abs().max(), (columns - 24).abs().max()) == net.radius


def test_untrained_it_is_a_mean_of_the_pixels_around_and_trusts_the_noise_level() -> None:
    net = build_net("d-bsn-light")
    slope = torch.arange(40.0).expand(1, 4, 40, 40) + 10
    prediction = net.predict(slope, torch.full((1, 4), 80.0))
    torch.testing.assert_close(prediction.mean[..., 3:-3, 3:-3], slope[..., 3:-3, 3:-3])
    one = torch.ones(1, 4, 40, 40)
    torch.testing.assert_close(prediction.noise, diagonal_factor(one), rtol=0, atol=2e-3)


@pytest.mark.parametrize("level", [0.0, 200.0])
def test_flat_dark_and_clipped_areas_give_numbers(level: float) -> None:
    net = build_net("d-bsn-light")
    y = torch.full((1, 4, 24, 24), level)
    for objective in sorted(NEED_BLIND_SPOTS):
        for valid in (torch.ones_like(y).bool(), torch.zeros_like(y).bool()):
            loss = OBJECTIVES[objective](step(net, y, valid))
            loss.backward()
            assert bool(torch.isfinite(loss))
    assert all(bool(torch.isfinite(each.grad).all()) for each in net.parameters() if each.grad is not None)


def test_noise_of_one_image_or_correlated_over_the_planes() -> None:
    signal, white = 20 + 5 * drawn(2, 4, 8, 8, seed=1), torch.full((1, 4, 1, 1), 80.0)
    torch.manual_seed(0)
    whole, correlated = (build_net(f"d-bsn-light{kind}").noise for kind in ("-image", "-planes"))
    for net in (whole, correlated):
        torch.nn.init.normal_(net.layers[-1].weight)
    told = whole(signal, white)
    assert bool((told == told[:, :, :1, :1]).all())
    assert not torch.equal(told[0], told[1])
    below = correlated(signal, white)[:, [1, 3, 4, 6, 7, 8]]
    assert below.abs().min() > 0


# What the likelihood finds


def step(net: torch.nn.Module, y: torch.Tensor, valid: torch.Tensor | None = None) -> Step:
    white = torch.full((1, 4), 80.0)
    return Step(
        denoise=lambda noisy, sigma=1.0: net(noisy, white),
        teacher=lambda noisy, sigma=1.0: net(noisy, white),
        noisy=y,
        valid=torch.ones_like(y).bool() if valid is None else valid,
        target=None,
        done=1.0,
        gamma=1.0,
        generator=torch.Generator().manual_seed(0),
        predict=lambda noisy: net.predict(noisy, white),
    )


@pytest.mark.parametrize("objective", ["unpaired", pytest.param("unpaired-paper", marks=pytest.mark.long)])
def test_the_noise_estimator_finds_noise_that_was_calibrated_wrong(objective: str) -> None:
    """Flat scenes with noise of 1.5 sigmas where the signal is low, and of 0.7 where it is high."""
    torch.manual_seed(0)
    net = build_net("d-bsn-light")
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    levels = torch.tensor([10.0, 60.0]).repeat(2)[:, None, None, None]
    truth = torch.where(levels < 30, 1.5, 0.7)
    for seed in range(120):
        y = levels + truth * drawn(4, 4, 24, 24, seed=seed)
        loss = OBJECTIVES[objective](replace(step(net, y), done=seed / 120))
        adam.zero_grad()
        loss.backward()
        adam.step()
    prediction = net.predict(levels + truth * drawn(4, 4, 24, 24, seed=99), torch.full((1, 4), 80.0))
    deviations = prediction.noise[:, DIAGONAL].mean(dim=(1, 2, 3))
    torch.testing.assert_close(deviations, truth.flatten(), rtol=0.1, atol=0)


def test_a_network_that_sees_its_pixel_is_refused() -> None:
    blind = step(build_net("d-bsn-light"), drawn(1, 4, 24, 24, seed=0))
    for objective in sorted(NEED_BLIND_SPOTS):
        with pytest.raises(ValueError, match="blind-spot"):
            OBJECTIVES[objective](replace(blind, predict=None))

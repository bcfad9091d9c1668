from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.noise.tukey import tukey_lambda, tukey_lambda_deviation

SHOT = 1e-4


def model(read_electrons: float, shot: float = SHOT) -> NoiseModel:
    return NoiseModel((shot,) * 4, (max((shot * read_electrons) ** 2, 1e-12),) * 4)


def distribution(electrons: float, read_electrons: float) -> tuple[np.ndarray, np.ndarray]:
    """The values a pixel takes, in electrons, and how probable each is: Poisson plus Gaussian."""
    count = np.arange(int(electrons + 9 * np.sqrt(electrons) + 20))
    logarithm = count * np.log(max(electrons, 1e-300)) - electrons
    poisson = np.exp(logarithm - np.concatenate([[0.0], np.cumsum(np.log(count[1:]))]))
    sigmas = np.linspace(-8, 8, 401)
    gaussian = np.exp(-(sigmas**2) / 2)
    probability = np.outer(poisson, gaussian / gaussian.sum())
    return count[:, None] + read_electrons * sigmas, probability


@cache
def stabilised_moments(electrons: float, read_electrons: float) -> tuple[float, float]:
    """Mean and standard deviation of a flat field after `stabilize`."""
    values, probability = distribution(electrons, read_electrons)
    planes = torch.from_numpy((SHOT * values).astype(np.float32)).expand(4, -1, -1).contiguous()
    z = stabilize(planes, model(read_electrons))[2].double().numpy()
    mean = float((probability * z).sum())
    return mean, float(np.sqrt((probability * (z - mean) ** 2).sum()))


@pytest.mark.parametrize("read_electrons", [0.0, 0.5, 0.83, 1.06, 1.64, 4.1, 5.4, 30.0])
@pytest.mark.parametrize("electrons", [5.0, 7.0, 10.0, 30.0, 300.0])
def test_noise_has_unit_variance(electrons: float, read_electrons: float) -> None:
    assert stabilised_moments(electrons, read_electrons)[1] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("read_electrons", [0.5, 0.83, 1.06, 1.64, 4.1, 5.4, 30.0])
@pytest.mark.parametrize("electrons", [0.0, 0.3, 1.0, 1.5, 2.0, 3.5])
def test_noise_has_unit_variance_down_to_black(electrons: float, read_electrons: float) -> None:
    assert stabilised_moments(electrons, read_electrons)[1] == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("read_electrons", [0.2, 0.5, 0.83, 1.06, 1.64, 4.1, 5.4, 30.0])
@pytest.mark.parametrize("electrons", [0.0, 0.5, 1.0, 3.0, 10.0, 100.0, 1000.0])
def test_a_flat_field_keeps_its_mean(electrons: float, read_electrons: float) -> None:
    mean, _ = stabilised_moments(electrons, read_electrons)
    back = unstabilize(torch.full((4, 1, 1), mean), model(read_electrons))
    allowed = 5e-4 * electrons + 7e-4 + 1e-4 * read_electrons  # 0.02 DN at 27 DN per electron, and 0.05 %
    assert abs(float(back[1, 0, 0]) / SHOT - electrons) < allowed


@pytest.mark.parametrize("electrons", [1.0, 5.0, 30.0])
def test_quantisation_moves_no_flat_field(electrons: float) -> None:
    """A step of one DN at 1.5 DN per electron and a read noise of 0.7 electrons, the step's own included."""
    gain, read_electrons = 1.5, 0.7
    pure = np.sqrt(read_electrons**2 - 1 / 12 / gain**2)
    values, probability = distribution(electrons, float(pure))
    quantised = np.rint(gain * values) / gain
    planes = torch.from_numpy((SHOT * quantised).astype(np.float32)).expand(4, -1, -1).contiguous()
    noise = model(read_electrons)
    z = stabilize(planes, noise)[0].double().numpy()
    mean = float((probability * z).sum())
    back = float(unstabilize(torch.full((4, 1, 1), mean), noise)[0, 0, 0]) / SHOT
    before = float((probability * quantised).sum())
    assert abs(back - before) * gain < 0.02 + 5e-4 * electrons * gain
    assert np.sqrt((probability * (z - mean) ** 2).sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("gain", "read_electrons", "tail"), [(24.5, 1.07, -0.09), (1.53, 4.14, -0.044)])
@pytest.mark.parametrize("electrons", [0.0, 1.0, 2.0, 5.0, 50.0])
def test_long_tails_that_are_known_move_no_flat_field(
    electrons: float, gain: float, read_electrons: float, tail: float
) -> None:
    logits = np.linspace(-25, 25, 20001)
    edges = 1 / (1 + np.exp(-logits))
    read = read_electrons * tukey_lambda((edges[1:] + edges[:-1]) / 2, tail) / tukey_lambda_deviation(tail)
    counts, poisson = distribution(electrons, 0.0)
    values = counts[:, :1] + read
    probability = poisson.sum(axis=1, keepdims=True) * np.diff(edges)
    planes = torch.from_numpy((SHOT * values).astype(np.float32)).expand(4, -1, -1).contiguous()
    noise = replace(model(read_electrons), tail=tail)
    z = stabilize(planes, noise)[0].double().numpy()
    mean = float((probability * z).sum())
    back = float(unstabilize(torch.full((4, 1, 1), mean), noise)[0, 0, 0]) / SHOT
    assert abs(back - electrons) * gain < 0.02 + 5e-4 * electrons * gain
    assert np.sqrt((probability * (z - mean) ** 2).sum()) == pytest.approx(1, abs=0.08)


@given(st.floats(1e-12, 1e-1), st.floats(1e-12, 1e-2))
def test_both_ways_are_monotone_and_black_stays_near_black(shot: float, read: float) -> None:
    noise = NoiseModel((shot,) * 4, (read,) * 4)
    white = float(stabilized_white(noise)[0])
    z = torch.linspace(-0.05 * white - 12, 1.1 * white, 2001).expand(4, 1, -1).contiguous()
    y = unstabilize(z, noise)
    assert bool(torch.isfinite(y).all())
    assert float(y.diff(dim=2).min()) >= -1e-6 * max(1.0, float(y.abs().max()))
    again = stabilize(y, noise)
    assert float(again.diff(dim=2).min()) >= -1e-5 * max(1.0, float(again.abs().max()))
    black = unstabilize(torch.zeros(4, 1, 1), noise)
    assert abs(float(black[0, 0, 0])) <= 0.5 * shot


@given(st.floats(1e-12, 1e-1), st.floats(1e-12, 1e-2))
def test_black_goes_to_zero_and_white_to_stabilized_white(shot: float, read: float) -> None:
    noise = NoiseModel((shot,) * 4, (read,) * 4)
    ends = stabilize(torch.tensor([0.0, 1.0]).expand(4, 1, 2).contiguous(), noise)
    assert torch.equal(ends[:, 0, 0], torch.zeros(4))
    torch.testing.assert_close(ends[:, 0, 1], stabilized_white(noise))


def test_without_shot_noise_it_divides_by_the_read_noise() -> None:
    noise = NoiseModel((1e-12,) * 4, (1e-4,) * 4)
    y = torch.linspace(-0.2, 1, 50).expand(4, 1, 50).contiguous()
    torch.testing.assert_close(stabilize(y, noise), y / 0.01, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(unstabilize(y / 0.01, noise), y, rtol=1e-4, atol=1e-6)


def test_gradients_are_the_slopes() -> None:
    noise = model(0.8, shot=1e-3)
    y = torch.linspace(-0.02, 0.3, 5003).expand(4, 1, -1).contiguous().requires_grad_()
    z = stabilize(y, noise)
    z.sum().backward()
    secant = z.detach().diff(dim=2) / y.detach().diff(dim=2)
    slopes = y.grad[..., 1:]
    assert float((slopes / secant - 1).abs().mean()) < 1e-3
    back = z.detach().requires_grad_()
    unstabilize(back, noise).sum().backward()
    assert bool((back.grad > 0).all())


def test_gradients_are_there_after_a_call_without() -> None:
    noise = model(0.77, shot=3e-3)
    y = torch.rand(4, 2, 2)
    with torch.inference_mode():
        stabilize(y, noise)
    y = y.clone().requires_grad_()
    stabilize(y, noise).sum().backward()
    assert bool((y.grad > 0).all())


def test_values_far_below_black_stay_finite_and_have_gradients() -> None:
    noise = model(1.0, shot=1e-3)
    y = torch.full((4, 2, 2), -1.0, requires_grad=True)
    z = stabilize(y, noise)
    unstabilize(z, noise).sum().backward()
    assert bool(torch.isfinite(z).all())
    assert bool(torch.isfinite(y.grad).all())


def test_what_is_no_number_stays_none_and_harms_nothing_else() -> None:
    noise = model(1.0)
    y = torch.tensor([float("nan"), float("inf"), -1e30, 0.5]).expand(4, 1, 4).contiguous()
    for there in (stabilize, unstabilize):
        out = there(y, noise)
        assert bool(out[:, 0, 0].isnan().all())
        assert torch.equal(out[:, 0, 3:], there(y[:, :, 3:].contiguous(), noise)[:, 0])


def test_planes_have_their_own_noise() -> None:
    noise = NoiseModel((1e-4, 2e-4, 4e-4, 8e-4), (1e-6,) * 4)
    white = stabilized_white(noise)
    assert bool((white.diff() < 0).all())
    batch = stabilize(torch.ones(2, 4, 1, 1), noise)
    torch.testing.assert_close(batch[1, :, 0, 0], white)
    alone = stabilize(torch.full((4, 1, 1), 1e-3), NoiseModel((4e-4,) * 4, (1e-6,) * 4))
    together = stabilize(torch.full((4, 1, 1), 1e-3), noise)
    torch.testing.assert_close(together[2], alone[2])


def test_every_device_gives_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    noise, y = model(1.0), torch.rand(2, 4, 16, 16)
    z = stabilize(y, noise)
    torch.testing.assert_close(stabilize(y.cuda(), noise).cpu(), z)
    torch.testing.assert_close(unstabilize(z.cuda(), noise).cpu(), unstabilize(z, noise))

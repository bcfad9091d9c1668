from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.noise import NoiseModel
from rawdenoise.stabilize import stabilize, stabilized_white, unstabilize


def model(shot: float, read_electrons: float) -> NoiseModel:
    return NoiseModel((shot,) * 4, (max((shot * read_electrons) ** 2, 1e-12),) * 4)


def observe(shot: float, read_electrons: float, electrons: float, side: int = 700) -> torch.Tensor:
    rng = np.random.default_rng(0)
    size = (4, side, side)
    values = shot * (rng.poisson(electrons, size) + read_electrons * rng.standard_normal(size))
    return torch.from_numpy(values.astype(np.float32))


def mean(planes: torch.Tensor) -> torch.Tensor:
    return planes.double().mean().float().expand(4, 1, 1).contiguous()


@pytest.mark.parametrize("read_electrons", [0.0, 0.7, 1.5, 5.0, 30.0])
@pytest.mark.parametrize("electrons", [3.0, 10.0, 100.0])
def test_noise_has_unit_variance(electrons: float, read_electrons: float) -> None:
    noise = model(1e-3, read_electrons)
    z = stabilize(observe(1e-3, read_electrons, electrons), noise)
    assert float(z.var()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("read_electrons", [0.0, 0.7, 1.5, 5.0, 30.0])
@pytest.mark.parametrize("electrons", [2.0, 3.0, 10.0, 100.0, 1000.0])
def test_a_flat_field_keeps_its_mean(electrons: float, read_electrons: float) -> None:
    y = observe(1e-4, read_electrons, electrons)
    noise = model(1e-4, read_electrons)
    back = unstabilize(mean(stabilize(y, noise)), noise)
    sigma = 1e-4 * np.sqrt(electrons + read_electrons**2)
    allowed = 0.016 if electrons < 3 else 0.01  # the closed form is an approximation below three electrons
    assert abs(float(back.mean()) - float(y.double().mean())) < allowed * sigma


@given(st.floats(1e-12, 1e-1), st.floats(1e-12, 1e-2))
def test_the_inverse_is_monotone_and_black_stays_near_black(shot: float, read: float) -> None:
    noise = NoiseModel((shot,) * 4, (read,) * 4)
    white = float(stabilized_white(noise)[0])
    z = torch.linspace(-0.05 * white - 8, 1.1 * white, 2001).expand(4, 1, -1).contiguous()
    y = unstabilize(z, noise)
    assert bool(torch.isfinite(y).all())
    assert float(y.diff(dim=2).min()) >= -1e-6 * max(1.0, float(y.abs().max()))
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


def test_values_far_below_black_stay_finite_and_have_gradients() -> None:
    noise = model(1e-3, 1.0)
    y = torch.full((4, 2, 2), -1.0, requires_grad=True)
    z = stabilize(y, noise)
    unstabilize(z, noise).sum().backward()
    assert bool(torch.isfinite(z).all())
    assert bool(torch.isfinite(y.grad).all())


def test_planes_have_their_own_noise() -> None:
    noise = NoiseModel((1e-4, 2e-4, 4e-4, 8e-4), (1e-6,) * 4)
    white = stabilized_white(noise)
    assert bool((white.diff() < 0).all())
    batch = stabilize(torch.ones(2, 4, 1, 1), noise)
    torch.testing.assert_close(batch[1, :, 0, 0], white)

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.cli.train import ObjectiveName
from rawdenoise.errors import ExtensionError, TrainingError
from rawdenoise.extensions import registry
from rawdenoise.nets import StabilizedDenoiser, build_net
from rawdenoise.training.objectives import OBJECTIVES, Step
from rawdenoise.training.objectives.blind2unblind import (
    compute_visibility,
    denoise_blind_spots,
    fill_from_neighbors,
)
from rawdenoise.training.objectives.noise2grad import transfer
from rawdenoise.training.objectives.noise2void import hide
from rawdenoise.training.objectives.noisier2noise import ALPHA
from rawdenoise.training.objectives.r2r import recorruption_loss
from rawdenoise.training.objectives.self2self import average_passes, hide_pixels

ADDED = ["noise2void", "noisier2noise", "blind2unblind", "noise2grad", "self2self"]


def planes(seed: int = 1, height: int = 32, width: int = 32, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 4, height, width, generator=torch.Generator().manual_seed(seed))


def everywhere(like: torch.Tensor) -> torch.Tensor:
    return torch.ones(like.shape, dtype=torch.bool)


def step(denoise: Callable[..., torch.Tensor], noisy: torch.Tensor, **changes: object) -> Step:
    fields: dict[str, object] = {
        "denoise": denoise,
        "teacher": lambda z, sigma=1.0: torch.zeros_like(z),
        "noisy": noisy,
        "valid": everywhere(noisy),
        "target": None,
        "done": 1.0,
        "gamma": 1.0,
        "generator": torch.Generator().manual_seed(2),
    }
    return Step(**{**fields, **changes})  # type: ignore[arg-type]


def random_net(name: str = "fast") -> StabilizedDenoiser:
    """One whose every layer has its say: fresh ones begin with zeros."""
    torch.manual_seed(0)
    net = build_net(name)
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
    return net


def seen_by(net: StabilizedDenoiser) -> Callable[..., torch.Tensor]:
    return lambda noisy, sigma=1.0: sigma * net(noisy / sigma, torch.full((1, 4), 50.0))


def around(z: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """A linear network that looks at a pixel and at the one on its left."""
    return 0.6 * z + 0.3 * z.roll(1, dims=-1)


@pytest.mark.parametrize("name", ADDED)
def test_every_network_learns_from_it(name: str) -> None:
    for kind in ("fast", "best", "paper"):
        net = random_net(kind)
        loss = OBJECTIVES[name](step(seen_by(net), planes(count=1)))
        loss.backward()
        gradients = [weights.grad for weights in net.parameters()]
        assert loss.isfinite()
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("name", ADDED)
def test_the_same_generator_gives_the_same_loss(name: str) -> None:
    def loss(seed: int) -> float:
        return float(OBJECTIVES[name](step(around, planes(), generator=torch.Generator().manual_seed(seed))))

    assert loss(5) == loss(5)
    assert (loss(5) == loss(6)) == (name == "blind2unblind")  # which draws nothing


@pytest.mark.parametrize("name", ADDED)
@given(cut=st.integers(1, 24))
def test_what_is_not_valid_does_not_count_wherever_it_lies(name: str, cut: int) -> None:
    noisy = planes()
    valid = everywhere(noisy)
    valid[..., :cut] = False
    spoiled = torch.where(valid, noisy, noisy + 1000)
    losses = [
        float(
            OBJECTIVES[name](
                step(
                    lambda z, sigma=1.0: 0.5 * z, each, valid=valid,
                    generator=torch.Generator().manual_seed(3),
                )
            )
        )
        for each in (noisy, spoiled)
    ]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0] > 0
    nothing = step(around, noisy, valid=torch.zeros_like(valid))
    assert float(OBJECTIVES[name](nothing)) == 0


# Noise2Void


@given(rows=st.integers(16, 40), columns=st.integers(16, 40), seed=st.integers(0, 2**31))
def test_one_pixel_in_each_cell_of_each_plane_is_replaced_by_another_of_its_plane(
    rows: int, columns: int, seed: int
) -> None:
    noisy = planes(seed, rows, columns)
    hidden, spots = hide(noisy, everywhere(noisy), torch.Generator().manual_seed(seed))
    assert torch.equal(hidden != noisy, spots)
    whole = spots[..., : rows // 8 * 8, : columns // 8 * 8]
    assert int(spots.sum()) == int(whole.sum()) == 2 * 4 * (rows // 8) * (columns // 8)
    assert (whole.unflatten(-2, (-1, 8)).unflatten(-1, (-1, 8)).sum(dim=(-1, -3)) == 1).all()
    for plane, before in zip(hidden.flatten(0, 1), noisy.flatten(0, 1), strict=True):
        assert torch.isin(plane, before).all()


def test_each_plane_has_spots_of_its_own_and_all_places_are_hidden_alike() -> None:
    noisy = planes(height=400, width=400)
    _, spots = hide(noisy, everywhere(noisy), torch.Generator().manual_seed(1))
    assert int(spots.all(dim=1).sum()) < 5
    counts = spots.unflatten(-2, (-1, 8)).unflatten(-1, (-1, 8)).sum(dim=(0, 1, 2, 4))
    assert int(counts.sum()) == 2 * 4 * 50 * 50
    expected = 2 * 4 * 50 * 50 / 64
    assert float((counts - expected).abs().max()) < 5 * expected**0.5


def test_noise2void_is_blind() -> None:
    """What the network answers depends on no hidden pixel; the loss depends on it as on a target alone."""
    noisy = planes().requires_grad_(True)
    denoise = seen_by(random_net())
    hidden, spots = hide(noisy, everywhere(noisy), torch.Generator().manual_seed(2))
    denoised = denoise(hidden)
    (seen,) = torch.autograd.grad((denoised * planes(9)).sum(), noisy, retain_graph=True)
    assert (seen[spots] == 0).all()
    assert (seen[~spots] != 0).float().mean() > 0.99
    (slope,) = torch.autograd.grad(OBJECTIVES["noise2void"](step(denoise, noisy)), noisy)
    as_target = 2 * (noisy - denoised) / spots.sum()
    torch.testing.assert_close(slope[spots], as_target[spots].detach())


def test_noise2void_wants_of_pure_noise_what_supervised_training_wants() -> None:
    """A linear network of a pixel and its neighbour: the minimum is 0, and not to repeat the pixel."""
    noisy = planes(height=512, width=512)
    weights = torch.zeros(2, requires_grad=True)

    def denoise(z: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
        return weights[0] * z + weights[1] * z.roll(1, dims=-1)

    OBJECTIVES["noise2void"](step(denoise, noisy)).backward()
    assert weights.grad is not None
    assert float(weights.grad.abs().max()) < 0.05
    a = torch.tensor(0.5, requires_grad=True)
    OBJECTIVES["noise2void"](step(lambda z, sigma=1.0: a * z, noisy)).backward()
    assert a.grad is not None
    assert float(a.grad) == pytest.approx(2 * 0.5, abs=0.1)  # the slope of |a n|^2, not of |a n - n|^2


# Noisier2Noise


def scaled(a: torch.Tensor) -> Callable[..., torch.Tensor]:
    return lambda z, sigma=1.0: a * z


def test_noisier2noise_is_unbiased_for_a_linear_network() -> None:
    """Scene N(0, s^2), noise N(0, 1): the best a z is Wiener's for noise of variance 1 + alpha^2."""
    deviation = 3.0
    scene = deviation * planes(1, 256, 256, 8)
    noisy = scene + planes(7, 256, 256, 8)
    wiener = deviation**2 / (deviation**2 + 1 + ALPHA**2)

    def slope(a: float) -> float:
        weight = torch.tensor(a, requires_grad=True)
        OBJECTIVES["noisier2noise"](step(scaled(weight), noisy)).backward()
        assert weight.grad is not None
        return float(weight.grad)

    low, high = slope(0.0), slope(1.0)  # of a parabola: its minimum lies where the line between them is 0
    assert low / (low - high) == pytest.approx(wiener, abs=0.003)


def test_what_the_network_learns_is_the_papers_corrected_estimate() -> None:
    """Least squares from z to y, corrected as in the paper, is the minimum of our loss."""
    noisy = 3 * planes(1, 256, 256, 8) + planes(7, 256, 256, 8)
    z = noisy + ALPHA * torch.randn(noisy.shape, generator=torch.Generator().manual_seed(2))
    least_squares = (z * noisy).sum() / z.square().sum()
    corrected = ((1 + ALPHA**2) * least_squares - 1) / ALPHA**2
    weight = corrected.clone().requires_grad_(True)
    OBJECTIVES["noisier2noise"](step(scaled(weight), noisy)).backward()
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_noisier2noise_is_r2r_but_for_a_factor(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, constant in (("noisier2noise", "ALPHA"), ("r2r", "TAU")):
        monkeypatch.setattr(sys.modules[f"rawdenoise.training.objectives.{name}"], constant, alpha)
    noisy, denoise = planes(), seen_by(random_net())
    w = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        other = recorruption_loss(denoise, noisy, w, everywhere(noisy))
        loss = OBJECTIVES["noisier2noise"](step(denoise, noisy))
    assert float(loss) == pytest.approx(float(other) * (alpha**2 / (1 + alpha**2)) ** 2, rel=1e-4)


# Blind2Unblind


def test_blind2unblind_is_blind_at_every_pixel() -> None:
    denoise, noisy = seen_by(random_net()), planes(height=16, width=16, count=1).requires_grad_(True)
    smooth, seen = fill_from_neighbors(noisy, everywhere(noisy))
    blind = denoise_blind_spots(denoise, noisy, smooth)
    assert seen.all()
    for plane, row, column in [(0, 0, 0), (1, 5, 6), (2, 7, 15), (3, 15, 3), (3, 8, 8)]:
        (slope,) = torch.autograd.grad(blind[0, plane, row, column], noisy, retain_graph=True)
        assert [float(each) == 0 for each in slope[0, :, row, column]] == [p == plane for p in range(4)]
        assert (slope != 0).sum() > 100


def test_each_pixel_is_answered_while_it_is_hidden_and_once() -> None:
    """A network that repeats what it sees answers the interpolated planes; it has been asked 16 times."""
    noisy, calls = planes(height=18, width=22), []

    def repeat(z: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
        calls.append(z != noisy)
        return z

    smooth, _ = fill_from_neighbors(noisy, everywhere(noisy))
    assert torch.equal(denoise_blind_spots(repeat, noisy, smooth), smooth)
    assert len(calls) == 16
    assert (torch.stack(calls).sum(dim=0) == 1).all()


def test_what_takes_a_pixels_place_is_the_weighted_mean_of_its_valid_neighbours() -> None:
    noisy = planes(height=8, width=8)
    valid = everywhere(noisy)
    valid[:, 1, 3, 4] = False
    valid[:, 2] = False
    valid[:, 2, 0, 0] = True
    smooth, seen = fill_from_neighbors(noisy, valid)
    y = noisy[0, 0]
    sides = y[2, 3] + y[4, 3] + y[3, 2] + y[3, 4]
    corners = y[2, 2] + y[2, 4] + y[4, 2] + y[4, 4]
    assert float(smooth[0, 0, 3, 3]) == pytest.approx(float((sides + corners / 2) / 6), abs=1e-6)
    y = noisy[0, 1]
    known = y[2, 3] + y[4, 3] + y[3, 2] + (y[2, 2] + y[2, 4] + y[4, 2] + y[4, 4]) / 2
    assert float(smooth[0, 1, 3, 3]) == pytest.approx(float(known / 5), abs=1e-6)
    assert float(smooth[0, 3, 0, 0]) == pytest.approx(
        float((noisy[0, 3, 0, 1] + noisy[0, 3, 1, 0] + noisy[0, 3, 1, 1] / 2) / 2.5), abs=1e-6
    )
    assert not seen[:, 1, 3, 4].any()
    assert not seen[:, 2].any()
    assert int((~seen).sum()) == 2 * (64 + 1)


@pytest.mark.parametrize("done", [0.0, 0.4, 0.7, 1.0])
def test_the_visible_branch_moves_the_target_but_has_no_gradient(done: float) -> None:
    """d/dh of the re-visible loss is that of |h - ((lambda + 1) y - lambda f(y))|^2; f(y) is held fixed."""
    noisy, weight = planes(), compute_visibility(done)
    a = torch.tensor(0.4, requires_grad=True)

    def denoise(z: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
        return a * (z + z.roll(1, dims=-1))

    loss = OBJECTIVES["blind2unblind"](step(denoise, noisy, done=done))
    (slope,) = torch.autograd.grad(loss, a)
    smooth, _ = fill_from_neighbors(noisy, everywhere(noisy))
    fixed = denoise(noisy).detach()
    blind = denoise_blind_spots(denoise, noisy, smooth)
    target = (weight + 1) * noisy - weight * fixed
    wanted = ((blind - target).square().mean() + (blind - noisy).square().mean()) / (weight + 1)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    (expected,) = torch.autograd.grad(wanted, a)
    assert float(slope) == pytest.approx(float(expected), rel=1e-4)


def test_the_visible_branch_rises_as_the_authors_let_it() -> None:
    assert [compute_visibility(done) for done in (0.0, 0.4, 0.7, 1.0)] == pytest.approx([2, 2, 11, 20])


def test_blind2unblind_learns_not_to_repeat_what_it_sees() -> None:
    """On pure noise the right denoiser is 0; f(y) = a y must be drawn there from wherever it is."""
    noisy = planes(height=128, width=128)
    for start in (0.2, 0.5, 1.0):
        a = torch.tensor(start, requires_grad=True)
        given_step = step(lambda z, sigma=1.0, a=a: a * z, noisy, done=0.0)
        for _ in range(60):
            (slope,) = torch.autograd.grad(OBJECTIVES["blind2unblind"](given_step), a)
            with torch.no_grad():
                a -= 0.5 * slope
        assert abs(float(a.detach())) < 0.1


# Noise2Grad


def test_transferred_noise_is_that_of_another_crop_whole_and_independent_of_this_one() -> None:
    residual = 1.3 * planes(seed=5, height=48, width=48, count=6) + 0.2
    noise, known = transfer(residual, everywhere(residual), torch.Generator().manual_seed(3))
    assert known.all()
    assert abs(float(noise.mean())) < 1e-6
    assert float(noise.std()) == pytest.approx(1.3, rel=0.02)
    correlation = (noise * residual).mean(dim=(1, 2, 3)) / 1.3**2
    assert float(correlation.abs().max()) < 0.05
    for crop in noise:
        centered = residual - residual.mean(dim=(2, 3), keepdim=True)
        ways = [(), (1,), (2,), (1, 2)]
        assert any(torch.allclose(crop, each.flip(way), atol=1e-5) for each in centered for way in ways)


def test_transferred_noise_does_not_count_where_it_is_not_known() -> None:
    residual = planes(count=2)
    valid = everywhere(residual)
    valid[0, :, :7] = False
    wild = torch.where(valid, residual, 1e4)
    noise, known = transfer(wild, valid, torch.Generator().manual_seed(3))
    assert int((~known).sum()) == int((~valid).sum())
    assert (noise[~known] == 0).all()
    assert float(noise.abs().max()) < 10


def test_noise2grad_draws_noise_until_there_is_a_teacher() -> None:
    y = planes(count=4)
    seen = []

    def watched(z: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
        seen.append(z)
        return z

    for done, taught in ((0.0, False), (0.0, True), (1.0, False)):
        OBJECTIVES["noise2grad"](step(watched, y, done=done, taught=taught))
    drawn, *moved = seen  # the teacher's answer is 0: what is seen is the noise alone
    centered = y - y.mean(dim=(2, 3), keepdim=True)
    for each in moved:  # all of the residuals, nothing else
        torch.testing.assert_close(each.flatten().sort().values, centered.flatten().sort().values)
    shown = {round(float(value), 3) for value in (y - y.mean(dim=(2, 3), keepdim=True)).flatten()}
    for each in moved:
        assert {round(float(value), 3) for value in each.flatten()} <= shown | {0.0}
    assert len({round(float(value), 3) for value in drawn.flatten()} & shown) < 0.9 * len(shown)


# Self2Self


def test_hidden_pixels_are_gone_and_filled_from_kept_ones() -> None:
    y = planes(height=64, width=64)
    filled, hidden = hide_pixels(y, everywhere(y), torch.Generator().manual_seed(4))
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(filled[~hidden], y[~hidden])
    changed = torch.where(hidden, 1e6, y)
    again, _ = hide_pixels(changed, everywhere(y), torch.Generator().manual_seed(4))
    assert torch.equal(again, filled)


def test_the_error_at_hidden_pixels_is_the_true_one_plus_the_noise() -> None:
    """Proposition 1: for a flat scene and a fixed denoiser."""
    scene = torch.full((4, 4, 96, 96), 5.0)
    noise = planes(seed=8, height=96, width=96, count=4)

    def blur(z: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(z, 5, 1, 2, count_include_pad=False)

    loss = float(OBJECTIVES["self2self"](step(blur, scene + noise)))
    filled, hidden = hide_pixels(scene + noise, everywhere(scene), torch.Generator().manual_seed(2))
    truth = float((blur(filled) - scene)[hidden].square().mean())
    assert loss == pytest.approx(truth + 1, rel=0.03)


def test_an_average_over_masks_is_better_than_one_pass() -> None:
    scene = torch.full((1, 4, 64, 64), 5.0)
    y = scene + planes(height=64, width=64, count=1)
    one = hide_pixels(y, everywhere(y), torch.Generator().manual_seed(1))[0]
    many = average_passes(lambda z, sigma=1.0: z, y, everywhere(y), torch.Generator().manual_seed(1))
    assert (many - scene).square().mean() < 0.8 * (one - scene).square().mean()


# Objectives by name


OURS = registry.BUILT_IN_EXTENSIONS["objectives"]


def an_entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "rawdenoise.objectives")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """What packages have registered: the test's own."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(
        registry, "entry_points", lambda *, group: entries if group == "rawdenoise.objectives" else []
    )
    for once in (registry.extensions, registry.load):
        once.cache_clear()
    yield entries
    for once in (registry.extensions, registry.load):
        once.cache_clear()


def half_squared(given: Step) -> torch.Tensor:
    """An objective of somebody else's package."""
    return 0.5 * given.noisy.square().mean()


def test_ours_are_registered_as_anybodys_are() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["rawdenoise.objectives"] == dict(OURS)
    for name in OURS:
        assert callable(OBJECTIVES[name])


def test_somebody_elses_objective_is_found_by_its_name(registered: list[EntryPoint]) -> None:
    registered.append(an_entry("half-squared", f"{__name__}:half_squared"))
    assert "half-squared" in OBJECTIVES
    assert [*OBJECTIVES] == [*OURS, "half-squared"]
    assert float(OBJECTIVES["half-squared"](step(around, 2 * torch.ones(1, 4, 2, 2)))) == 2
    choice = click.Option(["--objective"], type=ObjectiveName(["gr2r"])).type
    assert choice.convert("half-squared", None, None) == "half-squared"
    for wrong in ("nonsense", "laine19"):
        with pytest.raises(click.BadParameter):
            choice.convert(wrong, None, None)


def test_an_objective_that_cannot_be_imported_is_named(registered: list[EntryPoint]) -> None:
    registered += [an_entry("gone", "no_such_package:loss"), an_entry("number", "math:pi")]
    with pytest.raises(ExtensionError, match="gone, of unknown, cannot be loaded"):
        OBJECTIVES["gone"]
    with pytest.raises(TrainingError, match="the objective 'number' is no function"):
        OBJECTIVES["number"]
    with pytest.raises(KeyError):
        OBJECTIVES["nonsense"]


def test_names_of_ours_are_ours(registered: list[EntryPoint]) -> None:
    ours = OBJECTIVES["gr2r"]
    registered.append(an_entry("gr2r", f"{__name__}:half_squared"))
    registry.extensions.cache_clear()
    assert OBJECTIVES["gr2r"] is ours
    assert list(OBJECTIVES).count("gr2r") == 1

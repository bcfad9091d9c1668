"""The loop on sources whose truth is known: what it picks, when it ends, and where its figures come from."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ModelFileError, ModelMissingError, TrainingError, UnreadableError
from rawdenoise.models.archive import export_halved, read_model
from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.models.choice import choose_model, find_model
from rawdenoise.models.model import new_model
from rawdenoise.models.store import ModelStore
from rawdenoise.nets import StabilizedDenoiser, build_net
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_mean, unstabilize
from rawdenoise.training.batches import Batch
from rawdenoise.training.drawn_scenes import SyntheticCaptures, paint_scenes
from rawdenoise.training.judging import FlatLimits
from rawdenoise.training.loop import fit
from rawdenoise.training.objectives import Step
from rawdenoise.training.objectives.pairs import noise2noise, supervised
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import TrainingStopped
from rawdenoise.training.redrawn_noise import redraw
from rawdenoise.training.risk import compare_risks, estimate_risk, sum_crops, summarize
from rawdenoise.training.train_bundled import train_bundled

QUICK = TrainingOptions(crops=320, minutes=None, batch=8, crop_size=32, device="cpu", precision="float32")
TINY = replace(QUICK, batch=2, crop_size=16, crops=60)  # where it does not matter what is learned


@dataclass(frozen=True)
class Slopes:
    """Sloping grey planes under white noise of unit variance, with the slope itself as target."""

    largest_crop: int = 64
    steepness: float = 0.2

    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        rows, columns = np.mgrid[:size, :size]
        directions = rng.normal(0, self.steepness, (count, 1, 2, 1, 1)).repeat(4, axis=1)
        clean = 60 + directions[:, :, 0] * rows + directions[:, :, 1] * columns
        noisy = clean + rng.standard_normal(clean.shape)
        noisy, clean = (torch.from_numpy(planes.astype(np.float32)) for planes in (noisy, clean))
        return Batch(noisy, torch.ones(noisy.shape, dtype=torch.bool), torch.full((count, 4), 120.0), clean)


def batches(count: int = 4) -> list[Batch]:
    rng = np.random.default_rng(5)
    return [Slopes().draw(rng, 8, 32) for _ in range(count)]


# Risk


def test_the_risk_is_unbiased() -> None:
    """Against the truth, which the estimate does not see."""
    net, drawn = build_net("fast").eval(), batches(8)
    figures = estimate_risk(net, drawn, seed=0)
    with torch.no_grad():
        errors = [float((net(b.noisy, b.white) - b.target).square().mean()) for b in drawn]
    assert figures.risk == pytest.approx(np.mean(errors), abs=4 * figures.error)
    assert figures.error < 0.02
    assert figures.risk == pytest.approx(figures.chi2 - 1 + 2 * figures.divergence)
    assert figures.gain_db == pytest.approx(-10 * math.log10(figures.risk))


@pytest.mark.parametrize("read", [0.4, 0.8])
def test_the_risk_is_right_at_a_few_electrons(read: float) -> None:
    """A denoiser that follows the square of the noise follows its skewness, and its derivative shows none."""
    noise = NoiseModel((1 / 60,) * 4, ((read / 60) ** 2,) * 4)
    truth = stabilized_mean(torch.full((16, 4, 64, 64), 1 / 60), noise)
    noisy = redraw(truth, (noise,) * 16, torch.Generator().manual_seed(7))
    net = SkewKeeping(float(noisy.mean())).eval()
    error = float((net(noisy, torch.ones(16, 4)) - truth).detach().square().mean())
    told = Batch(noisy, torch.ones_like(noisy, dtype=torch.bool), torch.ones(16, 4), noise=(noise,) * 16)
    ours, steins = (estimate_risk(net, [each], seed=1) for each in (told, replace(told, noise=())))
    assert abs(ours.risk - error) < 0.5 * abs(steins.risk - error)


class SkewKeeping(StabilizedDenoiser):
    """Answers the mean, and the more the farther a pixel is from it, on either side."""

    def __init__(self, mean: float) -> None:
        torch.nn.Module.__init__(self)
        self.mean = torch.nn.Parameter(torch.tensor(mean))

    def forward(self, noisy: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
        return self.mean + 0.1 * ((noisy - self.mean).square() - 1)


def test_two_denoisers_are_compared_on_the_same_crops() -> None:
    one, drawn = build_net("fast").eval(), batches()
    other = copy.deepcopy(one)
    sums = sum_crops(one, drawn, 0)
    assert compare_risks(sums, sum_crops(other, drawn, 0)) == (0, 0)
    with torch.no_grad():
        other.backbone.exit.bias += 0.5
    moved = sum_crops(other, drawn, 0)
    gain, error = compare_risks(moved, sums)
    assert gain == pytest.approx(summarize(moved).risk - summarize(sums).risk, abs=1e-9)
    assert abs(gain) > 2 * error
    assert error < summarize(sums).error  # what the crops have in common does not count


def test_where_nothing_is_valid_nothing_is_known() -> None:
    drawn = batches(1)[0]
    nothing = replace(drawn, valid=torch.zeros_like(drawn.valid))
    figures = estimate_risk(build_net("fast").eval(), [nothing], seed=0)
    assert figures.gain_db == 0
    assert figures.error == math.inf


def test_invalid_pixels_have_no_say() -> None:
    drawn = batches(1)[0]
    valid = drawn.valid.clone()
    valid[..., :8] = False
    spoiled = drawn.noisy.clone()
    spoiled[..., :2] = float("inf")
    net = build_net("fast").eval()
    sums = sum_crops(net, [replace(drawn, valid=valid)], 0)
    assert float(sums[:, 0].sum()) == pytest.approx(0.75 * valid.numel())


# The loop


def test_it_keeps_the_look_with_the_least_risk(tmp_path: Path) -> None:
    fitted = fit(Slopes(), replace(QUICK, objective="r2r", crops=480), folder=tmp_path, run="a")
    risks = [check.figures.risk for check in fitted.history]
    assert fitted.figures.risk == min(risks) < 0.5 * risks[0]
    assert fitted.crops == 480
    assert not fitted.net.training
    crops = [check.crops for check in fitted.history]
    assert crops == sorted(set(crops))
    assert (crops[0], crops[-1]) == (0, 480)


@pytest.mark.usefixtures("few_crops")
def test_a_rising_risk_ends_the_training_with_the_best_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruin(step: Step) -> torch.Tensor:
        return -supervised(step).clamp_max(100)

    monkeypatch.setattr("rawdenoise.training.learner.OBJECTIVES", {"r2r": ruin})
    options = replace(TINY, objective="r2r", crops=1000)
    fitted = fit(Slopes(), options, folder=tmp_path / "guarded", run="a")
    assert "rises" in fitted.stopped
    assert fitted.crops < 1000
    assert fitted.figures.risk == min(check.figures.risk for check in fitted.history)
    to_the_end = fit(Slopes(), replace(options, crops=200, guard=False), folder=tmp_path / "not", run="a")
    assert (to_the_end.crops, to_the_end.stopped) == (200, "")


@pytest.mark.usefixtures("few_crops")
def test_where_nothing_more_is_gained_it_settles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rawdenoise.training.judging.FLAT_LIMITS", FlatLimits(2, 0.002, 100))
    monkeypatch.setattr("rawdenoise.training.learner.OBJECTIVES", {"r2r": lambda step: 0 * supervised(step)})
    fitted = fit(Slopes(), replace(TINY, objective="r2r", crops=1000), folder=tmp_path, run="a")
    assert fitted.crops < 500


def test_a_budget_of_nothing_gives_what_it_began_with(tmp_path: Path) -> None:
    start = build_net("fast")
    fitted = fit(Slopes(), replace(QUICK, crops=None, minutes=0.0), folder=tmp_path, run="a", start=start)
    assert fitted.crops == 0
    for name, tensor in start.state_dict().items():
        assert torch.equal(fitted.net.state_dict()[name], tensor)


@pytest.mark.usefixtures("few_crops")
def test_a_larger_budget_goes_on_where_the_smaller_ended(tmp_path: Path) -> None:
    seen: list[int] = []
    fit(Slopes(), replace(TINY, crops=40), folder=tmp_path, run="a")
    fit(
        Slopes(), replace(TINY, crops=80), folder=tmp_path, run="a",
        on_progress=lambda progress: seen.append(progress.crops),
    )  # fmt: skip
    assert (seen[0], seen[-1]) == (42, 80)


@pytest.mark.usefixtures("few_crops")
def test_what_a_step_sees_depends_on_its_number_alone(tmp_path: Path) -> None:
    whole = fit(Slopes(), TINY, folder=tmp_path / "one", run="a")
    calls = iter([False] * 17)
    with pytest.raises(TrainingStopped):
        fit(Slopes(), TINY, folder=tmp_path / "two", run="a", stop=lambda: next(calls, True))
    resumed = fit(Slopes(), TINY, folder=tmp_path / "two", run="a")
    for name, tensor in whole.last.state_dict().items():
        assert torch.equal(resumed.last.state_dict()[name], tensor)
    assert [check.figures for check in resumed.history] == [check.figures for check in whole.history]


def test_a_source_that_fails_is_an_error_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    class Failing(Slopes):
        def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
            if not held_out and rng.bit_generator.seed_seq.entropy[1] >= 3:
                raise TrainingError("the captures are gone")
            return super().draw(rng, count, size, held_out=held_out)

    with pytest.raises(TrainingError, match="gone"):
        fit(Failing(), QUICK, folder=tmp_path, run="a")
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_it_learns_in_bfloat16_too(tmp_path: Path) -> None:
    fitted = fit(Slopes(), replace(QUICK, precision="bfloat16"), folder=tmp_path, run="a")
    assert fitted.figures.risk < 0.8 * fitted.history[0].figures.risk
    assert all(tensor.dtype == torch.float32 for tensor in fitted.net.state_dict().values())


def test_pairs_are_taken_from_the_target() -> None:
    noisy, target = torch.zeros(1, 4, 4, 4), torch.full((1, 4, 4, 4), 3.0)
    valid = torch.ones(noisy.shape, dtype=torch.bool)
    step = Step(
        denoise=lambda z, sigma=1.0: z + 1, teacher=lambda z, sigma=1.0: z, noisy=noisy, valid=valid,
        target=target, done=0.5, gamma=1.0, generator=torch.Generator(),
    )  # fmt: skip
    assert float(noise2noise(step)) == float(supervised(step)) == 4
    with pytest.raises(ValueError, match="pairs"):
        supervised(replace(step, target=None))


# Synthetic captures and the base


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SyntheticCaptures]:
    folder = tmp_path_factory.mktemp("base")
    return folder, paint_scenes(folder / "scenes", 2, seed=3)


def test_synthetic_noise_is_white_and_of_unit_variance(scenes: tuple[Path, SyntheticCaptures]) -> None:
    _, source = scenes
    rng = np.random.default_rng(0)
    drawn = [source.draw(rng, 8, 64) for _ in range(6)]
    residual = torch.cat([batch.noisy - batch.target for batch in drawn])
    valid = torch.cat([batch.valid for batch in drawn])
    assert float(residual[valid].mean()) == pytest.approx(0, abs=0.02)
    assert float(residual[valid].var()) == pytest.approx(1, abs=0.03)
    neighbours = (residual * valid)[..., 1:] * (residual * valid)[..., :-1]
    assert float(neighbours.mean()) == pytest.approx(0, abs=0.01)
    again = source.draw(np.random.default_rng(0), 8, 64)
    assert torch.equal(again.noisy, drawn[0].noisy)


def test_held_out_scenes_are_never_trained_on(scenes: tuple[Path, SyntheticCaptures]) -> None:
    _, source = scenes
    assert source.held_out
    assert not set(source.held_out) & set(source.scenes)


def test_a_users_pictures_are_halved_in_linear_light(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (301, 260), (188, 0, 255)).save(tmp_path / "one.png")
    source = paint_scenes(tmp_path / "scenes", 1, seed=3, pictures=[tmp_path / "one.png"])
    (painted,) = [path for path in source.scenes + source.held_out if path.name.startswith("image-")]
    scene = np.load(painted)
    assert scene.shape == (130, 150, 3)
    assert scene[0, 0] == pytest.approx((0.503, 0, 1), abs=2e-3)
    assert source.draw(np.random.default_rng(0), 4, source.largest_crop).noisy.shape == (4, 4, 64, 64)
    Image.new("RGB", (301, 200)).save(tmp_path / "small.png")
    with pytest.raises(UnreadableError, match="too small"):
        paint_scenes(tmp_path / "scenes", 1, seed=3, pictures=[tmp_path / "small.png"])


@pytest.mark.usefixtures("few_crops")
def test_a_base_is_trained_written_and_read_back(
    scenes: tuple[Path, SyntheticCaptures], tmp_path: Path
) -> None:
    folder, _ = scenes
    options = replace(QUICK, objective="supervised-decibels", crops=16, seed=3)
    model = train_bundled(options, folder=folder, scenes=2)
    again = train_bundled(options, folder=folder, scenes=2)
    assert again.card.weights_sha256 == model.card.weights_sha256
    file = export_halved(model, tmp_path / "base.rawdenoise")
    halved = read_model(file)
    assert file.stat().st_size < 0.6 * sum(4 * t.numel() for t in model.net.state_dict().values())
    assert halved.card.weights_sha256 != model.card.weights_sha256
    assert halved.card.figures == model.card.figures
    store = ModelStore(tmp_path / "store")
    assert store.import_file(file) == halved.card
    assert store.verify(halved.card.id) == halved.card
    for name, tensor in model.net.state_dict().items():
        assert halved.net.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(halved.net.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_models_are_whole_and_denoise_any_camera(name: str) -> None:
    model = load_bundled(name)
    assert model.card.net == name
    assert model.card.captures == ()
    drawn = batches()
    assert estimate_risk(model.net, drawn, 0).risk < 0.1  # slopes are easy
    risks = [check["risk"] for check in model.card.history]
    assert risks[-1] == min(risks) < 0.9 * risks[1]


def test_bundled_models_are_small() -> None:
    from importlib.resources import files

    sizes = [len((files("rawdenoise") / "_base" / f"{name}.rawdenoise").read_bytes()) for name in BUNDLED]
    assert sum(sizes) < 4_000_000


def test_a_camera_without_a_model_gets_the_base(tmp_path: Path) -> None:
    store, camera = ModelStore(tmp_path), Camera("Make", "Model", mode="raw")
    assert choose_model(camera, store).card == load_bundled("fast").card
    own = new_model(build_net("fast"), replace(load_bundled("fast").card, camera=camera))
    store.save(own)
    assert choose_model(camera, store).card == own.card
    assert find_model("best", store).card == load_bundled("best").card
    assert find_model(own.card.id[:12], store).card == own.card
    with pytest.raises(ModelMissingError):
        load_bundled("slow")
    (tmp_path / own.card.id / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelFileError):
        choose_model(camera, store)


@pytest.mark.parametrize("electrons", [20.0, 300.0, 20000.0])
@pytest.mark.parametrize("read", [0.5, 2.0, 8.0, 40.0])
def test_the_stabilised_mean_leads_back_to_the_signal(electrons: float, read: float) -> None:
    noise = NoiseModel((1 / electrons,) * 4, ((read / electrons) ** 2,) * 4)
    signal = torch.linspace(0, 1, 4096).pow(2).reshape(1, 64, 64).expand(4, 64, 64).contiguous()
    deviation = (signal / electrons + (read / electrons) ** 2).sqrt()
    back = unstabilize(stabilized_mean(signal, noise), noise)
    assert float(((back - signal) / deviation).abs().max()) < 2e-3
    if electrons < 100 and read < 3:  # where it matters
        plain = unstabilize(stabilize(signal, noise), noise)
        assert float(((plain - signal) / deviation).abs().max()) > 0.05

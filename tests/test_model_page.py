"""What a model takes away is judged rightly, and its page says what the card says and nothing else."""

from __future__ import annotations

import math
import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Camera
from rawdenoise.cli import main
from rawdenoise.errors import ModelFileError
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import new_model
from rawdenoise.models.store import PAGE, ModelStore
from rawdenoise.nets import NETS, StabilisedDenoiser, build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pages.charts import Axis, Series, chart, nice_step, tick_label
from rawdenoise.pages.model_page import render
from rawdenoise.quality.residuals import IsoEvidence, ResidualTests, gather, residual_of, verdicts
from rawdenoise.training.captures import Tile, TileStore, mosaic_rggb

SIGMA = 0.01
GAUSSIAN = NoiseModel((1e-9,) * 4, (SIGMA**2,) * 4)  # so few photons' worth of noise that all is read noise
POISSON = NoiseModel((2e-3,) * 4, (1e-5,) * 4)
SIDE = 128  # packed pixels


def stored(
    folder: Path, planes: list[np.ndarray], noise: list[IsoNoise], *, valid: np.ndarray | None = None
) -> TileStore:
    """Tiles that are all held out, one a capture; noise by turns."""
    tiles = []
    for number, each in enumerate(planes):
        mask = np.ones(each.shape, bool) if valid is None else valid
        np.save(folder / f"{number}.npy", mosaic_rggb(each)[None].astype(np.float16))
        np.save(folder / f"{number}.valid.npy", mosaic_rggb(mask)[None])
        tiles.append(Tile(f"{number}.npy", 0, number % len(noise)))
    return TileStore(folder, (), tuple(tiles), tuple(noise), SIDE - 1)


def shot_and_read(clean: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 2e-3 * rng.poisson(clean / 2e-3) + rng.normal(0, math.sqrt(1e-5), clean.shape)


def texture(seed: int) -> np.ndarray:
    """A Gaussian field of unit variance, the same in all planes, whose detail fades with its fineness."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal((SIDE, SIDE)))
    field = np.fft.ifft2(spectrum * np.sqrt(POWER)).real
    return np.repeat(field[None], 4, axis=0)


def _power() -> np.ndarray:
    frequency = np.fft.fftfreq(SIDE)
    power = 1 / (0.03 + frequency[:, None] ** 2 + frequency**2) ** 1.5
    return power / power.mean()


POWER = _power()


class Wiener(StabilisedDenoiser):
    """The mean of the posterior for `texture` of so many sigmas: what no denoiser does better."""

    def __init__(self, contrast: float) -> None:
        super().__init__(NETS["fast"]())
        power = torch.from_numpy(POWER).float() * contrast**2
        self.gain = power / (power + 1 / 4)

    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        mean = stabilized.mean(dim=1, keepdim=True)
        middle = mean.mean(dim=(2, 3), keepdim=True)
        return (middle + torch.fft.ifft2(torch.fft.fft2(mean - middle) * self.gain).real).expand_as(
            stabilized
        )


class Blur(StabilisedDenoiser):
    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(stabilized, 9, 1, 4, count_include_pad=False)


def textured(folder: Path, contrast: float, *, noise: float = 1.0, claimed: float = 1.0) -> TileStore:
    """Captures whose noise has `noise` times the standard deviation of `GAUSSIAN`, or so it is claimed."""
    rng = np.random.default_rng(5)
    planes = [
        0.5 + SIGMA * (contrast * texture(seed) + noise * rng.standard_normal((4, SIDE, SIDE)))
        for seed in range(4)
    ]
    model = replace(GAUSSIAN, read_variance=(claimed**2 * SIGMA**2,) * 4)
    return stored(folder, planes, [IsoNoise(800, model, 4)])


# ---------------------------------------------------------------- statistics


def test_a_perfect_denoiser_of_known_noise_passes_every_test(tmp_path: Path) -> None:
    (found,) = gather(Wiener(1.5), textured(tmp_path, 1.5), seed=0)
    tests = found.residual
    assert found.pixels == 4 * 4 * SIDE**2
    assert tests.mean == pytest.approx(0, abs=0.01)
    assert tests.chi2 < 0.95  # the residual alone is weaker than the noise
    assert tests.chi2 + tests.divergence == pytest.approx(1, abs=0.01)
    assert tests.autocorrelation == pytest.approx((0, 0), abs=0.01)
    assert tests.structure == pytest.approx(0, abs=0.01)
    assert {each.level for each in verdicts(tests, pixels=found.pixels).values()} == {"good"}


def test_the_estimated_gain_is_the_true_one(tmp_path: Path) -> None:
    store = textured(tmp_path, 1.5)
    (found,) = gather(Wiener(1.5), store, seed=0)
    errors = []
    for number, tile in enumerate(store.held_out):
        noisy = torch.from_numpy(store.whole(tile)[0])[None] / SIGMA
        clean = torch.from_numpy(0.5 / SIGMA + 1.5 * texture(number))
        errors.append(float((Wiener(1.5)(noisy, torch.ones(1, 4))[0] - clean).square().mean()))
    true_db = -10 * math.log10(np.mean(errors))
    assert 0 < found.error_db < 0.5
    assert abs(found.gain_db - true_db) < 3 * found.error_db


@pytest.mark.parametrize(("true", "level"), [(0.8, "poor"), (1.25, "poor"), (1.0, "good")])
def test_noise_of_another_strength_than_claimed_is_told(tmp_path: Path, true: float, level: str) -> None:
    (found,) = gather(Wiener(0.2), textured(tmp_path, 0.2, noise=true), seed=0)
    assert verdicts(found.residual, pixels=found.pixels)["strength"].level == level


def test_a_blur_is_told_by_the_scene_it_takes_away(tmp_path: Path) -> None:
    (found,) = gather(Blur(NETS["fast"]()), textured(tmp_path, 3.0), seed=0)
    judged = verdicts(found.residual, pixels=found.pixels)
    assert found.residual.structure > 0.3
    assert judged["structure"].level == judged["strength"].level == "poor"
    assert "Detail of the scene is taken away" in judged["structure"].words


def test_noise_that_neighbours_share_is_told_and_in_which_direction(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4, 4, SIDE, SIDE + 1))
    planes = [0.5 + SIGMA * (each[..., 1:] + each[..., :-1]) / math.sqrt(2) for each in noise]
    (found,) = gather(Wiener(1e-3), stored(tmp_path, planes, [IsoNoise(None, GAUSSIAN, 4)]), seed=0)
    across, down = found.residual.autocorrelation
    assert across == pytest.approx(0.5, abs=0.02)
    assert down == pytest.approx(0, abs=0.02)
    assert verdicts(found.residual, pixels=found.pixels)["autocorrelation"].level == "poor"


def test_a_shifted_mean_is_told_in_sigmas(tmp_path: Path) -> None:
    class Darker(Wiener):
        def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
            return super().forward(stabilized, white) - 0.25

    (found,) = gather(Darker(0.5), textured(tmp_path, 0.5), seed=0)
    assert found.residual.mean == pytest.approx(0.25, abs=0.02)
    assert "darker, by 0.25 sigma" in verdicts(found.residual, pixels=found.pixels)["mean"].words


def test_few_pixels_are_not_blamed_for_chance() -> None:
    tests = ResidualTests(0.05, 0.9, 0.01, (0.06, 0.0), -0.08)
    assert {each.level for each in verdicts(tests, pixels=900).values()} == {"good"}
    assert "good" not in {each.level for each in verdicts(tests, pixels=10**6).values()}


def test_what_is_no_number_is_never_good() -> None:
    tests = ResidualTests(math.nan, math.nan, math.inf, (math.nan, math.nan), math.inf)
    assert {each.level for each in verdicts(tests, pixels=100).values()} == {"poor"}


# ---------------------------------------------------------------- gathering


@pytest.fixture(scope="module")
def untrained() -> StabilisedDenoiser:
    torch.manual_seed(0)
    return build_net("fast").eval()


def finite(found: IsoEvidence) -> bool:
    tests = found.residual
    numbers = (found.gain_db, found.error_db, tests.mean, tests.chi2, tests.divergence, tests.structure)
    return all(map(math.isfinite, (*numbers, *tests.autocorrelation)))


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_even_surfaces_and_unknown_isos_give_numbers(
    tmp_path: Path, untrained: StabilisedDenoiser, level: float
) -> None:
    planes = [shot_and_read(np.full((4, 75, 85), level), seed) for seed in range(2)]
    planes.append(np.zeros((4, 75, 85)))  # without any noise
    (found,) = gather(untrained, stored(tmp_path, planes, [IsoNoise(None, POISSON, 3)]), seed=0)
    assert finite(found)
    height, width = (side // untrained.multiple * untrained.multiple for side in (75, 85))
    assert (found.iso, found.tiles, found.pixels) == (None, 3, 3 * 4 * height * width)
    for png in (found.before_png, found.after_png):
        assert png.startswith(b"\x89PNG")


def test_isos_without_held_out_or_valid_pixels_are_left_out(
    tmp_path: Path, untrained: StabilisedDenoiser
) -> None:
    planes = [shot_and_read(np.full((4, 64, 64), 0.2), seed) for seed in range(6)]
    store = stored(tmp_path, planes, [IsoNoise(iso, POISSON, 1) for iso in (100, 200, 400)])
    kept = tuple(tile for tile in store.held_out if tile.noise != 1)
    np.save(tmp_path / "2.valid.npy", np.zeros((1, 128, 128), bool))
    np.save(tmp_path / "5.valid.npy", np.zeros((1, 128, 128), bool))
    assert [each.iso for each in gather(untrained, replace(store, held_out=kept), seed=0)] == [100]
    assert gather(untrained, replace(store, held_out=()), seed=0) == ()


def test_a_seed_gives_the_same_evidence_and_many_isos_cost_no_more(
    tmp_path: Path, untrained: StabilisedDenoiser
) -> None:
    planes = [shot_and_read(np.full((4, 32, 32), 0.2), seed) for seed in range(60)]
    store = stored(tmp_path, planes, [IsoNoise(100 * (1 + index), POISSON, 1) for index in range(20)])
    first, second = (gather(untrained, store, seed=3) for _ in range(2))
    assert [each.as_json() for each in first] == [each.as_json() for each in second]
    assert [each.tiles for each in first] == [2] * 12
    assert (first[0].iso, first[-1].iso) == (100, 2000)


# ---------------------------------------------------------------- the page


class Page(HTMLParser):
    """Collects what a page says and what it would load, and sees to it that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for key, value in attrs if key in {"src", "href", "xlink:href", "data"}]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in {"img", "meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


ENTRY = {
    "iso": 3200, "tiles": 4, "pixels": 1_000_000, "gain_db": 5.432, "error_db": 0.123, "mean": -0.01234,
    "chi2": 0.8765, "divergence": 0.1357, "autocorrelation": [0.0123, -0.0456], "structure": 0.2468,
}  # fmt: skip


def card(**changes: object) -> ModelCard:
    whole = ModelCard(
        id="test-one",
        camera=Camera("Test", "Test One", "S123", "4000x3000 14-bit"),
        net="fast",
        iso_range=(100, 3200),
        noise=(IsoNoise(100, GAUSSIAN, 3), IsoNoise(3200, POISSON, 7)),
        captures=("ab" * 32, "cd" * 32),
        objective="gr2r",
        options={"gamma": 1.25, "start": None},
        seed=17,
        versions={"torch": "2.99", "rawdenoise": "0.99"},
        created="2026-01-02T03:04:05+00:00",
        figures={"images": 12345.0, "training_s": 612.0, "chi2": 0.9123, "own": 3.21},
        weights_sha256="ef" * 32,
        history=({"images": 100.0, "risk": 0.5}, {"images": 7000.0, "risk": 0.25}),
        evidence=(ENTRY, {**ENTRY, "iso": 100, "gain_db": 1.5, "error_db": 9.0}),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_every_number_of_the_card_is_on_its_page() -> None:
    page = Page(render(card()))
    said = (
        "4000x3000 14-bit", "100\N{EN DASH}3200", "fast", "gr2r", "1.25", "17", "2.99", "0.99", "S123",
        "2026-01-02 03:04:05 UTC", "10.2 min", "612", "0.9123", "3.21", "ab" * 32, "cd" * 32, "ef" * 32,
        "+5.43 ± 0.12 dB", "cannot be told", "\N{MINUS SIGN}0.012 sigma", "1.012 = 0.876 + 0.136",
        "+0.012 across, \N{MINUS SIGN}0.046 down", "+0.247", "0.002", "0.0001",
    )  # fmt: skip
    for words in said:
        assert words in page.text.replace("\N{NARROW NO-BREAK SPACE}", " "), words
    for words in verdicts(residual_of(ENTRY), pixels=1_000_000).values():
        assert words.words in page.text
    assert page.tags.count("svg") == 3


def test_the_page_loads_nothing_and_shows_the_pictures_it_is_given(
    tmp_path: Path, untrained: StabilisedDenoiser
) -> None:
    planes = [shot_and_read(np.full((4, 32, 32), 0.2), seed) for seed in range(2)]
    evidence = gather(untrained, stored(tmp_path, planes, [IsoNoise(3200, POISSON, 2)]), seed=0)
    text = render(card(), evidence)
    page = Page(text)
    assert [load[:22] for load in page.loads] == ["data:image/png;base64,"] * 2
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert "5.43" in page.text  # still the card's numbers, not those the pictures came with


def test_names_are_text_whatever_they_hold() -> None:
    evil = '<script>alert("1")</script>\x1b{style}\n'
    whole = card(
        camera=Camera(evil, evil, evil, evil),
        objective=evil,
        net=evil,
        options={evil: evil},
        versions={evil: evil},
        figures={evil: 1.0},
        captures=(evil,),
    )
    text = render(whole)
    page = Page(text)
    assert {"script", "alert"}.isdisjoint(page.tags)
    assert '<script>alert("1")</script>' in page.text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"history": ()},
        {"history": ({"images": 1.0, "risk": -0.1}, {"images": 2.0, "risk": math.nan}, {"loss": 1.0})},
        {"evidence": ()},
        {"evidence": ({**ENTRY, "iso": None},), "iso_range": None, "noise": (IsoNoise(None, POISSON, 1),)},
        {"evidence": ({**ENTRY, "gain_db": math.nan, "error_db": math.inf, "chi2": math.nan},)},
        {"noise": (), "captures": (), "options": {}, "figures": {}, "evidence": (), "history": ()},
        {"noise": tuple(IsoNoise(100 + iso, GAUSSIAN, 1) for iso in range(40))},
        {"iso_range": (800, 800), "evidence": (ENTRY,)},
    ],
    ids=[
        "no history",
        "odd history",
        "no evidence",
        "unknown iso",
        "no numbers",
        "bare",
        "40 isos",
        "one iso",
    ],
)
def test_pages_of_all_kinds_of_cards_are_whole(changes: dict[str, object]) -> None:
    whole = card(**changes)
    text = render(whole)
    assert Page(text).text.startswith("Test One: denoising model")
    assert not re.search(
        r'[ "MVHL](nan|inf)', re.sub(r"<dd>.*?</dd>", "", "".join(re.findall(r"<svg.*?</svg>", text, re.S)))
    )


# ---------------------------------------------------------------- the store


def test_a_page_lies_beside_its_card_and_stays_at_home(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = new_model(build_net("fast"), card())
    store, other = ModelStore(tmp_path / "mine"), ModelStore(tmp_path / "other")
    folder = store.save(model, render(model.card))
    assert (folder / PAGE).read_text(encoding="utf-8") == render(model.card)
    assert store.load(model.card.id).card == model.card
    archive = store.export(model.card.id, tmp_path)
    with zipfile.ZipFile(archive) as parts:
        assert PAGE not in parts.namelist()
    other.import_file(archive)
    assert other.cards() == [model.card]
    assert not (other.folder / model.card.id / PAGE).exists()
    store.save(model)
    assert not (folder / PAGE).exists()  # of the card that was there before


@pytest.mark.parametrize(
    "entry", [{**ENTRY, "iso": "100"}, {**ENTRY, "autocorrelation": [1.0]}, {"iso": 100}]
)
def test_a_card_whose_evidence_is_none_is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    store = ModelStore(tmp_path)
    model = new_model(build_net("fast"), card(evidence=(entry,)))
    store.save(model)
    with pytest.raises(ModelFileError, match="not a model's card"):
        store.load(model.card.id)


def test_the_command_shows_evidence_and_makes_a_page_where_there_is_none(own_store: Path) -> None:
    model = new_model(build_net("fast"), card())
    folder = user_stores().models.save(model)
    shown = CliRunner().invoke(main, ["models", "show", "test"])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"3200 +\+5.43 \+- 0.12 +-0.012 +1.012 +\+0.012 -0.046 +\+0.247", shown.output)
    assert "Detail of the scene is taken away" in shown.output
    made = CliRunner().invoke(main, ["models", "show", "test", "--html"])
    assert (made.exit_code, made.output.strip()) == (0, str(folder / PAGE))
    assert (folder / PAGE).read_text(encoding="utf-8") == render(model.card)
    (folder / PAGE).write_text("with pictures", encoding="utf-8")
    CliRunner().invoke(main, ["models", "show", "test", "--html"])
    assert (folder / PAGE).read_text(encoding="utf-8") == "with pictures"


# ---------------------------------------------------------------- charts


@pytest.mark.parametrize(("least", "step"), [(0.9, 1), (1.0, 1), (1.1, 2), (2.5, 5), (6, 10), (0.03, 0.05)])
def test_steps_are_one_two_or_five(least: float, step: float) -> None:
    assert nice_step(least) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0"), (0.5, "0.5"), (0.002, "0.002"), (-2.0, "\N{MINUS SIGN}2"), (2e-7, "2·10⁻⁷"), (1e6, "10⁶"),
     (1500.0, "1\N{NARROW NO-BREAK SPACE}500"), (2.5, "2.5"), (10.0, "10")],
)  # fmt: skip
def test_ticks_are_labelled_shortly(value: float, label: str) -> None:
    assert tick_label(value) == label


def test_points_that_cannot_be_drawn_are_left_out() -> None:
    points = [(1.0, 2.0), (10.0, math.nan), (math.inf, 1.0), (0.0, 1.0), (100.0, 3.0)]
    drawn = chart([Series("a", points, dots=True)], Axis("x", log=True), Axis("y"), title="t")
    assert drawn.count("<circle") == 2
    assert chart([Series("a", [(0.0, 1.0)])], Axis("x", log=True), Axis("y"), title="t") == ""
    assert chart([], Axis("x"), Axis("y"), title="t") == ""


def test_points_lie_where_the_ticks_say() -> None:
    drawn = chart([Series("a", [(0.0, 0.0), (50.0, 20.0)], dots=True)], Axis("x"), Axis("y"), title="t")
    dots = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    labels = {
        (text, anchor): (float(x), float(y))
        for x, y, anchor, text in re.findall(
            r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)', drawn
        )
    }
    assert labels["50", "middle"][0] == dots[1][0]
    assert labels["20", "end"][1] == pytest.approx(dots[1][1] + 4)
    assert labels["0", "end"][1] == pytest.approx(dots[0][1] + 4)


def test_names_of_curves_do_not_lie_on_each_other() -> None:
    curves = [Series(str(index), [(1.0, 1.0), (2.0, 2 + index / 1000)]) for index in range(12)]
    drawn = chart(curves, Axis("x"), Axis("y"), title="t")
    places = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*class="name"', drawn))
    assert len(places) == 12
    assert min(np.diff(places)) >= 14
    assert 0 < places[0] < places[-1] < 340

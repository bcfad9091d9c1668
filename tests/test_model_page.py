"""A model's page says what the card says and nothing else."""

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
from test_residuals import GAUSSIAN, POISSON, shot_and_read, stored

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Camera
from rawdenoise.cli import main
from rawdenoise.errors import ModelFileError
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import new_model
from rawdenoise.models.store import PAGE, ModelStore
from rawdenoise.nets import build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.pages.model_page import render_model
from rawdenoise.quality.held_out import measure_held_out
from rawdenoise.quality.residuals import read_residual_tests
from rawdenoise.quality.verdicts import judge_residual

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
    page = Page(render_model(card()))
    said = (
        "4000x3000 14-bit", "100\N{EN DASH}3200", "fast", "gr2r", "1.25", "17", "2.99", "0.99", "S123",
        "2026-01-02 03:04:05 UTC", "10.2 min", "612", "0.9123", "3.21", "ab" * 32, "cd" * 32, "ef" * 32,
        "+5.43 ± 0.12 dB", "cannot be told", "\N{MINUS SIGN}0.012 sigma", "1.012 = 0.876 + 0.136",
        "+0.012 across, \N{MINUS SIGN}0.046 down", "+0.247", "0.002", "0.0001",
    )  # fmt: skip
    for words in said:
        assert words in page.text.replace("\N{NARROW NO-BREAK SPACE}", " "), words
    for words in judge_residual(read_residual_tests(ENTRY), pixels=1_000_000).values():
        assert words.words in page.text
    assert page.tags.count("svg") == 3


def test_the_page_loads_nothing_and_shows_the_pictures_it_is_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    untrained = build_net("fast").eval()
    planes = [shot_and_read(np.full((4, 32, 32), 0.2), seed) for seed in range(2)]
    evidence = measure_held_out(untrained, stored(tmp_path, planes, [IsoNoise(3200, POISSON, 2)]), seed=0)
    text = render_model(card(), evidence)
    page = Page(text)
    assert [load[:22] for load in page.loads] == ["data:image/png;base64,"] * 2
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert "5.43" in page.text  # still the card's numbers, not those the pictures came with


def test_names_are_text_whatever_they_hold() -> None:
    evil = '<script>alert("1")</script>\x1b{style}{{ 7 * 7 }}\n'
    whole = card(
        id=evil,
        camera=Camera(evil, evil, evil, evil),
        created=evil,
        weights_sha256=evil,
        objective=evil,
        net=evil,
        options={evil: evil},
        versions={evil: evil},
        figures={evil: 1.0},
        captures=(evil,),
    )
    text = render_model(whole)
    page = Page(text)
    assert {"script", "alert"}.isdisjoint(page.tags)
    assert '<script>alert("1")</script>' in page.text
    assert "{{ 7 * 7 }}" in page.text
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
    text = render_model(whole)
    assert Page(text).text.startswith("Test One: denoising model")
    assert not re.search(
        r'[ "MVHL](nan|inf)', re.sub(r"<dd>.*?</dd>", "", "".join(re.findall(r"<svg.*?</svg>", text, re.S)))
    )


# ---------------------------------------------------------------- the store


def test_a_page_lies_beside_its_card_and_stays_at_home(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = new_model(build_net("fast"), card())
    store, other = ModelStore(tmp_path / "mine"), ModelStore(tmp_path / "other")
    folder = store.save(model, render_model(model.card))
    assert (folder / PAGE).read_text(encoding="utf-8") == render_model(model.card)
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
    assert (folder / PAGE).read_text(encoding="utf-8") == render_model(model.card)
    (folder / PAGE).write_text("with pictures", encoding="utf-8")
    CliRunner().invoke(main, ["models", "show", "test", "--html"])
    assert (folder / PAGE).read_text(encoding="utf-8") == "with pictures"

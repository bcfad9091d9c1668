"""A model's card as a page: what it is, what it was trained on, what it does to captures it has not seen.

One HTML file that needs nothing beside it, no script and no network. Every number is the card's; only the
pictures, which the card does not hold, come from the captures, so a page made from a card alone lacks them.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from rawdenoise.models.card import ModelCard
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pages.charts import MINUS, Axis, Series, chart
from rawdenoise.pages.crops import render_crop
from rawdenoise.quality.held_out import HeldOutResult
from rawdenoise.quality.residuals import read_residual_tests
from rawdenoise.quality.verdicts import judge_residual

DASH, THIN_SPACE = "\N{EN DASH}", "\N{NARROW NO-BREAK SPACE}"
MOST_CURVES = 12
UNTOLD_DB = 3.0  # standard error from which a gain is not worth its number
SIGNALS = np.geomspace(1e-4, 1, 49)  # packed scale: 0 is black, 1 is white
FIGURES = {  # what the figures of a card mean; others stand under their own name
    "images": "crops seen",
    "training_s": "training time (s)",
    "loss": "loss, at the end",
    "chi2": "mean square of what is taken away (sigma²)",
    "bias": "mean of what is taken away (sigma)",
    "divergence": "mean derivative of the denoiser",
    "risk": "estimated error left, 1 before",
    "gain_db": "estimated gain (dB)",
}


def render(card: ModelCard, evidence: Sequence[HeldOutResult] = ()) -> str:
    """Put a card on a page; `evidence` gives the pictures to the card's entries of the same ISO."""
    pictures = {each.iso: render_crop(each.crop) for each in evidence}
    sections = [
        _section("Gain on held-out captures", _gain(card)),
        _section(
            "Before and after" if pictures else "What is taken away",
            "\n".join(_iso_card(entry, pictures) for entry in card.evidence),
        ),
        _section("Noise", _noise(card.noise)),
        _section("Training", _training(card)),
        _section("Provenance", _provenance(card)),
    ]
    return _PAGE.format(
        title=_escaped(card.camera.name),
        style=_STYLE,
        facts=_facts(card),
        sections="\n".join(section for section in sections if section),
    )


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>" if body else ""


# ---------------------------------------------------------------- what it is


def _facts(card: ModelCard) -> str:
    isos = "not stated"
    if card.iso_range is not None:
        low, high = card.iso_range
        isos = str(low) if low == high else f"{low}{DASH}{high}"
    facts = {
        "Mode": card.camera.mode or "not stated",
        "ISO": isos,
        "Captures": card.captures_text,
        "Network": card.net,
        "Objective": card.objective,
        "Trained": card.created[:10],
    }
    if "training_s" in card.figures:
        facts["Training time"] = _time(card.figures["training_s"])
    if "images" in card.figures:
        facts["Crops seen"] = _count(card.figures["images"])
    pairs = "\n".join(
        f"<div><dt>{name}</dt><dd>{_escaped(value)}</dd></div>" for name, value in facts.items()
    )
    return f'<dl class="facts">\n{pairs}\n</dl>'


def _provenance(card: ModelCard) -> str:
    rows = {
        "id": card.id,
        "camera": ", ".join(part for part in (card.camera.make, card.camera.model) if part) or DASH,
        "serial": card.camera.serial or DASH,
        "trained": card.created.replace("T", " ").replace("+00:00", " UTC"),
        "seed": str(card.seed),
        **{name: f"{value:.6g}" for name, value in sorted(card.figures.items()) if name not in FIGURES},
        **{f"{name} (version)": version for name, version in sorted(card.versions.items())},
        "weights": f"sha256 {card.weights_sha256}",
    }
    digests = "\n".join(f"<li><code>{_escaped(digest)}</code></li>" for digest in card.captures)
    return "\n".join(
        [
            _pairs(rows),
            f"<details><summary>Options</summary>\n{_pairs(dict(sorted(card.options.items())))}\n</details>"
            if card.options
            else "",
            f"<details><summary>SHA-256 of the {len(card.captures)} captures</summary>\n<ul>{digests}</ul>\n"
            "</details>"
            if card.captures
            else "",
        ]
    )


def _pairs(rows: Mapping[str, object]) -> str:
    body = "\n".join(
        f'<tr><th scope="row">{_escaped(name)}</th><td class="word">{_escaped(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f'<div class="scroll"><table class="pairs"><tbody>\n{body}\n</tbody></table></div>'


# ---------------------------------------------------------------- what it does


def _gain(card: ModelCard) -> str:
    entries = card.evidence
    if not entries:
        return (
            '<p class="quiet">No captures were held out for this model, so nothing is known of its gain.</p>'
        )
    head = "<th>ISO</th><th>gain</th><th>tests</th><th>tiles</th>"
    rows = "\n".join(
        f'<tr><th scope="row">{_iso(entry["iso"], "")}</th><td>{_gain_text(entry)}</td>'
        f"<td>{_summary(entry)}</td><td>{entry['tiles']}</td></tr>"
        for entry in entries
    )
    table = (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    )
    known = [entry for entry in entries if isinstance(entry["iso"], int) and entry["iso"] > 0]
    points = [(_number(entry["iso"]), _number(entry["gain_db"])) for entry in known]
    errors = [_number(entry["error_db"]) for entry in known]
    picture = ""
    if len(points) > 1:
        picture = chart(
            [Series("gain", points, errors, dots=True)],
            Axis("ISO", log=True),
            Axis("gain (dB)", zero=True),
            title="Estimated gain against ISO",
        )
    return f"<p>{_GAIN_WORDS}</p>\n{picture}\n{table}"


def _summary(entry: Mapping[str, object]) -> str:
    """Say in a word or two how the tests went, the worst first."""
    judged = judge_residual(read_residual_tests(entry), pixels=int(_number(entry["pixels"]))).values()
    count = {level: sum(each.level == level for each in judged) for level in ("poor", "fair")}
    for level, word in (("poor", "failed"), ("fair", "to look at")):
        if count[level]:
            return f'<span class="mark {level}"></span>{count[level]} of {len(judged)} {word}'
    return '<span class="mark good"></span>all passed'


def _iso_card(entry: Mapping[str, object], pictures: Mapping[int | None, tuple[bytes, bytes]]) -> str:
    iso = entry["iso"]
    found = pictures.get(iso if isinstance(iso, int) else None)
    shown = ""
    if found is not None:
        names = (f"{_iso(iso)}, as captured", f"{_iso(iso)}, denoised")
        figures = "".join(_picture(png, name) for png, name in zip(found, names, strict=True))
        shown = f'<div class="pictures">{figures}</div>'
    return (
        f'<article>\n<h3>{_iso(iso)} <span class="gain">{_gain_text(entry)}</span></h3>\n'
        f"{shown}\n{_tests(entry)}\n</article>"
    )


def _picture(png: bytes, name: str) -> str:
    data = base64.b64encode(png).decode()
    caption = html.escape(name.rpartition(", ")[2])
    return (
        f'<figure><img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _tests(entry: Mapping[str, object]) -> str:
    tests = read_residual_tests(entry)
    across, down = tests.autocorrelation
    values = {
        "mean": f"{_signed(tests.mean, 3)} sigma",
        "strength": f"{tests.chi2 + tests.divergence:.3f} = {tests.chi2:.3f} + {tests.divergence:.3f}",
        "autocorrelation": f"{_signed(across, 3)} across, {_signed(down, 3)} down",
        "structure": _signed(tests.structure, 3),
    }
    judged = judge_residual(tests, pixels=int(_number(entry["pixels"])))
    rows = "\n".join(
        f'<div class="test"><dt><span class="mark {judged[key].level}"></span>{name}'
        f'<span class="value">{values[key]}</span></dt><dd>{html.escape(judged[key].words)}</dd></div>'
        for key, name in _TESTS.items()
    )
    return f'<dl class="tests">\n{rows}\n</dl>'


# ---------------------------------------------------------------- noise and training


def _noise(noise: Sequence[IsoNoise]) -> str:
    if not noise:
        return (
            '<p class="quiet">The card states no noise of any camera: the model takes it from elsewhere.</p>'
        )
    places = np.linspace(0, len(noise) - 1, min(MOST_CURVES, len(noise))).round().astype(int)
    curves = [
        Series(
            _iso(noise[place].iso),
            [(float(x), _variance(noise[place].noise, float(x))) for x in SIGNALS],
        )
        for place in places
    ]
    picture = chart(
        curves,
        Axis("signal (black 0, white 1)", log=True),
        Axis("variance of the noise", log=True),
        title="Variance of the noise against the signal, a curve for each ISO, mean of the planes",
    )
    alone = "" if len(curves) == len(noise) else f" Of {len(noise)} ISOs {len(curves)} are drawn."
    head = "".join(f"<th>{name}</th>" for name in ("ISO", "captures", "shot", "read", "row"))
    rows = "\n".join(
        f'<tr><th scope="row">{_iso(each.iso, "")}</th><td>{each.captures}</td>'
        f"<td>{_plain(fmean(each.noise.shot))}</td><td>{_plain(fmean(each.noise.read_variance))}</td>"
        f"<td>{_plain(each.noise.row_variance)}</td></tr>"
        for each in noise
    )
    return (
        f"<p>{_NOISE_WORDS}{alone}</p>\n{picture}\n"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    )


def _variance(noise: NoiseModel, signal: float) -> float:
    """The mean of the planes."""
    return fmean(noise.shot) * signal + fmean(noise.read_variance)


def _training(card: ModelCard) -> str:
    points = [
        (check["images"], -10 * math.log10(check["risk"]))
        for check in card.history
        if "images" in check and check.get("risk", 0.0) > 0
    ]
    picture = chart(
        [Series("gain", points, dots=len(points) <= 60)],
        Axis("crops seen"),
        Axis("estimated gain (dB)"),
        title="Estimated gain on held-out captures against crops seen",
    )
    without = '<p class="quiet">The card has no record of how the training went on.</p>'
    known = {
        meaning: f"{card.figures[name]:.6g}" for name, meaning in FIGURES.items() if name in card.figures
    }
    table = _pairs(known) if known else ""
    return f"{f'<p>{_TRAINING_WORDS}</p>{picture}' if picture else without}\n{table}"


# ---------------------------------------------------------------- words and numbers


def _iso(iso: object, name: str = "ISO ") -> str:
    return f"{name}{iso}" if isinstance(iso, int) else "ISO not stated" if name else "not stated"


def _gain_text(entry: Mapping[str, object]) -> str:
    """The gain, where it can be told: an error left that is hardly there tells of a wrong noise model."""
    if not _number(entry["error_db"]) < UNTOLD_DB:
        return "cannot be told"
    return f"{_signed(_number(entry['gain_db']), 2)} ± {_number(entry['error_db']):.2f} dB"


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", MINUS)


def _plain(value: float) -> str:
    return f"{value:.4g}".replace("-", MINUS)


def _number(value: object) -> float:
    """A number of a card, whose reader has checked that it is one."""
    assert isinstance(value, int | float)
    return float(value)


def _count(value: float) -> str:
    return f"{value:,.0f}".replace(",", THIN_SPACE)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _escaped(value: object) -> str:
    """Escape what stands in a card, so that it is text wherever it came from."""
    return html.escape(
        "".join(
            each if each.isprintable() or each == THIN_SPACE else "\N{REPLACEMENT CHARACTER}"
            for each in str(value)
        )
    )


_TESTS = {
    "mean": "Brightness: mean",
    "strength": "Strength: chi² + divergence",
    "autocorrelation": "Whiteness: neighbours",
    "structure": "Scene: correlation with detail",
}
_GAIN_WORDS = (
    "How much smaller the mean squared error becomes, estimated without a clean capture (Stein's unbiased "
    "risk), where noise is one sigma at every level. It is as right as the noise model; the error is the "
    "standard error on these tiles."
)
_NOISE_WORDS = (
    "What the captures showed, or the camera's noise profile: variance = shot \N{MULTIPLICATION SIGN} "
    "signal + read, mean of the four planes; row is the variance of the offset that a row shares."
)
_TRAINING_WORDS = "Estimated on held-out captures while training went on; the best state became the model."
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2126; --quiet: #5c6570; --line: #d9dde2;
  --raised: #f5f6f8; --lightness: 42%; --good: #1f8a4c; --fair: #b7791f; --poor: #c53030; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --ink: #e6e8eb; --quiet: #9aa4b0;
  --line: #343a42; --raised: #1e2227; --lightness: 66%; --good: #4cc27f; --fair: #e0a94a; --poor: #f07070; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 54rem;
  margin: 0 auto; padding: 2rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 0 0 .75rem; display: flex; flex-wrap: wrap; justify-content: space-between; }
p { max-width: 44rem; }
.quiet, figcaption, header p, section > p { color: var(--quiet); }
header p { margin: .25rem 0 1.5rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .9rem 1.2rem;
  margin: 0; }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; }
.gain, .value, td, .chart text { font-variant-numeric: tabular-nums; }
article { background: var(--raised); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem;
  margin: 0 0 1.25rem; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; max-width: 648px; }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: .25rem; }
figcaption { font-size: .85rem; margin-top: .25rem; }
.tests { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr));
  gap: .8rem 1.5rem;
  margin: 1rem 0 0; }
.test dt { display: flex; flex-wrap: wrap; align-items: baseline; column-gap: .45rem; }
.test .value { margin-left: auto; color: var(--ink); }
.test dd { font-size: .92rem; }
.mark { display: inline-block; width: .65rem; height: .65rem; border-radius: 50%; margin-right: .45rem;
  background: var(--good); flex: none; }
.test .mark { margin-right: 0; }
.mark.fair { background: var(--fair); border-radius: 0; transform: rotate(45deg) scale(.85); }
.mark.poor { background: var(--poor); border-radius: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: right; padding: .35rem .8rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 600; }
.pairs th { text-align: left; font-weight: 400; color: var(--quiet); padding-left: 0;
  vertical-align: top; }
.pairs .word { text-align: left; white-space: normal; min-width: 9rem; }
details { margin-top: 1rem; }
summary { cursor: pointer; }
code { font-size: .8rem; }
ul { padding-left: 1.2rem; }
.chart { display: block; width: 100%; max-width: 680px; height: auto; margin: 1rem 0; font: 12.5px system-ui,
  sans-serif; }
.chart text { fill: var(--quiet); }
.chart .name { fill: hsl(var(--hue) 70% var(--lightness)); }
.grid, .axis, .curve, .whisker { fill: none; }
.grid { stroke: var(--line); }
.grid.minor { stroke-opacity: .45; }
.axis { stroke: var(--quiet); }
.curve, .whisker { stroke: hsl(var(--hue) 70% var(--lightness)); stroke-width: 2; stroke-linejoin: round; }
.dot { fill: hsl(var(--hue) 70% var(--lightness)); }
@media (max-width: 34rem) { th, td { padding: .35rem .45rem; } .pairs th { white-space: normal; }
  .chart { font-size: 15px; } }
@media print { article { break-inside: avoid; } }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: denoising model</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>Denoising model for raw captures.</p>
{facts}
</header>
{sections}
</body>
</html>
"""

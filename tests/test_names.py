"""What outputs are called and where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from rawdenoise.atomic import LONGEST_NAME
from rawdenoise.cli.wording import name_options
from rawdenoise.errors import PatternError
from rawdenoise.files.names import NamePattern, mirror_of, name_outputs, parse_pattern


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{stem}", "IMG 1.dng"),
        ("{stem}_dn", "IMG 1_dn.dng"),
        ("{stem}_dn.dng", "IMG 1_dn.dng"),
        ("{name}", "IMG 1.NEF.dng"),
        ("clean {stem} ({suffix})", "clean IMG 1 (NEF).dng"),
        ("{{{stem}}}", "{IMG 1}.dng"),
    ],
)
def test_outputs_are_called_by_a_pattern(text: str, name: str) -> None:
    assert parse_pattern(text, ".dng").name_output(Path("day/IMG 1.NEF"), ".dng") == Path("day", name)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "fixed", "{suffix}", "../{stem}", "a/{stem}", "a\\{stem}", "..{stem}", "{stem}..", ".{stem}",
        "{stem}\n", "{stem}\0", "{stem", "{stem!r}", "{stem:>900000000}", "{stem.__class__}", "{0}", "{}",
        "{model}", "{stem}:", "{stem} ", " {stem}",
    ],
)  # fmt: skip
def test_patterns_that_would_lead_astray_are_refused(text: str) -> None:
    with pytest.raises(PatternError, match="names cannot follow"):
        parse_pattern(text, ".dng")


def test_the_command_line_says_which_options_give_the_folder() -> None:
    with pytest.raises(PatternError) as refused:
        parse_pattern("out/{stem}", ".dng")
    assert "--" not in str(refused.value)
    assert name_options(refused.value).endswith("-o and --beside say where it goes")


def test_long_names_are_cut_and_stay_apart() -> None:
    sources = [Path("n" * 250 + suffix) for suffix in (".NEF", ".nef")]
    names = name_outputs(sources, ".dng", NamePattern("{stem}_denoised"))
    assert all(len(name.name) == LONGEST_NAME and name.name.endswith(".dng") for name in names)
    assert len(set(names)) == 2


@pytest.mark.parametrize("stem", ["a" * 251, "写" * 83, "a" * 247])
@pytest.mark.parametrize("text", ["{stem}_dn", "dn_{name}", "{stem}_{suffix}_{stem}"])
def test_what_a_pattern_adds_to_a_long_name_stays(text: str, stem: str) -> None:
    pattern = parse_pattern(text, ".dng")
    for number in (1, 12):
        name = pattern.name_output(Path(f"{stem}.dng"), ".dng", number=number).name
        assert len(name.encode()) <= 255
        assert any(part in name for part in ("_dn", "dn_", "_dng_"))
        assert name.endswith(".dng" if number == 1 else "-12.dng")
        assert name != f"{stem}.dng"


def test_a_source_that_has_its_output_keeps_it() -> None:
    sources = [Path("IMG.DNG"), Path("IMG.NEF"), Path("other.NEF")]
    assert name_outputs(sources, ".dng", kept={1: Path("IMG.dng")}) == [
        Path("IMG.DNG.dng"),
        Path("IMG.dng"),
        Path("other.dng"),
    ]
    assert name_outputs(sources[:1], ".dng", kept={0: Path("IMG.DNG.dng")}) == [Path("IMG.DNG.dng")]


def test_an_output_that_is_kept_is_nobody_elses_name() -> None:
    sources = [Path("a.NEF"), Path("a-2.NEF")]  # a.NEF was done with --if-exists rename once
    assert name_outputs(sources, ".dng", kept={0: Path("a-2.dng")}) == [Path("a-2.dng"), Path("a-2.NEF.dng")]


def test_where_a_source_lies_does_not_hang_on_what_else_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("day1", "day2", "trip/day3"):
        (tmp_path / folder).mkdir(parents=True)
    first = Path("day1/a.NEF")
    for given in ([first], [first, Path("day2/a.NEF")], [first, Path("trip/day3/a.NEF")]):
        assert mirror_of(given, is_list=True).path_below(first) == first
    for given in ([Path("day1"), Path("day2")], [Path("day1"), Path("trip")], [Path("day1/"), tmp_path]):
        assert mirror_of(given).path_below(first) == first


def test_one_path_counts_from_itself_and_a_root_holds_for_all(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    source = tmp_path / "a" / "b" / "x.NEF"
    assert mirror_of([tmp_path / "a"]).path_below(source) == Path("b/x.NEF")
    assert mirror_of([source]).path_below(source) == Path("x.NEF")
    assert mirror_of([tmp_path / "a", tmp_path / "c"]).path_below(source) == Path("a/b/x.NEF")
    rooted = mirror_of([source], tmp_path)
    assert rooted.path_below(source) == Path("a/b/x.NEF")
    assert rooted.path_below(tmp_path.parent / "y.NEF") is None

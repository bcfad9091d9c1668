"""What is done about outputs that are there, whatever they are called and whoever touched them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_raw

from rawdenoise.app.batch import Signing, make_steps, run_batch
from rawdenoise.app.planning import FileJob, IfExists, Naming, plan
from rawdenoise.app.results import Status
from rawdenoise.capture.raw import Exposure, Metadata, Provenance
from rawdenoise.files.names import mirror_of, parse_pattern
from rawdenoise.files.outputs import Judge, Standing, is_made_by_us
from rawdenoise.files.sources import digest_of, signature_of
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.provenance import is_output, read_origin
from rawdenoise.formats.metadata.source import is_denoised_by_us, read_metadata
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.tiff.reading import ascii_tag, bytes_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.isolation.noisy_captures import read_untouched
from rawdenoise.recipe import Recipe

TIME = "2026:05:06 07:08:09"


def a_capture(path: Path, seed: int = 0, taken_at: str | None = None, sub_seconds: str = "") -> Path:
    """A small simulated capture; it need not state when it was taken."""
    exif = {37521: ascii_tag(sub_seconds)} if sub_seconds else {}
    raw = make_raw(
        48, 64, seed=seed, exposure=Exposure(iso=100, taken_at=taken_at), metadata=Metadata(exif=exif)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(raw, path.with_suffix(".tmp"), provenance=Provenance("0", "simulated", 0.0))
    path.with_suffix(".tmp").replace(path)
    return path


def digest(path: Path) -> str:
    signature = signature_of(path)
    assert signature is not None
    return digest_of(path, signature)


def do(jobs: list[FileJob], recipe: str = "recipe", format: Format = Format.DNG) -> list[Status]:
    """Do what is planned, at strength 0, by a recipe that is only a word."""
    remade = {job.output for job in jobs if job.replaces and job.output is not None}
    signing = Signing(lambda source: recipe)
    steps = make_steps(Recipe(strength=0, format=format), lambda camera: None, signing=signing, remade=remade)
    results = {result.source: result for result in run_batch(jobs, steps)}
    assert not [result.reason for result in results.values() if result.error]
    return [results[job.source].status for job in jobs]


def judge(recipe: str = "recipe") -> Judge:
    return Judge(digest, lambda source: recipe)


def planned(*paths: Path, to: Path | None, recipe: str = "recipe", **more: object) -> list[FileJob]:
    options = {"suffix": ".dng", "judge": judge(recipe), **more}
    return plan(list(paths), to, **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- whole, of this content, by this recipe


@pytest.mark.parametrize("format", Format)
def test_an_output_says_of_what_and_how_it_was_made(tmp_path: Path, format: Format) -> None:
    source, out = a_capture(tmp_path / "a ü&<.dng"), tmp_path / "out"
    suffix = {"suffix": format.suffix}
    assert do(planned(source, to=out, **suffix), format=format) == [Status.DONE]
    made = read_origin(out / ("a ü&<" + format.suffix))
    assert made is not None
    assert (made.source_digest, made.recipe, made.source_name) == (
        hashlib.sha256(source.read_bytes()).hexdigest(), "recipe", "a ü&<.dng",
    )  # fmt: skip
    (again,) = planned(source, to=out, **suffix)
    assert (again.status, again.standing) == (Status.SKIPPED, Standing.CURRENT)


def _empty(output: Path) -> None:
    output.write_bytes(b"")


def _cut(output: Path) -> None:
    os.truncate(output, output.stat().st_size - 1)


def _cut_short(output: Path) -> None:
    os.truncate(output, 1000)


def _zero(output: Path) -> None:
    output.write_bytes(bytes(output.stat().st_size))


@pytest.mark.parametrize("format", [Format.DNG, Format.MOSAIC_TIFF])
@pytest.mark.parametrize("damage", [_empty, _cut, _cut_short, _zero])
def test_what_is_not_whole_is_made_anew(
    tmp_path: Path, damage: Callable[[Path], None], format: Format
) -> None:
    source, output = a_capture(tmp_path / "a.dng"), tmp_path / "out" / ("a" + format.suffix)
    suffix = {"suffix": format.suffix}
    do(planned(source, to=tmp_path / "out", **suffix), format=format)
    whole = output.read_bytes()
    damage(output)
    jobs = planned(source, to=tmp_path / "out", **suffix)
    assert [(job.status, job.standing, job.replaces) for job in jobs] == [
        (Status.PLANNED, Standing.BROKEN, True)
    ]
    assert "not whole" in jobs[0].note
    assert do(jobs, format=format) == [Status.DONE]
    assert output.read_bytes() == whole


def test_of_another_recipe_it_is_left_until_it_is_asked_for(tmp_path: Path) -> None:
    source, out = a_capture(tmp_path / "a.dng"), tmp_path / "out"
    do(planned(source, to=out))
    before = (out / "a.dng").read_bytes()
    (left,) = planned(source, to=out, recipe="another")
    assert (left.status, left.standing) == (Status.SKIPPED, Standing.OTHER_RECIPE)
    assert planned(source, to=out, if_exists=IfExists.REDO)[0].status is Status.SKIPPED  # it is of this one
    jobs = planned(source, to=out, recipe="another", if_exists=IfExists.REDO)
    assert do(jobs, "another") == [Status.DONE]
    assert (out / "a.dng").read_bytes() != before
    assert planned(source, to=out, recipe="another")[0].standing is Standing.CURRENT


def test_of_another_model_it_is_left_until_it_is_asked_for(tmp_path: Path) -> None:
    source, output = a_capture(tmp_path / "a.dng"), tmp_path / "out" / "a.dng"
    made = Provenance("1", "gr2r", 1.0, "model-1", source_digest=digest(source), recipe="recipe")
    write_dng(make_raw(48, 64), output, provenance=made)
    asked = []

    def models(*ids: str) -> Callable[[str], frozenset[str]]:
        def of(camera: str) -> frozenset[str]:
            asked.append(camera)
            return frozenset(ids)

        return of

    for ids, standing in ((("model-1", "x"), Standing.CURRENT), (("model-2",), Standing.OTHER_RECIPE)):
        assert Judge(digest, lambda source: "recipe", models(*ids)).find_standing(source, output) is standing
    assert set(asked) == {"Test One"}


def test_of_other_content_it_fails_though_nothing_states_a_time(tmp_path: Path) -> None:
    source, out = a_capture(tmp_path / "in" / "frame0001.dng", 1), tmp_path / "out"
    do(planned(source, to=out))
    before, times = (out / "frame0001.dng").read_bytes(), source.stat()
    a_capture(source, 2)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    for if_exists in (IfExists.SKIP, IfExists.REDO):
        (job,) = planned(source, to=out, if_exists=if_exists)
        assert (job.status, job.standing) == (Status.FAILED, Standing.OTHER)
        assert "other content" in job.reason
    assert (out / "frame0001.dng").read_bytes() == before
    do(planned(source, to=out, if_exists=IfExists.RENAME))
    (kept,) = planned(source, to=out)
    assert (kept.status, kept.output) == (Status.SKIPPED, out / "frame0001-2.dng")


def test_a_source_whose_tags_were_changed_since_is_of_the_same_capture(tmp_path: Path) -> None:
    source, out = a_capture(tmp_path / "a.dng", 1, TIME, "42"), tmp_path / "out"
    do(planned(source, to=out))
    source.write_bytes(source.read_bytes() + b"rated")
    (job,) = planned(source, to=out)
    assert (job.status, job.standing) == (Status.SKIPPED, Standing.CHANGED)
    (again,) = planned(source, to=out, if_exists=IfExists.REDO)
    assert (again.status, again.replaces) == (Status.PLANNED, True)
    a_capture(source, 2, TIME)  # a burst has several frames in a second
    assert planned(source, to=out)[0].status is Status.FAILED


def test_outputs_of_older_versions_are_judged_by_time_else_left_and_said(tmp_path: Path) -> None:
    def output_of(name: str, taken_at: str | None) -> None:
        raw = make_raw(48, 64, exposure=Exposure(iso=100, taken_at=taken_at))
        write_dng(raw, tmp_path / "out" / name, provenance=Provenance("0", "gr2r", 1.0))

    same, other, timeless = (
        a_capture(tmp_path / "in" / f"{name}.dng", taken_at=time)
        for name, time in (("same", TIME), ("other", TIME), ("timeless", None))
    )
    output_of("same.dng", TIME)
    output_of("other.dng", "2026:05:07 07:08:09")
    output_of("timeless.dng", None)
    found = {job.source: job for job in planned(tmp_path / "in", to=tmp_path / "out")}
    assert [(found[each].status, found[each].standing) for each in (same, other, timeless)] == [
        (Status.SKIPPED, Standing.UNSIGNED),
        (Status.FAILED, Standing.OTHER),
        (Status.SKIPPED, Standing.UNKNOWN),
    ]
    redone = {
        job.source: job.status
        for job in planned(tmp_path / "in", to=tmp_path / "out", if_exists=IfExists.REDO)
    }
    assert redone == {same: Status.PLANNED, other: Status.FAILED, timeless: Status.SKIPPED}


def test_what_others_have_made_is_never_written_over(tmp_path: Path) -> None:
    """A capture that lies where an output would go: the DNG that a camera wrote beside its NEF."""
    source, theirs = a_capture(tmp_path / "IMG.NEF"), tmp_path / "IMG.dng"
    shutil.copy(_foreign(tmp_path / "foreign.dng"), theirs)
    for if_exists, status in (
        (IfExists.SKIP, Status.SKIPPED),
        (IfExists.REDO, Status.SKIPPED),
        (IfExists.OVERWRITE, Status.FAILED),
        (IfExists.ERROR, Status.FAILED),
    ):
        (job,) = planned(source, to=None, if_exists=if_exists)
        assert (job.output, job.status, job.replaces) == (theirs, status, False)
    os.truncate(theirs, theirs.stat().st_size - 100)  # a card that failed: what is left may be all there is
    assert planned(source, to=None)[0].replaces is False


def _foreign(path: Path) -> Path:
    write_dng(make_raw(48, 64), path, provenance=Provenance("0", "simulated", 0.0))
    path.write_bytes(path.read_bytes().replace(b"rawdenoise 0", b"Camera 1.0.0"))
    return path


# ---------------------------------------------------------------- whatever others do to them


def test_an_output_is_known_though_another_program_has_put_its_name_into_it(tmp_path: Path) -> None:
    source, out = a_capture(tmp_path / "a.dng"), tmp_path / "out"
    do(planned(source, to=out))
    found = read_metadata(out / "a.dng")
    touched = replace(found, root={**found.root, Code.Software: ascii_tag("Lightroom 14.0")})
    assert is_output(touched, out / "a.dng")
    bare = {code: tag for code, tag in found.root.items() if code != Code.XMP}
    assert not is_output(replace(found, root={**bare, Code.XMP: bytes_tag(b"<x/>")}), out / "a.dng")


def test_a_denoised_file_stays_one_though_another_program_says_that_it_made_it(tmp_path: Path) -> None:
    for strength in (1.0, 0.0):
        write_dng(make_raw(48, 64), tmp_path / "a.dng", provenance=Provenance("0", "gr2r", strength))
        found = read_metadata(tmp_path / "a.dng")
        touched = replace(found, root={**found.root, Code.Software: ascii_tag("Lightroom 14.0")})
        assert is_denoised_by_us(touched, tmp_path / "a.dng") is bool(strength)


def test_outputs_at_strength_0_are_no_captures_again_and_simulated_captures_are(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "P.dng")
    assert not is_made_by_us(source)
    assert read_untouched(source, None).mosaic.size
    for _ in range(3):
        do(planned(tmp_path, to=tmp_path, naming=Naming(parse_pattern("{stem}_dn", ".dng"))))
    assert {path.name for path in tmp_path.iterdir()} == {"P.dng", "P_dn.dng"}
    assert is_made_by_us(tmp_path / "P_dn.dng")
    with pytest.raises(Exception, match="was made by rawdenoise"):
        read_untouched(tmp_path / "P_dn.dng", None)


def test_an_output_that_is_named_is_done_again_but_not_beside_its_source(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "P.dng")
    beside = {"naming": Naming(parse_pattern("{stem}_dn", ".dng"))}
    do(planned(source, to=None, **beside))
    output = tmp_path / "P_dn.dng"
    assert planned(output, to=tmp_path / "out")[0].status is Status.PLANNED
    jobs = planned(source, output, to=None, **beside)  # as by a shell's `*.dng`
    assert [job.status for job in jobs] == [Status.SKIPPED, Status.SKIPPED]
    (listed,) = planned(output, to=tmp_path / "out", named=())
    assert listed.status is Status.SKIPPED


# ---------------------------------------------------------------- names that stay


@pytest.mark.parametrize("same_content", [False, True])
def test_what_has_its_output_keeps_it_when_another_of_that_stem_comes(
    tmp_path: Path, same_content: bool
) -> None:
    first = a_capture(tmp_path / "in" / "IMG_1.NEF", 1)
    out = tmp_path / "out"
    do(planned(tmp_path / "in", to=out))
    before = (out / "IMG_1.dng").read_bytes()
    if same_content:
        shutil.copy(first, tmp_path / "in" / "IMG_1.DNG")
    else:
        a_capture(tmp_path / "in" / "IMG_1.DNG", 2)
    jobs = planned(tmp_path / "in", to=out)
    assert {job.source.name: (job.status, job.output) for job in jobs} == {
        "IMG_1.NEF": (Status.SKIPPED, out / "IMG_1.dng"),
        "IMG_1.DNG": (Status.PLANNED, out / "IMG_1.DNG.dng"),
    }
    do(jobs)
    assert (out / "IMG_1.dng").read_bytes() == before
    assert {job.status for job in planned(tmp_path / "in", to=out)} == {Status.SKIPPED}
    first.unlink()
    assert planned(tmp_path / "in", to=out)[0].output == out / "IMG_1.DNG.dng"


def test_a_second_folder_changes_nothing_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = a_capture(Path("day1/IMG_1.NEF"), 1), a_capture(Path("day2/IMG_1.NEF"), 2)
    given = [[one], [one, two], [two, one], [one.parent, two.parent]]
    for paths in given:
        do(planned(*paths, to=Path("out"), naming=Naming(mirror=mirror_of(paths, is_list=True))))
    assert {path.as_posix() for path in Path("out").rglob("*.dng")} == {
        "out/day1/IMG_1.dng",
        "out/day2/IMG_1.dng",
    }


def test_an_output_is_found_wherever_another_root_has_put_it(tmp_path: Path) -> None:
    one, two = a_capture(tmp_path / "p/day1/a.NEF", 1), a_capture(tmp_path / "p/day2/a.NEF", 2)
    out = tmp_path / "out"
    do(planned(one.parent, to=out))
    assert (out / "a.dng").exists()
    jobs = planned(one.parent, two.parent, to=out)
    assert [(job.status, job.output) for job in jobs] == [
        (Status.SKIPPED, out / "a.dng"),
        (Status.PLANNED, out / "day2" / "a.dng"),
    ]


def test_a_root_is_held_to(tmp_path: Path) -> None:
    inside, outside = a_capture(tmp_path / "p/day1/a.NEF"), a_capture(tmp_path / "q/b.NEF")
    paths = [inside, outside]
    jobs = planned(*paths, to=tmp_path / "out", naming=Naming(mirror=mirror_of(paths, tmp_path / "p")))
    assert [(job.status, job.output) for job in jobs] == [
        (Status.PLANNED, tmp_path / "out/day1/a.dng"),
        (Status.FAILED, None),
    ]
    assert "--root" in jobs[1].reason


def test_beside_a_dng_its_output_needs_another_name(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    before = source.read_bytes()
    for if_exists in IfExists:
        (job,) = planned(source, to=None, if_exists=if_exists)
        if if_exists is IfExists.RENAME:
            assert job.output == tmp_path / "a-2.dng"
        else:
            assert (job.status, "one of the sources" in job.reason) == (Status.FAILED, True)
    do(planned(source, to=None, naming=Naming(parse_pattern("{stem}_dn", ".dng"))))
    assert source.read_bytes() == before
    assert np.array_equal(read_untouched(source, None).mosaic, make_raw(48, 64).mosaic)


@pytest.mark.parametrize("how", ["itself", "hard link", "symbolic link"])
def test_a_source_is_not_written_over_whatever_was_planned(tmp_path: Path, how: str) -> None:
    """What was not there when names were chosen may be there when an output is written."""
    source, output = a_capture(tmp_path / "a.dng"), tmp_path / "b.dng"
    before = source.read_bytes()
    if how == "itself":
        output = source
    elif how == "hard link":
        output.hardlink_to(source)
    else:
        output.symlink_to(source)
    steps = make_steps(Recipe(strength=0), lambda camera: None, overwrite=True)
    (result,) = run_batch([FileJob(source, output)], steps)
    assert (result.status, "is the source itself" in result.reason) == (Status.FAILED, True)
    assert source.read_bytes() == output.read_bytes() == before

"""The service on real files: what arrives is done once, under names that lose no picture."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import soon
from watched import QUICK, a_capture, config_of, once, outputs, retag, states, watching
from watched import _quickly as _quickly
from watched import root as root

from rawdenoise.app.stores import user_stores
from rawdenoise.errors import UnreadableError
from rawdenoise.formats import read_raw
from rawdenoise.formats.metadata.provenance import read_origin
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.tiff.reading import text
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import new_model
from rawdenoise.pipeline import denoise
from rawdenoise.recipe import Recipe
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.watching import late_sidecars
from rawdenoise.watching.config import Root
from rawdenoise.watching.ledger import Ledger


def test_what_is_there_is_denoised_as_by_denoise(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    source = a_capture(root.source / "deep" / "a b.dng")
    before = source.read_bytes()
    code, told = once(root)
    output = root.output / "deep" / "a b.dng"
    assert code == 0
    assert outputs(root) == {"deep/a b.dng"}
    expected = denoise(read_raw(source), load_bundled("fast")).image.mosaic
    assert np.array_equal(read_raw(output).mosaic, expected)
    assert source.read_bytes() == before
    made = read_origin(output)
    assert made is not None
    assert (made.recipe, made.model_id) == (root.recipe.digest, load_bundled("fast").card.id)
    (done,) = told.all("done")
    assert (done["source"], done["output"], done["camera"]) == (str(source), str(output), "Test One")
    assert done["gain_db"] > 0


@pytest.mark.parametrize("format", ["dng", "tiff", "mosaic-tiff"])
def test_outputs_say_of_what_they_were_made(root: Root, format: str) -> None:
    root = replace(root, recipe=replace(QUICK, format=Format(format)))
    a_capture(root.source / "a.dng")
    assert once(root)[0] == 0
    (name,) = outputs(root)
    made = read_origin(root.output / name)
    with Ledger(config_of(root).state, owner=False) as ledger:
        (job,) = ledger.jobs.select()
    assert made is not None
    assert (made.source_digest, made.recipe) == (job.digest, root.recipe.digest)


def test_nothing_is_done_twice(root: Root) -> None:
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    assert len(once(root)[1].all("done")) == 3
    shutil.copy(root.source / "0.dng", root.source / "copied.dng")
    os.utime(root.source / "1.dng")
    code, told = once(root)
    assert (code, told.all("done")) == (0, [])
    assert outputs(root) == {"0.dng", "1.dng", "2.dng"}


def test_a_lost_ledger_does_nothing_twice(root: Root) -> None:
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    times = {path: path.stat().st_mtime_ns for path in root.output.iterdir()}
    shutil.rmtree(config_of(root).state)
    code, told = once(root)
    assert (code, told.all("done"), len(told.all("found"))) == (0, [], 3)
    assert {path: path.stat().st_mtime_ns for path in root.output.iterdir()} == times
    assert states(root) == {"done": 3}


def test_names_that_meet(root: Root) -> None:
    for number, folder in enumerate(("a", "b")):
        a_capture(root.source / folder / "IMG.dng", number)
    shutil.copy(a_capture(root.source.parent / "x.dng", 5), root.source / "a" / "IMG.DNG")
    (root.output / "b").mkdir(parents=True)
    (root.output / "b" / "IMG.dng").write_bytes(b"somebody else's")
    assert once(root)[0] == 0
    assert len(outputs(root)) == 4
    assert {"a/IMG.dng", "b/IMG.dng", "b/IMG.dng.dng"} < outputs(root)
    assert (root.output / "b" / "IMG.dng").read_bytes() == b"somebody else's"


def test_a_name_that_is_taken_meanwhile_is_left_to_who_has_it(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_capture(root.source / "a.dng")
    real = worker.run_file

    def run_file(job: Any, *more: Any) -> Any:
        (root.output / "a.dng").write_bytes(b"somebody else's")
        return real(job, *more)

    monkeypatch.setattr(worker, "run_file", run_file)
    assert once(root)[0] == 0
    assert outputs(root) == {"a.dng", "a.dng.dng"}
    assert (root.output / "a.dng").read_bytes() == b"somebody else's"


def test_two_ledgers_and_one_output_lose_no_picture(root: Root) -> None:
    other = replace(root, source=root.source.parent / "elsewhere" / "in")
    for number, each in enumerate((root, other)):
        a_capture(each.source / "a.dng", number)
        assert once(each)[0] == 0
    assert outputs(root) == {"a.dng", "a.dng.dng"}


def test_names_that_cannot_be_are_cut_or_given_up_and_stop_nothing(root: Root) -> None:
    root = replace(root, failed_dir=root.source.parent / "failed")
    long = "n" * 251
    shutil.copy(a_capture(root.source / f"{long}.dng", 0), root.source.parent / "x.dng")
    a_capture(root.source / f"{long}.DNG", 1)
    a_capture(root.source / "z.dng", 2)
    a_capture(root.source / "IMG.cr2", 3)
    once(root)
    a_capture(root.source / "IMG.dng" / "x.dng", 4)  # where a file lies in the output folder
    a_capture(root.source / "zz.dng", 5)
    code, told = once(root)
    assert code == 1
    assert [each["source"] for each in told.all("quarantined")] == [str(root.source / "IMG.dng" / "x.dng")]
    assert (root.source / "IMG.dng" / "x.dng").exists()  # nothing is wrong with it
    assert len(outputs(root)) == 5
    assert {"z.dng", "zz.dng", "IMG.dng"} < outputs(root)


def test_outputs_inside_the_watched_folder_are_not_captures(root: Root) -> None:
    root = replace(root, output=root.source / "out", recipe=replace(QUICK, strength=0.0))
    a_capture(root.source / "a.dng")
    for _ in range(2):
        assert once(root)[0] == 0
    assert outputs(root) == {"a.dng"}


def test_our_own_outputs_that_are_brought_back_are_left_alone(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    a_capture(root.source / "a.dng")
    once(root)
    shutil.copy(root.output / "a.dng", root.source / "again.dng")
    code, told = once(root)
    assert code == 0
    assert [each["source"] for each in told.all("skipped")] == [str(root.source / "again.dng")]
    assert outputs(root) == {"a.dng"}


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("", "", {"a.dng", "a.dng.dng"}),
        ("2026:01:01 10:00:00", "2026:01:01 10:00:00", {"a.dng", "a.dng.dng"}),  # a camera of ten a second
        ("2026:01:01 10:00:00.25", "2026:01:01 10:00:00.35", {"a.dng", "a.dng.dng"}),
        ("2026:01:01 10:00:00", "2026:01:02 11:00:00", {"a.dng", "a.dng.dng"}),
        ("2026:01:01 10:00:00.25", "2026:01:01 10:00:00.25", {"a.dng"}),  # a copy that looked whole
    ],
)
def test_another_picture_under_the_same_name_loses_no_output(
    root: Root, first: str, second: str, names: set[str]
) -> None:
    source = a_capture(root.source / "a.dng", 0, first)
    once(root)
    made = (root.output / "a.dng").read_bytes()
    a_capture(source, 1, second)
    code, told = once(root)
    assert code == 0
    assert outputs(root) == names
    kept = (root.output / "a.dng").read_bytes() == made
    (done,) = told.all("done")
    assert kept == (len(names) == 2) == any("another capture's, and stays" in note for note in done["notes"])


def test_a_capture_that_was_retagged_has_one_output_with_its_tags(root: Root) -> None:
    source = a_capture(root.source / "a.dng", 0, "2026:01:01 10:00:00")
    once(root)
    retag(source, "2026:01:01 12:00:00")  # the camera's clock was an hour or two wrong
    assert once(root)[0] == 0
    assert outputs(root) == {"a.dng"}
    assert text(read_metadata(root.output / "a.dng").exif[Code.DateTimeOriginal]) == "2026:01:01 12:00:00"


def test_an_output_that_somebody_has_edited_is_not_replaced(root: Root) -> None:
    source = a_capture(root.source / "a.dng", 0, "2026:01:01 10:00:00")
    once(root)
    retag(root.output / "a.dng", "2026:01:01 11:00:00")
    edited = (root.output / "a.dng").read_bytes()
    retag(source, "2026:01:01 12:00:00")
    assert once(root)[0] == 0
    assert (root.output / "a.dng").read_bytes() == edited
    assert outputs(root) == {"a.dng", "a.dng.dng"}


def test_redo(root: Root) -> None:
    a_capture(root.source / "a.dng")
    once(root)
    first = read_origin(root.output / "a.dng")
    root = replace(root, recipe=replace(QUICK, keep_row_noise=True))
    assert once(root)[1].all("done") == []  # only when it is asked for
    assert len(once(root, redo=True)[1].all("done")) == 1
    assert once(root, redo=True)[1].all("done") == []
    again = read_origin(root.output / "a.dng")
    assert first is not None
    assert again is not None
    assert again.recipe == root.recipe.digest != first.recipe
    assert outputs(root) == {"a.dng"}


def test_what_somebody_did_to_a_sidecar_beside_the_output_stays(root: Root) -> None:
    root = replace(root, sidecars=True)
    for name in ("a", "b"):
        a_capture(root.source / f"{name}.dng", ord(name))
        (root.source / f"{name}.xmp").write_text("the camera's")
    root.output.mkdir()
    (root.output / "b.xmp").write_text("there before")
    assert once(root)[0] == 0
    assert (root.output / "a.xmp").read_text() == "the camera's"
    (root.output / "a.xmp").write_text("edited in a raw developer")
    os.utime(root.source / "a.xmp")
    assert once(root)[0] == 0
    assert (root.output / "a.xmp").read_text() == "edited in a raw developer"
    assert (root.output / "b.xmp").read_text() == "there before"


def test_a_sidecar_that_cannot_be_read_stops_nothing(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root = replace(root, sidecars=True)
    a_capture(root.source / "a.dng")
    once(root)
    (root.source / "a.xmp").write_text("secret")
    real, refusals = late_sidecars.copy_sidecars, iter([True] * 3)

    def copy(*arguments: Any) -> list[Path]:
        if next(refusals, False):
            raise UnreadableError(root.source / "a.xmp", "cannot be read (Permission denied)")
        return real(*arguments)

    monkeypatch.setattr(late_sidecars, "copy_sidecars", copy)
    with watching(root) as (_, told):
        assert soon(lambda: (root.output / "a.xmp").exists())
    assert len(told.all("refused")) == 1


def test_sidecars_go_with_their_capture_whenever_they_come(root: Root) -> None:
    root = replace(root, sidecars=True)
    a_capture(root.source / "a.dng")
    (root.source / "a.xmp").write_text("early")
    assert once(root)[0] == 0
    (root.source / "a.dng.xmp").write_text("late")
    (root.source / "a.JPG").write_text("late")
    (root.source / "alone.JPG").write_text("of nothing")
    assert once(root)[0] == 0
    assert outputs(root) == {"a.dng", "a.xmp", "a.dng.xmp", "a.JPG"}
    (root.source / "a.xmp").write_text("edited since")
    assert once(root)[0] == 0
    assert (root.output / "a.xmp").read_text() == "edited since"


def test_pictures_that_would_hardly_gain_are_left_out_once(root: Root) -> None:
    root = replace(root, recipe=Recipe(min_gain=99.0))
    a_capture(root.source / "a.dng")
    assert len(once(root)[1].all("skipped")) == 1
    assert once(root)[1].all("skipped") == []
    assert outputs(root) == set()


def test_a_model_that_is_made_meanwhile_is_used(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    with watching(root) as (_, told):
        first = a_capture(root.source / "a.dng", 0)
        assert soon(lambda: told.all("done"))
        card = replace(load_bundled("fast").card, camera=read_raw(first).camera)
        own = new_model(load_bundled("fast").net, card)
        user_stores().models.save(own)
        a_capture(root.source / "b.dng", 1)
        assert soon(lambda: len(told.all("done")) == 2)
    assert [each["model"] for each in told.all("done")] == [load_bundled("fast").card.id, own.card.id]


def test_a_model_whose_card_cannot_be_read_is_waited_for(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    source = a_capture(root.source / "a.dng")
    own = new_model(
        load_bundled("fast").net, replace(load_bundled("fast").card, camera=read_raw(source).camera)
    )
    card = user_stores().models.save(own) / "card.json"
    card.write_text('{"format": 0}')
    with watching(root) as (_, told):
        assert soon(lambda: told.all("waiting"))
    assert f"rawdenoise models remove {own.card.id}" in told.all("waiting")[0]["reason"]
    assert not told.all("done")
    assert outputs(root) == set()

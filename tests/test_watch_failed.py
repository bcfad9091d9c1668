"""Captures that were given up: moved away, none over another, whoever moves at the same time."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rawdenoise.errors import OutputError
from rawdenoise.files.sources import Signature, signature_of
from rawdenoise.watching import failed
from rawdenoise.watching.failed import move_failed
from rawdenoise.watching.reports import describe_event


def a_file(path: Path, content: bytes = b"no raw") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def move(source: Path, folder: Path, digest: str = "ab") -> Path:
    reason: dict[str, object] = {"source": str(source), "sha256": digest, "reason": "x"}
    return move_failed(source, signature_of(source), folder, reason)


def no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.fixture(params=["one file system", "two"])
def link(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """How a file gets a second name; on another file system not at all."""
    if request.param == "two":
        monkeypatch.setattr(failed.os, "link", no_links)
    return os.link


@pytest.mark.usefixtures("link")
def test_files_of_one_name_are_all_kept_each_with_its_reason(tmp_path: Path) -> None:
    sources = [a_file(tmp_path / f"{n}" / "IMG_0001.dng", f"{n}".encode()) for n in range(24)]
    together = threading.Barrier(8)

    def at_once(some: list[Path]) -> None:
        together.wait()
        for source in some:
            move(source, tmp_path / "failed", source.parent.name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(at_once, [sources[n::8] for n in range(8)]))
    assert not any(source.exists() for source in sources)
    moved = sorted((tmp_path / "failed").glob("*.dng"))
    told = [json.loads(path.with_name(f"{path.name}.json").read_text())["sha256"] for path in moved]
    assert [path.read_text() for path in moved] == told
    assert sorted(told) == sorted(f"{n}" for n in range(24))
    assert len(list((tmp_path / "failed").iterdir())) == 48


def test_what_fails_is_moved_beside_what_lies_there(tmp_path: Path) -> None:
    theirs = a_file(tmp_path / "failed" / "a.dng", b"theirs")
    a_file(tmp_path / "failed" / "a-2.dng.json", b"theirs")
    contents = ("one", "other", "other")  # which is moved away twice: it is kept once
    files = ((a_file(tmp_path / "a.dng", each.encode()), each) for each in contents)
    names = [move(source, tmp_path / "failed", digest).name for source, digest in files]
    assert names == ["a-3.dng", "a-4.dng", "a-4.dng"]
    assert not (tmp_path / "a.dng").exists()
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.usefixtures("link")
@pytest.mark.parametrize("died", ["before it was moved", "between the two names"])
def test_a_move_that_was_broken_off_goes_on(
    tmp_path: Path, died: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = a_file(tmp_path / "a.dng")

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(failed, "_give_name" if died == "before it was moved" else "_remove", die)
        with pytest.raises(KeyboardInterrupt):
            move(source, tmp_path / "failed")
    assert move(source, tmp_path / "failed") == tmp_path / "failed" / "a.dng"
    assert not source.exists()
    assert {path.name for path in (tmp_path / "failed").iterdir()} == {"a.dng", "a.dng.json"}


def test_what_cannot_be_removed_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = a_file(tmp_path / "a.dng")
    real = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == source:
            raise PermissionError(errno.EACCES, "Permission denied")
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="cannot be moved"):
        move(source, tmp_path / "failed")
    assert list((tmp_path / "failed").iterdir()) == []
    assert source.exists()


def test_what_is_written_to_while_it_is_copied_away_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = a_file(tmp_path / "a.dng")
    monkeypatch.setattr(failed.os, "link", no_links)
    real = failed.shutil.copyfile

    def copy(one: Path, other: Path) -> None:
        real(one, other)
        one.write_bytes(b"and more came")

    monkeypatch.setattr(failed.shutil, "copyfile", copy)
    with pytest.raises(OutputError, match="changed while"):
        move(source, tmp_path / "failed")
    assert source.read_bytes() == b"and more came"
    assert list((tmp_path / "failed").iterdir()) == []


@pytest.mark.usefixtures("link")
def test_what_gets_the_name_while_the_old_one_is_moved_away_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a camera that counts from the beginning again, while the copy is flushed to its disk."""
    source = a_file(tmp_path / "a.dng")
    real = failed._give_name

    def give_name(source: Path, signature: Signature | None, target: Path) -> None:
        real(source, signature, target)
        source.unlink()
        source.write_bytes(b"another capture")

    monkeypatch.setattr(failed, "_give_name", give_name)
    with pytest.raises(OutputError, match="changed while"):
        move(source, tmp_path / "failed")
    assert source.read_bytes() == b"another capture"


def test_a_link_is_moved_as_what_it_leads_to(tmp_path: Path) -> None:
    real, source = a_file(tmp_path / "card" / "a.dng"), tmp_path / "a.dng"
    source.symlink_to(Path("card") / "a.dng")
    target = move(source, tmp_path / "deep" / "failed")
    assert not target.is_symlink()
    assert target.read_bytes() == real.read_bytes() == b"no raw"
    assert not source.is_symlink()


def test_a_name_as_long_as_can_be(tmp_path: Path) -> None:
    source = a_file(tmp_path / ("n" * 251 + ".dng"))
    assert move(source, tmp_path / "failed").suffix == ".dng"


def test_what_was_not_moved_or_not_copied_is_said_in_the_line() -> None:
    given_up = {"source": "a.dng", "reason": "x", "attempts": 1, "not_moved": "no room"}
    assert describe_event("quarantined", given_up) == "a.dng: given up: x; not moved: no room"
    done = {"source": "a", "output": "b", "gain_db": None, "seconds": 1.0, "bundled": False, "model": ""}
    said = describe_event("done", {**done, "notes": ["n"], "sidecars_refused": "b.xmp: no room"})
    assert said.endswith("; note: n; note: b.xmp: no room")

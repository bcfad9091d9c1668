"""Digests that are not taken twice, and are never those of another content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from conftest import make_raw

from rawdenoise.errors import UnreadableError
from rawdenoise.files import digests
from rawdenoise.files.digests import Digests
from rawdenoise.files.sources import SourceChangedError, read_digested

OLD_NS = 10**18


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, and a clock by which it is not young."""
    path = tmp_path / "a.NEF"
    path.write_bytes(b"one")
    monkeypatch.setattr(digests, "_MINIMUM_AGE_NS", -(10**18))
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_has_not_changed_is_read_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    real = digests.digest_of
    monkeypatch.setattr(
        digests, "digest_of", lambda path, signature: read.append(path) or real(path, signature)
    )
    for _ in range(3):
        with Digests(tmp_path / "cache") as known:
            assert known.look_up(source) == digest(b"one")
    assert read == [source]


def test_other_content_of_the_same_size_and_time_is_known_as_other(source: Path, tmp_path: Path) -> None:
    os.utime(source, ns=(OLD_NS, OLD_NS))
    with Digests(tmp_path / "cache") as known:
        assert known.look_up(source) == digest(b"one")
        source.write_bytes(b"two")
        os.utime(source, ns=(OLD_NS, OLD_NS))
        assert known.look_up(source) == digest(b"two")
        other = tmp_path / "other"
        other.write_bytes(b"six")
        os.utime(other, ns=(OLD_NS, OLD_NS))
        other.replace(source)
        assert known.look_up(source) == digest(b"six")


def test_a_file_that_was_just_written_is_not_remembered(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with Digests(tmp_path / "cache") as known:
        known.look_up(source)
        assert known._query("SELECT * FROM digests", ()) == []


def test_without_a_cache_digests_are_taken(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    with Digests(tmp_path / "file") as known:
        assert known.look_up(source) == digest(b"one")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "digests.sqlite").write_bytes(b"damaged " * 1000)
    with Digests(tmp_path / "cache") as known:
        assert known.look_up(source) == known.look_up(source) == digest(b"one")
    with pytest.raises(UnreadableError), Digests(tmp_path / "cache") as known:
        known.look_up(tmp_path / "absent")


def test_what_is_read_and_its_digest_are_of_the_same_bytes(source: Path) -> None:
    raw = read_digested(source, lambda path: make_raw())
    assert raw.source_digest == digest(b"one")

    def change(path: Path) -> object:
        path.write_bytes(b"longer")
        return make_raw()

    with pytest.raises(SourceChangedError, match="changed while it was being read"):
        read_digested(source, change)  # type: ignore[arg-type]

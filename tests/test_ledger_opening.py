"""A ledger that is damaged, full, of another version or not to be had."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from ledgers import OUT, PHOTO, at, do, lease, settle, signature
from ledgers import ledger as ledger

from rawdenoise.watching.ledger import LEDGER_NAME, Ledger
from rawdenoise.watching.ledger.database import _JOBS, SCHEMA_VERSION, LedgerBrokenError, LedgerError
from rawdenoise.watching.ledger.records import JobResult, State


def test_all_is_there_after_it_was_closed(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        job = do(ledger, "a")
        ledger.facts.set("answer", "42")
    with Ledger(tmp_path) as ledger:
        assert ledger.note == ""
        assert ledger.jobs.select() == [job]
        assert ledger.facts.get("answer") == "42"
        assert ledger.facts.get("question") is None


def test_on_a_full_disk_nothing_is_half_done(tmp_path: Path, ledger: Ledger) -> None:
    settle(ledger, "a")
    job = lease(ledger)
    before = ledger.jobs.select()
    files = [(PHOTO.with_name(f"{number:0200}"), signature("x")) for number in range(500)]
    (pages,) = ledger.database.connection.execute("PRAGMA page_count").fetchone()
    ledger.database.connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(LedgerError, match="full") as caught:
        ledger.files.see(files, OUT, 1.0)

    assert "\n" not in str(caught.value)
    assert str(tmp_path / LEDGER_NAME) in str(caught.value)
    assert caught.value.exit_code == 3
    assert ledger.files.list_unsettled() == []
    assert ledger.jobs.select() == before
    ledger.database.connection.execute("PRAGMA max_page_count = 1000000")
    ledger.files.see(files, OUT, 2.0)
    assert len(ledger.files.list_unsettled()) == 500
    assert ledger.jobs.finish(job, at(2.0), JobResult(output=None))


def test_what_fails_inside_is_undone(ledger: Ledger) -> None:
    with pytest.raises(TypeError):
        ledger.files.see([(PHOTO, signature("a")), (None, signature("b"))], OUT, 1.0)  # type: ignore[list-item]
    assert ledger.files.list_unsettled() == []
    ledger.files.see([(PHOTO, signature("a"))], OUT, 1.0)
    assert len(ledger.files.list_unsettled()) == 1


@pytest.mark.parametrize("damage", [b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_ledger_is_put_aside(tmp_path: Path, damage: bytes) -> None:
    Ledger(tmp_path).close()
    (tmp_path / LEDGER_NAME).write_bytes(damage)
    with pytest.raises(LedgerBrokenError, match="puts it aside"):
        Ledger(tmp_path, owner=False)  # whoever only looks changes nothing
    assert (tmp_path / LEDGER_NAME).read_bytes() == damage
    with Ledger(tmp_path) as ledger:
        (aside,) = tmp_path.glob(f"{LEDGER_NAME}.damaged-*")
        assert str(aside) in ledger.note
        assert aside.read_bytes() == damage
        assert settle(ledger, "a").state is State.READY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"PRAGMA user_version = {SCHEMA_VERSION + 1}", "newer"),
        ("ALTER TABLE jobs DROP COLUMN crashes", "not those of a ledger"),
        ("DROP TABLE facts", "not those of a ledger"),
        ("PRAGMA user_version = 0", "not those of a ledger"),
        ("PRAGMA user_version = -4", "not those of a ledger"),
    ],
)
def test_a_ledger_of_another_kind_is_put_aside(tmp_path: Path, change: str, said: str) -> None:
    with Ledger(tmp_path) as ledger:
        settle(ledger, "a")
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as db:
        db.execute(change)
    with Ledger(tmp_path) as ledger:
        assert said in ledger.note
        assert ledger.jobs.select() == []
        assert settle(ledger, "a").state is State.READY
        assert len(list(tmp_path.glob(f"{LEDGER_NAME}.damaged-*"))) == 1


def test_a_ledger_that_somebody_has_is_not_taken_from_him(tmp_path: Path) -> None:
    with Ledger(tmp_path):
        with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as db:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        with pytest.raises(LedgerBrokenError, match=r"newer.*stop that first"):
            Ledger(tmp_path)
    assert not list(tmp_path.glob(f"{LEDGER_NAME}.damaged-*"))
    Ledger(tmp_path).close()
    assert len(list(tmp_path.glob(f"{LEDGER_NAME}.damaged-*"))) == 1


def test_a_ledger_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    Ledger(tmp_path / "new").close()
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as db:
        db.executescript(f"{_JOBS} PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO jobs (digest, output_root, recipe, state, ready_at, due_at) VALUES ('a', ?, 'r1',"
            " 'failed', 1.7e9, 1.7e9)",
            (os.fsencode(OUT),),
        )
        db.commit()
    with Ledger(tmp_path) as ledger, Ledger(tmp_path / "new", owner=False) as new:
        assert ledger.note == ""
        assert lease(ledger, 5.0).digest == "a", "its times were by the other clock"
        schema = "SELECT name FROM pragma_table_info('jobs') ORDER BY name"
        assert ledger.database.rows(schema) == new.database.rows(schema)


def test_damage_inside_is_found_on_opening(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.files.see([(PHOTO.with_name(f"{n:0100}"), signature("x")) for n in range(2000)], OUT, 1.0)
    data = bytearray((tmp_path / LEDGER_NAME).read_bytes())
    for start in range(8 * 4096, len(data), 4096):
        data[start : start + 64] = b"\xaa" * 64
    (tmp_path / LEDGER_NAME).write_bytes(data)
    with Ledger(tmp_path) as ledger:
        assert "damaged" in ledger.note
        assert ledger.figures.count_states()[State.SEEN] == 0


def test_damage_that_shows_later_is_told_from_a_full_disk(tmp_path: Path, ledger: Ledger) -> None:
    ledger.files.see([(PHOTO.with_name(f"{n:0100}"), signature("x")) for n in range(2000)], OUT, 1.0)
    ledger.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.database.connection.execute("PRAGMA cache_size = 0")
    with (tmp_path / LEDGER_NAME).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (8 * 4096))
    with pytest.raises(LedgerBrokenError):
        ledger.figures.count_states()


def test_a_folder_that_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be used") as caught:
        Ledger(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_closed_ledger_refuses(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.close()
    with pytest.raises(LedgerError):
        ledger.figures.count_states()

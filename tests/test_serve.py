"""One process for many requests: what it takes, what it answers, and how it ends (plugins/README.md)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from conftest import PATIENCE_S
from host_process import check_told, read_objects, start, validator
from hypothesis import given
from hypothesis import strategies as st
from test_cli_denoise import CAMERA, _one_thread, a_capture, a_model, files_in

from rawdenoise import __version__
from rawdenoise.app.stores import user_stores
from rawdenoise.cli import main
from rawdenoise.cli.caller import JsonCaller, find_caller
from rawdenoise.cli.serve_requests import LONGEST_LINE, Request, RequestError, parse_request, read_lines
from rawdenoise.errors import ModelMissingError
from rawdenoise.models.loaded import LoadedModels

__all__ = ["_one_thread"]  # a fixture that pytest finds here too

BESIDE = ("--beside", "--name", "{stem}_dn")


class Served:
    """A server that runs, and what it has answered by the id of the request."""

    def __init__(self) -> None:
        self.run = start("serve", "--stdio")
        self.answers: dict[object, list[dict[str, Any]]] = {}
        (ready,) = read_objects([self._read()])
        assert (ready["type"], ready["version"]) == ("ready", __version__)

    def ask(self, id: object, *arguments: object) -> None:
        """Send a request."""
        request = {"id": id, "arguments": ["denoise", *map(str, arguments)]}
        validator("request").validate(request)
        self.send(json.dumps(request))

    def send(self, line: str) -> None:
        """Send a line."""
        assert self.run.stdin is not None
        self.run.stdin.write(line + "\n")
        self.run.stdin.flush()

    def wait(self, id: object, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read answers until there is one like this to a request."""
        while True:
            (answer,) = read_objects([self._read()])
            self.answers.setdefault(answer["id"], []).append(answer)
            if answer["id"] == id and wanted(answer):
                return answer

    def end(self, id: object, exit_code: int) -> list[dict[str, Any]]:
        """Read answers up to the end of a request; its results."""
        self.wait(id, lambda answer: answer["type"] == "end")
        results = [answer for answer in self.answers[id] if answer["type"] == "result"]
        check_told([answer for answer in self.answers[id] if answer["type"] != "result"], exit_code)
        return results

    def close(self) -> tuple[int, list[dict[str, Any]]]:
        """Close its standard input; its exit code, and what it has still answered."""
        assert self.run.stdin is not None
        self.run.stdin.close()
        self.run.stdin = None
        rest, said = self.run.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in said
        return self.run.returncode, read_objects(rest)

    def _read(self) -> str:
        assert self.run.stdout is not None
        return self.run.stdout.readline()


@pytest.fixture
def served(own_store: Path) -> Iterator[Served]:
    server = Served()
    with server.run:
        yield server
        if server.run.poll() is None:
            server.run.kill()


def is_denoising(answer: dict[str, Any]) -> bool:
    return bool(answer["type"] == "progress" and answer["stage"] == "denoise")


def test_requests_are_answered_one_after_the_other_whatever_they_are(served: Served, tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    served.ask("1", source, *BESIDE)
    served.ask("2", source, tmp_path / "absent.dng", *BESIDE, "--if-exists", "overwrite")
    for line in ("hello", "[]", "{}", '{"id": true, "arguments": []}', "[" * 10000, "1"):
        served.send(line)
    served.send("x" * (LONGEST_LINE + 1))
    served.ask("3", source, "--nope")
    served.send('{"id": "4", "arguments": ["train", "x"], "unknown": 1}')
    served.send('{"id": "5", "arguments": "denoise"}')
    served.ask(6, "--files-from", "-", *BESIDE)
    served.ask("7", "--help")
    (first,) = served.end("1", 0)
    assert (first["status"], first["output"]) == ("done", str(tmp_path / "a_dn.dng"))
    assert {one["status"] for one in served.end("2", 1)} == {"failed", "done"}
    expected = ("3", 2, "No such option"), ("4", 2, "only denoise"), (6, 2, "input is closed"), ("7", 0, "")
    for id, exit_code, said in expected:
        assert served.end(id, exit_code) == []
        texts = [answer["text"] for answer in served.answers[id] if answer["type"] == "message"]
        assert any(said in text for text in texts) or not said
    assert [answer["type"] for answer in served.answers["5"]] == ["message", "end"]
    assert len(served.answers[None]) == 7
    assert {answer["level"] for answer in served.answers[None]} == {"error"}

    # Models that come and go meanwhile are noticed.
    own = a_model(source).card.id
    served.ask("own", source, *BESIDE, "--if-exists", "overwrite")
    assert served.end("own", 0)[0]["model"] == own
    user_stores().models.remove(own)
    served.ask("gone", source, *BESIDE, "--if-exists", "overwrite")
    assert served.end("gone", 0)[0]["model"] != own
    code, rest = served.close()
    assert (code, rest) == (0, [])


def test_requests_are_cancelled_those_that_wait_too(served: Served, tmp_path: Path) -> None:
    large = a_capture(tmp_path / "large.dng", 2048, 4096)
    small = a_capture(tmp_path / "small.dng")
    served.ask("1", large, *BESIDE)
    served.ask("2", large, *BESIDE)
    served.ask("3", small, *BESIDE)
    served.ask("1", small, *BESIDE)  # the id is taken
    served.wait("1", is_denoising)
    for id in ("2", "1", "no such"):
        cancel = {"cancel": id}
        validator("cancel").validate(cancel)
        served.send(json.dumps(cancel))
    assert served.end("1", 130) == []
    assert served.end("2", 130) == []
    assert [one["status"] for one in served.end("3", 0)] == ["done"]
    assert ["already" in answer["text"] for answer in served.answers[None]] == [True]
    served.ask("4", large, *BESIDE, "--cancel-file", tmp_path / "stop")
    served.wait("4", is_denoising)
    (tmp_path / "stop").touch()
    assert served.end("4", 130) == []
    (tmp_path / "stop").unlink()
    served.ask("5", large, *BESIDE)
    served.wait("5", is_denoising)
    code, rest = served.close()
    assert (code, rest[-1]["id"], rest[-1]["interrupted"]) == (0, "5", True)
    assert files_in(tmp_path) == {"large.dng", "small.dng", "small_dn.dng"}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_ends_it_and_leaves_nothing(served: Served, tmp_path: Path) -> None:
    large = a_capture(tmp_path / "large.dng", 2048, 4096)
    for id in ("1", "2"):
        served.ask(id, large, *BESIDE)
    served.wait("1", is_denoising)
    served.run.send_signal(signal.SIGTERM)
    for id in ("1", "2"):
        assert served.end(id, 143 if id == "1" else 130) == []
    assert served.run.wait(timeout=PATIENCE_S) == 143
    assert files_in(tmp_path) == {"large.dng"}


def test_a_program_is_shown_no_bar() -> None:
    with click.Context(main, obj=JsonCaller()) as context:
        assert find_caller(context, {"progress": "auto", "cancel_file": None}, reads_stdin=True).is_quiet


def test_it_says_where_requests_come_from() -> None:
    result = CliRunner().invoke(main, ["serve"])
    assert (result.exit_code, "--stdio" in result.stderr) == (2, True)


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_are_whole_however_they_come(lines: list[bytes], data: st.DataObject) -> None:
    whole, pieces = b"\n".join(lines), []
    while whole:
        size = data.draw(st.integers(1, 5))
        pieces.append(whole[:size])
        whole = whole[size:]
    come = iter(pieces)
    read = list(read_lines(lambda: next(come, b""), 8))
    expected = [None if len(line) > 8 else line for line in lines if len(line) > 8 or line.strip()]
    if lines and len(lines[-1]) > 8:
        expected.pop()  # it never ended
    assert read == expected


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (b'{"id": "1", "arguments": ["denoise"]}', Request("1", ("denoise",))),
        (b'{"id": 7, "arguments": ["\\udcff"], "more": {}}', Request(7, ("\udcff",))),
        (b'{"id": 7, "arguments": ["\xff"]}', Request(7, ("\udcff",))),
        (b'\xef\xbb\xbf{"id": 8, "arguments": []}\r', Request(8, ())),  # as .NET begins its streams
        (b'{"cancel": "1", "id": "2"}', "1"),
    ],
)
def test_what_is_asked_for(line: bytes, asked: object) -> None:
    assert parse_request(line) == asked


@pytest.mark.parametrize(
    "line",
    [
        None,
        b"",
        b"1",
        b"{",
        b"[" * 100_000,
        b'{"cancel": null}',
        b'{"id": 1.5, "arguments": []}',
        b'{"id": 1, "arguments": ["denoise", "a\\u0000b"]}',
        b'{"id": 1, "arguments": ["denoise", "\\ud800"]}',
    ],
)
def test_what_is_no_request(line: bytes | None) -> None:
    with pytest.raises(RequestError):
        parse_request(line)


def test_models_stay_loaded_until_their_files_change(tmp_path: Path, own_store: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    store, id = LoadedModels(own_store), a_model(source).card.id
    camera = replace(CAMERA, mode=user_stores().models.cards()[0].camera.mode)
    first = store.find(camera)
    assert store.load(id) is first
    card = own_store / id / "card.json"
    card.write_bytes(card.read_bytes() + b" ")
    assert store.load(id) is not first
    store.remove(id)
    with pytest.raises(ModelMissingError):
        store.load(id)

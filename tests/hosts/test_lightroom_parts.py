"""Parts of the plug-in for Lightroom Classic: texts, JSON, command lines; and the imitation finds errors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cmd_exe import cmd_exe
from lightroom_host import SOURCE, Host, a_raw, lua_string, make_host, needs_lua

from rawdenoise import __version__

__all__ = ["make_host"]  # a fixture
pytestmark = needs_lua


@pytest.mark.parametrize("language", ["de", "fr"])
def test_every_text_is_translated(language: str) -> None:
    pattern = re.compile(r'"(\$\$\$/rawdenoise/[\w/]+)=((?:[^"\\]|\\.)*)"')
    texts: dict[str, str] = {}
    for file in SOURCE.glob("*.lua"):
        for key, text in pattern.findall(file.read_text()):
            assert texts.setdefault(key, text) == text, f"{key} has two texts"
    lines = (SOURCE / f"TranslatedStrings_{language}.txt").read_text(encoding="utf-8").splitlines()
    translated = dict(match.groups() for line in lines if (match := re.fullmatch(r'"([^=]+)=([^"]+)"', line)))
    assert len(translated) == len([line for line in lines if line and not line.startswith("--")])
    assert translated.keys() == texts.keys()
    for key, text in texts.items():
        assert sorted(re.findall(r"\^\d", translated[key])) == sorted(re.findall(r"\^\d", text)), key


def test_the_plug_in_speaks_the_languages_of_lightroom(host: Host) -> None:
    titles = host.run("""
        local titles = {}
        for _, language in ipairs({ "en", "de", "fr" }) do
          local info = start({ language = language }):info()
          assert(#info.LrLibraryMenuItems == 4 and #info.LrExportMenuItems == 4)
          table.insert(titles, info.LrLibraryMenuItems[1].title)
        end
        print(Sdk.Check.to_json(titles))
    """)
    assert titles[0] == "Denoise Selected Photos"
    assert len(set(titles)) == 3


def test_the_plug_in_says_what_lightroom_needs(host: Host) -> None:
    state = host.run("""
        local info = start():info()
        for _, item in ipairs(info.LrLibraryMenuItems) do
          assert(io.open(PLUGIN .. "/" .. item.file), item.file):close()
        end
        assert(io.open(PLUGIN .. "/" .. info.LrShutdownApp)):close()
        print(Sdk.Check.to_json(info))
    """)
    version = state["VERSION"]
    assert f"{version['major']}.{version['minor']}.{version['revision']}" == __version__
    assert state["LrToolkitIdentifier"]
    assert state["LrSdkMinimumVersion"] <= state["LrSdkVersion"]


def test_luacheck_finds_nothing() -> None:
    luacheck = shutil.which("luacheck")
    if luacheck is None:
        pytest.skip("luacheck is not installed")
    ended = subprocess.run(
        [luacheck, "-q", "."], cwd=SOURCE.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout


JSON_GOOD: list[tuple[str, object]] = [
    ("0", 0), ("-0.5", -0.5), ("12.25e2", 1225), ("1E-3", 0.001), ("true", True),
    ("[]", []), (" [1, [2]] ", [1, [2]]), ('{"a": {"b": "c"}, "n": null}', {"a": {"b": "c"}}),
    (r'"\u00e9\u20ac\ud83d\ude00 \"\\\/\b\f\n\r\t"', 'é€😀 "\\/\b\f\n\r\t'),
    (r'"\udce9.NEF"', b"\xe9.NEF"), (r'"\u0000"', "\0"), ('"é"', "é"), ('"\x7f"', "\x7f"),
]  # fmt: skip
JSON_BAD = [
    "", "nul", "tru e", "01", "1.", ".5", "+1", "1e", "- 1", "NaN", "1 2", "[1,]", "[1 2]", "[",
    "[" * 70 + "]" * 70,
    '{"a" 1}', '{"a": 1,}', "{a: 1}", '{"a": 1', '{"a": 1} x', '"abc', '"a\tb"',
    r'"\x41"', r'"\u12"', r'"\ud83d"', r'"\ud83dA"', r'"\ude00"',
]  # fmt: skip


def decode(host: Host, texts: Sequence[str]) -> list[dict[str, Any]]:
    listed = ", ".join(lua_string(text) for text in texts)
    answers = host.run(f"""
        local lr = start()
        local Json = lr:require("Json")
        local function bytes(value)
          if type(value) == "string" then
            return {{ hex = (value:gsub(".", function(char) return string.format("%02x", char:byte()) end)) }}
          elseif type(value) == "table" then
            local copy = {{}}
            for key, item in pairs(value) do copy[key] = bytes(item) end
            return copy
          end
          return value
        end
        local answers = {{}}
        for _, text in ipairs({{ {listed} }}) do
          local value, problem = Json.decode(text)
          table.insert(answers, {{ value = bytes(value), problem = problem or "" }})
        end
        print(Sdk.Check.to_json(answers))
    """)
    assert isinstance(answers, list)
    return answers


def as_bytes(value: object) -> object:
    if isinstance(value, str | bytes):
        raw = value if isinstance(value, bytes) else value.encode()
        return {"hex": raw.hex()}
    if isinstance(value, dict):
        return {key: as_bytes(item) for key, item in value.items()}
    return [as_bytes(item) for item in value] if isinstance(value, list) else value


def test_json_is_decoded(host: Host) -> None:
    answers = decode(host, [text for text, _ in JSON_GOOD])
    for (text, wanted), answer in zip(JSON_GOOD, answers, strict=True):
        assert answer["problem"] == "", text
        found, expected = answer["value"], as_bytes(wanted)
        assert found == (pytest.approx(expected) if isinstance(expected, float) else expected), text


def test_what_is_no_json_is_refused(host: Host) -> None:
    for text, answer in zip(JSON_BAD, decode(host, JSON_BAD), strict=True):
        assert answer["problem"], text
        assert "value" not in answer, text


# Command lines: words that come out as they went in.

HOSTILE = [
    "plain", "", "with space", "it's", "a&b|c<d>e", "(x) ^ ^^", "!x!", "$HOME `id`", ";,=~*?[]", "-",
    "--name=x",
    "100%", "%OS%", "%OS%%PATH%", "50% of %TEMP% %", "{stem}_dn", "Ré 写真 😀",
    "C:\\dir\\", "C:\\a b\\", "C:\\100%\\b", "C:\\%OS%\\%", "\\\\server\\share\\", "a\\\\",
]  # fmt: skip
ONLY_SH = ['"', 'a "b" c', "new\nline", "\x01\x7f", "'\"'\\''"]


def command_line(host: Host, words: Sequence[str], *, is_windows: bool, output: str, errors: str) -> str:
    listed = ", ".join(lua_string(word) for word in words)
    answer = host.run(f"""
        local Quoting = start():require("Quoting")
        local output, errors = {lua_string(output)}, {lua_string(errors)}
        local line = Quoting.line({{ {listed} }}, output, errors, {str(is_windows).lower()})
        print(Sdk.Check.to_json({{ line = (line:gsub(".", function(char)
          return string.format("%02x", char:byte())
        end)) }}))
    """)
    return bytes.fromhex(answer["line"]).decode()


def test_sh_gives_the_program_its_words(host: Host, tmp_path: Path) -> None:
    output, errors = tmp_path / "o 'u' \"t\"", tmp_path / "e $r & r"
    program = [
        sys.executable,
        "-c",
        "import json, sys; print(json.dumps(sys.argv[1:])); print('!', file=sys.stderr)",
    ]
    words = [*HOSTILE, *ONLY_SH]
    line = command_line(host, [*program, *words], is_windows=False, output=str(output), errors=str(errors))
    subprocess.run(["/bin/sh", "-c", line], check=True)
    assert json.loads(output.read_text()) == words
    assert errors.read_text() == "!\n"


def test_cmd_exe_gives_the_program_its_words(host: Host) -> None:
    variables = {"OS": "Windows_NT", "PATH": "C:\\", "TEMP": "C:\\T", "OS%%PATH": "?"}
    output, errors = "C:\\Users\\100% x & y\\%TEMP%\\output", "C:\\Users\\e\\errors"
    words = ["C:\\Program Files\\%OS%\\rawdenoise.exe", *HOSTILE]
    line = command_line(host, words, is_windows=True, output=output, errors=errors)
    assert cmd_exe(line, variables) == (words, {"<": "NUL", ">": output, "2": errors})


def test_the_model_of_cmd_exe_can_fail() -> None:
    assert cmd_exe('""a" "%OS%" <NUL >"o""', {"OS": "W"}) == (["a", "W"], {"<": "NUL", ">": "o"})
    with pytest.raises(AssertionError, match="& outside quotes"):
        cmd_exe('""a" b&c"', {})


def test_names_with_quotes_cannot_be_quoted_for_cmd_exe(host: Host) -> None:
    state = host.run("""
        local Quoting = start():require("Quoting")
        local ok = pcall(Quoting.cmd, 'a"b')
        print(Sdk.Check.to_json({ ok = ok }))
    """)
    assert state == {"ok": False}


def test_reasons_lose_the_paths_of_their_files(host: Host) -> None:
    reasons = host.run("""
        local Reports = start():require("Reports")
        local path = "/a (1)/b%.NEF"
        local reasons = {}
        for _, reason in ipairs({ path .. ": is cut", "b%.NEF: is cut", "refused: " .. path .. ": is cut",
                                  path .. " exists", "no word of it", path }) do
          table.insert(reasons, Reports.without_path(reason, path))
        end
        print(Sdk.Check.to_json(reasons))
    """)
    assert reasons == ["is cut", "is cut", "refused: is cut", "exists", "no word of it", "/a (1)/b%.NEF"]


def test_long_reports_fit_into_a_dialog(host: Host) -> None:
    state = host.run("""
        local lr = start()
        local Reports = lr:require("Reports")
        local entries = {}
        for number = 1, 30 do
          table.insert(entries, { name = "a" .. number, reason = "the same" })
          table.insert(entries, { name = "b" .. number, reason = "reason " .. number })
        end
        local lines = Reports.group(entries)
        lr.namespaces.LrFunctionContext.postAsyncTaskWithContext("test", function()
          Reports.show("30 failed", lines, "warning")
        end)
        lr:run()
        print(lr:describe())
    """)
    lines = state["dialogs"][0]["info"].splitlines()
    assert lines[0] == "a1, a2, a3, a4 and 26 more: the same"
    assert len(lines) == 19
    assert lines[-1] == "and 13 more reasons"


# The imitation refuses what the SDK refuses.

WRONG = {
    "LrTasks has no launch": 'import("LrTasks").launch()',
    "argument 1 is a number, not a string": 'import("LrFileUtils").exists(7)',
    "it takes 1": 'import("LrTasks").sleep(1, 2)',
    "needs catalog:withWriteAccessDo": 'photo:setRawMetadata("rating", 3)',
    "yield across": 'pcall(import("LrTasks").sleep, 1) error(select(2, pcall(import("LrTasks").sleep, 1)))',
    "inside write access": """
        catalog:withWriteAccessDo("x", function() import("LrTasks").sleep(1) end, { timeout = 1 })""",
    "within a function context": 'import("LrDialogs").message("hello")',
    "a new global": "oops = 1",
    "there is no global dofile": 'dofile("x")',
    "getRawMetadata has no key colour": 'photo:getRawMetadata("colour")',
    "LrPhoto has no delete": "photo:delete()",
    "the photo was added within this write access": """
        catalog:withWriteAccessDo("x", function()
          catalog:addPhoto(path, photo, "above"):setRawMetadata("rating", 1)
        end, { timeout = 1 })""",
}


@pytest.mark.parametrize("what", WRONG)
def test_the_imitation_finds_wrong_calls(host: Host, what: str) -> None:
    a_raw(host.photos / "a.NEF")
    a_raw(host.photos / "b.dng")
    state = host.run(f"""
        local lr = start()
        local photo = lr.photo({host.path("a.NEF")})
        local values = {{ photo = photo, catalog = lr.catalog, path = {host.path("b.dng")} }}
        local chunk = assert(loadstring({lua_string(WRONG[what])}))
        setfenv(chunk, setmetatable({{}}, {{
          __index = function(_, name) return values[name] or lr.environment[name] end,
          __newindex = lr.environment,
        }}))
        lr.namespaces.LrTasks.startAsyncTask(function() chunk() end)
        lr:run()
        print(lr:describe())
    """)
    assert len(state["failures"]) == 1
    assert what in state["failures"][0]

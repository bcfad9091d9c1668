"""The plug-in for Lightroom Classic, run by Lua 5.1 against an imitation of the SDK that checks every call."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rawdenoise import __version__
from rawdenoise.capture.raw import Provenance
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "plugins" / "lightroom" / "rawdenoise.lrplugin"
LUA = shutil.which("lua5.1")
CAMERA = SIMULATED_IMX385.resize(128, 96)
PATIENCE = 300.0

pytestmark = pytest.mark.skipif(LUA is None, reason="lua5.1 is not installed")

PRELUDE = """
local HERE, PLUGIN, TEMPORARY = arg[1], arg[2], arg[3]
local Sdk = dofile(HERE .. "/lightroom_sdk.lua")
local function start(options)
  options = options or {}
  options.plugin, options.temporary = PLUGIN, TEMPORARY
  return Sdk.start(options)
end
"""


@dataclass(frozen=True)
class Host:
    """A Lightroom without photos, with the plug-in in it, and a folder for photos with an unkind name."""

    plugin: Path
    temporary: Path
    photos: Path
    calls: Path

    def path(self, name: str) -> str:
        """Where a photo lies, as a Lua string."""
        return lua_string(str(self.photos / name))

    def run(self, script: str) -> Any:
        """Run Lua and parse the JSON that it prints."""
        file = self.temporary.parent / "script.lua"
        file.write_text(PRELUDE + script)
        words = [str(LUA), str(file), str(HERE), str(self.plugin), str(self.temporary)]
        environment = os.environ | {"STAND_IN_CALLS": str(self.calls)}
        ended = subprocess.run(words, capture_output=True, timeout=PATIENCE, env=environment, check=False)
        assert ended.returncode == 0, ended.stderr.decode()
        return json.loads(ended.stdout)

    def use(self, *words: str) -> None:
        """Have the plug-in run these words, as `rawdenoise plugins install` notes them."""
        listed = ", ".join(lua_string(word) for word in words)
        (self.plugin / "Command.lua").write_text(f"return {{{listed}}}\n")


def lua_string(text: str) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in os.fsencode(text)) + '"'


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(
        tmp_path / "rawdenoise.lrplugin", tmp_path / "it's 100% te mp", tmp_path / 'Ré "os" & 50% $HOME', tmp_path / "calls"
    )
    shutil.copytree(SOURCE, made.plugin)
    made.temporary.mkdir()
    made.photos.mkdir()
    made.use(sys.executable, str(HERE / "stand_in.py"))
    return made


def a_raw(path: Path) -> Path:
    path.write_bytes(b"a raw")
    return path


def a_capture(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = capture(make_scene(96, 128, rng), CAMERA, 6400, rng)[0]
    write_dng(raw, path, provenance=Provenance("0", "none", 0.0))
    path.write_bytes(path.read_bytes().replace(b"rawdenoise 0", b"a camera's 0"))  # as a camera would have it


def photos_of(state: Any) -> dict[str, Any]:
    return {Path(photo["path"]).name: photo for photo in state["photos"]}


def denoise(host: Host, before: str, names: Sequence[str], after: str = "") -> Any:
    """Select the photos of these names, choose the menu item, run to the end."""
    photos = "\n".join(f"photos[{i + 1}] = lr.photo({host.path(name)})" for i, name in enumerate(names))
    return host.run(f"""
        local lr = start()
        local photos, on_tick = {{}}, nil
        {photos}
        {before}
        lr.select(unpack(photos))
        lr:menu("Denoise.lua")
        lr:run(on_tick)
        {after}
        print(lr:describe())
    """)


def test_results_stand_above_their_sources_with_all_that_the_user_gave_these(host: Host) -> None:
    a_raw(host.photos / "ä b.NEF")
    a_raw(host.photos / "c.NEF")
    before = """
        local trip, blue = lr.collection("Trip"), lr.collection("Blue ones", true)
        local original = photos[1]
        original.raw.rating, original.raw.pickStatus = 4, 1
        original.raw.gps = { latitude = 47.5, longitude = -8.25 }
        original.raw.gpsAltitude = 431.5
        original.raw.keywords = { lr.keyword("Owls"), lr.keyword("Night") }
        original.formatted.label, original.formatted.title = "To print", "An owl"
        original.formatted.caption = "It looks \\"at\\" us"
        original.formatted.copyright = "A. Photographer"
        original.collections[1], original.collections[2] = trip, blue
        rawset(original, "develop", { Exposure2012 = 0.7, LuminanceSmoothing = 40, EnhanceDenoiseVersion = 2 })
        photos[2].raw.colorNameForLabel = "red"
    """
    state = denoise(host, before, ["ä b.NEF", "c.NEF"])
    assert state["failures"] == []
    made = photos_of(state)["ä b_dn.dng"]
    assert [Path(path).name for path in made["stack"]] == ["ä b_dn.dng", "ä b.NEF"]
    raw = made["raw"]
    assert (raw["rating"], raw["pickStatus"], raw["gpsAltitude"]) == (4, 1, 431.5)
    assert raw["gps"] == {"latitude": 47.5, "longitude": -8.25}
    assert raw["keywords"] == ["Owls", "Night"]
    texts = made["formatted"]
    assert (texts["label"], texts["title"], texts["copyright"]) == ("To print", "An owl", "A. Photographer")
    assert texts["caption"] == 'It looks "at" us'
    assert made["develop"] == {"Exposure2012": 0.7, "LuminanceSmoothing": 0, "ColorNoiseReduction": 0}
    assert made["collections"] == ["Trip"]
    other = photos_of(state)["c_dn.dng"]
    assert other["raw"]["colorNameForLabel"] == "red"
    assert "rating" not in other["raw"]
    assert state["dialogs"] == [
        {"kind": "bezel", "message": "rawdenoise: 2 denoised", "info": "", "style": "info"}
    ]
    assert state["left_in_temporary"] == []
    assert state["fractions"] == sorted(state["fractions"])
    assert "c.NEF (1 of 2 done), 2 minutes left" in state["captions"]


def test_the_command_gets_the_settings(host: Host) -> None:
    a_raw(host.photos / "a.NEF")
    before = """
        lr.preferences.strength, lr.preferences.size, lr.preferences.model = 75, "best", "abc1"
        lr.preferences.pattern = "{stem} 100%OS% ok"
    """
    state = denoise(host, before, ["a.NEF"])
    assert "a 100%OS% ok.dng" in photos_of(state)
    words = json.loads(host.calls.read_text())
    assert words[0] == "denoise"
    pairs = dict(zip(words[1:], words[2:], strict=False))
    assert pairs["--strength"] == "0.75"
    assert (pairs["--bundled"], pairs["--model"]) == ("best", "abc1")
    assert pairs["--progress"] == "json"
    assert {"--null", "--beside", "--json", "--cancel-file"} <= set(words)


def test_only_originals_are_denoised_and_the_rest_is_said(host: Host) -> None:
    names = ["a.NEF", "clip.MOV", "b.JPG", "gone.NEF", "old_dn.dng", "renamed.dng"]
    for name in names:
        a_raw(host.photos / name)
    (host.photos / "gone.NEF").unlink()
    (host.photos / "renamed.dng").write_bytes(b"II*\0 rawdenoise 0.1.0\0")
    before = "table.insert(photos, lr.copy_of(photos[1])); table.insert(photos, 1, lr.copy_of(photos[1]))"
    state = denoise(host, before, names)
    assert state["failures"] == []
    assert sorted(path.name for path in host.photos.iterdir() if path.name.endswith("_dn.dng")) == [
        "a_dn.dng", "old_dn.dng",
    ]  # fmt: skip
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 1 denoised"
    assert dialog["info"].splitlines() == [
        "Left out: clip.MOV: a video",
        "Left out: b.JPG: not a raw",
        "Left out: gone.NEF: the file is missing or offline",
        "Left out: old_dn.dng, renamed.dng: denoised already",
    ]


def test_nothing_to_denoise_is_said_and_no_command_is_run(host: Host) -> None:
    a_raw(host.photos / "b.JPG")
    state = denoise(host, "", ["b.JPG"])
    assert state["commands"] == 0
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: there are no original raws among the selected photos"
    assert dialog["info"] == "b.JPG: not a raw"


def test_one_bad_raw_costs_one_line_and_the_rest_goes_on(host: Host) -> None:
    names = ["a.NEF", "broken1.NEF", "broken2.NEF", "c.NEF"]
    for name in names:
        a_raw(host.photos / name)
    state = denoise(host, "", names)
    assert {"a_dn.dng", "c_dn.dng"} <= set(photos_of(state))
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 2 denoised, 2 failed"
    assert dialog["info"] == "broken1.NEF, broken2.NEF: the file is cut short"
    assert dialog["style"] == "warning"


def test_what_exists_is_skipped_and_comes_into_the_catalogue_if_it_is_not_there(host: Host) -> None:
    for name in ("a.NEF", "b.NEF", "older.NEF", "a_dn.dng", "b_dn.dng", "older_dn.dng"):
        a_raw(host.photos / name)
    before = f"lr.photo({host.path('a_dn.dng')}, {{ raw = {{ rating = 5 }} }}); photos[1].raw.rating = 1"
    state = denoise(host, before, ["a.NEF", "b.NEF", "older.NEF"])
    photos = photos_of(state)
    assert photos["a_dn.dng"]["raw"]["rating"] == 5  # what the user has made of it stays
    assert [Path(path).name for path in photos["b_dn.dng"]["stack"]] == ["b_dn.dng", "b.NEF"]
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 0 denoised, 3 skipped"
    assert dialog["info"] == "older_dn.dng: exists, by another recipe, model or method"


def test_cancelling_stops_the_command_and_keeps_what_was_whole(host: Host) -> None:
    names = ["a.NEF", "slow.NEF", "c.NEF"]
    for name in names:
        a_raw(host.photos / name)
    before = "on_tick = function(lr) if #lr.captions > 1 then lr.progress.is_canceled = true end end"
    state = denoise(host, before, names, "assert(lr.progress.is_done)")
    assert state["failures"] == []
    assert set(photos_of(state)) == {*names, "a_dn.dng"}
    assert state["dialogs"][0]["message"] == "rawdenoise: 1 denoised, 2 cancelled"
    assert state["left_in_temporary"] == []


def test_a_command_that_crashes_is_said(host: Host) -> None:
    for name in ("a.NEF", "crash.NEF"):
        a_raw(host.photos / name)
    state = denoise(host, "", ["a.NEF", "crash.NEF"])
    assert "a_dn.dng" in photos_of(state)
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 1 denoised, 1 failed"
    assert dialog["info"].splitlines() == [
        "crash.NEF: Segmentation fault",
        "Settings... tells which command is run, and can check it.",
    ]


def test_a_command_that_is_not_there_is_said(host: Host) -> None:
    (host.plugin / "Command.lua").unlink()
    a_raw(host.photos / "a.NEF")
    state = denoise(host, 'lr.preferences.command = "/nowhere/raw denoise"', ["a.NEF"])
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 0 denoised, 1 failed"
    assert "/nowhere/raw denoise" in dialog["info"]
    assert "Settings..." in dialog["info"]


def test_a_noted_command_that_has_gone_gives_way_to_the_preference(host: Host) -> None:
    host.use("/gone/python", "-m", "rawdenoise")
    command = host.plugin.parent / "the command"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "stand_in.py"}" "$@"\n')
    command.chmod(0o755)
    a_raw(host.photos / "a.NEF")
    state = denoise(host, f"lr.preferences.command = {lua_string(str(command))}", ["a.NEF"])
    assert "a_dn.dng" in photos_of(state)


def test_two_runs_at_once_are_refused_with_a_word(host: Host) -> None:
    a_raw(host.photos / "slow.NEF")
    before = """
        local is_asked = false
        on_tick = function(lr)
          if #lr.captions == 1 and not is_asked then
            is_asked = true
            lr:menu("Denoise.lua")
          elseif #lr.dialogs == 1 then
            lr.progress.is_canceled = true
          end
        end
    """
    again = 'lr:menu("Denoise.lua"); lr:run(function(lr) lr.progress.is_canceled = true end)'
    state = denoise(host, before, ["slow.NEF"], again)
    assert [dialog["message"] for dialog in state["dialogs"]] == [
        "rawdenoise: still at work; wait for its end, or cancel it, then start again",
        "rawdenoise: 0 denoised, 1 cancelled",
        "rawdenoise: 0 denoised, 1 cancelled",
    ]


def test_lightroom_that_quits_stops_the_command(host: Host) -> None:
    a_raw(host.photos / "slow.NEF")
    before = """
        local is_quit = false
        on_tick = function(lr)
          if #lr.captions == 1 and not is_quit then
            lr:require("Shutdown").LrShutdownFunction(function() is_quit = true end, function() end)
          end
        end
    """
    state = denoise(host, before, ["slow.NEF"])
    assert state["dialogs"][0]["message"] == "rawdenoise: 0 denoised, 1 cancelled"


def test_a_busy_catalogue_is_asked_again(host: Host) -> None:
    names = [f"{number}.NEF" for number in range(3)]
    for name in names:
        a_raw(host.photos / name)
    state = denoise(host, "lr.refusals = 3", names)
    assert len(photos_of(state)) == 6
    state = denoise(host, "lr.refusals = 1000", names)
    (dialog,) = state["dialogs"]
    assert "Lightroom had no time to add it" in dialog["info"]


def test_a_file_that_lightroom_refuses_is_said_and_the_rest_goes_on(host: Host) -> None:
    for name in ("a.NEF", "b.NEF"):
        a_raw(host.photos / name)
    state = denoise(host, 'lr.unwelcome = "a_dn"', ["a.NEF", "b.NEF"])
    assert "b_dn.dng" in photos_of(state)
    assert "a_dn.dng: could not be added to the catalogue: " in state["dialogs"][0]["info"]


def test_thousands_of_photos_are_added_in_batches(host: Host) -> None:
    names = [f"{number:04d}.NEF" for number in range(5000)]
    for name in names:
        a_raw(host.photos / name)
    state = denoise(host, "", names)
    assert len(state["photos"]) == 10000
    assert 2 * 5000 / 20 <= state["writes"] < 2 * 5000 / 2
    assert state["dialogs"][0]["message"] == "rawdenoise: 5000 denoised"


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("Train.lua", "Nikon Z 6: its own model is ready (+1.2 dB on captures held out)"),
        ("Calibrate.lua", "Nikon Z 6: its noise is known at ISO 100, 6400"),
    ],
)
def test_a_camera_is_learned_from_the_selection(host: Host, item: str, told: str) -> None:
    a_raw(host.photos / "a.NEF")
    state = host.run(f"""
        local lr = start()
        lr.select(lr.photo({host.path("a.NEF")}))
        lr:menu("{item}")
        lr:run()
        print(lr:describe())
    """)
    assert state["failures"] == []
    assert told in state["dialogs"][0]["info"]
    assert state["left_in_temporary"] == []


def test_settings_are_kept_once_they_are_right(host: Host) -> None:
    state = host.run("""
        local lr = start()
        local step = 0
        lr.answer = function(props, view)
          step = step + 1
          if step == 1 then
            props.pattern = "no name"
            return "ok"
          elseif step == 2 then
            assert(props.pattern == "no name", "what was typed stays")
            return "other" -- Defaults
          elseif step == 3 then
            assert(props.pattern == "{stem}_dn")
            props.pattern, props.strength, props.copyDevelop = " {stem}-clean ", 80, false
            lr.press(view, "Check")
            return "ok"
          end
        end
        lr:menu("Settings.lua")
        lr:run()
        print(lr:describe())
    """)
    assert state["failures"] == []
    assert [dialog["info"] for dialog in state["dialogs"]] == [
        "The name pattern needs {stem} or {name}: the file's own name."
    ]
    kept = state["preferences"]
    assert (kept["pattern"], kept["strength"], kept["copyDevelop"], kept["size"]) == (
        "{stem}-clean", 80, False, "fast",
    )  # fmt: skip


def test_settings_can_check_the_command(host: Host) -> None:
    state = host.run("""
        local lr = start()
        local shown
        lr.answer = function(props, view)
          shown = props
          lr.press(view, "Check")
          return "cancel"
        end
        lr:menu("Settings.lua")
        lr:run()
        table.insert(lr.dialogs, { message = shown.answer })
        print(lr:describe())
    """)
    assert state["dialogs"][0]["message"] == "rawdenoise, version 9.9"
    assert state["left_in_temporary"] == []


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
    ended = subprocess.run([luacheck, "-q", "."], cwd=SOURCE.parent, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


JSON_GOOD: list[tuple[str, object]] = [
    ("0", 0), ("-0.5", -0.5), ("12.25e2", 1225), ("1E-3", 0.001), ("true", True), ("[]", []), (" [1, [2]] ", [1, [2]]),
    ('{"a": {"b": "c"}, "n": null}', {"a": {"b": "c"}}),
    (r'"\u00e9\u20ac\ud83d\ude00 \"\\\/\b\f\n\r\t"', 'é€😀 "\\/\b\f\n\r\t'),
    (r'"\udce9.NEF"', b"\xe9.NEF"), (r'"\u0000"', "\0"), ('"é"', "é"), ('"\x7f"', "\x7f"),
]  # fmt: skip
JSON_BAD = [
    "", "nul", "tru e", "01", "1.", ".5", "+1", "1e", "- 1", "NaN", "[1,]", "[1 2]", "[", '{"a" 1}', '{"a": 1,}', "{a: 1}",
    '{"a": 1', '"abc', '"a\tb"', r'"\x41"', r'"\u12"', r'"\ud83d"', r'"\ud83dA"', r'"\ude00"', "1 2", '{"a": 1} x',
    "[" * 70 + "]" * 70,
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
    "plain", "", "with space", "it's", "a&b|c<d>e", "100%", "%OS%", "%OS%%PATH%", "50% of %TEMP% %", "(x) ^ ^^", "!x!",
    "C:\\dir\\", "C:\\a b\\", "C:\\100%\\b", "C:\\%OS%\\%", "\\\\server\\share\\", "Ré 写真 😀", "{stem}_dn", "$HOME `id`",
    ";,=~*?[]", "a\\\\", "-", "--name=x",
]  # fmt: skip
ONLY_SH = ['"', 'a "b" c', "new\nline", "\x01\x7f", "'\"'\\''"]


def command_line(host: Host, words: Sequence[str], *, is_windows: bool, output: str, errors: str) -> str:
    listed = ", ".join(lua_string(word) for word in words)
    answer = host.run(f"""
        local Quoting = start():require("Quoting")
        local line = Quoting.line({{ {listed} }}, {lua_string(output)}, {lua_string(errors)}, {str(is_windows).lower()})
        print(Sdk.Check.to_json({{ line = (line:gsub(".", function(char)
          return string.format("%02x", char:byte())
        end)) }}))
    """)
    return bytes.fromhex(answer["line"]).decode()


def test_sh_gives_the_program_its_words(host: Host, tmp_path: Path) -> None:
    output, errors = tmp_path / "o 'u' \"t\"", tmp_path / "e $r & r"
    program = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:])); print('!', file=sys.stderr)"]
    words = [*HOSTILE, *ONLY_SH]
    line = command_line(host, [*program, *words], is_windows=False, output=str(output), errors=str(errors))
    subprocess.run(["/bin/sh", "-c", line], check=True)
    assert json.loads(output.read_text()) == words
    assert errors.read_text() == "!\n"


def expand_percents(line: str, variables: dict[str, str]) -> str:
    """As cmd.exe does first of all: %NAME% is replaced, in quotes too; what is no variable stays."""
    at, out = 0, ""
    while (start := line.find("%", at)) >= 0:
        end = line.find("%", start + 1)
        name = line[start + 1 : end] if end > start else None
        if name and name.upper() in variables:
            out, at = out + line[at:start] + variables[name.upper()], end + 1
        else:
            out, at = out + line[at : start + 1], start + 1
    return out + line[at:]


def split_at_redirections(line: str) -> tuple[str, dict[str, str]]:
    """As cmd.exe does next: ^ escapes outside quotes; < > 2> take the next word; & and | would end the command."""
    command, files, at, in_quotes = "", {}, 0, False
    stream: str | None = None
    target = ""
    while at < len(line):
        char = line[at]
        if char == '"':
            in_quotes = not in_quotes
        elif char == "^" and not in_quotes:
            at += 1
            char = line[at]
        elif not in_quotes:
            assert char not in "&|()", f"{char} outside quotes in {line}"
            if char in "<>":
                stream = command[-1] if command.endswith("2") and command[-2:-1] == " " else ""
                command = command.removesuffix(stream)
                stream, target, at = (stream or char), "", at + 1
                continue
            if stream and char == " " and target:
                files[stream], stream = target.replace('"', ""), None
        if stream:
            target += char
        else:
            command += char
        at += 1
    if stream:
        files[stream] = target.replace('"', "")
    return command, files


def split_arguments(command: str) -> list[str]:
    """As a program's C runtime does at last: backslashes count only before quotes, where two are one.

    Not so in the first word, the program: it ends at the first space outside quotes.
    """
    program = re.match(r'(?:"[^"]*"|[^" ])*', command)
    assert program is not None
    words, word, in_quotes, is_open, at = [program[0].replace('"', "")], "", False, False, program.end()
    while at < len(command):
        char = command[at]
        if char == "\\":
            end = at
            while end < len(command) and command[end] == "\\":
                end += 1
            count = end - at
            is_quoted = end < len(command) and command[end] == '"'
            word += "\\" * (count // 2 if is_quoted else count)
            is_open, at = True, end
            if is_quoted and count % 2:
                word, at = word + '"', at + 1
        elif char == '"':
            in_quotes, is_open, at = not in_quotes, True, at + 1
        elif char == " " and not in_quotes:
            if is_open:
                words.append(word)
            word, is_open, at = "", False, at + 1
        else:
            word, is_open, at = word + char, True, at + 1
    return [*words, word] if is_open else words


def cmd_exe(line: str, variables: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Words and redirections of a line that is given to `cmd.exe /c`, which takes its outermost quotes off."""
    assert line.startswith('"')
    assert line.endswith('"')
    command, files = split_at_redirections(expand_percents(line[1:-1], variables))
    return split_arguments(command), files


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
    "inside write access": """catalog:withWriteAccessDo("x", function() import("LrTasks").sleep(1) end, { timeout = 1 })""",
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
        local values = {{ photo = lr.photo({host.path("a.NEF")}), catalog = lr.catalog, path = {host.path("b.dng")} }}
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


# With the command itself.


@pytest.fixture
def real_host(host: Host, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent.parent))
    host.use(sys.executable, "-m", "rawdenoise")
    return host


def test_the_command_itself_denoises_and_a_broken_raw_stops_nothing(real_host: Host) -> None:
    a_capture(real_host.photos / "one.dng", 1)
    a_capture(real_host.photos / "two ü.dng", 2)
    (real_host.photos / "broken.dng").write_bytes((real_host.photos / "one.dng").read_bytes()[:3000])
    names = ["one.dng", "broken.dng", "two ü.dng"]
    state = denoise(real_host, "photos[1].raw.rating = 3", names)
    assert state["failures"] == []
    photos = photos_of(state)
    assert set(photos) == {*names, "one_dn.dng", "two ü_dn.dng"}
    assert photos["one_dn.dng"]["raw"]["rating"] == 3
    assert [Path(path).name for path in photos["two ü_dn.dng"]["stack"]] == ["two ü_dn.dng", "two ü.dng"]
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 2 denoised, 1 failed"
    assert dialog["info"].startswith("broken.dng: ")
    again = denoise(real_host, "", names)
    assert again["dialogs"][0]["message"] == "rawdenoise: 0 denoised, 2 skipped, 1 failed"
    assert set(photos_of(again)) == set(photos)


def test_the_command_itself_stops_when_it_is_cancelled(real_host: Host) -> None:
    names = [f"{number}.dng" for number in range(40)]
    for name in names:
        a_capture(real_host.photos / name, 1)
    before = "on_tick = function(lr) if #lr.captions > 0 then lr.progress.is_canceled = true end end"
    state = denoise(real_host, before, names)
    assert state["failures"] == []
    whole = sorted(path.name for path in real_host.photos.iterdir())
    assert len(whole) < 80
    assert whole == sorted(photos_of(state))  # what is whole is in the catalogue, and nothing else lies there
    assert "cancelled" in state["dialogs"][0]["message"]
    assert state["left_in_temporary"] == []

"""The plug-in for Lightroom Classic, run by Lua 5.1 against an imitation of the SDK that checks calls."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from lightroom_host import HERE, Host, a_raw, denoise, lua_string, make_host, needs_lua, photos_of

__all__ = ["make_host"]  # a fixture
pytestmark = needs_lua


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
        local develop = { Exposure2012 = 0.7, LuminanceSmoothing = 40, EnhanceDenoiseVersion = 2 }
        rawset(original, "develop", develop)
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
    pairs = dict(pairwise(words))
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
    assert state["captions"] == ["a.NEF, 2 minutes left"]  # the only one of the list
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
    assert state["captions"][-1] == "Stopping..."
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
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "lightroom_stand_in.py"}" "$@"\n')
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


def test_a_source_that_is_removed_meanwhile_stops_nothing(host: Host) -> None:
    for name in ("a.NEF", "b.NEF"):
        a_raw(host.photos / name)
    before = """
        photos[2].raw.rating = 2
        on_tick = function(lr) if lr.commands > 0 then rawset(photos[1], "is_removed", true) end end
    """
    state = denoise(host, before, ["a.NEF", "b.NEF"])
    photos = photos_of(state)
    assert [Path(path).name for path in photos["a_dn.dng"]["stack"]] == ["a_dn.dng"]
    assert photos["b_dn.dng"]["raw"]["rating"] == 2
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 2 denoised"
    assert "a_dn.dng: was added, but not all could be copied: " in dialog["info"]


@pytest.mark.parametrize("count", [500, pytest.param(5000, marks=pytest.mark.long)])
def test_thousands_of_photos_are_added_in_batches(host: Host, count: int) -> None:
    names = [f"{number:04d}.NEF" for number in range(count)]
    for name in names:
        a_raw(host.photos / name)
    state = denoise(host, "", names)
    assert len(state["photos"]) == 2 * count
    assert 2 * count / 20 <= state["writes"] < 2 * count / 2
    assert state["dialogs"][0]["message"] == f"rawdenoise: {count} denoised"


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("Train.lua", "Nikon Z 6: its own model is ready (+1.2 dB on captures held out)"),
        ("Calibrate.lua", "Nikon Z 6: its noise is known at ISO 100, 6400, ?"),
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


def test_on_windows_the_command_is_run_by_cmd_exe(host: Host) -> None:
    a_raw(host.photos / "ä 100%OS%.NEF")
    state = host.run(f"""
        local cmd_exe = {lua_string(f"'{sys.executable}' '{HERE / 'cmd_exe.py'}'")}
        local lr = start({{ is_windows = true, cmd_exe = cmd_exe }})
        lr.select(lr.photo({host.path("ä 100%OS%.NEF")}))
        lr:menu("Denoise.lua")
        lr:run()
        print(lr:describe())
    """)
    assert state["failures"] == []
    assert state["dialogs"][0]["message"] == "rawdenoise: 1 denoised"
    assert "ä 100%OS%_dn.dng" in photos_of(state)
    assert state["left_in_temporary"] == []

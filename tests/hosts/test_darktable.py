"""plugins/darktable in darktable itself, without a screen, on captures written here or lying in ../shared."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import soon
from darktable_host import HERE, PLUGIN, REAL_COMMAND, Darktable, Run, find_missing, lua_string, write_capture

from rawdenoise.formats import read_raw

LUA_FILES = [PLUGIN / "rawdenoise.lua", *sorted(HERE.glob("darktable_*.lua"))]
ODD_FOLDER = 'it\'s 100 % "odd" & so; on\n$(naïve) `été` 写真'


@pytest.fixture(scope="module", autouse=True)
def own_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models and profiles of this file's own, for darktable's children too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MODELS", "PROFILES"):
            patch.setenv(f"RAWDENOISE_{name}", str(tmp_path_factory.mktemp(name.lower())))
        yield


BROKEN = "broken 100 %s %d.dng"


def needs(*programs: str) -> None:
    if missing := find_missing(programs):
        pytest.skip(missing)


@pytest.fixture(scope="module")
def darktable_installed() -> None:
    needs("darktable", "xvfb-run", "Xvfb", "xauth")


def new_darktable(home: Path, **settings: object) -> Darktable:
    home.mkdir(exist_ok=True)
    return Darktable(home).install(**settings)  # type: ignore[arg-type]


def import_folder(folder: Path, number: int) -> str:
    """Lua that imports a folder of so many pictures, and has them by name in `pictures`."""
    return f"""
      dt.database.import({lua_string(str(folder))})
      host.wait("import", function() return #dt.database >= {number} end)
      local pictures = {{}}
      for index = 1, #dt.database do pictures[dt.database[index].filename] = dt.database[index] end
    """


# ---------------------------------------------------------------- one run with all that a user does


@dataclass(frozen=True)
class Afternoon:
    """A library after several actions on one folder."""

    darktable: Darktable
    folder: Path
    run: Run
    names: list[str]

    def facts(self, name: str) -> dict[str, object]:
        """What the library has of a picture (not of its virtual copies), in a form that can be compared."""
        [(id, group, flags, *place)] = self.darktable.query(
            "SELECT id, group_id, flags, longitude, latitude, altitude FROM images"
            " WHERE filename = ? AND version = 0",
            name,
        )
        labels = self.darktable.query("SELECT color FROM color_labels WHERE imgid = ? ORDER BY color", id)
        texts = self.darktable.query(
            "SELECT key, value FROM meta_data WHERE id = ? AND value <> '' ORDER BY key", id
        )
        tags = self.darktable.query(
            "SELECT name FROM tagged_images JOIN data.tags ON tags.id = tagid WHERE imgid = ? ORDER BY name",
            id,
        )
        names = [str(tag) for (tag,) in tags]
        return {
            "id": id,
            "group": group,
            "rating": int(str(flags)) & 7,
            "labels": labels,
            "texts": texts,
            "place": place,
            "tags": [tag for tag in names if not tag.startswith("darktable|")],
            "own tags": [tag for tag in names if tag.startswith("darktable|rawdenoise")],
        }

    def history(self, name: str) -> dict[str, bytes]:
        """The modules of a picture's development that are on, with their parameters."""
        rows = self.darktable.query(
            "SELECT operation, op_params FROM history JOIN images ON images.id = imgid"
            " WHERE filename = ? AND version = 0 AND enabled ORDER BY num",
            name,
        )
        return {str(operation): bytes(params) for operation, params in rows}  # type: ignore[call-overload]


def write_pictures(folder: Path) -> list[str]:
    """Captures, a broken one and a JPEG."""
    names = ["plain.dng", "with 'quotes' & %20.dng", "été 写真;.dng"]
    for seed, name in enumerate(names):
        write_capture(folder / name, seed=seed)
    whole = (folder / names[0]).read_bytes()
    (folder / BROKEN).write_bytes(whole[: len(whole) // 2])
    from PIL import Image

    Image.new("RGB", (64, 48), "teal").save(folder / "photo.jpg")
    return names


@pytest.fixture(scope="module")
def afternoon(darktable_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Afternoon:
    home = tmp_path_factory.mktemp("afternoon")
    folder = home / ODD_FOLDER
    names = write_pictures(folder)
    first, second, third = map(lua_string, names)
    darktable = new_darktable(home / "darktable")
    scenario = f"""
      {import_folder(folder, 5)}
      local first, second, third = pictures[{first}], pictures[{second}], pictures[{third}]
      first.rating, first.red, first.purple = 3, true, true
      first.title, first.description, first.creator = "Zürich", "a description", "somebody"
      first.rights, first.publisher, first.notes = "© somebody", "a publisher", "a note"
      first.latitude, first.longitude, first.elevation = 47.3, 8.5, 408
      dt.tags.attach(dt.tags.create("places|Zürich"), first)
      second.rating, second.green = -1, true
      local copy = first:duplicate()

      local broken, photo = pictures[{lua_string(BROKEN)}], pictures["photo.jpg"]
      host.press("denoise raw", {{first, copy, second, broken, photo}})
      host.press("denoise raw", {{third}}) -- waits for the first
      local done = host.wait_said("1 picture denoised")

      host.note("again")
      local result
      for index = 1, #dt.database do
        result = dt.database[index].filename == "plain_dn.dng" and dt.database[index] or result
      end
      result.rating = 5
      host.press("denoise raw", {{result, second}})
      host.wait_said("2 skipped", done)
      host.press("denoise raw", {{pictures["photo.jpg"]}})
      host.wait_said("1 picture is not raw", done + 3)
    """
    return Afternoon(darktable, folder, darktable.run(scenario), names)


def result_of(name: str) -> str:
    return name.removesuffix(".dng") + "_dn.dng"


def test_each_capture_gets_one_result_beside_it(afternoon: Afternoon) -> None:
    made = {path.name for path in afternoon.folder.iterdir() if path.suffix == ".dng"}
    assert made == {*afternoon.names, *map(result_of, afternoon.names), BROKEN}
    in_library = afternoon.darktable.query(
        "SELECT filename FROM images WHERE filename LIKE '%\\_dn.dng' ESCAPE '\\'"
    )
    assert sorted(in_library) == sorted((result_of(name),) for name in afternoon.names)


def test_a_result_leads_the_group_of_its_source(afternoon: Afternoon) -> None:
    for name in afternoon.names:
        result = afternoon.facts(result_of(name))
        assert result["group"] == result["id"]
        assert afternoon.facts(name)["group"] == result["id"]


def test_a_result_gets_what_the_user_gave_its_source(afternoon: Afternoon) -> None:
    source, result = (afternoon.facts(name) for name in ("plain.dng", "plain_dn.dng"))
    assert source["rating"] == 3
    assert result["rating"] == 5  # given by hand afterwards: the second action left it alone
    assert source["labels"] == [(0,), (4,)]
    assert len(source["texts"]) == 6  # type: ignore[arg-type]
    assert source["tags"] == ["places|Zürich"]
    assert source["place"] == [8.5, 47.3, 408]
    for fact in ("labels", "texts", "tags", "place"):
        assert result[fact] == source[fact]
    assert result["own tags"] == ["darktable|rawdenoise|denoised"]

    rejected = afternoon.facts(result_of(afternoon.names[1]))
    assert rejected["rating"] == afternoon.facts(afternoon.names[1])["rating"] == 6
    assert rejected["labels"] == [(2,)]


def test_pixels_are_those_of_the_command_line(afternoon: Afternoon, tmp_path: Path) -> None:
    source = tmp_path / "plain.dng"
    shutil.copy(afternoon.folder / "plain.dng", source)
    subprocess.run(
        [*REAL_COMMAND, "denoise", source, "-o", tmp_path / "out"], check=True, capture_output=True
    )
    ours, theirs = read_raw(tmp_path / "out" / "plain.dng"), read_raw(afternoon.folder / "plain_dn.dng")
    assert np.array_equal(ours.mosaic, theirs.mosaic)
    assert not np.array_equal(read_raw(source).mosaic, theirs.mosaic)


def test_a_broken_capture_is_said_and_the_rest_goes_on(afternoon: Afternoon) -> None:
    [message] = [message for message in afternoon.run.messages if message.startswith(f"{BROKEN}: ")]
    assert len(message) > len(f"{BROKEN}: ?")
    assert "2 pictures denoised, 1 failed" in afternoon.run.messages


def test_what_is_left_out_is_said(afternoon: Afternoon) -> None:
    assert "1 picture is not raw, 1 picture is of a file that is taken anyway" in afternoon.run.messages
    assert "1 denoised picture stands for its source" in afternoon.run.messages
    assert "2 skipped" in afternoon.run.messages


def test_nothing_else_is_left_behind(afternoon: Afternoon) -> None:
    assert not [path for path in afternoon.folder.iterdir() if path.name.startswith(".")]
    assert not list(afternoon.darktable.cache.glob("rawdenoise*"))
    assert afternoon.run.exit_code == 0
    errors = [line for line in afternoon.run.output.splitlines() if "LUA ERROR" in line]
    assert len(errors) == 1, errors
    assert f"rawdenoise: {BROKEN}: " in errors[0]


# ---------------------------------------------------------------- the development


EXPOSURE = struct.pack("<iffffi", 0, 0.0, 1.5, 50.0, -4.0, 0)  # its parameters of version 6: 1.5 EV
EDITED = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:darktable="http://darktable.sf.net/" darktable:xmp_version="5"
 darktable:raw_params="0" darktable:auto_presets_applied="0" darktable:history_end="1"
 darktable:iop_order_version="2">
<darktable:history><rdf:Seq><rdf:li darktable:num="0" darktable:operation="exposure" darktable:enabled="1"
 darktable:modversion="6" darktable:params="{EXPOSURE.hex()}" darktable:multi_name=""
 darktable:multi_priority="0" darktable:blendop_version="11"
 darktable:blendop_params="gz12eJxjYGBgkGAAgRNODESDBnsIHll8ANNSGQM="/></rdf:Seq>
</darktable:history></rdf:Description></rdf:RDF></x:xmpmeta>
"""


def select_by_name(*names: str) -> str:
    """Lua that looks pictures up again, once there are more."""
    found = "\n".join(f"found[{lua_string(name)}] = false" for name in names)
    return f"""
      local found = {{}}
      {found}
      for index = 1, #dt.database do
        local picture = dt.database[index]
        if found[picture.filename] == false then found[picture.filename] = picture end
      end
    """


@pytest.fixture(scope="module")
def evening(darktable_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Afternoon:
    """Edited captures; one that the command line denoised before; another strength; the preferences."""
    home = tmp_path_factory.mktemp("evening")
    folder = home / "pictures"
    names = ["edited.dng", "plainly.dng", "before.dng"]
    for seed, name in enumerate(names):
        capture = write_capture(folder / name, seed=seed)
        capture.with_suffix(".dng.xmp").write_text(EDITED)
    denoise = ["denoise", folder / "before.dng", "--beside", "--name", "{stem}_dn"]
    subprocess.run([*REAL_COMMAND, *denoise], check=True, capture_output=True)
    (folder / "before_dn.dng").rename(home / "before_dn.dng")
    darktable = new_darktable(home / "darktable", strength="50")
    scenario = f"""
      {import_folder(folder, 3)}
      os.rename({lua_string(str(home / "before_dn.dng"))}, {lua_string(str(folder / "before_dn.dng"))})
      host.press("denoise raw", {{pictures["before.dng"], pictures["edited.dng"]}})
      local first = host.wait_said("1 picture denoised, 1 skipped, 1 of them made with other settings")
      dt.preferences.write("rawdenoise", "redo", "bool", true)
      dt.preferences.write("rawdenoise", "copy_development", "bool", false)
      dt.preferences.write("rawdenoise", "lead", "bool", false)
      host.press("denoise raw", {{pictures["before.dng"], pictures["plainly.dng"]}})
      host.wait_said("2 pictures denoised", first + 1)
      host.note(#dt.styles)
      for index = 1, #dt.database do dt.database[index]:generate_cache(true, 1, 2) end
    """
    return Afternoon(darktable, folder, darktable.run(scenario), names)


def test_a_result_is_developed_as_its_source_if_wished(evening: Afternoon) -> None:
    assert evening.history("edited.dng")["exposure"] == EXPOSURE
    assert evening.history("edited_dn.dng")["exposure"] == EXPOSURE
    assert evening.history("plainly_dn.dng").get("exposure") != EXPOSURE
    assert evening.run.notes[0] == "0"  # styles


def test_levels_of_a_result_stay_its_own(evening: Afternoon) -> None:
    theirs, ours = (evening.history(name)["rawprepare"] for name in ("edited.dng", "edited_dn.dng"))
    white = [struct.unpack_from("<H", params, 24)[0] for params in (theirs, ours)]
    assert white == [4095, 65520]


def test_what_lay_there_is_taken_into_the_library(evening: Afternoon) -> None:
    source, result = evening.facts("before.dng"), evening.facts("before_dn.dng")
    assert source["group"] == result["group"] == result["id"]
    assert evening.history("before_dn.dng")["exposure"] == EXPOSURE
    [(number,)] = evening.darktable.query("SELECT COUNT(*) FROM images WHERE filename = 'before_dn.dng'")
    assert number == 1


def test_the_leader_stays_if_wished(evening: Afternoon) -> None:
    source, result = evening.facts("plainly.dng"), evening.facts("plainly_dn.dng")
    assert source["group"] == result["group"] == source["id"]


def test_other_settings_are_taken_when_asked(evening: Afternoon, tmp_path: Path) -> None:
    source = evening.folder / "before.dng"
    subprocess.run(
        [*REAL_COMMAND, "denoise", source, "-o", tmp_path, "--strength", "0.5"],
        check=True,
        capture_output=True,
    )
    ours, theirs = read_raw(tmp_path / "before.dng"), read_raw(evening.folder / "before_dn.dng")
    assert np.array_equal(ours.mosaic, theirs.mosaic)


# ---------------------------------------------------------------- stopping


def test_a_stopped_command_leaves_whole_files_only(darktable_installed: None, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_capture(folder / "0.dng", width=1024, height=768)
    for number in range(1, 6):
        shutil.copy(folder / "0.dng", folder / f"{number}.dng")
    darktable = new_darktable(tmp_path / "darktable")
    started = f"""
      {import_folder(folder, 6)}
      local all = {{}}
      for number = 0, 5 do all[number + 1] = pictures[number .. ".dng"] end
      host.press("denoise raw", all)
    """
    first = "host.wait('first result', function() return host.exists({}) end)\n"
    run = darktable.run(
        started
        + first.format(lua_string(str(folder / "0_dn.dng")))
        + 'host.cancel() host.wait_said("stopped") host.note(#dt.database)'
    )
    made = len(list(folder.glob("*_dn.dng")))
    assert 1 <= made < 6
    assert run.notes[0] == str(6 + made)  # complete ones are in the library
    assert not list(darktable.cache.glob("rawdenoise*"))
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    run = darktable.run(
        started.replace("host.press", "os.remove(" + lua_string(str(folder / "0_dn.dng")) + ") host.press")
        + first.format(lua_string(str(folder / "0_dn.dng")))
    )  # darktable is closed while the command runs
    assert soon(lambda: not list(darktable.cache.glob("rawdenoise*")))
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    for path in folder.glob("*_dn.dng"):
        assert read_raw(path).mosaic.shape == read_raw(folder / "0.dng").mosaic.shape
    assert len(list(folder.glob("*_dn.dng"))) < 6


# ---------------------------------------------------------------- models and calibrations


def test_training_and_calibrating_call_the_command(darktable_installed: None, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for number in range(3):
        write_capture(folder / f"{number}.dng", seed=number)
    darktable = new_darktable(tmp_path / "darktable")
    stores = {f"RAWDENOISE_{name}": str(tmp_path / name) for name in ("MODELS", "PROFILES")}
    options = {"RAWDENOISE_TRAIN_CROPS": "8", "RAWDENOISE_TRAIN_KEEP_IF_WORSE": "1"}
    scratch = {"RAWDENOISE_TRAIN_SCRATCH": str(tmp_path / "scratch")}
    run = darktable.run(
        f"""
          {import_folder(folder, 3)}
          local all = {{pictures["0.dng"], pictures["1.dng"], pictures["2.dng"]}}
          host.press("calibrate this camera's noise", all)
          host.press("train this camera's model", all)
          host.wait_said("calibrated")
          host.wait_said("own model")
        """,
        environment={**stores, **options, **scratch},
    )
    camera = "Rawdenoise Simulated IMX385"
    assert f"the noise of {camera} is calibrated" in run.messages
    assert len(list((tmp_path / "PROFILES").glob("*.toml"))) == 1
    [trained] = [message for message in run.messages if "own model" in message]
    assert re.fullmatch(rf"{camera} has its own model now: \S+ gains -?[\d.]+ dB", trained)
    assert list((tmp_path / "MODELS").rglob("*.safetensors"))


# ---------------------------------------------------------------- what goes wrong, and in which language


def make_locale(folder: Path, language: str) -> dict[str, str]:
    """Settings of a locale that the system need not have installed."""
    needs("localedef", "darktable")
    made = subprocess.run(
        ["localedef", "-i", language, "-f", "UTF-8", "--no-archive", folder / f"{language}.UTF-8"],
        capture_output=True,
        check=False,
    )
    if not (folder / f"{language}.UTF-8" / "LC_MESSAGES").is_dir():
        pytest.skip(f"no locale {language}: {made.stderr.decode()}")
    return {"LOCPATH": str(folder), "LC_ALL": f"{language}.UTF-8", "LANG": f"{language}.UTF-8"}


@pytest.mark.parametrize(
    ("language", "action", "message"),
    [
        (
            "de_DE",
            "Raw entrauschen",
            "rawdenoise installieren oder seinen Pfad in Einstellungen > Lua-Optionen angeben",
        ),
        (
            "fr_FR",
            "débruiter le raw",
            "installer rawdenoise, ou indiquer son chemin dans préférences > options Lua",
        ),
    ],
    ids=["German", "French"],
)
def test_a_missing_command_is_said_with_the_next_step(
    language: str, action: str, message: str, darktable_installed: None, tmp_path: Path
) -> None:
    locale = make_locale(tmp_path, language)
    capture = write_capture(tmp_path / "pictures" / "one.dng")
    missing = tmp_path / "no such" / "rawdenoise"
    darktable = new_darktable(tmp_path / "darktable", command=[str(missing)])
    run = darktable.run(
        f"""
          {import_folder(capture.parent, 1)}
          host.press({lua_string(action)}, {{pictures["one.dng"]}})
          host.wait_said({lua_string(str(missing))})
        """,
        environment=locale,
    )
    [said] = run.messages
    assert said.startswith(str(missing))
    assert said.endswith(message)


# ---------------------------------------------------------------- real captures


def test_real_captures(darktable_installed: None, shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    frames = sorted((shared_data / "imx296" / "burst").glob("*.dng"))[:2]
    others = [
        shared_data / "raws" / name
        for name in ("nikon-d1.nef", "tiny-10bit.dng", "unsupported-linearraw.dng")
    ]
    for path in [*frames, *others]:
        shutil.copy(path, folder)
    darktable = new_darktable(tmp_path / "darktable")
    run = darktable.run(f"""
      {import_folder(folder, 5)}
      local all = {{}}
      for _name, picture in pairs(pictures) do all[#all + 1] = picture end
      host.press("denoise raw", all)
      host.wait_said("failed")
    """)
    assert "4 pictures denoised, 1 failed" in run.messages
    rows = darktable.query(
        "SELECT filename FROM images WHERE group_id = id AND filename LIKE '%\\_dn.dng' ESCAPE '\\'"
    )
    expected = [path.stem + "_dn.dng" for path in [*frames, *others[:2]]]
    assert sorted(str(name) for (name,) in rows) == sorted(expected)


# ---------------------------------------------------------------- without darktable


def test_parts_that_need_no_darktable(tmp_path: Path) -> None:
    needs("lua5.4")
    ran = subprocess.run(
        ["lua5.4", HERE / "darktable_parts.lua", PLUGIN, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_luacheck_is_content() -> None:
    needs("luacheck")
    root = PLUGIN.parents[1]
    ran = subprocess.run(
        ["luacheck", "--no-color", *LUA_FILES], cwd=root, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("language", ["de", "fr"])
def test_catalogues_are_complete(language: str, tmp_path: Path) -> None:
    needs("xgettext", "msgfmt", "msgcmp", "msgunfmt")
    folder = PLUGIN / "locale" / language / "LC_MESSAGES"
    template = tmp_path / "rawdenoise.pot"
    keywords = ["--keyword=_", "--keyword=count:1,2", "--keyword=add:2,3"]
    extract = [
        "xgettext",
        "-L",
        "Lua",
        "--from-code=UTF-8",
        *keywords,
        "-o",
        template,
        PLUGIN / "rawdenoise.lua",
    ]
    for command in (extract, ["msgcmp", folder / "rawdenoise.po", template]):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    compiled = tmp_path / "rawdenoise.mo"
    subprocess.run(
        ["msgfmt", "--check-format", "--no-hash", "-o", compiled, folder / "rawdenoise.po"], check=True
    )
    texts = [
        subprocess.run(["msgunfmt", path], capture_output=True, check=True).stdout
        for path in (compiled, folder / "rawdenoise.mo")
    ]
    assert texts[0] == texts[1]  # msgfmt --no-hash -o rawdenoise.mo rawdenoise.po

"""plugins/darktable in darktable itself, without a screen, on captures that are written here or lie in ../shared."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from darktable_host import HERE, PLUGIN, REAL_COMMAND, Darktable, Run, find_missing, lua_string, write_capture

from rawdenoise.formats import read_raw

LUA_FILES = [PLUGIN / "rawdenoise.lua", *sorted(HERE.glob("*.lua"))]
ODD_FOLDER = "it's 100 % \"odd\" & so; on\n$(naïve) `été` 写真"
SECONDS = 1.0


@pytest.fixture(scope="module", autouse=True)
def own_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models and profiles of this file's own, for darktable's children too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MODELS", "PROFILES"):
            patch.setenv(f"RAWDENOISE_{name}", str(tmp_path_factory.mktemp(name.lower())))
        yield


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
            "SELECT id, group_id, flags, longitude, latitude, altitude FROM images WHERE filename = ? AND version = 0",
            name,
        )
        labels = self.darktable.query("SELECT color FROM color_labels WHERE imgid = ? ORDER BY color", id)
        texts = self.darktable.query("SELECT key, value FROM meta_data WHERE id = ? AND value <> '' ORDER BY key", id)
        tags = self.darktable.query(
            "SELECT name FROM tagged_images JOIN data.tags ON tags.id = tagid WHERE imgid = ? ORDER BY name", id
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
    """Captures, one of them broken, with a JPEG and a file that was denoised before darktable came to see it."""
    names = ["plain.dng", "with 'quotes' & %20.dng", "été 写真;.dng"]
    for seed, name in enumerate(names):
        write_capture(folder / name, seed=seed)
    whole = (folder / names[0]).read_bytes()
    (folder / "broken.dng").write_bytes(whole[: len(whole) // 2])
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

      host.press("denoise raw", {{first, copy, second, pictures["broken.dng"], pictures["photo.jpg"]}})
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
    assert made == {*afternoon.names, *map(result_of, afternoon.names), "broken.dng"}
    in_library = afternoon.darktable.query("SELECT filename FROM images WHERE filename LIKE '%\\_dn.dng' ESCAPE '\\'")
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
    subprocess.run([*REAL_COMMAND, "denoise", source, "-o", tmp_path / "out"], check=True, capture_output=True)
    ours, theirs = read_raw(tmp_path / "out" / "plain.dng"), read_raw(afternoon.folder / "plain_dn.dng")
    assert np.array_equal(ours.mosaic, theirs.mosaic)
    assert not np.array_equal(read_raw(source).mosaic, theirs.mosaic)


def test_a_broken_capture_is_said_and_the_rest_goes_on(afternoon: Afternoon) -> None:
    [message] = [message for message in afternoon.run.messages if message.startswith("broken.dng: ")]
    assert len(message) > len("broken.dng: ?")
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
    assert "rawdenoise: broken.dng: " in errors[0]


# ---------------------------------------------------------------- the development


EXPOSURE = struct.pack("<iffffi", 0, 0.0, 1.5, 50.0, -4.0, 0)  # its parameters of version 6: 1.5 EV
EDITED = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:darktable="http://darktable.sf.net/" darktable:xmp_version="5"
 darktable:raw_params="0" darktable:auto_presets_applied="0" darktable:history_end="1" darktable:iop_order_version="2">
<darktable:history><rdf:Seq><rdf:li darktable:num="0" darktable:operation="exposure" darktable:enabled="1"
 darktable:modversion="6" darktable:params="{EXPOSURE.hex()}" darktable:multi_name="" darktable:multi_priority="0"
 darktable:blendop_version="11" darktable:blendop_params="gz12eJxjYGBgkGAAgRNODESDBnsIHll8ANNSGQM="/></rdf:Seq>
</darktable:history></rdf:Description></rdf:RDF></x:xmpmeta>
"""


@pytest.mark.parametrize("copied", [True, False])
def test_a_result_is_developed_as_its_source_is_if_wished(
    copied: bool, darktable_installed: None, tmp_path: Path
) -> None:
    capture = write_capture(tmp_path / "pictures" / "edited.dng")
    capture.with_suffix(".dng.xmp").write_text(EDITED)
    darktable = new_darktable(tmp_path / "darktable", copy_development=str(copied).upper())
    run = darktable.run(f"""
      {import_folder(capture.parent, 1)}
      host.press("denoise raw", {{pictures["edited.dng"]}})
      host.wait_said("1 picture denoised")
      host.note(#dt.styles)
      local number = #dt.database
      for index = 1, number do dt.database[index]:generate_cache(true, 1, 2) end
    """)
    afternoon = Afternoon(darktable, capture.parent, run, ["edited.dng"])
    source, result = afternoon.history("edited.dng"), afternoon.history("edited_dn.dng")
    print(source, result)
    assert source["exposure"] == EXPOSURE
    assert (result.get("exposure") == EXPOSURE) == copied
    assert source.get("rawprepare") != result.get("rawprepare") or not result.get("rawprepare")
    assert run.notes[0] == "0"

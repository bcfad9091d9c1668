from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from user_places import make_places, site_of

from rawdenoise import __version__
from rawdenoise.app import places as app_places
from rawdenoise.app.plugins import check, find_sites, install, list_plugins
from rawdenoise.cli import main
from rawdenoise.errors import HostMissingError
from rawdenoise.hosts.catalog import ART, DARKTABLE, DIGIKAM
from rawdenoise.hosts.checks import PluginCheck
from rawdenoise.hosts.host import Packaging
from rawdenoise.hosts.installation import PluginState
from rawdenoise.hosts.places import Places, System, content_folder

LINE = 'require "rawdenoise/rawdenoise"'


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A Linux user who has started darktable, as commands find her."""
    places = replace(make_places(tmp_path), command=(sys.executable, "-m", "rawdenoise"))
    (places.config / "darktable").mkdir(parents=True)
    (places.content / "darktable").mkdir(parents=True)
    (places.content / "darktable" / "rawdenoise.lua").write_text("return {}\n")
    monkeypatch.setattr(app_places, "user_places", lambda: places)
    return places


def rawdenoise(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plugins", *arguments])


def statuses(checks: list[PluginCheck]) -> dict[str, bool | None]:
    return {check.name: check.ok for check in checks}


def test_installing_listing_checking_removing(places: Places) -> None:
    result = rawdenoise("install", "darktable")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        f"darktable: installed in {places.config / 'darktable'}\n  start darktable"
    )
    row = next(line for line in rawdenoise("list").stdout.splitlines() if line.startswith("darktable"))
    assert f"yes   up to date ({__version__})" in row
    assert rawdenoise("install", "darktable").stdout.startswith("darktable: is up to date in ")
    result = rawdenoise("check", "darktable")
    assert result.exit_code == 0, result.output
    assert f"command:  {sys.executable} -m rawdenoise (rawdenoise, version {__version__})" in result.stdout
    result = rawdenoise("remove", "darktable")
    assert (result.exit_code, result.stdout.split(" ")[:3]) == (0, ["darktable:", "2", "files"])
    assert not list((places.config / "darktable").iterdir())
    result = rawdenoise("remove", "darktable")
    assert (result.exit_code, result.stderr) == (3, "error: no plug-in for darktable is installed\n")
    assert rawdenoise("check", "darktable").exit_code == 3


def test_the_list_as_json(places: Places) -> None:
    rawdenoise("install", "darktable")
    rows = {row["host"]: row for row in map(json.loads, rawdenoise("list", "--json").stdout.splitlines())}
    assert rows["darktable"] == {
        "host": "darktable",
        "title": "darktable",
        "found": True,
        "packaging": "native",
        "folder": str(places.config / "darktable"),
        "state": "up to date",
        "version": __version__,
        "up_to_date": True,
        "error": None,
    }
    assert rows["napari"]["folder"] is None
    assert "lightroom" not in rows


def test_an_altered_file_is_refused_and_left(places: Places) -> None:
    rawdenoise("install", "darktable")
    file = places.config / "darktable/lua/rawdenoise/rawdenoise.lua"
    file.write_text("-- mine\n")
    result = rawdenoise("install", "darktable")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {file}: ")
    assert "--replace" in result.stderr
    result = rawdenoise("remove", "darktable")
    assert (result.exit_code, result.stderr) == (1, f"{file}: changed since it was installed, and left\n")
    assert rawdenoise("install", "darktable", "--replace").exit_code == 0
    assert file.read_text() == "return {}\n"


def test_a_host_that_is_not_here(places: Places) -> None:
    result = rawdenoise("install", "art")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ART was not found (looked for ART, ")
    assert "(--folder)" in result.stderr
    result = rawdenoise("install", "lightroom")
    assert result.exit_code == 3
    assert "on macOS and Windows only" in result.stderr
    result = rawdenoise("install", "photoshop")
    assert result.exit_code == 2
    assert "darktable" in result.stderr


def test_a_folder_of_ones_own(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = rawdenoise("install", "darktable", "--folder", "dt")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "dt" / "luarc").read_text() == LINE + "\n"
    assert not (places.config / "darktable" / "luarc").exists()
    assert rawdenoise("check", "darktable", "--folder", "dt").exit_code == 0
    assert rawdenoise("remove", "darktable", "--folder", "dt").exit_code == 0
    assert not (tmp_path / "dt").exists()


def test_every_way_a_host_came_in_is_served(places: Places) -> None:
    (places.home / ".var/app/org.darktable.Darktable").mkdir(parents=True)
    (places.home / "snap/darktable/current").mkdir(parents=True)
    plugins = list(install("darktable", places))
    assert len(plugins) == 3
    assert any(
        "flatpak override --user" in step and "org.darktable.Darktable" in step
        for step in plugins[1].next_steps
    )
    assert any("not tried" in step for step in plugins[2].next_steps)
    found = [row.packaging for row in list_plugins(places) if row.host == "darktable"]
    assert found == [Packaging.NATIVE, Packaging.FLATPAK, Packaging.SNAP]


def test_what_digikams_user_pastes(places: Places) -> None:
    (places.config / "digikamrc").touch()
    places = replace(places, content=content_folder())
    [plugin] = install("digikam", places)
    assert plugin.next_steps[1].strip() == f"{places.own / 'digikam' / 'denoise.sh'} $INPUT $OUTPUT"
    windows = replace(places, system=System.WINDOWS)
    (windows.local).mkdir(parents=True)
    (windows.local / "digikamrc").touch()
    [plugin] = install("digikam", windows)
    assert plugin.next_steps[1].strip() == f'call "{places.own / "digikam" / "denoise.cmd"}" $INPUT $OUTPUT'


# Checks


def test_checks_find_what_is_broken(places: Places) -> None:
    list(install("darktable", places))
    folder = places.config / "darktable"
    (folder / "luarc").write_text("x = 1\n")
    assert statuses(list(check("darktable", places)))["line"] is False
    (folder / "luarc").unlink()
    (folder / "lua/rawdenoise/rawdenoise.lua").unlink()
    found = {result.name: result for result in check("darktable", places)}
    assert found["files"].ok is False
    assert "rawdenoise.lua is missing" in found["files"].detail


def test_the_command_that_was_installed_is_the_one_that_is_tried(places: Places) -> None:
    gone = replace(places, command=(str(places.home / "gone"),))
    list(install("darktable", gone))
    found = {result.name: result for result in check("darktable", places)}
    assert found["command"].ok is False
    assert "gone (cannot be run" in found["command"].detail
    assert found["files"].ok is False  # they name another command than they would


@pytest.mark.skipif(os.name != "posix", reason="programs of sh")
def test_another_version_of_the_command_is_told(places: Places) -> None:
    other = places.home / "rawdenoise"
    other.write_text("#!/bin/sh\necho rawdenoise, version 0.0.1\n")
    other.chmod(0o755)
    places = replace(places, command=(str(other),))
    list(install("darktable", places))
    found = {result.name: result for result in check("darktable", places)}
    assert found["command"].detail == f"{other} is another version (rawdenoise, version 0.0.1)"


@pytest.mark.skipif(os.name != "posix", reason="programs of sh")
@pytest.mark.parametrize(
    ("says", "ok", "detail"),
    [
        ("this is darktable 4.2.1\n  Lua support enabled, API version 9.0.0", True, " (4.2.1)"),
        ("darktable 5.6.0+12~g1a\n  Lua    -> ENABLED  - API version 9.4.0", True, " (5.6.0+12~g1a)"),
        ("darktable 5.6.0\n  Lua                    -> DISABLED", False, "was built without"),
        ("this is darktable 2.6.2\n  Lua support disabled", False, "Lua support disabled"),
        ("", True, "bin/darktable, plug-ins in "),
    ],
)
def test_the_host_tells_its_version(says: str, ok: bool, detail: str, places: Places, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "darktable"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit 1\n")  # as darktable 4.2 ends
    program.chmod(0o755)
    places = replace(places, path=f"{program.parent}:/usr/bin:/bin")
    found = {result.name: result for result in check("darktable", places)}
    assert found["host"].ok is ok
    assert detail in found["host"].detail


@pytest.mark.skipif(os.name != "posix", reason="programs of sh")
def test_luas_compiler_is_asked_where_it_is(places: Places, tmp_path: Path) -> None:
    list(install("darktable", places))
    assert statuses(list(check("darktable", places)))["syntax"] is None
    luac = tmp_path / "bin" / "luac5.4"
    luac.parent.mkdir()
    luac.write_text('#!/bin/sh\ngrep -q \'(\' "$3" && { echo "luac: $3:1: bad" >&2; exit 1; }\nexit 0\n')
    luac.chmod(0o755)
    places = replace(places, path=f"{luac.parent}:/usr/bin:/bin")
    found = {result.name: result for result in check("darktable", places)}
    assert (found["syntax"].ok, found["syntax"].detail) == (True, "luac5.4 takes all 3")
    (places.config / "darktable" / "luarc").write_text(f"x = (\n{LINE}\n")
    found = {result.name: result for result in check("darktable", places)}
    assert found["syntax"].ok is False
    assert "luarc:1: bad" in found["syntax"].detail


def test_a_sandbox_is_not_tried_and_that_is_said(places: Places) -> None:
    (places.home / ".var/app/org.darktable.Darktable").mkdir(parents=True)
    (places.config / "darktable").rmdir()
    list(install("darktable", places))
    [site] = find_sites(DARKTABLE, places, None)
    assert site.packaging is Packaging.FLATPAK
    found = {result.name: result for result in check("darktable", places)}
    assert found["sandbox"].ok is None
    assert found["command"].ok is True


def test_a_luarc_that_is_no_text_spoils_the_list_of_no_other(places: Places) -> None:
    (places.config / "darktable" / "luarc").write_bytes(b"\0")
    listings = {listing.host: listing for listing in list_plugins(places)}
    assert "plain text" in (listings["darktable"].error or "")
    assert listings["open-with"].error is not None or listings["open-with"].state is PluginState.ABSENT
    result = rawdenoise("list")
    assert result.exit_code == 0
    assert "unreadable" in result.stdout
    assert "darktable: " in result.stderr


def test_napari_needs_nothing_but_to_be_there(places: Places) -> None:
    result = rawdenoise("install", "napari")
    assert result.exit_code == 0
    assert "nothing to install" in result.stdout
    assert {check.name for check in check("napari", places)} == {"host", "manifest"}


def test_sites_that_are_not_there_are_said(tmp_path: Path) -> None:
    places = make_places(tmp_path)
    for host in (ART, DIGIKAM, DARKTABLE):
        assert not site_of(host, places).is_found(places)
        with pytest.raises(HostMissingError, match=host.title):
            find_sites(host, places, None)


def test_the_users_own_places_are_this_systems() -> None:
    places = app_places.user_places()
    assert places.home == Path.home()
    assert (places.content / "file-managers").is_dir()
    assert places.own.name == "plugins"

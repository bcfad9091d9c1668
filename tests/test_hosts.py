from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from user_places import make_places, site_of

from rawdenoise import __version__
from rawdenoise.errors import AlteredPluginError, HostFileError, SetupError
from rawdenoise.hosts.catalog import ART, DARKTABLE, DIGIKAM, HOSTS, LIGHTROOM, LUARC_LINE, list_hosts
from rawdenoise.hosts.file_managers import DOLPHIN, EXPLORER, FINDER, OPEN_WITH
from rawdenoise.hosts.host import Host, Packaging, Site
from rawdenoise.hosts.installation import FileState, PluginState, install_plugin, remove_plugin, survey_plugin
from rawdenoise.hosts.lines import add_line, has_line, remove_line
from rawdenoise.hosts.places import (
    Places,
    System,
    content_folder,
    find_command,
    system_of,
)
from rawdenoise.hosts.plan import plan_files
from rawdenoise.hosts.receipts import digest
from rawdenoise.hosts.spelling import Spelling, spell_command

LINE = 'require "rawdenoise/rawdenoise"'


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A Linux user who has started darktable, and a darktable plug-in of two files."""
    places = make_places(tmp_path)
    (places.config / "darktable").mkdir(parents=True)
    plugin = places.content / "darktable"
    (plugin / "locale" / "de" / "LC_MESSAGES").mkdir(parents=True)
    (plugin / "tests").mkdir()
    (plugin / "rawdenoise.lua").write_text("return {}\n")
    (plugin / "locale" / "de" / "LC_MESSAGES" / "rawdenoise.mo").write_bytes(b"\xde\x12\x04\x95")
    (plugin / "tests" / "test_it.lua").write_text("error()\n")
    return places


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# Folders


@pytest.mark.parametrize(
    ("host", "system", "folder"),
    [
        (DARKTABLE, System.LINUX, ".config/darktable"),
        (DARKTABLE, System.MACOS, ".config/darktable"),
        (DARKTABLE, System.WINDOWS, "AppData/Local/darktable"),
        (LIGHTROOM, System.MACOS, "Library/Application Support/Adobe/Lightroom/Modules"),
        (LIGHTROOM, System.WINDOWS, "AppData/Roaming/Adobe/Lightroom/Modules"),
        (ART, System.LINUX, ".config/ART"),
        (ART, System.WINDOWS, "AppData/Local/ART"),
        (DIGIKAM, System.LINUX, "own/digikam"),
        (DOLPHIN, System.LINUX, ".local/share/kio/servicemenus"),
        (FINDER, System.MACOS, "Library/Services"),
        (EXPLORER, System.WINDOWS, "AppData/Roaming/Microsoft/Windows/SendTo"),
    ],
)
def test_where_a_hosts_files_go(host: Host, system: System, folder: str, tmp_path: Path) -> None:
    places = make_places(tmp_path, system)
    assert site_of(host, places).folder == places.home / folder


def test_the_environment_names_other_folders(tmp_path: Path) -> None:
    places = make_places(
        tmp_path, XDG_CONFIG_HOME=str(tmp_path / "conf"), XDG_DATA_HOME=str(tmp_path / "data")
    )
    assert site_of(DARKTABLE, places).folder == tmp_path / "conf" / "darktable"
    assert site_of(OPEN_WITH, places).folder == tmp_path / "data" / "applications"
    places = make_places(
        tmp_path, System.WINDOWS, LOCALAPPDATA=str(tmp_path / "L"), APPDATA=str(tmp_path / "R")
    )
    assert site_of(DARKTABLE, places).folder == tmp_path / "L" / "darktable"
    assert site_of(EXPLORER, places).folder == tmp_path / "R" / "Microsoft" / "Windows" / "SendTo"


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_an_empty_or_relative_folder_of_the_environment_is_none(value: str, tmp_path: Path) -> None:
    places = make_places(tmp_path, XDG_CONFIG_HOME=value)
    assert places.config == places.home / ".config"


def test_flatpak_and_snap_have_folders_of_their_own(tmp_path: Path) -> None:
    places = make_places(tmp_path)
    flatpak, snap = (site_of(DARKTABLE, places, kind) for kind in (Packaging.FLATPAK, Packaging.SNAP))
    assert not flatpak.is_found(places)
    assert not snap.is_found(places)
    (places.home / ".var/app/org.darktable.Darktable").mkdir(parents=True)
    (places.home / "snap/darktable/current").mkdir(parents=True)
    assert flatpak.is_found(places)
    assert snap.is_found(places)
    assert flatpak.folder == places.home / ".var/app/org.darktable.Darktable/config/darktable"
    assert snap.folder == places.home / "snap/darktable/current"
    assert not site_of(DARKTABLE, places).is_found(places)


def test_a_program_on_the_path_is_a_host_that_is_here(tmp_path: Path) -> None:
    places = make_places(tmp_path, PATH=str(tmp_path / "bin"))
    site = site_of(DARKTABLE, places)
    assert not site.is_found(places)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "darktable").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "darktable").chmod(0o755)
    assert site.is_found(places)


def test_each_system_has_its_own_file_managers() -> None:
    names = {system: {host.name for host in list_hosts(system)} for system in System}
    assert {"dolphin", "nautilus", "open-with"} < names[System.LINUX]
    assert "finder" in names[System.MACOS]
    assert "explorer" in names[System.WINDOWS]
    assert "lightroom" not in names[System.LINUX]
    assert all({"darktable", "art", "digikam", "napari"} < hosts for hosts in names.values())
    assert set.union(*names.values()) == {host.name for host in HOSTS}


def test_systems_by_what_python_calls_them() -> None:
    assert [system_of(name) for name in ("linux", "darwin", "win32", "freebsd14")] == [
        System.LINUX, System.MACOS, System.WINDOWS, System.LINUX,
    ]  # fmt: skip


def test_the_command_is_the_program_that_was_called(tmp_path: Path) -> None:
    program, link = tmp_path / "venv" / "rawdenoise", tmp_path / "rawdenoise"
    program.parent.mkdir()
    program.write_text("#!/usr/bin/python3\n")
    link.symlink_to(program)
    assert find_command(str(program), "/py", System.LINUX) == (str(program),)
    assert find_command(str(link), "/py", System.LINUX) == (str(link),)
    assert find_command(str(tmp_path / "__main__.py"), "/py", System.LINUX) == ("/py", "-m", "rawdenoise")
    assert find_command(str(tmp_path / "gone" / "rawdenoise"), "/py", System.LINUX)[0] == "/py"
    (tmp_path / "cli.py").touch()
    assert find_command(str(tmp_path / "cli.py"), "/py", System.LINUX) == ("/py", str(tmp_path / "cli.py"))
    (tmp_path / "rawdenoise.exe").write_bytes(b"MZ")
    assert find_command(str(link), "/py", System.WINDOWS) == (str(tmp_path / "rawdenoise.exe"),)


# How a command is spelled

WORDS = st.lists(
    st.text(
        st.characters(exclude_characters="\0\v\f\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"]),
        min_size=1,
    ),
    min_size=1,
    max_size=4,
)


@given(WORDS)
def test_a_shell_reads_back_the_words(words: list[str]) -> None:
    assert shlex.split(spell_command(words, Spelling.SHELL)) == words


@given(WORDS)
def test_a_desktop_entry_reads_back_the_words(words: list[str]) -> None:
    """The value's escapes, then the quotes of Exec, then the codes of fields: as the standard has them."""
    value = spell_command(words, Spelling.DESKTOP)
    assert value.splitlines() == [value]
    line = re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r", "t": "\t"}.get(match[1], match[1]), value)
    quoted = re.findall(r'"((?:\\.|[^"\\])*)"(?: |$)', line, re.DOTALL)
    assert [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL).replace("%%", "%") for word in quoted] == words


@pytest.mark.parametrize("compiler", ["lua5.4", "lua5.1"])
def test_lua_reads_back_the_words(compiler: str, tmp_path: Path) -> None:
    words = ('/home/ü/a "b" \\n\n\'$x`%%/rawdenoise', "-m", "1\t2\r3")
    file = tmp_path / "command.lua"
    for some in (words, words[:1]):
        file.write_bytes(f"return {spell_command(some, Spelling.LUA)}\n".encode())
        code = "c = dofile(arg[1]); c = type(c) == 'string' and {c} or c; io.write(table.concat(c, '\\1'))"
        script = tmp_path / "read.lua"
        script.write_text(code)
        try:
            run = subprocess.run([compiler, script, file], capture_output=True, check=True, timeout=60)
        except FileNotFoundError:
            pytest.skip(f"no {compiler} here")
        assert run.stdout.decode().split("\1") == list(some)


def test_a_batch_file_keeps_percent_signs() -> None:
    assert spell_command(("C:\\100% raw\\r.exe", "-m"), Spelling.BATCH) == '"C:\\100%% raw\\r.exe" "-m"'


def test_art_on_windows_gets_backslashes_twice() -> None:
    spelled = spell_command(("C:\\Program Files\\r.exe", "-m"), Spelling.KEY_FILE_WINDOWS)
    assert spelled == '"C:\\\\Program Files\\\\r.exe" -m'


# A line in a file of the user's

TEXT = st.lists(st.sampled_from([b"x = 1", b"-- " + LINE.encode(), b"", b" ", b"\xff\xfe\xe4"])).flatmap(
    lambda lines: st.sampled_from([b"\n", b"\r\n"]).flatmap(
        lambda end: st.booleans().map(lambda final: end.join(lines) + (end if final and lines else b""))
    )
)


@given(TEXT)
def test_removing_undoes_adding(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("line") / "luarc"
    file.write_bytes(data)
    assert not has_line(file, LUARC_LINE)
    add_line(file, LUARC_LINE)
    once = file.read_bytes()
    assert has_line(file, LUARC_LINE)
    assert once.startswith(data)
    assert (b"\r\n" in once) == (b"\r\n" in data)
    add_line(file, LUARC_LINE)
    assert file.read_bytes() == once
    assert remove_line(file, LUARC_LINE) == (not data)
    assert file.read_bytes().rstrip(b"\r\n") == data.rstrip(b"\r\n")
    assert file.read_bytes() == data or not data.endswith(b"\n")


@pytest.mark.parametrize(
    "spelled",
    [
        "require 'rawdenoise/rawdenoise'",
        '  require("rawdenoise.rawdenoise");',
        LINE + " -- denoises",
        LINE + "\r",
    ],
)
def test_the_line_is_known_however_it_is_spelled(spelled: str, tmp_path: Path) -> None:
    file = tmp_path / "luarc"
    file.write_bytes(f"a = 1\n{spelled}\nb = 2\n".encode())
    before = file.read_bytes()
    add_line(file, LUARC_LINE)
    assert file.read_bytes() == before
    remove_line(file, LUARC_LINE)
    assert file.read_bytes() == b"a = 1\nb = 2\n"


@pytest.mark.parametrize(
    "other", ['-- require "rawdenoise/rawdenoise"', 'require "rawdenoise/rawdenoise2"', "x"]
)
def test_other_lines_are_not_ours(other: str, tmp_path: Path) -> None:
    file = tmp_path / "luarc"
    file.write_text(other)
    assert not has_line(file, LUARC_LINE)


def test_a_link_stays_a_link_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    target, file = tmp_path / "dotfiles" / "luarc", tmp_path / "luarc"
    target.write_text("x = 1")
    target.chmod(0o640)
    file.symlink_to(Path("dotfiles") / "luarc")
    add_line(file, LUARC_LINE)
    assert file.is_symlink()
    assert target.read_text() == f"x = 1\n{LINE}\n"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_file_that_may_not_be_written_is_left_and_the_line_told(tmp_path: Path) -> None:
    file = tmp_path / "luarc"
    file.write_text("x = 1\n")
    file.chmod(0o444)
    with pytest.raises(HostFileError, match=LINE):
        add_line(file, LUARC_LINE)
    file.chmod(0o644)
    file.write_bytes(("x = 1\n").encode("utf-16"))
    with pytest.raises(HostFileError, match="plain text"):
        add_line(file, LUARC_LINE)


# Installing, updating, removing


def test_darktable_gets_its_files_its_command_and_its_line(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    assert install_plugin(DARKTABLE, site, places).state is PluginState.ABSENT
    lua = site.folder / "lua" / "rawdenoise"
    assert {str(path.relative_to(lua)) for path in lua.rglob("*") if path.is_file()} == {
        "rawdenoise.lua", "command.lua", "locale/de/LC_MESSAGES/rawdenoise.mo",
    }  # fmt: skip
    assert (lua / "command.lua").read_text() == 'return "/opt/raw denoise/bin/rawdenoise"\n'
    assert (site.folder / "luarc").read_text() == LINE + "\n"
    survey = survey_plugin(DARKTABLE, site, places)
    assert (survey.state, survey.version, survey.has_line) == (PluginState.CURRENT, __version__, True)


def test_removing_leaves_what_was_there_before(places: Places) -> None:
    before = snapshot(places.home)
    site = site_of(DARKTABLE, places)
    install_plugin(DARKTABLE, site, places)
    removal = remove_plugin(DARKTABLE, site, places)
    assert (len(removal.removed), removal.left) == (3, ())
    left = {name: data for name, data in snapshot(places.home).items() if not name.startswith("own")}
    assert left == before


def test_what_installs_and_removes_at_once_is_done_one_after_the_other(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    for _ in range(10):
        with ThreadPoolExecutor(6) as threads:
            done = [
                threads.submit(install_plugin if number % 2 else remove_plugin, DARKTABLE, site, places)
                for number in range(12)
            ]
        assert [task.exception() for task in done] == [None] * 12
        survey = survey_plugin(DARKTABLE, site, places)
        is_whole = survey.state is PluginState.CURRENT and survey.has_line
        assert is_whole or (survey.state is PluginState.ABSENT and not survey.has_line)
    assert not (places.own / "lock").exists()


def test_a_receipt_of_another_folder_is_none(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    install_plugin(DARKTABLE, site, places)
    (receipt,) = (places.own / "receipts").iterdir()
    mine = places.home / "mine"
    mine.write_bytes(b"mine")
    other = {**json.loads(receipt.read_bytes()), "folder": "/other", "files": {str(mine): digest(b"mine")}}
    receipt.write_text(json.dumps(other))
    install_plugin(DARKTABLE, site, places)
    remove_plugin(DARKTABLE, site, places)
    assert mine.exists()


def test_files_of_others_are_left_alone(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    lua = site.folder / "lua"
    (lua / "rawdenoise").mkdir(parents=True)
    (lua / "rawdenoise" / "notes.txt").write_text("mine")
    (lua / "other.lua").write_text("mine")
    (site.folder / "luarc").write_text('require "other"')
    install_plugin(DARKTABLE, site, places)
    assert (site.folder / "luarc").read_text() == f'require "other"\n{LINE}\n'
    remove_plugin(DARKTABLE, site, places)
    assert (site.folder / "luarc").read_text() == 'require "other"\n'
    assert {path.name for path in lua.rglob("*") if path.is_file()} == {"notes.txt", "other.lua"}


def test_a_newer_version_updates_its_files_and_removes_those_it_has_no_more(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    install_plugin(DARKTABLE, site, places)
    source = places.content / "darktable"
    (source / "rawdenoise.lua").write_text("return { newer = true }\n")
    (source / "locale/de/LC_MESSAGES/rawdenoise.mo").unlink()
    (source / "extra.lua").write_text("return 1\n")
    assert survey_plugin(DARKTABLE, site, places).state is PluginState.INCOMPLETE
    (source / "extra.lua").unlink()
    assert survey_plugin(DARKTABLE, site, places).state is PluginState.OLDER
    install_plugin(DARKTABLE, site, places)
    lua = site.folder / "lua" / "rawdenoise"
    assert (lua / "rawdenoise.lua").read_text() == "return { newer = true }\n"
    assert not (lua / "locale/de/LC_MESSAGES/rawdenoise.mo").exists()
    assert survey_plugin(DARKTABLE, site, places).state is PluginState.CURRENT


def test_another_command_is_an_update(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    install_plugin(DARKTABLE, site, places)
    moved = replace(places, command=("/py", "-m", "rawdenoise"))
    assert survey_plugin(DARKTABLE, site, moved).state is PluginState.OLDER
    install_plugin(DARKTABLE, site, moved)
    command = site.folder / "lua/rawdenoise/command.lua"
    assert command.read_text() == 'return {"/py", "-m", "rawdenoise"}\n'


def test_an_altered_file_is_not_written_over_in_silence(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    install_plugin(DARKTABLE, site, places)
    file = site.folder / "lua/rawdenoise/rawdenoise.lua"
    file.write_text("-- mine\n")
    before = snapshot(places.home)
    with pytest.raises(AlteredPluginError, match=r"rawdenoise\.lua"):
        install_plugin(DARKTABLE, site, places)
    assert snapshot(places.home) == before
    assert survey_plugin(DARKTABLE, site, places).list_files(FileState.ALTERED) == [file]
    removal = remove_plugin(DARKTABLE, site, places)
    assert removal.left == (file,)
    assert file.read_text() == "-- mine\n"
    install_plugin(DARKTABLE, site, places, replace=True)
    assert file.read_text() == "return {}\n"


def test_a_strangers_file_is_as_good_as_an_altered_one(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    file = site.folder / "lua/rawdenoise/rawdenoise.lua"
    file.parent.mkdir(parents=True)
    file.symlink_to("/nowhere/at/all")
    with pytest.raises(AlteredPluginError):
        install_plugin(DARKTABLE, site, places)
    assert file.is_symlink()
    assert not (site.folder / "luarc").exists()


def test_nothing_is_written_where_the_line_cannot_be(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    (site.folder / "luarc").write_text("x = 1\n")
    (site.folder / "luarc").chmod(0o444)
    before = snapshot(places.home)
    with pytest.raises(HostFileError, match="luarc"):
        install_plugin(DARKTABLE, site, places)
    assert snapshot(places.home) == before


def test_a_lost_receipt_costs_nothing_while_files_are_whole(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    install_plugin(DARKTABLE, site, places)
    for receipt in (places.own / "receipts").iterdir():
        receipt.write_bytes(b"{")
    assert survey_plugin(DARKTABLE, site, places).state is PluginState.CURRENT
    install_plugin(DARKTABLE, site, places)
    assert len(remove_plugin(DARKTABLE, site, places).removed) == 3


def test_a_missing_file_or_line_is_incomplete_and_mended(places: Places) -> None:
    site = site_of(DARKTABLE, places)
    breaks: list[Callable[[], None]] = [
        (site.folder / "luarc").unlink,
        (site.folder / "lua/rawdenoise/command.lua").unlink,
    ]
    for break_it in breaks:
        install_plugin(DARKTABLE, site, places)
        break_it()
        assert survey_plugin(DARKTABLE, site, places).state is PluginState.INCOMPLETE
    install_plugin(DARKTABLE, site, places)
    assert survey_plugin(DARKTABLE, site, places).state is PluginState.CURRENT


def test_a_flatpak_is_told_the_command_and_leaves_its_sandbox_itself(places: Places) -> None:
    (places.home / ".var/app/org.darktable.Darktable").mkdir(parents=True)
    site = site_of(DARKTABLE, places, Packaging.FLATPAK)
    install_plugin(DARKTABLE, site, places)
    told = (site.folder / "lua/rawdenoise/command.lua").read_text()
    assert (
        told == 'return "/opt/raw denoise/bin/rawdenoise"\n'
    )  # the plug-in knows by FLATPAK_ID where it runs


def test_the_script_of_a_flatpak_runs_outside_its_sandbox(tmp_path: Path) -> None:
    places = replace(make_places(tmp_path), content=content_folder())
    planned = plan_files(ART, site_of(ART, places, Packaging.FLATPAK), places)
    texts = {file.path.name: file.data.decode() for file in planned}
    script = places.own / "art" / "denoise.sh"
    assert f"Command=flatpak-spawn --host {script}\n" in texts["rawdenoise.txt"]
    assert "    '/opt/raw denoise/bin/rawdenoise' \"$@\"\n" in texts["denoise.sh"]


def test_a_script_that_two_folders_share_stays_for_the_other(tmp_path: Path) -> None:
    places = replace(make_places(tmp_path), content=content_folder())
    sites = [Site(tmp_path / "a"), Site(tmp_path / "b")]
    for site in sites:
        install_plugin(ART, site, places)
    script = places.own / "art" / "denoise.sh"
    assert survey_plugin(ART, site_of(ART, places), places).state is PluginState.ABSENT
    remove_plugin(ART, sites[0], places)
    assert script.exists()
    assert survey_plugin(ART, sites[1], places).state is PluginState.CURRENT
    remove_plugin(ART, sites[1], places)
    assert not script.exists()
    assert not (tmp_path / "b").exists()


def test_a_script_that_may_not_be_run_any_more_is_mended(tmp_path: Path) -> None:
    places = replace(make_places(tmp_path), content=content_folder())
    site = site_of(DIGIKAM, places)
    install_plugin(DIGIKAM, site, places)
    script = site.folder / "denoise.sh"
    assert os.access(script, os.X_OK)
    script.chmod(0o644)
    assert survey_plugin(DIGIKAM, site, places).state is PluginState.OLDER
    install_plugin(DIGIKAM, site, places)
    assert os.access(script, os.X_OK)


@pytest.mark.skipif(sys.platform != "linux", reason="paths are no bytes here")
def test_a_home_whose_name_is_no_text(tmp_path: Path) -> None:
    places = make_places(tmp_path / os.fsdecode(b"\xff"))
    places = replace(places, content=content_folder(), command=(str(places.home / "rawdenoise"),))
    for host in (ART, DIGIKAM, DOLPHIN):
        site = site_of(host, places)
        install_plugin(host, site, places)
        assert survey_plugin(host, site, places).state is PluginState.CURRENT
    assert b"/\xff/home/rawdenoise" in (places.own / "digikam" / "denoise.sh").read_bytes()
    assert len(remove_plugin(ART, site_of(ART, places), places).removed) == 2


def test_an_installation_without_the_plugin_says_so(tmp_path: Path) -> None:
    places = make_places(tmp_path)
    with pytest.raises(SetupError, match="lacks the plug-in for darktable"):
        install_plugin(DARKTABLE, site_of(DARKTABLE, places), places)
    assert not places.home.exists()


@pytest.mark.parametrize("system", System)
def test_what_comes_with_rawdenoise_installs_and_goes_on_every_system(system: System, tmp_path: Path) -> None:
    places = replace(make_places(tmp_path, system), content=content_folder())
    for host in list_hosts(system):
        for site in host.find_sites(places):
            if host.name in ("darktable", "lightroom") and not (places.content / host.name).is_dir():
                continue
            install_plugin(host, site, places)
            assert survey_plugin(host, site, places).state is PluginState.CURRENT
            placeholders = [
                path for path, _ in survey_plugin(host, site, places).files if b"@" in path.read_bytes()
                and (b"@RAWDENOISE@" in path.read_bytes() or b"@SCRIPT@" in path.read_bytes())
            ]  # fmt: skip
            assert not placeholders
            assert not remove_plugin(host, site, places).left
    assert not [path for path in places.home.rglob("*") if path.is_file()]

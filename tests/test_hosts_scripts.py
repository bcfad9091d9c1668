"""The files that hosts get, run or read as the hosts do."""

from __future__ import annotations

import configparser
import ctypes
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PATIENCE_S, soon
from user_places import make_places, site_of

from rawdenoise.formats import read_raw
from rawdenoise.hosts.catalog import ART, DIGIKAM
from rawdenoise.hosts.file_managers import CAJA, DOLPHIN, EXPLORER, FINDER, NAUTILUS, NEMO, OPEN_WITH
from rawdenoise.hosts.host import Host
from rawdenoise.hosts.installation import install_plugin
from rawdenoise.hosts.places import System, content_folder

ODD_NAMES = ["a b.dng", 'it\'s "here".dng', "new\nline.dng", "写真 ü $HOME `x` %f & <b>.dng", "-n.dng"]
CONTENT = content_folder()

posix = pytest.mark.skipif(os.name != "posix", reason="scripts for sh")


def install(
    host: Host, folder: Path, command: tuple[str, ...], system: System = System.LINUX
) -> dict[str, Path]:
    """Install a host's files in a folder of the test's; each path by its name."""
    places = replace(make_places(folder, system), content=CONTENT, command=command)
    install_plugin(host, site_of(host, places), places)
    return {
        path.name: path
        for path in places.home.rglob("*")
        if path.is_file() and path.parent.name != "receipts"
    }


@pytest.fixture
def fake(tmp_path: Path) -> tuple[str, ...]:
    """A command that notes its arguments, one a line between NULs, and ends as it is told to."""
    script = tmp_path / "fake raw" / "rawdenoise"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/sh\n"
        f"printf '%s\\0' \"$@\" > {shlex.quote(str(tmp_path / 'arguments'))}\n"
        f"cat {shlex.quote(str(tmp_path / 'stderr'))} >&2 2>/dev/null\n"
        "exit ${CODE:-0}\n"
    )
    script.chmod(0o755)
    (tmp_path / "stderr").write_text("")
    return (str(script),)


@pytest.fixture
def desktop(tmp_path: Path) -> dict[str, str]:
    """An environment where notifications are noted instead of shown."""
    folder = tmp_path / "programs"
    folder.mkdir()
    notify = folder / "notify-send"
    notify.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >> {shlex.quote(str(tmp_path / 'notes'))}\n")
    notify.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:/usr/bin:/bin"}


def run(script: Path, *arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )


def noted(tmp_path: Path) -> list[str]:
    return (tmp_path / "arguments").read_bytes().decode().split("\0")[:-1]


def notes(tmp_path: Path) -> list[str]:
    """The texts that were shown."""
    words = (tmp_path / "notes").read_bytes().decode().split("\0")
    return [words[place + 2] for place, word in enumerate(words) if word == "--"]


# Linux


@posix
@pytest.mark.parametrize("host", [NAUTILUS, NEMO, CAJA, DOLPHIN, OPEN_WITH], ids=lambda host: host.name)
def test_a_file_managers_script_hands_over_any_name(
    host: Host, tmp_path: Path, fake: tuple[str, ...], desktop: dict[str, str]
) -> None:
    files = install(host, tmp_path, fake)
    script = files.get("denoise.sh") or files["Denoise (rawdenoise)"]
    result = run(script, *ODD_NAMES, cwd=tmp_path, env=desktop)
    assert result.returncode == 0, result.stderr
    assert noted(tmp_path) == ["denoise", "--beside", "--name", "{stem}_dn", "--", *ODD_NAMES]
    assert notes(tmp_path)[0] == "Denoising 5 photographs."


@posix
def test_the_outcome_is_shown(tmp_path: Path, fake: tuple[str, ...], desktop: dict[str, str]) -> None:
    script = install(NAUTILUS, tmp_path, fake)["Denoise (rawdenoise)"]
    (tmp_path / "stderr").write_text(
        "a.dng: note\n2 done, 1 failed in 2.5 s; 51 s/MP\n  failed: a<b>.dng: is no image\n"
    )
    result = run(script, "a.dng", cwd=tmp_path, env={**desktop, "CODE": "1"})
    assert result.returncode == 1
    assert notes(tmp_path) == [
        "Denoising one photograph.",
        "2 done, 1 failed (exit code 1).\na&lt;b&gt;.dng: is no image",
    ]
    (tmp_path / "notes").unlink()
    (tmp_path / "stderr").write_text("1 done in 1 min 20 s; 51 s/MP\n")
    run(script, "a.dng", cwd=tmp_path, env=desktop)
    assert notes(tmp_path)[1] == "1 done. The results lie beside the photographs."
    (tmp_path / "notes").unlink()
    (tmp_path / "stderr").write_text("error: no model: try again\n")
    assert run(script, "a.dng", cwd=tmp_path, env={**desktop, "CODE": "3"}).returncode == 3
    assert notes(tmp_path)[1] == "Nothing was done (exit code 3).\nno model: try again"


@posix
def test_without_a_desktop_the_outcome_is_printed(tmp_path: Path, fake: tuple[str, ...]) -> None:
    programs = tmp_path / "few"
    programs.mkdir()
    for name in ("sh", "sed", "tail", "head", "mktemp", "rm", "cat"):
        (programs / name).symlink_to(shutil.which(name) or name)
    script = install(NAUTILUS, tmp_path, fake)["Denoise (rawdenoise)"]
    result = run(script, "a.dng", cwd=tmp_path, env={"PATH": str(programs), "CODE": "4"})
    assert result.returncode == 4
    assert result.stdout == "rawdenoise: Denoising one photograph.\n"
    assert result.stderr.startswith("rawdenoise: Nothing was done (exit code 4).")


@posix
def test_nothing_selected_is_said(tmp_path: Path, fake: tuple[str, ...], desktop: dict[str, str]) -> None:
    script = install(NAUTILUS, tmp_path, fake)["Denoise (rawdenoise)"]
    assert run(script, cwd=tmp_path, env=desktop).returncode == 2
    assert notes(tmp_path) == ["Select raw photographs first."]


@posix
def test_real_captures_of_any_name_get_their_results_beside_them(
    tmp_path: Path, desktop: dict[str, str], own_store: Path
) -> None:
    captures = pytest.importorskip("captures")
    folder = tmp_path / "my photographs"
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / name).write_bytes(captures.sub_directory_dng())
    script = install(NAUTILUS, tmp_path, (sys.executable, "-m", "rawdenoise"))["Denoise (rawdenoise)"]
    environment = {**desktop, "RAWDENOISE_MODELS": str(own_store)}
    result = run(script, *ODD_NAMES, cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr
    assert notes(tmp_path)[-1] == "5 done. The results lie beside the photographs."
    for name in ODD_NAMES:
        assert read_raw(folder / f"{name.removesuffix('.dng')}_dn.dng").mosaic.shape == (128, 192)


@posix
def test_digikam_gets_the_tiff_it_expects(tmp_path: Path, desktop: dict[str, str], own_store: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    captures = pytest.importorskip("captures")
    source, output = tmp_path / "it's 写.dng", tmp_path / "Batch Tool.digikamtempfile.tif"
    source.write_bytes(captures.sub_directory_dng())
    script = install(DIGIKAM, tmp_path, (sys.executable, "-m", "rawdenoise"))["denoise.sh"]
    environment = {**desktop, "RAWDENOISE_MODELS": str(own_store), "TMPDIR": str(tmp_path)}
    before = set(tmp_path.iterdir())
    result = run(script, str(source), str(output), cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert tifffile.imread(output).shape == (124, 184, 3)
    assert set(tmp_path.iterdir()) == before | {output}


@posix
def test_digikam_is_told_of_a_failure(tmp_path: Path, fake: tuple[str, ...], desktop: dict[str, str]) -> None:
    script = install(DIGIKAM, tmp_path, fake)["denoise.sh"]
    environment = {**desktop, "CODE": "3", "TMPDIR": str(tmp_path)}
    assert run(script, "in.dng", str(tmp_path / "out.tif"), cwd=tmp_path, env=environment).returncode == 3
    assert noted(tmp_path)[:4] == ["denoise", "--format", "tiff", "--output"]
    assert run(script, "in.dng", cwd=tmp_path, env=environment).returncode == 2
    assert not list(tmp_path.glob("tmp.*"))


def test_desktop_entries_are_valid(tmp_path: Path, fake: tuple[str, ...]) -> None:
    validator = shutil.which("desktop-file-validate")
    for host in (DOLPHIN, OPEN_WITH):
        file = install(host, tmp_path / f'my % "{host.name}"', fake)["rawdenoise.desktop"]
        entry = configparser.RawConfigParser(delimiters="=", strict=True)
        entry.optionxform = str  # type: ignore[assignment,method-assign]
        entry.read(file, encoding="utf-8")
        assert entry["Desktop Entry"]["Type"] == ("Service" if host is DOLPHIN else "Application")
        if validator:
            result = subprocess.run([validator, "--no-hints", file], capture_output=True, text=True)
            errors = [line for line in result.stdout.splitlines() if "error" in line]
            if host is DOLPHIN:  # KDE's own kind of entry has actions, the standard's has not
                errors = [line for line in errors if 'the type is "Service"' not in line]
            assert not errors


@posix
@pytest.mark.skipif(shutil.which("gio") is None, reason="no gio here")
def test_glib_runs_the_entry_with_any_name(
    tmp_path: Path, fake: tuple[str, ...], desktop: dict[str, str]
) -> None:
    folder = tmp_path / 'my "raws" $HOME \\ `x`'  # GLib itself finds no program with a % in its path
    entry = install(OPEN_WITH, folder, fake)["rawdenoise.desktop"]
    names = [str(tmp_path / name) for name in ODD_NAMES]
    for name in names:
        Path(name).touch()
    subprocess.run(["gio", "launch", entry, *names], env=desktop, check=True, timeout=PATIENCE_S)
    assert soon(lambda: (tmp_path / "arguments").exists() and noted(tmp_path)[5:] == names)


def test_open_with_never_becomes_what_a_double_click_opens(tmp_path: Path, fake: tuple[str, ...]) -> None:
    text = install(OPEN_WITH, tmp_path, fake)["rawdenoise.desktop"].read_text()
    assert not re.search(r"^MimeType", text, re.MULTILINE)


def test_dolphin_runs_entries_that_are_executable_only(tmp_path: Path, fake: tuple[str, ...]) -> None:
    assert os.access(install(DOLPHIN, tmp_path, fake)["rawdenoise.desktop"], os.X_OK)


# ART


@pytest.mark.parametrize("system", [System.LINUX, System.MACOS])
def test_art_reads_back_the_command(system: System, tmp_path: Path) -> None:
    """By GLib itself, as ART does: a value of a key file, then the words of a shell; files follow."""
    words = ('/opt/it\'s raw\\denoise "%f" $HOME', "-m", "rawdenoise")
    folder = tmp_path / "it's \\ a folder"
    files = install(ART, folder, words, system)
    command, kind, label = read_art_command(files["rawdenoise.txt"])
    if system is System.LINUX:
        assert command == [str(files["denoise.sh"])]
    else:
        assert command == [*words, "denoise", "--beside", "--name", "{stem}_dn", "--"]
    assert (kind, label) == ("raw", "Denoise (rawdenoise)")


def read_art_command(file: Path) -> tuple[list[str], str, str]:
    """The words of a user command, its kind of files, and its label."""
    try:
        glib = ctypes.CDLL("libglib-2.0.so.0")
    except OSError:
        pytest.skip("no GLib here")
    glib.g_key_file_new.restype = ctypes.c_void_p
    glib.g_key_file_get_string.restype = ctypes.c_char_p
    keys, group = ctypes.c_void_p(glib.g_key_file_new()), b"ART UserCommand"
    assert glib.g_key_file_load_from_file(keys, os.fsencode(file), 0, None)
    values = [
        glib.g_key_file_get_string(keys, group, name, None) for name in (b"Command", b"FileType", b"Label")
    ]
    count, argv = ctypes.c_int(), ctypes.POINTER(ctypes.c_char_p)()
    assert glib.g_shell_parse_argv(values[0], ctypes.byref(count), ctypes.byref(argv), None)
    words = [os.fsdecode(argv[place] or b"") for place in range(count.value)]
    return words, values[1].decode(), values[2].decode()


@posix
def test_arts_command_on_linux_runs(tmp_path: Path, fake: tuple[str, ...], desktop: dict[str, str]) -> None:
    command, _, _ = read_art_command(install(ART, tmp_path / "a b", fake)["rawdenoise.txt"])
    subprocess.run([*command, "x y.dng"], env=desktop, check=True, timeout=PATIENCE_S)
    assert noted(tmp_path)[-1] == "x y.dng"


# macOS


def test_the_quick_action_is_whole(tmp_path: Path) -> None:
    words = ("/Users/ü/it's <raw> & co/rawdenoise",)
    files = install(FINDER, tmp_path, words, System.MACOS)
    info, flow = (plistlib.loads(files[name].read_bytes()) for name in ("Info.plist", "document.wflow"))
    assert files["Info.plist"].parent.parent.name == "Denoise (rawdenoise).workflow"
    assert info["NSServices"][0]["NSMessage"] == "runWorkflowAsService"
    assert "public.camera-raw-image" in info["NSServices"][0]["NSSendFileTypes"]
    parameters = flow["actions"][0]["action"]["ActionParameters"]
    assert parameters["inputMethod"] == 1  # the files are arguments
    assert shlex.join(words) in parameters["COMMAND_STRING"]
    assert flow["workflowMetaData"]["workflowTypeIdentifier"] == "com.apple.Automator.servicesMenu"


@posix
def test_the_quick_actions_script_runs(
    tmp_path: Path, fake: tuple[str, ...], desktop: dict[str, str]
) -> None:
    notes_ = shlex.quote(str(tmp_path / "said"))
    osascript = tmp_path / "programs" / "osascript"
    osascript.write_text(f"#!/bin/sh\nfor last; do :; done\nprintf '%s\\n' \"$last\" >> {notes_}\n")
    osascript.chmod(0o755)
    flow = plistlib.loads(install(FINDER, tmp_path, fake, System.MACOS)["document.wflow"].read_bytes())
    script = flow["actions"][0]["action"]["ActionParameters"]["COMMAND_STRING"]
    (tmp_path / "stderr").write_text("1 failed in 0.1 s\n  failed: x.dng: is no image\n")
    subprocess.run(
        ["/bin/sh", "-c", script, "sh", *ODD_NAMES],
        env={**desktop, "CODE": "1"},
        check=True,
        timeout=PATIENCE_S,
    )
    assert noted(tmp_path) == ["denoise", "--beside", "--name", "{stem}_dn", "--", *ODD_NAMES]
    assert (tmp_path / "said").read_text().splitlines() == [
        "Denoising 5 photographs.",
        "1 failed (exit code 1). x.dng: is no image",
    ]


# Windows


@pytest.mark.parametrize("host", [EXPLORER, DIGIKAM], ids=lambda host: host.name)
def test_batch_files_have_windows_line_ends_and_quotes(host: Host, tmp_path: Path) -> None:
    words = ("C:\\Users\\Jörg 100%\\rawdenoise.exe",)
    files = install(host, tmp_path, words, System.WINDOWS)
    data = next(path for name, path in files.items() if name.endswith(".cmd")).read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n")
    lines = data.decode().split("\r\n")
    command = next(number for number, line in enumerate(lines) if "rawdenoise.exe" in line)
    assert lines[command].startswith('"C:\\Users\\Jörg 100%%\\rawdenoise.exe" denoise ')
    assert lines.index("chcp 65001 >nul") < command  # or the name is read in another code page
    assert all(line.isascii() for line in lines if line != lines[command])
    assert "setlocal DisableDelayedExpansion" in lines  # or names lose their exclamation marks

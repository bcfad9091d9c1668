"""What is watched: TOML, its errors, and the files that keep the service running."""

from __future__ import annotations

import errno
import os
import plistlib
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rawdenoise.formats.output_format import Format
from rawdenoise.formats.output_levels import OutputLevels
from rawdenoise.recipe import Recipe
from rawdenoise.watching.config import (
    ConfigError,
    Root,
    WatchConfig,
    check_roots,
    default_state,
    read_config,
)
from rawdenoise.watching.service_units import write_service_unit

WHOLE = """
state = "state"
jobs = 3
device = "cpu"
settle = 1
base = "best"

[[root]]
in = "cards"
out = "done"

[[root]]
in = "~/nas"
out = "/elsewhere"
recursive = false
settle = 7.5
poll = 30
rescan = 60
sidecars = true
failed_dir = "failed"
attempts = 2
train = "now"
train_after = 12
train_minutes = 5
model = "cam-1"
base = "fast"
strength = 0.5
format = "tiff"
levels = "fine"
keep_hot_pixels = true
keep_row_noise = true
min_gain = 1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "watch.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    here = tmp_path.absolute()
    assert read_config(written(tmp_path, WHOLE)) == WatchConfig(
        roots=(
            Root(here / "cards", here / "done", Recipe(bundled="best"), settle_s=1.0),
            Root(
                here / "home" / "nas", Path("/elsewhere"),
                Recipe("cam-1", "fast", 0.5, Format.TIFF, OutputLevels.FINE, True, True, 1.0),
                recursive=False, settle_s=7.5, poll_s=30.0, rescan_s=60.0, sidecars=True,
                failed_dir=here / "failed", attempts=2, train="now", train_after=12, train_minutes=5.0,
            ),
        ),
        state=here / "state", jobs=3, device="cpu",
    )  # fmt: skip


def test_little_is_enough(tmp_path: Path) -> None:
    told = read_config(written(tmp_path, '[[root]]\nin = "in"\nout = "out"\n'))
    assert told == WatchConfig((Root(tmp_path / "in", tmp_path / "out"),), default_state())


ROOT = '[[root]]\nin = "in"\nout = "out"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no [[root]] table"),
        ("root = 3", "no [[root]] table"),
        ("[[root]", "is no TOML"),
        ('[[root]]\nin = "in"', "root 1: `out` is missing"),
        (ROOT + "strenght = 1", "root 1: `strenght` is unknown; `strength` is meant?"),
        ("jbos = 1\n" + ROOT, "`jbos` is unknown; `jobs` is meant?"),
        ("xyzzy = 1\n" + ROOT, "`xyzzy` is unknown"),
        ('"a\\nb" = 1\n' + ROOT, "`a\\nb` is unknown"),
        (ROOT + "strength = 2", "`strength` must be a number from 0 to 1, not 2"),
        (ROOT + 'strength = "1"', "`strength` must be a number from 0 to 1, not '1'"),
        (ROOT + "sidecars = 1", "`sidecars` must be true or false, not 1"),
        (ROOT + "attempts = true", "`attempts` must be a whole number of at least 1, not True"),
        (ROOT + "attempts = 0", "`attempts` must be a whole number of at least 1, not 0"),
        (ROOT + "poll = 0", "`poll` must be a finite number of at least 0.1, not 0"),
        (ROOT + 'train = "always"', "`train` must be one of never, idle, now, not 'always'"),
        (ROOT + 'format = "jpeg"', "`format` must be one of dng, tiff, mosaic-tiff"),
        (ROOT + 'out2 = "x"', "`out2` is unknown; `out` is meant?"),
        ("jobs = 0\n" + ROOT, "`jobs` must be a whole number of at least 1, not 0"),
        (ROOT + "settle = nan", "`settle` must be a finite number of at least 0, not nan"),
        (ROOT + "min_gain = nan", "`min_gain` must be a finite number, not nan"),
        ("rescan = inf\n" + ROOT, "root 1: `rescan` must be a finite number of at least 1, not inf"),
        ('[[root]]\nin = "~nobody-at-all/x"\nout = "x"', "`in` names no user's home"),
        (ROOT + "train_after = 2", "`train_after` must be a whole number of at least 3, not 2"),
        (ROOT + "train_minutes = 0", "`train_minutes` must be a finite number of at least 0.01, not 0"),
        (ROOT + f"settle = 1{'0' * 400}", "`settle` must be a finite number of at least 0"),
        (ROOT + "settle = 0x" + "f" * 9999, "`settle` must be a finite number of at least 0"),
        (ROOT + 'lost = "x"', "`lost` must be one of again, leave, not 'x'"),
        (ROOT + "model = 3", "`model` must be text in quotes, not 3"),
        (ROOT + "failed_dir = 3", "root 1: `failed_dir` must be a path, not 3"),
        ('state = ""\n' + ROOT, "`state` must be a path, not ''"),
        (ROOT + f"[root.settle{'.a' * 5000}]", "`settle` must be a finite number"),
        ('[[root]]\nin = "a\\u0000"\nout = "x"', "`in` must be a path"),
        ('[[root]]\nin = "in"\nout = ""', "`out` must be a path"),
        ("x = " + "[" * 3000 + "]" * 3000, "is no TOML"),
        (ROOT + ROOT, "is watched twice"),
        ('[[root]]\nin = "in"\nout = "in"', "another folder than the captures"),
        ('[[root]]\nin = "in"\nout = "x"\nfailed_dir = "in"', "would arrive again"),
        (ROOT + '[[root]]\nin = "out/sub"\nout = "x"', "whose files are outputs"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "gone.toml")


def test_folders_that_cannot_be_meant(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    good = Root(tmp_path / "in", tmp_path / "in" / "out")
    check_roots([good, replace(good, output=tmp_path / "other")])
    for bad in (
        replace(good, source=tmp_path / "file"),
        replace(good, output=tmp_path / "file"),
        replace(good, output=tmp_path / "link"),
    ):
        with pytest.raises(ConfigError):
            check_roots([bad])


def test_a_mount_that_does_not_answer_may_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **how: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Path, "stat", refuse)
    check_roots([Root(tmp_path / "in", tmp_path / "out")])


# Units

AWKWARD = ["/opt/my venv/python", "-m", "rawdenoise", "watch", '/photos/100% "new"', "$HOME/ü", "a\\b", ""]


def test_a_systemd_unit_says_every_word_as_it_is() -> None:
    unit = write_service_unit("systemd", AWKWARD, description="for 100 %")
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart=:"))
    assert [word.replace("%%", "%") for word in words] == AWKWARD
    assert "Description=for 100 %%" in unit
    assert "Restart=always" in unit
    assert "TimeoutStopSec=15" in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "d$x y" / "100% it"
    program.parent.mkdir()
    shutil.copy("/bin/sh", program)
    path = tmp_path / "rawdenoise.service"
    words = [str(program), *AWKWARD[1:], "a\rb", "two\nlines"]
    path.write_text(write_service_unit("systemd", words, description="test"), newline="")
    where = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}  # without it nothing at all is verified
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", path], capture_output=True, check=False, env=where
    )
    assert (checked.returncode, checked.stderr.decode()) == (0, "")


def test_a_launchd_agent_says_every_word_as_it_is() -> None:
    told = plistlib.loads(write_service_unit("launchd", AWKWARD, description="test").encode())
    assert told["ProgramArguments"] == AWKWARD
    assert told["KeepAlive"] is True
    assert told["RunAtLoad"] is True


def test_the_former_name_of_a_key_is_read_and_not_beside_the_present_one(tmp_path: Path) -> None:
    file = tmp_path / "watch.toml"
    root = '[[root]]\nin = "in"\nout = "out"\nbase = "best"\n'
    file.write_text(root)
    assert read_config(file).roots[0].recipe.bundled == "best"
    file.write_text(root + 'bundled = "fast"\n')
    with pytest.raises(ConfigError, match="`base` is the former name of `bundled`"):
        read_config(file)

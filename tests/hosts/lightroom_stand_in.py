"""Stands in for the command: answers a host as rawdenoise does, by the names of files and without a model.

`broken*` fails, `slow*` waits until it is cancelled, `crash*` ends the program without a word, `older*` was
made with other settings; of all others the result is a copy. Its words are written to $STAND_IN_CALLS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

VALUES = "files-from name strength bundled model progress cancel-file minutes net".split()
SWITCHES = "null beside json".split()
CAMERA = "Nikon Z 6"
PATIENCE = 60.0  # seconds until a slow file that nobody cancels ends the test


def say(stream: TextIO, kind: str, **fields: object) -> None:
    stream.write(json.dumps({"type": kind, "schema": 1, **fields}) + "\n")
    stream.flush()


def wait_for(cancel: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not cancel.exists() and time.monotonic() < end:
        time.sleep(0.02)


def answer(source: Path, options: argparse.Namespace) -> dict[str, object]:
    output = source.with_name(options.name.replace("{stem}", source.stem) + ".dng")
    reason = f"{output} exists"
    if source.stem.startswith("broken"):
        reason = f"{source}: the file is cut short"
        return {"output": str(output), "status": "failed", "reason": reason, "exit_code": 1}
    if source.stem.startswith("older"):
        reason += ", by another recipe, model or method"
    elif not output.exists():
        shutil.copyfile(source, output)
        return {"output": str(output), "status": "done", "reason": None, "exit_code": 0}
    return {"output": str(output), "status": "skipped", "reason": reason, "exit_code": 0}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    for name in VALUES:
        parser.add_argument("--" + name, default="")
    for name in SWITCHES:
        parser.add_argument("--" + name, action="store_true")
    return parser.parse_args()


def denoise(options: argparse.Namespace, files: list[Path]) -> bool:
    """Whether it was interrupted."""
    for number, source in enumerate(files):
        if source.stem.startswith("crash"):
            os.write(2, b"Segmentation fault\n")
            os._exit(139)
        far = {
            "fraction": number / len(files),
            "files_done": number,
            "files": len(files),
            "seconds_left": 100.0,
        }
        say(sys.stderr, "progress", command="denoise", file=str(source), stage="denoise", **far)
        if source.stem.startswith("slow"):
            wait_for(Path(options.cancel_file))
            return True
        say(sys.stdout, "result", source=str(source), **answer(source, options))
    return False


def learn(options: argparse.Namespace, files: list[Path]) -> None:
    if options.command == "train":
        said = {"captures": len(files), "outcome": "kept", "reason": None, "model": "abc123", "gain_db": 1.25}
        say(sys.stdout, "training", camera=CAMERA, exit_code=0, **said)
    else:
        said = {"profile": "/p/z6.json", "isos": [100, 6400, None], "reason": None}
        say(sys.stdout, "calibration", camera=CAMERA, exit_code=0, **said)


def main() -> int:
    """Answer, then say the end."""
    if calls := os.environ.get("STAND_IN_CALLS"):
        Path(calls).write_text(json.dumps(sys.argv[1:]))
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write("rawdenoise, version 9.9\n")
        return 0
    options = parse()
    names = Path(options.files_from).read_bytes().split(b"\0")
    files = [Path(os.fsdecode(name)) for name in names if name]
    sys.stderr.write("a library's warning\n")
    is_interrupted = False
    if options.command == "denoise":
        is_interrupted = denoise(options, files)
    else:
        learn(options, files)
    code = 130 if is_interrupted else 0
    counts = {"done": 0, "skipped": 0, "failed": 0}
    say(sys.stderr, "end", exit_code=code, interrupted=is_interrupted, seconds=0.1, **counts)
    return code


if __name__ == "__main__":
    sys.exit(main())

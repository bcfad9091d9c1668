"""Stands in for the command: answers a host as rawdenoise does, by the names of files, at once and without a model.

`broken*` fails, `slow*` waits until it is cancelled, `crash*` ends the program without a word, `older*` was made with
other settings; of all others the result is a copy. What it was called with is written to the file $STAND_IN_CALLS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

PATIENCE = 60.0  # seconds until a slow file that nobody cancels ends the test


def say(stream: object, kind: str, **fields: object) -> None:
    print(json.dumps({"type": kind, "schema": 1, **fields}), file=stream, flush=True)  # type: ignore[call-overload]


def wait_for(cancel: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not cancel.exists() and time.monotonic() < end:
        time.sleep(0.02)


def answer(source: Path, options: argparse.Namespace) -> dict[str, object]:
    output = source.with_name(options.name.replace("{stem}", source.stem) + ".dng")
    reason = f"{output} exists"
    if source.stem.startswith("broken"):
        return {"output": None, "status": "failed", "reason": f"{source}: the file is cut short", "exit_code": 1}
    if source.stem.startswith("older"):
        reason += ", by another recipe, model or method"
    elif not output.exists():
        shutil.copyfile(source, output)
        return {"output": str(output), "status": "done", "reason": None, "exit_code": 0}
    return {"output": str(output), "status": "skipped", "reason": reason, "exit_code": 0}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    for name in ("files-from", "name", "strength", "bundled", "model", "progress", "cancel-file", "minutes", "net"):
        parser.add_argument("--" + name, default="")
    for name in ("null", "beside", "json"):
        parser.add_argument("--" + name, action="store_true")
    return parser.parse_args()


def denoise(options: argparse.Namespace, files: list[Path]) -> tuple[int, bool]:
    done = 0
    for number, source in enumerate(files):
        if source.stem.startswith("crash"):
            print("Segmentation fault", file=sys.stderr)
            os._exit(139)
        say(sys.stderr, "progress", command="denoise", file=str(source), stage="denoise",
            fraction=number / len(files), files_done=number, files=len(files), seconds_left=100.0)  # fmt: skip
        if source.stem.startswith("slow"):
            wait_for(Path(options.cancel_file))
            return done, True
        say(sys.stdout, "result", source=str(source), **answer(source, options))
        done += 1
    return done, False


def learn(options: argparse.Namespace, files: list[Path]) -> None:
    if options.command == "train":
        say(sys.stdout, "training", camera="Nikon Z 6", captures=len(files), outcome="kept", reason=None,
            model="abc123", gain_db=1.25, exit_code=0)  # fmt: skip
    else:
        say(sys.stdout, "calibration", camera="Nikon Z 6", profile="/p/z6.json", isos=[100, 6400], reason=None)


def main() -> int:
    """Answer, then say the end."""
    if calls := os.environ.get("STAND_IN_CALLS"):
        Path(calls).write_text(json.dumps(sys.argv[1:]))
    if sys.argv[1:] == ["--version"]:
        print("rawdenoise, version 9.9")
        return 0
    options = parse()
    names = Path(options.files_from).read_bytes().split(b"\0")
    files = [Path(os.fsdecode(name)) for name in names if name]
    print("a library's warning", file=sys.stderr)
    is_interrupted = False
    if options.command == "denoise":
        _, is_interrupted = denoise(options, files)
    else:
        learn(options, files)
    code = 130 if is_interrupted else 0
    say(sys.stderr, "end", exit_code=code, interrupted=is_interrupted, done=0, skipped=0, failed=0, seconds=0.1)
    return code


if __name__ == "__main__":
    sys.exit(main())

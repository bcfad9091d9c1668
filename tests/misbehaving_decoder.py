"""A decoder that does what damaged files make native code do, by the first word of the file."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from rawdenoise.capture.raw import Area, Cfa, Levels, RawImage
from rawdenoise.errors import TruncatedError
from rawdenoise.isolation import decoder as worker


def misbehave(path: Path, layout: object = None) -> object:
    what = path.read_text().split()[0]
    match what:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(7)
        case "hang":  # as native code does, holding Python's lock
            ctypes.PyDLL(None).sleep(600)
        case "bomb":
            return bytearray(64 << 30)
        case "noise":
            os.write(1, b"garbage\n" * 1000)
            os.write(2, b"garbage\n" * 1000)
        case "bug":
            raise KeyError("surprise")
        case "truncated":
            raise TruncatedError(path, "ends too early")
        case "beside":
            raise TruncatedError(path.with_name("other.mat"), "ends too early")
        case "nonsense":
            return ("no", "capture")
        case "untold":
            return object()
        case "modules":
            return tuple(sorted(sys.modules))
        case "pid":
            return os.getpid()
        case "slow":
            time.sleep(0.3)
    mosaic = np.arange(48, dtype=np.uint16).reshape(6, 8)
    return RawImage(mosaic, Cfa.RGGB, Area(0, 0, 6, 8), Levels((0.0,) * 4, 1023.0), path)


def main() -> None:
    once = os.environ.get("DIES_AT_ITS_START_ONCE")
    if once and not Path(once).exists():
        Path(once).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    worker.main({"read_raw": misbehave})

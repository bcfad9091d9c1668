"""What a watched folder costs while nothing happens in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.report import Page, markdown
from lab.store import Lab
from lab.table import COUNT, option, table

from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import JobResult
from rawdenoise.watching.scan import scan

FOLDERS = 100
BEGIN_S = 60.0  # until the service has loaded and has scanned for the first time
WATCH = (sys.executable, "-m", "rawdenoise", "watch")


@table("idle", {"docs/watching.md, README.md: a folder in which nothing happens": "--minutes 15"})
@option("--files", type=COUNT, default=100_000)
@option("--minutes", default=15.0)
def idle(lab: Lab, files: int, minutes: float) -> Page:
    """What a watched folder costs while nothing happens in it: processor time of the service, with its scans.

    So many (empty) files lie in a hundred folders, and the ledger knows them all. Linux only: the time is
    read from /proc.
    """
    settings = {"kind": "idle", "files": files, "minutes": minutes}
    row = lab.result(settings, lambda: _idle(files, minutes))
    return Page(
        markdown(["files", "a scan, CPU s", "minutes", "CPU s", "share of a core"], [row] if row else [])
    )


def _idle(count: int, minutes: float) -> list[str]:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        arrivals, output, state = work / "in", work / "out", work / "state"
        for number in range(count):
            path = arrivals / f"{number % FOLDERS:03}" / f"IMG_{number:06}.CR2"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        began = time.process_time()
        files = dict(scan(arrivals))
        scan_s = time.process_time() - began
        now = Moment(0.0, 0.0)
        with Ledger(state) as ledger:
            for number, (path, signature) in enumerate(files.items()):
                ledger.files.settle(path, output, signature, f"{number:064x}", "recipe", now)
            while (job := ledger.jobs.lease([output], now, 1e9)) is not None:
                ledger.jobs.finish(job, now, JobResult(output=None))
        used_s = _used_s([*WATCH, arrivals, "-o", output, "--state", state, "--train", "never"], minutes)
    share = f"{100 * used_s / (60 * minutes):.2f} %"
    return [f"{len(files)}", f"{scan_s:.2f}", f"{minutes:g}", f"{used_s:.2f}", share]


def _used_s(command: list[str | Path], minutes: float) -> float:
    """Tell how much processor time the service takes in so many minutes, once it has begun."""
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(BEGIN_S)
        before = _processor_s(service.pid)
        time.sleep(60 * minutes)
        return _processor_s(service.pid) - before
    finally:
        service.terminate()
        service.wait()


def _processor_s(pid: int) -> float:
    """Seconds of a processor that a process has used, in user and system mode (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

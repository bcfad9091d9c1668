"""What a watched folder costs while nothing happens in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lab.report import Page, markdown
from lab.table import COUNT, measured, option
from lab.watched import Watched

from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import JobResult
from rawdenoise.watching.scan import scan

FOLDERS = 100
BEGIN_S = 60.0  # until the service has loaded and has scanned for the first time


def _page(row: list[str], **_: object) -> Page:
    return Page(markdown(["files", "a scan, CPU s", "minutes", "CPU s", "share of a core"], [row]))


@measured("idle", {"docs/watching.md, README.md: a folder in which nothing happens": "--minutes 15"}, _page)
@option("--files", type=COUNT, default=100_000)
@option("--minutes", default=15.0)
def idle(work: Path, files: int, minutes: float) -> list[str]:
    """What a watched folder costs while nothing happens in it: processor time of the service, with its scans.

    So many (empty) files lie in a hundred folders, and the ledger knows them all. Linux only: the time is
    read from /proc.
    """
    watched = Watched(work)
    for number in range(files):
        path = watched.arrivals / f"{number % FOLDERS:03}" / f"IMG_{number:06}.CR2"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    began = time.process_time()
    found = dict(scan(watched.arrivals))
    scan_s = time.process_time() - began
    now = Moment(0.0, 0.0)
    with Ledger(watched.state) as ledger:
        for number, (path, signature) in enumerate(found.items()):
            ledger.files.settle(path, watched.output, signature, f"{number:064x}", "recipe", now)
        while (job := ledger.jobs.lease([watched.output], now, 1e9)) is not None:
            ledger.jobs.finish(job, now, JobResult(output=None))
    used_s = _used_s(watched, minutes)
    share = f"{100 * used_s / (60 * minutes):.2f} %"
    return [f"{len(found)}", f"{scan_s:.2f}", f"{minutes:g}", f"{used_s:.2f}", share]


def _used_s(watched: Watched, minutes: float) -> float:
    """Tell how much processor time the service takes in so many minutes, once it has begun."""
    service = watched.start()
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

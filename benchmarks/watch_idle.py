"""What a watched folder costs while nothing happens in it: processor time of the service, scans included.

    python benchmarks/watch_idle.py [--files 100000] [--minutes 15]

So many (empty) files lie in a hundred folders, and the ledger knows them all. Linux only: the time is read
from /proc.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import JobResult
from rawdenoise.watching.moments import Moment
from rawdenoise.watching.scan import scan

FOLDERS = 100
BEGIN_S = 60.0  # until the service has loaded and has scanned for the first time


def main() -> None:
    """Run the service, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=15.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        arrivals, output, state = work / "in", work / "out", work / "state"
        make_files(arrivals, options.files)
        began = time.process_time()
        found = dict(scan(arrivals))
        scan_s = time.process_time() - began
        with Ledger(state) as ledger:
            at = Moment(1.0, 1.0)
            for number, (path, signature) in enumerate(found.items()):
                ledger.files.settle(path, output, signature, f"{number:064x}", "recipe", Moment(0.0, 0.0))
            while (job := ledger.jobs.lease([output], at, 1e9)) is not None:
                ledger.jobs.finish(job, at, JobResult(output=None))
        used_s = idle(arrivals, output, state, options.minutes)
    share = used_s / (60 * options.minutes)
    print("| files | a scan, CPU s | minutes | CPU s | share of a core |\n|---|---|---|---|---|")
    print(f"| {len(found)} | {scan_s:.2f} | {options.minutes:g} | {used_s:.2f} | {100 * share:.2f} % |")


def make_files(folder: Path, count: int) -> None:
    """Make so many empty files."""
    for number in range(count):
        path = folder / f"{number % FOLDERS:03}" / f"IMG_{number:06}.CR2"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def idle(arrivals: Path, output: Path, state: Path, minutes: float) -> float:
    """Tell how much processor time the service takes in so many minutes, once it has begun."""
    command = [
        sys.executable, "-m", "rawdenoise", "watch", str(arrivals), "-o", str(output), "--state", str(state),
        "--train", "never",
    ]  # fmt: skip
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(BEGIN_S)
        before = processor_s(service.pid)
        time.sleep(60 * minutes)
        return processor_s(service.pid) - before
    finally:
        service.terminate()
        service.wait()


def processor_s(pid: int) -> float:
    """Seconds of a processor that a process has used, in user and system mode (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

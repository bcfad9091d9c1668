"""`rawdenoise` as it is, but that its process dies at files of a certain name, as in a library's code."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from rawdenoise.cli import main
from rawdenoise.watching import denoise_worker as worker

POISON = "POISON"


def serve() -> None:
    """Run the command line."""
    real = worker.run_file

    def run_file(job: Any, *more: Any) -> Any:
        if job.source.name.startswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, *more)

    worker.run_file = run_file
    if "FAKETIME" in os.environ:  # whose version of what is slept by refuses every call
        time.sleep = lambda seconds: threading.Event().wait(seconds) and None
    main()


if __name__ == "__main__":
    serve()

"""A service from its beginning to its end, though its ledger breaks or its configuration changes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType

from rawdenoise.app.denoise import choose_denoisers
from rawdenoise.app.stores import Stores
from rawdenoise.errors import Stop
from rawdenoise.isolation.isolated_reader import shared_reader
from rawdenoise.watching.config import ConfigError, WatchConfig, read_config
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.database import LedgerBrokenError
from rawdenoise.watching.reports import Report
from rawdenoise.watching.service import RunOptions, Service

MAXIMUM_LEDGERS = 3  # that may break, one after the other, before it is the disk's fault


@dataclass(frozen=True, slots=True)
class Ending:
    """How a service has ended; one that `hangs` has a thread in a call that does not return."""

    exit_code: int
    hangs: bool


def check_denoisers(config: WatchConfig, stores: Stores) -> None:
    """Make sure that what was asked for can be had.

    Raises:
        SetupError, ModelError: a device or a model is not there.
    """
    for root in config.roots:
        choose_denoisers(root.recipe, stores.models, device=config.device)


def watch(
    config: WatchConfig, stores: Stores, report: Report, stop: Stop, options: RunOptions, *,
    file: Path | None = None,
) -> Ending:  # fmt: skip
    """Watch until `stop` says so; a ledger that breaks meanwhile is begun anew.

    A `file` is read again at SIGHUP, for other roots and recipes.

    Raises:
        LedgerError: the state folder cannot be used.
    """
    for chances in reversed(range(MAXIMUM_LEDGERS)):
        try:
            return _watch(config, stores, report, stop, options, file)
        except LedgerBrokenError as error:
            if not chances or stop():
                raise
            report.say("ledger", reason=str(error))
    raise AssertionError("the last one has raised")


def _watch(
    config: WatchConfig, stores: Stores, report: Report, stop: Stop, options: RunOptions, file: Path | None
) -> Ending:
    with Ledger(config.state) as ledger:
        if ledger.note:
            report.say("ledger", reason=ledger.note)
        service = Service(config, stores, ledger, report, options)
        # Without a file to read again a closed terminal ends it, as it ends other programs.
        reload = None if file is None else partial(_reload, service, config, file, report)
        with nullcontext() if reload is None else _call_on_hangup(reload):
            code = service.run(stop)
    return Ending(code, service.hangs)


def end_process(code: int) -> None:
    """End at once.

    A thread in a call that does not return would be waited for, and on a busy machine Python takes seconds to
    take down what is loaded.
    """
    shared_reader().close()
    with suppress(OSError, ValueError):
        if sys.stderr is not None:
            sys.stderr.flush()
    os._exit(code)


def _reload(service: Service, config: WatchConfig, file: Path, report: Report) -> None:
    try:
        service.reload(replace(read_config(file), state=config.state))
    except ConfigError as error:
        report.say("not reloaded", reason=str(error))


@contextmanager
def _call_on_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Call a function at SIGHUP, where there is such a signal."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        # In a thread: reports take a lock that this one may hold.
        threading.Thread(target=call, name="reload").start()

    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)

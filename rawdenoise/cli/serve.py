"""`rawdenoise serve`: denoises for another program, request after request, with models that stay loaded."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rawdenoise import __version__
from rawdenoise.cli import COMMANDS, INTERRUPTED_EXIT_CODE
from rawdenoise.cli.caller import JsonCaller, encode
from rawdenoise.cli.serve_requests import LONGEST_LINE, Id, Request, RequestError, parse_request, read_lines
from rawdenoise.terminal.cancelling import watch_for_cancel
from rawdenoise.terminal.signals import Stop, stop_on_signal

if TYPE_CHECKING:
    from rawdenoise.app.stores import Stores

SERVED = ("denoise",)
USAGE_EXIT_CODE = 2
POLL_S = 0.2  # how soon a signal is noticed while nothing is asked for


@click.command("serve", short_help=COMMANDS["serve"])
@click.option("--stdio", is_flag=True, help="Requests on standard input, all that comes of them on output.")
@click.pass_context
def command(ctx: click.Context, /, stdio: bool) -> None:
    """Denoise for another program, which asks again and again: models stay loaded in between.

    Requests come on standard input, a JSON object a line: {"id": "1", "arguments": ["denoise", "IMG.CR2",
    "-o", "out"]} with what stands after `rawdenoise`, and {"cancel": "1"}. Standard output carries results,
    progress and messages with the id of their request. Closing standard input ends it.

    plugins/README.md describes all of that.
    """
    if not stdio:
        raise click.UsageError("give --stdio: requests then come on standard input")
    ctx.exit(Server(*_take_over_streams()).run())


class Server:
    """Takes requests from a descriptor and answers them on another, one after the other."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._channel = _Channel(answers, self._end)
        self._waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._callers: dict[Id, _Requester] = {}  # of the requests that are not answered yet
        self._lock = threading.Lock()
        self._ending = Stop()
        self._clean_up: Callable[[], None] = lambda: None

    def run(self) -> int:
        """Answer requests until no more can come; returns the exit code."""
        with stop_on_signal(lambda: self._clean_up(), stop=self._ending):
            self._channel.write("ready", {"version": __version__})
            threading.Thread(target=self._listen, name="requests", daemon=True).start()
            stores = _warm_up()
            while (request := self._take()) is not None:
                caller = self._callers[request.id]
                caller.begin(stores)
                self._answer(request, caller)
                with self._lock:
                    del self._callers[request.id]
        return self._ending.exit_code if self._ending.is_signalled else 0

    def _answer(self, request: Request, caller: _Requester) -> None:
        from rawdenoise.cli import main as program

        if self._ending() or caller.is_cancelled():
            caller.say("interrupted")
            caller.end(INTERRUPTED_EXIT_CODE)
        elif request.arguments[:1] not in [(name,) for name in SERVED]:
            caller.fail(f"only {', '.join(SERVED)} is served")
            caller.end(USAGE_EXIT_CODE)
        else:
            program.answer(request.arguments, caller, prog_name="rawdenoise")
        self._clean_up = lambda: None

    def _take(self) -> Request | None:
        """Wait for the next request; None when there will be no more."""
        while True:
            try:
                return self._waiting.get(timeout=POLL_S)
            except queue.Empty:
                if self._ending():
                    return None

    def _end(self) -> None:
        """Answer no more requests, and cancel the one that is being answered."""
        self._ending.ask()

    def _listen(self) -> None:
        """Take in what comes, until the other end is closed."""
        for line in read_lines(lambda: os.read(self._requests, 1 << 16), LONGEST_LINE):
            try:
                self._take_in(parse_request(line))
            except RequestError as error:
                self._refuse(error)
        self._end()

    def _take_in(self, asked: Request | Id) -> None:
        with self._lock:
            if not isinstance(asked, Request):
                caller = self._callers.get(asked)
                if caller is not None:  # else it is answered already
                    caller.cancel()
                return
            if asked.id in self._callers:
                raise RequestError(f"there is a request {asked.id!r} already, which is not answered yet")
            self._callers[asked.id] = _Requester(asked.id, self._channel, self._ending, self._keep_clean_up)
            self._waiting.put(asked)

    def _refuse(self, error: RequestError) -> None:
        with self._lock:
            id = None if error.id in self._callers else error.id
        caller = _Requester(id, self._channel, self._ending, self._keep_clean_up)
        caller.fail(str(error))
        if id is not None:
            caller.end(USAGE_EXIT_CODE)

    def _keep_clean_up(self, clean_up: Callable[[], None]) -> None:
        self._clean_up = clean_up


class _Channel:
    """Where answers go, whole lines from any thread; `on_lost` is called when nobody takes them any more."""

    def __init__(self, descriptor: int, on_lost: Callable[[], None]) -> None:
        self._descriptor, self._on_lost = descriptor, on_lost
        self._lock = threading.Lock()

    def write(self, kind: str, fields: Mapping[str, object]) -> None:
        """Write an object."""
        data = memoryview(f"{encode(kind, fields)}\n".encode())
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self._on_lost()


class _RequestStop(Stop):
    """The stop of one request, which the end of them all stops too."""

    def __init__(self, ending: Stop) -> None:
        super().__init__()
        self._ending = ending

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return super().__call__() or self._ending()

    @property
    def exit_code(self) -> int:
        """That of the signal which ends them all, else that of Ctrl-C."""
        return 128 + (self.signal or self._ending.signal)


class _Requester(JsonCaller):
    """Who asked for one thing: all that is said of it has its id."""

    wants_results = True
    is_isolated = True

    def __init__(
        self, id: Id | None, channel: _Channel, ending: Stop, keep: Callable[[Callable[[], None]], None]
    ) -> None:
        super().__init__()
        self._id, self._channel, self._keep = id, channel, keep
        self._request_stop = _RequestStop(ending)

    def begin(self, stores: Stores) -> None:
        """Be answered from now on, with these stores."""
        self.stores, self._start = stores, time.perf_counter()

    def result(self, kind: str, fields: Mapping[str, object]) -> None:
        """Give a result on the channel."""
        self._give(kind, fields)

    def cancel(self) -> None:
        """Ask to stop."""
        self._is_cancelled = True
        self._request_stop.ask()

    def watch(self, cancel_file: Path | None, *, stdin: bool) -> AbstractContextManager[None]:
        """Be cancelled by a file, too."""
        return watch_for_cancel(self.cancel, file=cancel_file, stdin=False)

    @contextmanager
    def stop_politely(self, clean_up: Callable[[], None]) -> Iterator[Stop]:
        """Give the request's stop; signals are the server's."""
        self._keep(clean_up)
        yield self._request_stop

    def _give(self, kind: str, fields: Mapping[str, object]) -> None:
        self._channel.write(kind, {"id": self._id, **fields})

    def _find_lost(self) -> str:
        return ""


def _take_over_streams() -> tuple[int, int]:
    """Keep standard input and output for requests and answers alone; what else is printed goes to error."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as we live
    return requests, answers


def _warm_up() -> Stores:
    """Load what takes long, and give the stores whose models stay loaded."""
    from rawdenoise.isolation.isolated_reader import shared_reader

    shared_reader().start()
    from rawdenoise.app import denoise  # noqa: F401 - torch comes with it
    from rawdenoise.app.stores import user_stores
    from rawdenoise.models.loaded import LoadedModels

    stores = user_stores()
    return replace(stores, models=LoadedModels(stores.models.folder))

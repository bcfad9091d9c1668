"""The watched folder as a service: events and scans in, denoised files out, whatever happens in between.

One thread watches: it takes hints of what happened, scans, waits until files have settled, and hands out
jobs. Events are hints only, the truth is a scan; what is to be done, and what was done, stands in the ledger.
So a process may die at any instruction: whatever it had begun is done again by the next, and found done where
its output was already whole.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rawdenoise.app.batch import reason_of
from rawdenoise.app.stores import Stores
from rawdenoise.atomic import remove_abandoned
from rawdenoise.errors import FileError, OutputError, RawDenoiseError
from rawdenoise.files.sources import Signature, SourceChangedError, digest_of, signature_of
from rawdenoise.formats import raw_suffixes
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.database import LedgerBrokenError, LedgerError
from rawdenoise.watching.events import Events, Hint
from rawdenoise.watching.files import check_output, copy_sidecars, prepare_output
from rawdenoise.watching.heartbeat import Heartbeat, forget_heartbeat, heartbeat_owners
from rawdenoise.watching.inspector import Inspector
from rawdenoise.watching.ledger import CLEARED, Job, Ledger, State, Wait
from rawdenoise.watching.moments import Clock, now
from rawdenoise.watching.mounts import polling_reason
from rawdenoise.watching.names import BESIDE, ShotIndex, is_capture
from rawdenoise.watching.reports import Report
from rawdenoise.watching.rounds import Round, Rounds
from rawdenoise.watching.scan import RootGoneError, scan
from rawdenoise.watching.tracker import StabilityTracker
from rawdenoise.watching.trainer import Trainer
from rawdenoise.watching.worker import Verdict, Worker

TICK_S = 2.0  # at most, between two looks at the ledger and at signals
POLL_S = 10.0  # between scans where there are no events
SPARE = 400.0  # times the work of a scan: at least so long until the next, unless it was asked for
GONE_S = 5.0  # between looks for a folder that is not there
LEASE_S = 120.0
RENEW_S = 20.0
RECLAIM_S = 5.0
LEDGER_S = 2.0
WAIT_S = 30.0  # until an output folder that refused is tried again
STOP_S = 7.0  # for what is under way when the service is to stop
TURN_S = 1.0  # for hints, of one turn: whatever arrives, the rest has its turn too
AT_ONCE = 1000  # files that settle in one turn, or are scanned between two looks at the clock
SIDECARS_AT_ONCE = 50
AHEAD = 4  # jobs ready for each worker before files are digested no further: they are read while still cached


@dataclass(slots=True, eq=False)
class _Watched:
    """A root, and what the watching thread knows of it."""

    root: Root
    tracker: StabilityTracker
    known: dict[Path, Signature]  # settled, and in the ledger
    arrived: deque[tuple[Path, Signature]] = field(default_factory=deque)  # settled, to be digested
    sidecars: dict[Path, Signature] = field(default_factory=dict)
    settled_sidecars: deque[Path] = field(default_factory=deque)  # to be copied, if their captures are done
    shots: ShotIndex = field(default_factory=ShotIndex)
    device: int | None = None  # of the folder, when it was last scanned
    events: Events | None = None
    polled: str = ""  # why there are no events
    next_scan: float = 0.0
    gone: bool = False
    waits: str = ""  # why nothing is written to its output now
    waits_until: float = 0.0
    folder_gone: bool = False  # that is why it waits
    refused: set[Path] = field(default_factory=set)  # folders
    unreadable: set[Path] = field(default_factory=set)  # files, until they can be read
    round: Round = field(default_factory=Round)  # of its outputs

    @property
    def scan_s(self) -> float:
        if self.root.poll_s is not None:
            return self.root.poll_s
        return self.root.rescan_s if self.events is not None else min(POLL_S, self.root.rescan_s)


class Service:
    """Watches roots until it is told to stop; with `once`, until nothing is left to do."""

    def __init__(
        self, config: WatchConfig, stores: Stores, ledger: Ledger, report: Report, *, once: bool = False,
        redo: bool = False, verify: bool = False, clock: Clock = now,
    ) -> None:  # fmt: skip
        self.config, self.ledger, self.report, self.once, self._redo = config, ledger, report, once, redo
        self.hangs = False  # after it has run: whether a thread is still in a call that does not return
        self._verify, self._clock = verify, clock
        self._stop: Callable[[], bool] = lambda: False
        self._hints: queue.SimpleQueue[tuple[Path, Hint] | None] = queue.SimpleQueue()
        self._watched: list[_Watched] = []
        self._skipped: list[Path] = []  # folders in which nothing arrives, without links
        self._digesting: dict[Future[str], tuple[_Watched, Path, Signature]] = {}
        self._running: dict[Future[Verdict], Job] = {}
        self._copying: tuple[_Watched, Future[list[tuple[Path, str]]]] | None = None
        self._next = 0  # of `_watched`, to be given work
        self._stopping = threading.Event()
        self._reloads: deque[WatchConfig] = deque()
        self._renewed = self._reclaimed = 0.0
        self._refused_at: float | None = None  # by the ledger
        self._cleared = ledger.get_fact(CLEARED)
        self._worker = Worker(config, stores, ledger, self._stopping.is_set, clock)
        self._trainer = Trainer(config, ledger, report)
        self._heartbeat = Heartbeat(config.state, ledger.owner, clock)

    def reload(self, config: WatchConfig) -> None:
        """Go on with other roots and recipes; what is under way ends as it was begun. For any thread."""
        self._reloads.append(config)
        self._hints.put(None)

    def run(self, stop: Callable[[], bool]) -> int:
        """Watch until `stop` answers true, which is within ten seconds; give the exit code.

        0; with `once` 1 if anything failed, or is waiting for a disk or a folder.
        """
        self._stop = stop
        pools = (
            ThreadPoolExecutor(self.config.jobs, "file"),
            *(ThreadPoolExecutor(1, name) for name in ("network", "digest", "sidecar", "output")),
        )
        self._files, self._network, self._digests, self._copies, outputs = pools
        inspector = Inspector(self.ledger, self.report, self._stopping.is_set, self._clock)
        self._rounds = Rounds(
            inspector, self.config.state, outputs, lambda: self._hints.put(None), self._clock
        )
        try:
            self._begin(self.config.roots)
            self.report.say(
                "started", roots=[str(each.source) for each in self.config.roots], jobs=self.config.jobs
            )
            while not stop():
                try:
                    self._step()
                    if self.once and self._drained():
                        break
                    self._hear(self._pause())
                except LedgerError as error:
                    self._without_ledger(error)
            return self._exit_code()
        finally:
            self._end(pools)

    def _without_ledger(self, error: LedgerError) -> None:
        """Wait for its disk: what was not told is found by the next scan."""
        if self.once or isinstance(error, LedgerBrokenError):
            raise error
        if self._refused_at is None or time.monotonic() - self._refused_at > WAIT_S:
            self.report.say("waiting", reason=str(error))
        self._refused_at = time.monotonic()
        time.sleep(LEDGER_S)

    # ------------------------------------------------------------ one turn

    def _step(self) -> None:
        now = self._clock().steady
        while self._reloads:
            self._begin(self._reloads.popleft().roots)
            self.report.say("reloaded", roots=[str(each.source) for each in self.config.roots])
        for watched in self._watched:
            if now >= watched.next_scan:
                self._scan(watched)
            self._take_settled(watched)
        self._housekeeping(now)
        # What has ended first: only then is there room for more, and nothing else will tell of it.
        self._collect()
        self._follow()
        self._digest()
        self._hand_out()
        self._rounds.step(
            [(each.root, each.round) for each in self._ready()], idle=self._is_idle() and not self.once
        )
        if not self.once:
            self._trainer.step(now, idle=self._is_idle())
        self._heartbeat.beat(self._state)

    def _pause(self) -> float:
        """Seconds until there is something to do that no event will tell of."""
        now = self._clock().steady
        dues = [each.next_scan for each in self._watched]
        dues += [due for each in self._watched if (due := each.tracker.next_due()) is not None]
        return min(TICK_S, max(0.0, min(dues, default=now + TICK_S) - now))

    def _hear(self, timeout: float) -> None:
        """Wait for a hint or the end of a job, then take what there is, for as long as a turn may take."""
        until = time.monotonic() + timeout + TURN_S
        try:
            heard = self._hints.get(timeout=timeout) if timeout else self._hints.get_nowait()
            while True:
                if heard is not None:
                    self._heed(*heard)
                if time.monotonic() > until or self._stop():
                    return
                heard = self._hints.get_nowait()
        except queue.Empty:
            return

    # ------------------------------------------------------------ roots

    def _begin(self, roots: tuple[Root, ...]) -> None:
        """Watch these roots, keeping what is known of those that are watched already and are as they were."""
        self.config = replace(self.config, roots=roots)
        self._trainer.configure(self.config)
        failed = [root.failed_dir for root in roots if root.failed_dir is not None]
        skipped = [*(root.output for root in roots), *failed, self.config.state]
        self._skipped = [Path(os.path.realpath(folder)) for folder in skipped]
        before = {each.root: each for each in self._watched}
        for root, watched in before.items():
            if root not in roots:
                self._stop_events(watched)
        self._watched = [before.get(root) or self._watch(root) for root in roots]
        if self._redo:
            self._redo = False
            for root in roots:
                due = self._worker.redo(root)
                self.report.say("redo", root=str(root.source), jobs=due)
            for watched in self._watched:
                watched.round.again = True
        if self._verify:
            self._verify = False
            for watched in self._watched:
                watched.round.again = watched.round.verify = True

    def _watch(self, root: Root) -> _Watched:
        return _Watched(root, StabilityTracker(root.settle_s), self._known(root))

    def _known(self, root: Root) -> dict[Path, Signature]:
        known = self.ledger.known(root.output)
        return {path: signature for path, signature in known if path.is_relative_to(root.source)}

    def _start_events(self, watched: _Watched) -> None:
        root = watched.root
        if self.once:
            return
        reason = "asked for" if root.poll_s is not None else polling_reason(root.source)
        if not reason and root.source.is_dir():
            events = Events(
                root.source, lambda hint: self._hints.put((root.source, hint)), recursive=root.recursive
            )
            reason = events.start()
            if not reason:
                watched.events = events
        if reason and reason != watched.polled:
            self.report.say("polling", root=str(root.source), every_s=watched.scan_s, reason=reason)
        watched.polled = reason

    def _stop_events(self, watched: _Watched) -> None:
        if watched.events is not None:
            watched.events.stop()
            watched.events = None

    # ------------------------------------------------------------ what happens

    def _heed(self, source: Path, hint: Hint) -> None:
        """Take one hint to the tracker, unless it is of something that is known to be as it is."""
        now = self._clock().steady
        for watched in self._watched:
            root = watched.root
            if root.source != source or self._is_skipped(hint.path):
                continue
            if hint.gone:
                watched.shots.discard(hint.path)
                watched.tracker.forget(hint.path)
                watched.known.pop(hint.path, None)
                if is_capture(hint.path):
                    self.ledger.forget([hint.path], root.output)
            elif hint.folder:
                self._scan_part(watched, hint.path)
            elif self._is_wanted(root, hint.path):
                watched.shots.add(hint.path)
                if hint.moved_in:
                    watched.tracker.moved_in(hint.path, now)
                elif signature_of(hint.path) not in (None, watched.known.get(hint.path)):
                    watched.tracker.note(hint.path, now)

    def _is_wanted(self, root: Root, path: Path) -> bool:
        return is_capture(path) or (root.sidecars and path.suffix.lower() in BESIDE)

    def _is_skipped(self, path: Path) -> bool:
        real = Path(os.path.realpath(path.parent), path.name)
        return any(real.is_relative_to(folder) for folder in self._skipped)

    def _scan(self, watched: _Watched) -> None:
        """Compare a whole root with what is known of it."""
        root, began = watched.root, time.thread_time()
        if watched.events is not None and not watched.events.alive():
            self._stop_events(watched)
        if watched.events is None:
            self._start_events(watched)  # before the scan: what arrives after it has events
        present: set[Path] = set()
        shots, watched.shots = watched.shots, ShotIndex()  # made anew: what is gone drops out
        try:
            whole = self._scan_part(watched, root.source, present)
        except RootGoneError as error:
            watched.shots = shots
            self._is_gone(watched, str(error))
            return
        if self._stop():
            return
        device = _device_of(root.source)
        if not present and watched.known and device != watched.device and watched.device is not None:
            self._is_gone(watched, f"{root.source}: is empty, and another disk than before (not mounted?)")
            return
        watched.device = device
        if watched.gone:
            watched.gone = False
            self.report.say("resumed", root=str(root.source), reason="the folder is there again")
        if whole:
            listed = [*watched.known, *(path for path, _ in self.ledger.seen(output_root=root.output))]
            vanished = [path for path in listed if path not in present and path.is_relative_to(root.source)]
            if vanished:
                self.ledger.forget(vanished, root.output)
            for path in vanished:
                watched.known.pop(path, None)
        cost = 0.0 if root.poll_s is not None else SPARE * (time.thread_time() - began)
        watched.next_scan = self._clock().steady + max(watched.scan_s, cost)
        watched.round.inspect = True

    def _is_gone(self, watched: _Watched, reason: str) -> None:
        """Wait for a folder: it is not known what it holds, so nothing is forgotten."""
        if not watched.gone:
            self.report.say("waiting", root=str(watched.root.source), reason=reason)
        self._stop_events(watched)
        watched.gone, watched.next_scan = True, self._clock().steady + GONE_S

    def _scan_part(self, watched: _Watched, folder: Path, present: set[Path] | None = None) -> bool:
        """Take what lies under a folder to the tracker; false if a part of it refused to be read."""
        root, refused, new = watched.root, set[Path](), list[tuple[Path, Signature]]()

        def on_refused(path: Path, error: OSError) -> None:
            refused.add(path)
            if path not in watched.refused:
                self.report.say("refused", source=str(path), reason=error.strerror or str(error))

        suffixes = raw_suffixes() | BESIDE if root.sidecars else raw_suffixes()
        now, known, sidecars = self._clock().steady, watched.known, watched.sidecars
        found = scan(
            folder, skip=self._skipped, recursive=root.recursive, suffixes=suffixes, on_refused=on_refused
        )
        try:
            for number, (path, signature) in enumerate(found, 1):
                if number % AT_ONCE == 0:
                    self._heartbeat.beat(self._state)
                    if self._stop():
                        return False
                if present is not None:
                    present.add(path)
                if root.sidecars:
                    watched.shots.add(path)
                if known.get(path) == signature or sidecars.get(path) == signature:
                    continue
                if path not in watched.tracker and is_capture(path):
                    new.append((path, signature))
                watched.tracker.seen(path, signature, now)
        except RootGoneError:
            if folder == root.source:
                raise
        if new:
            self.ledger.see(new, root.output, self._clock().wall)
        watched.refused = refused
        return not refused

    # ------------------------------------------------------------ from settled to ready

    def _take_settled(self, watched: _Watched) -> None:
        for path, signature in watched.tracker.settled(self._clock().steady, AT_ONCE):
            if is_capture(path):
                watched.arrived.append((path, signature))
            elif watched.root.sidecars:
                watched.sidecars[path] = signature
                watched.settled_sidecars.append(path)

    def _follow(self) -> None:
        """Have sidecars copied that came after their captures were done; earlier ones go with those."""
        if self._copying is not None:
            watched, future = self._copying
            if not future.done():
                return
            self._copying = None
            for sidecar, refused in future.result():
                if not refused:
                    watched.unreadable.discard(sidecar)
                    continue
                watched.sidecars.pop(sidecar, None)  # the next scan brings it again
                if sidecar not in watched.unreadable:
                    watched.unreadable.add(sidecar)
                    self.report.say("refused", source=str(sidecar), reason=refused)
        for watched in self._watched:
            queue = watched.settled_sidecars
            if queue and not watched.waits:
                some = [queue.popleft() for _ in range(min(len(queue), SIDECARS_AT_ONCE))]
                future = self._copies.submit(self._copy_sidecars, watched.root, watched.shots, some)
                future.add_done_callback(lambda _: self._hints.put(None))
                self._copying = watched, future
                return

    def _copy_sidecars(self, root: Root, shots: ShotIndex, sidecars: list[Path]) -> list[tuple[Path, str]]:
        """Copy these to the outputs of their captures; tells of each why it was refused, if it was."""
        told = []
        for sidecar in sidecars:
            if self._stopping.is_set():
                break
            try:
                self._copy_sidecar(root, shots, sidecar)
                told.append((sidecar, ""))
            except FileError as error:
                told.append((sidecar, error.reason))
            except LedgerError as error:
                told.append((sidecar, str(error)))
            except OSError as error:
                told.append((sidecar, error.strerror or str(error)))
        return told

    def _copy_sidecar(self, root: Root, shots: ShotIndex, sidecar: Path) -> None:
        for capture in shots.captures_of(sidecar):
            job = self.ledger.job_of(capture, root.output)
            if job is None or job.state is not State.DONE or job.output is None:
                continue
            check_output(root.output)
            for copied in copy_sidecars(capture, job.output, [sidecar], self.ledger):
                self.report.say("sidecar", source=str(capture), output=str(copied))

    def _digest(self) -> None:
        """Digest what has settled, not far ahead of what is denoised."""
        for future in [each for each in self._digesting if each.done()]:
            self._settle(future, *self._digesting.pop(future))
        for watched in self._watched:  # each root for itself: one that cannot be written to stops no other
            mine = sum(each is watched for each, _, _ in self._digesting.values())
            while watched.arrived and mine < 2 and not self._is_ahead(watched):
                mine += 1
                path, signature = watched.arrived.popleft()
                future = self._digests.submit(digest_of, path, signature, self._stopping.is_set)
                future.add_done_callback(lambda _: self._hints.put(None))
                self._digesting[future] = (watched, path, signature)

    def _is_ahead(self, watched: _Watched) -> bool:
        root = watched.root
        if watched.waits:
            return True
        most = AHEAD * self.config.jobs
        return self.ledger.due([root.output], self._clock(), source=root.source, most=most) >= most

    def _has_arrived(self) -> bool:
        return bool(self._digesting) or any(each.arrived for each in self._watched if not each.waits)

    def _ready(self) -> list[_Watched]:
        """The roots whose captures and outputs are both to be had."""
        return [each for each in self._watched if not (each.waits or each.gone)]

    def _is_idle(self) -> bool:
        return not (self._running or self._has_arrived())

    def _settle(self, future: Future[str], watched: _Watched, path: Path, signature: Signature) -> None:
        try:
            digest = future.result()
        except SourceChangedError:
            watched.tracker.note(path, self._clock().steady)
            return
        except RawDenoiseError as error:
            # Busy, or not ours to read: as long as it is there, each scan brings it again.
            if path not in watched.unreadable:
                watched.unreadable.add(path)
                self.report.say("refused", source=str(path), reason=reason_of(error, path))
            return
        watched.unreadable.discard(path)
        if digest:
            root = watched.root
            job = self.ledger.settle(path, root.output, signature, digest, root.recipe.digest, self._clock())
            watched.known[path] = signature
            if job.state is State.DONE:
                self.report.say(
                    "known", source=str(path), output=None if job.output is None else str(job.output)
                )

    # ------------------------------------------------------------ jobs

    def _hand_out(self) -> None:
        """Give free workers jobs of one root after the other, beginning after the one that had the last.

        What may be what a process died of is run alone: then a good capture is not under way with a bad one
        each time, and not given up for it.
        """
        if any(job.suspect for job in self._running.values()):
            return
        for watched in [*self._watched[self._next :], *self._watched[: self._next]]:
            root = watched.root
            while len(self._running) < self.config.jobs and self._is_writable(watched):
                alone = not self._running
                job = self.ledger.lease(
                    [root.output], self._clock(), LEASE_S, source=root.source, alone=alone
                )
                if job is Wait.ALONE:
                    return
                if not isinstance(job, Job):
                    break
                self._next = (self._watched.index(watched) + 1) % len(self._watched)
                future = self._files.submit(self._worker.work, job, root, self._network, watched.shots)
                future.add_done_callback(lambda _: self._hints.put(None))
                self._running[future] = job
                if job.suspect:
                    return

    def _is_writable(self, watched: _Watched) -> bool:
        """Whether results can go to a root's output now; tries again when its time has come."""
        if self._clock().steady < watched.waits_until:
            return False
        try:
            prepare_output(watched.root.output, self.ledger)
        except OutputError as error:
            self._wait(watched, error.reason)
            watched.folder_gone = True
            return False
        if watched.waits and watched.folder_gone:
            self._resume(watched)
        return True

    def _wait(self, watched: _Watched, reason: str) -> None:
        if watched.waits != reason:
            self.report.say(
                "waiting", root=str(watched.root.source), output=str(watched.root.output), reason=reason
            )
        watched.waits, watched.waits_until = reason, self._clock().steady + WAIT_S

    def _resume(self, watched: _Watched) -> None:
        watched.waits, watched.folder_gone, watched.round.inspect = "", False, True
        self.report.say("resumed", root=str(watched.root.source), output=str(watched.root.output))

    def _collect(self) -> None:
        for future in [each for each in self._running if each.done()]:
            job = self._running.pop(future)
            verdict = future.result()
            if verdict.event:
                self.report.say(verdict.event, **verdict.fields)
            for watched in self._watched:
                if watched.root.output == job.output_root:
                    self._learn(watched, job, verdict)

    def _learn(self, watched: _Watched, job: Job, verdict: Verdict) -> None:
        """Take what a job has told: sources that changed, outputs that refuse or take again."""
        if verdict.changed is not None and verdict.changed.is_relative_to(watched.root.source):
            watched.known.pop(verdict.changed, None)
            watched.tracker.note(verdict.changed, self._clock().steady)
        for path in verdict.moved:
            watched.known.pop(path, None)
        if verdict.output_refuses:
            self._wait(watched, verdict.output_refuses)
        elif verdict.wrote and watched.waits:
            self._resume(watched)

    # ------------------------------------------------------------ keeping house

    def _housekeeping(self, now: float) -> None:
        if now - self._renewed >= RENEW_S:
            self._renewed = now
            self.ledger.renew(self._clock(), LEASE_S)
        if now - self._reclaimed >= RECLAIM_S or not self._reclaimed:
            self._reclaimed = now
            for watched in self._watched:
                if watched.events is not None and not watched.events.alive():
                    watched.next_scan = now
            for owner in heartbeat_owners(self.config.state):
                if owner != self.ledger.owner and self.ledger.is_dead(owner):
                    forget_heartbeat(self.config.state, owner)
            cleared = self.ledger.get_fact(CLEARED)
            if cleared != self._cleared:
                self._cleared = cleared
                for watched in self._watched:
                    watched.known, watched.next_scan = self._known(watched.root), now
            for job in self.ledger.reclaim(self._clock()):
                if job.output is not None:
                    remove_abandoned(job.output.parent)
                self.report.say("reclaimed", source=_first(job), attempts=job.attempts)

    def _state(self) -> dict[str, object]:
        """What the heartbeat tells."""
        return {
            "roots": [
                {
                    "source": str(each.root.source),
                    "output": str(each.root.output),
                    "files": len(each.known),
                    "settling": len(each.tracker),
                    "mode": "gone" if each.gone else "events" if each.events else "polling",
                    "waiting": each.waits or None,
                }
                for each in self._watched
            ],
            "arrived": sum(len(each.arrived) for each in self._watched) + len(self._digesting),
            "running": [_first(job) for job in self._running.values()],
            "training": self._trainer.camera or None,
        }

    def _drained(self) -> bool:
        """With `once`: whether nothing is left that could be done now."""
        if not self._is_idle() or self._rounds.futures or self._copying is not None:
            return False
        if any(each.round.is_due or each.settled_sidecars for each in self._ready()):
            return False
        now = self._clock().steady
        if any((due := each.tracker.next_due()) is not None and due <= now for each in self._watched):
            return False
        if any(len(each.tracker) > each.tracker.restless for each in self._watched):
            return False
        writable = [each.root for each in self._watched if not each.waits]
        return not any(
            self.ledger.due([root.output], self._clock(), source=root.source, most=1) for root in writable
        )

    def _exit_code(self) -> int:
        if not self.once:
            return 0
        left = self.ledger.left({each.root.output for each in self._watched})
        return int(bool(left) or any(each.gone or each.waits or each.unreadable for each in self._watched))

    def _end(self, pools: tuple[ThreadPoolExecutor, ...]) -> None:
        """Give up what is under way, within seconds, and leave nothing of it."""
        until = time.monotonic() + STOP_S
        self._stopping.set()
        self._trainer.terminate()
        for watched in self._watched:
            self._stop_events(watched)
        under_way: set[Future[Any]] = {*self._running, *self._digesting, *self._rounds.futures}
        if self._copying is not None:
            under_way.add(self._copying[1])
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        _, hanging = wait(under_way, timeout=max(0.0, until - time.monotonic()))
        self.hangs = bool(hanging)
        self._trainer.stop()
        with suppress(LedgerError):  # then they are reclaimed by the next
            self._collect()
            for job in self._running.values():  # hangs in a system call: its output is a temporary file yet
                self.ledger.release(job, self._clock(), "given up when the service stopped")
        self._heartbeat.end()
        self.report.say("stopped")


def _device_of(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def _first(job: Job) -> str:
    return str(job.paths[0]) if job.paths else job.digest[:12]

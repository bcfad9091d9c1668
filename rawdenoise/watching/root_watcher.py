"""One watched folder: what is known of it, and what arrives, by events where there are any and by scans."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from rawdenoise.errors import Stop
from rawdenoise.files.sources import Signature, signature_of
from rawdenoise.formats import raw_suffixes
from rawdenoise.watching.config import Root
from rawdenoise.watching.denoise_worker import JobOutcome
from rawdenoise.watching.events import Events, Hint
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.mounts import find_polling_reason
from rawdenoise.watching.names import BESIDE_SUFFIXES, ShotIndex, is_capture
from rawdenoise.watching.output_folder import OutputFolder
from rawdenoise.watching.scan import RootGoneError, scan
from rawdenoise.watching.stability import StabilityTracker
from rawdenoise.watching.watch_context import ServiceContext

POLL_S = 10.0  # between scans where there are no events
SCAN_REST_FACTOR = 400.0  # times the work of a scan: at least so long until the next, unless it was asked for
GONE_S = 5.0  # between looks for a folder that is not there
FILES_AT_ONCE = 1000  # files that settle in one turn, or are scanned between two looks at the clock


class RootWatcher:
    """Watches one root; all of it is for the watching thread, but for `shots`.

    `known` are the files that have settled and are in the ledger, `arrived` those that have settled and are
    to be digested, `unreadable` those of them that could not be read yet. Likewise the sidecars, of which
    those that are `new_sidecars` are to be copied, if their captures are done.
    """

    def __init__(self, root: Root, context: ServiceContext, on_hint: Callable[[Hint], None] | None) -> None:
        """Begin with what the ledger knows; without `on_hint` nobody hears of events, and there are none."""
        self.root, self._context, self._on_hint = root, context, on_hint
        self.output = OutputFolder(root, context)
        self.tracker, self.shots = StabilityTracker(root.settle_s), ShotIndex()
        self.known = _read_known(context.ledger, root)
        self.arrived: deque[tuple[Path, Signature]] = deque()
        self.unreadable: set[Path] = set()
        self.sidecars: dict[Path, Signature] = {}
        self.new_sidecars: deque[Path] = deque()
        self.next_scan, self.gone = 0.0, False
        self._device: int | None = None  # of the folder, when it was last scanned
        self._refused: set[Path] = set()  # folders, and files that cannot be looked at
        self._events: Events | None = None
        self._polling_reason = ""

    def look_anew(self, now: float) -> None:
        """Scan at once, by what the ledger knows now: files in it were cleared."""
        self.known, self.next_scan = _read_known(self._context.ledger, self.root), now

    # ------------------------------------------------------------ events

    def check_events(self, now: float) -> None:
        """Scan at once where there were events and are no more."""
        if self._events is not None and not self._events.is_alive():
            self.next_scan = now

    def stop_events(self) -> None:
        """Hear of no more events."""
        if self._events is not None:
            self._events.stop()
            self._events = None

    def _start_events(self) -> None:
        root = self.root
        if self._on_hint is None:
            return
        reason = "asked for" if root.poll_s is not None else find_polling_reason(root.source)
        if not reason and root.source.is_dir():
            events = Events(root.source, self._on_hint, recursive=root.recursive)
            reason = events.start()
            if not reason:
                self._events = events
        if reason and reason != self._polling_reason:
            self._report("polling", every_s=self._scan_s, reason=reason)
        self._polling_reason = reason

    def heed(self, hint: Hint, skipped: Collection[Path], interrupt: Stop) -> None:
        """Take one hint to the tracker, unless it is of something that is known to be as it is.

        Nothing arrives in folders that are `skipped`; `interrupt` is as in `scan`.
        """
        path, now = hint.path, self._context.clock().steady
        real = Path(os.path.realpath(path.parent), path.name)
        if any(real.is_relative_to(folder) for folder in skipped):
            return
        if hint.gone:
            self.shots.discard(path)
            self.tracker.forget(path)
            self.known.pop(path, None)
            if is_capture(path):
                self._context.ledger.files.forget([path], self.root.output)
        elif hint.folder:
            self._scan_part(path, skipped, interrupt)
        elif is_capture(path) or (self.root.sidecars and path.suffix.lower() in BESIDE_SUFFIXES):
            self.shots.add(path)
            if hint.moved_in:
                self.tracker.note_move(path, now)
            elif signature_of(path) not in (None, self.known.get(path)):
                self.tracker.note(path, now)

    # ------------------------------------------------------------ scans

    @property
    def _scan_s(self) -> float:
        if self.root.poll_s is not None:
            return self.root.poll_s
        return self.root.rescan_s if self._events is not None else min(POLL_S, self.root.rescan_s)

    def scan(self, skipped: Collection[Path], interrupt: Stop) -> None:
        """Compare the whole root with what is known of it; nothing is looked for in folders `skipped`.

        `interrupt` is asked now and then whether to give the scan up.
        """
        root, began = self.root, time.thread_time()
        if self._events is not None and not self._events.is_alive():
            self.stop_events()
        if self._events is None:
            self._start_events()  # before the scan: what arrives after it has events
        present: set[Path] = set()
        shots, self.shots = self.shots, ShotIndex()  # made anew: what is gone drops out
        try:
            whole = self._scan_part(root.source, skipped, interrupt, present)
        except RootGoneError as error:
            self.shots = shots
            self._wait_for_folder(str(error))
            return
        if interrupt():
            return
        device = _device_of(root.source)
        if not present and self.known and device != self._device and self._device is not None:
            self._wait_for_folder(f"{root.source}: is empty, and another disk than before (not mounted?)")
            return
        self._device = device
        if self.gone:
            self.gone = False
            self._report("resumed", reason="the folder is there again")
        if whole:
            self._forget_all_but(present)
        cost = 0.0 if root.poll_s is not None else SCAN_REST_FACTOR * (time.thread_time() - began)
        self.next_scan = self._context.clock().steady + max(self._scan_s, cost)
        self.output.round.inspect = True

    def _scan_part(
        self, folder: Path, skipped: Collection[Path], interrupt: Stop, present: set[Path] | None = None
    ) -> bool:
        """Take what lies under a folder to the tracker; false if a part of it refused to be read."""
        root, refused, new = self.root, set[Path](), list[tuple[Path, Signature]]()

        def on_refused(path: Path, error: OSError) -> None:
            refused.add(path)
            if path not in self._refused:
                self._context.report.say("refused", source=str(path), reason=error.strerror or str(error))

        suffixes = raw_suffixes() | BESIDE_SUFFIXES if root.sidecars else raw_suffixes()
        now, known, sidecars = self._context.clock().steady, self.known, self.sidecars
        files = scan(folder, skip=skipped, recursive=root.recursive, suffixes=suffixes, on_refused=on_refused)
        try:
            for number, (path, signature) in enumerate(files, 1):
                if number % FILES_AT_ONCE == 0 and interrupt():
                    return False
                if present is not None:
                    present.add(path)
                if root.sidecars:
                    self.shots.add(path)
                if known.get(path) == signature or sidecars.get(path) == signature:
                    continue
                if path not in self.tracker and is_capture(path):
                    new.append((path, signature))
                self.tracker.note_scan(path, signature, now)
        except RootGoneError:
            if folder == root.source:
                raise
        if new:
            self._context.ledger.files.see(new, root.output, self._context.clock().wall)
        self._refused = refused
        return not refused

    def _forget_all_but(self, present: Collection[Path]) -> None:
        root, files = self.root, self._context.ledger.files
        listed = [*self.known, *(path for path, _ in files.list_unsettled(output_root=root.output))]
        vanished = [path for path in listed if path not in present and path.is_relative_to(root.source)]
        if vanished:
            files.forget(vanished, root.output)
        for path in vanished:
            self.known.pop(path, None)

    def _wait_for_folder(self, reason: str) -> None:
        """Look again soon: it is not known what the folder holds, so nothing is forgotten."""
        if not self.gone:
            self._report("waiting", reason=reason)
        self.stop_events()
        self.gone, self.next_scan = True, self._context.clock().steady + GONE_S

    def describe(self) -> dict[str, object]:
        """What a heartbeat tells of it."""
        return {
            "source": str(self.root.source),
            "output": str(self.root.output),
            "files": len(self.known),
            "settling": len(self.tracker),
            "mode": "gone" if self.gone else "events" if self._events else "polling",
            "waiting": self.output.waiting or None,
        }

    # ------------------------------------------------------------ what has settled

    def take_settled(self) -> None:
        """Take from the tracker what has been left alone for long enough."""
        for path, signature in self.tracker.take_settled(self._context.clock().steady, FILES_AT_ONCE):
            if is_capture(path):
                self.arrived.append((path, signature))
            elif self.root.sidecars:
                self.sidecars[path] = signature
                self.new_sidecars.append(path)

    def learn(self, outcome: JobOutcome) -> None:
        """Take what a job has told: sources that changed, outputs that refuse or take again."""
        if outcome.changed is not None and outcome.changed.is_relative_to(self.root.source):
            self.known.pop(outcome.changed, None)
            self.tracker.note(outcome.changed, self._context.clock().steady)
        for path in outcome.moved:
            self.known.pop(path, None)
        if outcome.output_refuses:
            self.output.wait(outcome.output_refuses)
        elif outcome.wrote and self.output.waiting:
            self.output.resume()

    def _report(self, event: str, **fields: object) -> None:
        self._context.report.say(event, root=str(self.root.source), **fields)


def _read_known(ledger: Ledger, root: Root) -> dict[Path, Signature]:
    settled = ledger.files.list_settled(root.output)
    return {path: signature for path, signature in settled if path.is_relative_to(root.source)}


def _device_of(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None

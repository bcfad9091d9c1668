"""One job, all the way: read, denoised, written, and told to the ledger whatever becomes of it."""

from __future__ import annotations

import errno
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rawdenoise.app.batch import Steps, explain_failure, make_steps, run_file, sign
from rawdenoise.app.denoise import choose_denoisers
from rawdenoise.app.planning import MADE_BY_US, FileJob
from rawdenoise.app.results import FileResult, Status
from rawdenoise.app.stores import Stores
from rawdenoise.atomic import write_bytes
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import (
    DirectoryError,
    DiskFullError,
    FileError,
    LayoutError,
    NotFoundError,
    OutputError,
    OutputExistsError,
    RawDenoiseError,
    Stop,
    Stopped,
    UnsupportedRawError,
    VerificationError,
)
from rawdenoise.files.names import path_below
from rawdenoise.files.outputs import is_made_by_us
from rawdenoise.files.sources import Signature, SourceChangedError, check_unchanged, signature_of
from rawdenoise.formats.writers import find_writer
from rawdenoise.isolation.isolated_reader import shared_reader
from rawdenoise.models.bundled import is_bundled, load_bundled
from rawdenoise.pipeline import Denoised, write
from rawdenoise.recipe import Recipe
from rawdenoise.watching.clocks import Clock, is_within, now
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.failed import move_failed
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.database import LedgerBrokenError, LedgerError
from rawdenoise.watching.ledger.records import JobResult, QueuedJob
from rawdenoise.watching.names import ShotIndex
from rawdenoise.watching.output_conditions import digest_pixels, take_fingerprint
from rawdenoise.watching.output_mark import check_output
from rawdenoise.watching.output_places import Place, choose_place, list_output_names, put_ending
from rawdenoise.watching.sidecar_copies import copy_sidecars

log = logging.getLogger(__name__)

RETRY_S, LONGEST_RETRY_S = 10.0, 600.0
ENVIRONMENT_S = 300.0  # until a missing model or device is looked for again
OUTPUT_S = 30.0
YOUNG_S = 60.0  # a file of an unknown kind that was written to since may be one that is not whole
CHANGED_S = 10.0  # in which a source that has changed should have arrived anew
LEDGER_S = 2.0

# What the same content will never be: it is not tried again.
HOPELESS_ERRORS = (UnsupportedRawError, LayoutError, DirectoryError)


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What the watching thread is to know of a job that has ended: what to report, and what follows.

    `changed` is a source that is not as it was when it settled, `moved` are those that were moved away;
    `output_refuses` says why nothing can be written at present.
    """

    event: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    changed: Path | None = None
    moved: tuple[Path, ...] = ()
    output_refuses: str = ""
    wrote: bool = False


@dataclass(slots=True)
class _Pixels:
    """Digests of the mosaics of one job."""

    read: str = ""
    written: str = ""


class Worker:
    """Does jobs; called from several threads."""

    def __init__(
        self, config: WatchConfig, stores: Stores, ledger: Ledger, stopped: Stop, clock: Clock = now
    ) -> None:
        self._config, self._ledger, self._stopped, self._clock = config, ledger, stopped, clock
        self._stores = stores
        self._steps: dict[tuple[Recipe, int], Steps] = {}

    def redo(self, root: Root) -> int:
        """Make due again what another recipe or an older model has done; tells how many."""
        recipe = root.recipe
        cards = [] if recipe.model or recipe.method else self._stores.models.cards()
        newest = {(card.camera.name, card.camera.mode): card.id for card in reversed(cards)}
        own = {name: {id for (of, _), id in newest.items() if of == name} for name, _ in newest}
        base = {load_bundled(recipe.bundled).card.id}

        def is_current(job: QueuedJob) -> bool:
            is_any_right = bool(recipe.model or recipe.method) or recipe.takes_nothing
            return is_any_right or job.model_id in own.get(job.camera, base)

        return self._ledger.requests.redo(root.output, recipe.digest, self._clock(), is_current)

    def work(self, job: QueuedJob, root: Root, network: Executor, shots: ShotIndex) -> JobOutcome:
        """Do a job that was leased, and tell the ledger; `shots` knows the sidecars of captures."""
        try:
            return self._work(job, root, network, shots)
        except Stopped:
            self._tell(lambda: self._ledger.jobs.release(job, self._clock(), "the service stopped"))
            return JobOutcome()
        except Exception as error:  # a bug, or a disk that fails where nobody expects it: the service goes on
            log.debug("job %s failed", job.id, exc_info=True)
            source = job.paths[0] if job.paths else Path(job.digest)
            return self._judge_error(job, root, source, error)

    def _work(self, job: QueuedJob, root: Root, network: Executor, shots: ShotIndex) -> JobOutcome:
        if not job.paths:
            self._tell(lambda: self._ledger.jobs.release(job, self._clock()))  # which drops it
            return JobOutcome()
        if job.crashes >= root.attempts:
            reason = f"the process died at it {job.crashes} times, with nothing else under way"
            return self._give_up(job, root, job.paths[0], reason)
        files = [file for file in self._ledger.files.find_files(job) if file[0].is_relative_to(root.source)]
        unchanged = (file for file in files if signature_of(file[0]) == file[1])
        source, signature = next(unchanged, (None, None))
        if source is None or signature is None:
            return self._leave_to_arrive(job)
        if is_made_by_us(source):
            nothing = JobResult(output=None, reason=MADE_BY_US)
            self._tell(lambda: self._ledger.jobs.finish(job, self._clock(), nothing))
            return JobOutcome("skipped", {"source": str(source), "reason": MADE_BY_US})
        recipe, steps = root.recipe, self._steps_for(root)
        names = list_output_names(
            root.output / path_below(source, root.source), find_writer(recipe.format).suffix
        )
        place = choose_place(
            job,
            source,
            names,
            self._ledger,
            recipe.digest,
            lambda path: digest_pixels(steps.read(path, self._stopped)),
        )
        if place.made is not None:
            return self._accept_existing(job, root, source, place, shots)
        pixels = _Pixels()
        guarded = self._guard(steps, job, root, signature, place, pixels)
        result = run_file(FileJob(source, place.output), guarded, network, self._stopped)
        if result is None:
            self._tell(lambda: self._ledger.jobs.release(job, self._clock(), "the service stopped"))
            return JobOutcome()
        if result.status is Status.FAILED:
            error = result.error or RawDenoiseError(result.reason)
            return self._judge_error(job, root, source, error)
        return self._finish(job, root, result, place, shots, pixels)

    # ------------------------------------------------------------ before

    def _leave_to_arrive(self, job: QueuedJob) -> JobOutcome:
        """Nothing is left of this content; what stands there now arrives anew, and drops the job."""
        now = {path: signature_of(path) for path in job.paths}
        gone = [path for path, signature in now.items() if signature is None]
        changed = next((path for path, signature in now.items() if signature is not None), None)
        reason = "the source is gone or has changed"
        self._tell(lambda: self._ledger.jobs.release(job, self._clock(), reason, due_in_s=CHANGED_S))
        self._tell(lambda: self._ledger.files.forget(gone, job.output_root, of=job))
        return JobOutcome(
            "vanished" if changed is None else "", {"source": str(job.paths[0])}, changed=changed
        )

    def _steps_for(self, root: Root) -> Steps:
        recipe = root.recipe
        key = recipe, _time_of_change(self._stores.models.folder)
        steps = self._steps.get(key)
        if steps is None:
            stores, device = self._stores, self._config.device
            models = choose_denoisers(recipe, stores.models, device=device)
            read = shared_reader().read
            steps = make_steps(recipe, models, profiles=stores.profiles, device=device, read=read)
            self._steps = {made_for: kept for made_for, kept in self._steps.items() if made_for[0] != recipe}
            self._steps[key] = steps
        return steps

    def _guard(
        self, steps: Steps, job: QueuedJob, root: Root, signature: Signature, place: Place, pixels: _Pixels
    ) -> Steps:
        """Never write what was read of a file while it changed; say of what an output was made.

        `pixels` takes the digests of what was read and written.
        """
        recipe = root.recipe

        def read(path: Path, stopped: Stop) -> RawImage:
            try:
                raw = steps.read(path, stopped)
            except FileError:
                check_unchanged(path, signature)  # that may be the reason
                raise
            check_unchanged(path, signature)
            pixels.read = digest_pixels(raw)
            return raw

        def write_one(denoised: Denoised, output: Path) -> Path:
            check_unchanged(denoised.image.source, signature)
            pixels.written = digest_pixels(denoised.image)
            check_output(root.output)
            written = write(
                sign(denoised, job.digest, recipe.digest),
                output,
                format=recipe.format,
                replace=place.replace,
            )
            try:
                check_output(root.output)
            except OutputError:  # the disk went away meanwhile, and it was written where that is mounted
                output.unlink(missing_ok=True)
                raise
            return written

        return replace(steps, read=read, write=write_one)

    # ------------------------------------------------------------ after

    def _accept_existing(
        self, job: QueuedJob, root: Root, source: Path, place: Place, shots: ShotIndex
    ) -> JobOutcome:
        """It was done before the ledger could be told, or by a watcher whose ledger is lost."""
        copied = self._copy_sidecars(root, source, place.output, shots)
        model_id = "" if place.made is None else place.made.model_id
        self._tell(
            lambda: self._ledger.jobs.finish(
                job, self._clock(),
                JobResult(place.output, place.present, model_id=model_id, reason="its output was there"),
            )
        )  # fmt: skip
        return JobOutcome("found", {"source": str(source), "output": str(place.output), **copied})

    def _finish(
        self, job: QueuedJob, root: Root, result: FileResult, place: Place, shots: ShotIndex, pixels: _Pixels
    ) -> JobOutcome:
        copied, written = {}, None
        if result.output is not None:
            with suppress(OSError):  # then the next look at it notes how it is
                present = take_fingerprint(result.output)
                written = present and replace(present, pixels=pixels.written)
            copied = self._copy_sidecars(root, result.source, result.output, shots)
        untold = result.quality is None or not result.quality.told or result.left
        gain = None if untold or result.quality is None else round(result.quality.gain_db, 2)
        kept = self._tell(
            lambda: self._ledger.jobs.finish(
                job, self._clock(),
                JobResult(
                    result.output, written, result.camera, result.model_id, gain, pixels.read, result.reason
                ),
            )
        )  # fmt: skip
        fields = {
            "source": str(result.source),
            "output": None if result.output is None else str(result.output),
            "camera": result.camera,
            "model": result.model_id,
            "bundled": is_bundled(result.model_id),
            "gain_db": gain,
            "left": result.left,
            "seconds": round(result.read_s + result.network_s + result.write_s, 3),
            "notes": [
                *((f"left as it was: {result.left}",) if result.left else ()),
                *result.notes,
                *([] if place.beside is None else [f"{place.beside} is another capture's, and stays"]),
                *(flag.words for flag in (result.quality.flags if result.quality else ())),
            ],
            **copied,
        }
        if result.status is Status.SKIPPED:
            return JobOutcome("skipped", {**fields, "reason": result.reason})
        return JobOutcome("done" if kept else "late", fields, wrote=True)

    def _copy_sidecars(self, root: Root, source: Path, output: Path, shots: ShotIndex) -> dict[str, Any]:
        """Copy them, and say so; a sidecar that cannot be copied does not undo its picture."""
        if not root.sidecars:
            return {}
        try:
            check_output(root.output)
            copied = copy_sidecars(source, output, shots.find_sidecars(source), self._ledger)
            return {"sidecars": [str(path) for path in copied]}
        except RawDenoiseError as error:
            return {"sidecars_refused": str(error)}

    def _judge_error(self, job: QueuedJob, root: Root, source: Path, error: Exception) -> JobOutcome:
        """Tell trouble with the file from trouble with the place it should go to, or with the machine."""
        reason, fields = explain_failure(error, source), {"source": str(source)}
        if isinstance(error, SourceChangedError | NotFoundError):
            return self._leave_to_arrive(job)
        if isinstance(error, OutputExistsError):
            self._tell(lambda: self._ledger.jobs.release(job, self._clock(), reason))
            return JobOutcome()
        if _is_of_its_name(error):
            return self._give_up(job, root, source, reason, move=False)
        if isinstance(error, OutputError) and not isinstance(error, VerificationError):
            wait_s = 1.0 if isinstance(error, DiskFullError) else OUTPUT_S
            self._tell(lambda: self._ledger.jobs.release(job, self._clock(), reason, due_in_s=wait_s))
            return JobOutcome(output_refuses=error.reason)
        if isinstance(error, RawDenoiseError) and error.exit_code == 3:
            self._tell(lambda: self._ledger.jobs.release(job, self._clock(), reason, due_in_s=ENVIRONMENT_S))
            return JobOutcome("waiting", {**fields, "reason": reason})
        if job.attempts >= root.attempts or (isinstance(error, HOPELESS_ERRORS) and self._is_old(source)):
            return self._give_up(job, root, source, reason)
        wait_s = min(RETRY_S * 2 ** (job.attempts - 1), LONGEST_RETRY_S)
        self._tell(lambda: self._ledger.jobs.fail(job, self._clock(), reason, retry_in_s=wait_s))
        return JobOutcome(
            "failed", {**fields, "reason": reason, "attempts": job.attempts, "again_in_s": wait_s}
        )

    def _give_up(
        self, job: QueuedJob, root: Root, source: Path, reason: str, *, move: bool = True
    ) -> JobOutcome:
        """Give a file up, say why beside the ledger, and move it away where that is wanted."""
        why: dict[str, object] = {
            "source": str(source), "sha256": job.digest, "reason": reason, "attempts": job.attempts,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        # By the content: what a ledger that was lost has given up stays.
        note = self._config.state / "quarantine" / put_ending(f"{job.digest[:12]}-{source.name}", ".json")
        moved: tuple[Path, ...] = ()
        try:
            write_bytes(note, json.dumps(why, indent=2).encode() + b"\n")
            settled = dict(self._tell(lambda: self._ledger.files.find_files(job))).get(source)
            if root.failed_dir is not None and move and signature_of(source) == settled:
                why["moved_to"] = str(move_failed(source, settled, root.failed_dir, why))
                moved = (source,)
        except OutputError as error:
            why["not_moved"] = str(error)
        self._tell(lambda: self._ledger.jobs.fail(job, self._clock(), reason, retry_in_s=None))
        return JobOutcome("quarantined", why, moved=moved)

    def _is_old(self, source: Path) -> bool:
        """Whether nobody can still be writing to a file; a time in the future is another clock's."""
        signature = signature_of(source)
        return signature is None or not is_within(signature.mtime_ns / 1e9, self._clock().wall, YOUNG_S)

    def _tell(self, call: Callable[[], Any]) -> Any:
        """Tell the ledger; as long as its disk is full, say it again."""
        while True:
            try:
                return call()
            except LedgerError as error:
                if self._stopped() or isinstance(error, LedgerBrokenError):
                    raise
                time.sleep(LEDGER_S)


def _is_of_its_name(error: Exception) -> bool:
    """Whether an output cannot be written because of what it is called, wherever that is."""
    cause = error.__cause__
    names = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EILSEQ, errno.EINVAL)
    return isinstance(error, OutputError) and isinstance(cause, OSError) and cause.errno in names


def _time_of_change(store: Path) -> int:
    """When a model was last added or removed, in ns."""
    try:
        return store.stat().st_mtime_ns
    except OSError:
        return 0

"""What the service says: one line an event, for people or, as JSON, for machines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

Say = Callable[[str], None]


@runtime_checkable
class Report(Protocol):
    """Takes events by name, with what belongs to them; called from several threads."""

    def say(self, event: str, **fields: Any) -> None:
        """Report an event."""


class JsonReport:
    """One JSON object a line: `time` (UTC), `event`, and the event's own fields."""

    def __init__(self, line: Say) -> None:
        self._line, self._lock = line, threading.Lock()

    def say(self, event: str, **fields: Any) -> None:
        """Report an event."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._lock, suppress(OSError):  # a log that cannot be written stops no work
            self._line(json.dumps({"time": stamp, "event": event, **fields}))


class PlainReport:
    """A line a person can read."""

    def __init__(self, line: Say, spell: Callable[[str], str]) -> None:
        self._line, self._spell, self._lock = line, spell, threading.Lock()

    def say(self, event: str, **fields: Any) -> None:
        """Report an event."""
        with self._lock, suppress(OSError):
            self._line(f"{time.strftime('%H:%M:%S')} {self._spell(describe_event(event, fields))}")


def describe_event(event: str, fields: dict[str, Any]) -> str:
    """Say an event as a person would."""
    source, output, reason = (fields.get(name) for name in ("source", "output", "reason"))
    root = fields.get("root")
    match event:
        case "started":
            return f"watching {', '.join(fields['roots'])}"
        case "done" | "late":
            gain = "" if fields["gain_db"] is None else f"{fields['gain_db']:+.1f} dB, "
            refused = [fields["sidecars_refused"]] if "sidecars_refused" in fields else []
            notes = "".join(f"; note: {note}" for note in (*fields["notes"], *refused))
            by = "bundled model" if fields["bundled"] else fields["model"] or "no model"
            return f"{source} -> {output} ({gain}{fields['seconds']:.1f} s, {by}){notes}"
        case "found":
            return f"{source} -> {output} (was done already)"
        case "lost":
            return f"{output}: {reason}; it is made again"
        case "failed":
            return f"{source}: failed: {reason}; again in {fields['again_in_s']:.0f} s"
        case "quarantined":
            where = f"; moved to {fields['moved_to']}" if "moved_to" in fields else ""
            where += f"; not moved: {fields['not_moved']}" if "not_moved" in fields else ""
            tries = "" if fields["attempts"] == 1 else f" after {fields['attempts']} attempts"
            return f"{source}: given up{tries}: {reason}{where}"
        case "waiting":
            subject = output or root or source  # none where it is the ledger's disk
            return f"{subject}: waiting: {reason}" if subject else f"waiting: {reason}"
        case "resumed":
            return f"{output or root}: going on"
        case "polling":
            return f"{root}: no events ({reason}): scanned every {fields['every_s']:g} s"
        case "training":
            return f"{fields['camera']}: training its own model on {fields['captures']} captures"
        case "trained":
            return f"{fields['camera']}: {fields['result']}"
        case _:
            subject = source or root or ", ".join(fields.get("roots", ()))
            rest = reason or output or ""
            return ": ".join(str(part) for part in (subject, event, rest) if part)

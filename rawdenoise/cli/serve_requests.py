"""What `rawdenoise serve` is asked: lines that come in pieces, and what they say."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LONGEST_LINE = 1 << 20  # bytes of a request

Id = str | int


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be done; `arguments` is what stands after `rawdenoise`."""

    id: Id
    arguments: tuple[str, ...]


class RequestError(ValueError):
    """A line is no request; `id` is that of the request it was to be, if it says one."""

    def __init__(self, reason: str, id: Id | None = None) -> None:
        super().__init__(reason)
        self.id = id


def parse_request(line: bytes | None) -> Request | Id:
    """Read a line: a request, or the id of one that is to be cancelled. None is a line that was too long.

    Raises:
        RequestError: it is neither.
    """
    if line is None:
        raise RequestError(f"a line of more than {LONGEST_LINE} bytes was left out")
    try:
        fields = json.loads(line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"a line is no JSON ({error})") from None
    if not isinstance(fields, dict):
        raise RequestError("a line is no JSON object")
    id = fields.get("cancel", fields.get("id"))
    if not isinstance(id, Id) or isinstance(id, bool):
        raise RequestError("a request has no id, a string or a whole number")
    if "cancel" in fields:
        return id
    arguments = fields.get("arguments")
    if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
        raise RequestError('"arguments" is no list of strings', id)
    if not all(map(_is_word, arguments)):
        raise RequestError('"arguments" have what no command line can hold: a NUL, or half a character', id)
    return Request(id, tuple(arguments))


def _is_word(text: str) -> bool:
    """Whether a system could hand a text on to a program."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def read_lines(read: Callable[[], bytes], longest: int) -> Iterator[bytes | None]:
    """Give the lines that `read` brings, without blank ones; None for one that is too long to be kept."""
    begun, is_skipping = bytearray(), False
    while piece := _read_or_end(read):
        *ended, rest = piece.split(b"\n")
        for end in ended:
            line = bytes(begun) + end
            begun.clear()
            if is_skipping or len(line) > longest:
                yield None
            elif line.strip():
                yield line
            is_skipping = False
        begun += b"" if is_skipping else rest
        if len(begun) > longest:
            begun.clear()
            is_skipping = True
    if begun.strip():
        yield bytes(begun)


def _read_or_end(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError:
        return b""

"""Ways in which a file can be damaged or made by a stranger, drawn at random."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from numpy.random import Generator

WHOLE = (
    *(0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000),
    *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
)
TIFF_TYPES = (*range(19), 129, 255, 65535)
DOUBLES = (float("nan"), float("inf"), -1.0, -0.0, 1e308, 1e-320)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, *DOUBLES),
    *("", "x", "\0", "\ud800", "9" * 400, "../.."),
    *([], [[]], [0], [None] * 4, [1e308] * 4, {}, {"": {}}, {"iso": 1}),
)
ODD_TOKENS = (
    *("nan", "inf", "-inf", "1e400", "-1", "0", "0.0", "-0.0", "9" * 400, "0x7fffffffffffffff", "true"),
    *("[[]]", "1979-05-27", "1979-13-99", "07:32:00", "1979-05-27T07:32:00Z"),
    *("'\\0'", '"\\u0000"', '"\\ud800"'),
    *('"""', "[" * 300, "]" * 9, "a.b.c", "= =", "\n[iso.1]\n", "\n[[root]]\n", "\0", "\ufeff", "#", '""'),
)

Mutation = Callable[[bytes, Generator], bytes]


def one_of(options: Sequence[Any], rng: Generator) -> Any:
    """Draw one, of whatever types they are."""
    return options[int(rng.integers(len(options)))]


def of_bytes(data: bytes, rng: Generator) -> bytes:
    """Damage some bytes: flip, overwrite, cut, double, move, empty; mostly near the beginning."""
    changed = bytearray(data)
    for _ in range(int(rng.geometric(0.5))):
        if not changed:
            return b""
        reach = len(changed) if rng.random() < 0.5 else min(len(changed), 600)
        at, length = int(rng.integers(reach)), int(rng.geometric(0.05))
        match int(rng.integers(8)):
            case 0:
                changed[at] ^= 1 << int(rng.integers(8))
            case 1:
                changed[at] = int(rng.integers(256))
            case 2 | 3:
                width = one_of((1, 2, 4, 8), rng)
                order = one_of(("little", "big"), rng)
                value = one_of(WHOLE, rng) % (1 << 8 * width)
                changed[at : at + width] = value.to_bytes(width, order)
            case 4:
                del changed[int(rng.integers(len(changed))) if rng.random() < 0.3 else at :]
            case 5:
                del changed[at : at + length]
            case 6:
                changed[at:at] = changed[at : at + length]
            case 7:
                changed[at : at + length] = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    return bytes(changed)


def of_tiff(data: bytes, rng: Generator) -> bytes:
    """Give one entry or more of a TIFF's directories another code, type, count or value."""
    changed = bytearray(data)
    entries = _tiff_entries(data)
    if not entries:
        return of_bytes(data, rng)
    order = "<" if data[:2] == b"II" else ">"
    for _ in range(int(rng.geometric(0.6))):
        at = one_of(entries, rng)
        match int(rng.integers(6)):
            case 0:
                struct.pack_into(order + "H", changed, at + 2, one_of(TIFF_TYPES, rng))
            case 1:
                struct.pack_into(order + "I", changed, at + 4, one_of(WHOLE, rng))
            case 2:
                struct.pack_into(order + "I", changed, at + 8, one_of((*WHOLE, *entries, 8), rng))
            case 3:
                code = int(struct.unpack_from(order + "H", data, one_of(entries, rng))[0])
                struct.pack_into(order + "H", changed, at, code)
            case 4:
                where = int(struct.unpack_from(order + "I", changed, at + 8)[0])
                if where + 8 <= len(changed):
                    value = one_of(DOUBLES, rng) if rng.random() < 0.5 else 0.0
                    struct.pack_into(order + "d", changed, where, value)
            case 5:
                kind, count = one_of(((5, 1), (10, 1), (12, 1), (11, 1), (3, 3), (4, 2), (16, 1)), rng)
                struct.pack_into(order + "HI", changed, at + 2, kind, count)
    return bytes(changed)


def _tiff_entries(data: bytes) -> list[int]:
    """Where the entries of a classic TIFF's directories stand, those of SubIFDs, EXIF and GPS included."""
    if data[:2] not in (b"II", b"MM") or len(data) < 8:
        return []
    order = "<" if data[:2] == b"II" else ">"
    waiting, seen, entries = [struct.unpack_from(order + "I", data, 4)[0]], set[int](), list[int]()
    while waiting and len(seen) < 20:
        start = waiting.pop()
        if start in seen or start + 2 > len(data):
            continue
        seen.add(start)
        (count,) = struct.unpack_from(order + "H", data, start)
        for at in range(start + 2, min(start + 2 + 12 * count, len(data) - 16), 12):
            code, _, parts, value = struct.unpack_from(order + "HHII", data, at)
            entries.append(at)
            if code in (330, 34665, 34853, 40965):
                several = parts > 1 and value + 4 < len(data)
                waiting.append(struct.unpack_from(order + "I", data, value)[0] if several else value)
    return entries


def of_json(data: bytes, rng: Generator) -> bytes:
    """Put an odd value somewhere into a JSON document, or leave something out."""
    document = json.loads(data)
    for _ in range(int(rng.geometric(0.7))):
        places = list(_places(document))
        if not places:
            break
        holder, key = one_of(places, rng)
        if rng.random() < 0.2:
            del holder[key]
        elif isinstance(holder, dict) and rng.random() < 0.1:
            holder[one_of(("", "extra", "run", "id"), rng)] = holder.pop(key)
        else:
            holder[key] = one_of(ODD_VALUES, rng)
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def of_words(data: bytes, rng: Generator) -> bytes:
    """Put odd words into a text, in place of others, or between them; TOML's for one."""
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(int(rng.geometric(0.6))):
        words = [match.span() for match in re.finditer(r'"[^"\n]*"|[\w.+-]+|[\[\]{}=,\n]', text)]
        if not words:
            break
        start, end = one_of(words, rng)
        match int(rng.integers(4)):
            case 0 | 1:
                text = text[:start] + one_of(ODD_TOKENS, rng) + text[end:]
            case 2:
                text = text[:start] + text[end:]
            case 3:
                other = one_of(words, rng)
                text = text[:start] + text[other[0] : other[1]] + text[start:]
    return text.encode("utf-8", "surrogateescape")

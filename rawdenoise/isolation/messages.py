"""How a process that decodes strangers' bytes answers: JSON and a file of plain bytes, nothing pickled.

Records are the frozen ones of `rawdenoise.capture.raw` and the layout of plain mosaics, by name and field;
bytes and arrays lie in a file that both processes hold, and the JSON tells where.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum, IntEnum
from io import RawIOBase
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import rawdenoise.capture.raw
from rawdenoise.formats.headerless import PlainLayout

_KINDS = [kind for kind in (*vars(rawdenoise.capture.raw).values(), PlainLayout) if isinstance(kind, type)]
RECORDS = MappingProxyType({kind.__name__: kind for kind in _KINDS if is_dataclass(kind)})
ENUMS = MappingProxyType({kind.__name__: kind for kind in _KINDS if issubclass(kind, Enum)})
ARRAY_KINDS = "biuf"


def encode_message(value: object, file: RawIOBase) -> bytes:
    """Put a value into words; its bytes and arrays are written to the file, from its beginning.

    Raises:
        TypeError: it holds something else than records, numbers, texts, bytes, arrays, paths and mappings.
    """
    file.seek(0)
    return json.dumps(_encode(value, file)).encode()


def decode_message(words: bytes, file: RawIOBase) -> Any:
    """Give the value that `encode_message` put into words.

    Raises:
        ValueError: they are no such words, or tell of more bytes than the file has. Other exceptions come
            of values that their records refuse.
    """
    size = file.seek(0, os.SEEK_END)

    def read(place: object, into: Callable[[int], Any]) -> Any:
        match place:
            case [int(start), int(length)] if 0 <= start <= start + length <= size:
                buffer = into(length)
            case _:
                raise ValueError("an answer that tells of more than its file has")
        view, done = memoryview(buffer).cast("B"), 0
        file.seek(start)
        while done < length and (count := file.readinto(view[done:])):
            done += count
        if done < length:
            raise ValueError("the file of the answer is too short")
        return buffer

    return _decode(json.loads(words), read)


def _encode(value: object, file: RawIOBase) -> Any:
    match value:
        case Enum() if type(value).__name__ in ENUMS:
            return {"enum": type(value).__name__, "value": value.value}
        case IntEnum():  # tags by their names
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return _encode(value.item(), file)
        case bytes():
            return {"bytes": _write(value, file)}
        case np.ndarray():
            if value.dtype.kind not in ARRAY_KINDS:
                raise TypeError(f"an array of {value.dtype} cannot be told")
            place = _write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data, file)
            return {"array": place, "dtype": value.dtype.str, "shape": list(value.shape)}
        case Path():
            return {"path": base64.b64encode(os.fsencode(value)).decode()}
        case tuple() | list():
            return [_encode(item, file) for item in value]
        case Mapping():
            return {"map": [[_encode(key, file), _encode(item, file)] for key, item in value.items()]}
    if type(value).__name__ in RECORDS and is_dataclass(value):
        encoded = {entry.name: _encode(getattr(value, entry.name), file) for entry in fields(value)}
        return {"record": type(value).__name__, "fields": encoded}
    raise TypeError(f"a {type(value).__name__} cannot be told")


def _write(data: bytes | memoryview, file: RawIOBase) -> list[int]:
    """Write bytes where the file stands; returns where that was, and how many they are."""
    start, view, done = file.tell(), memoryview(data), 0
    while done < len(view):
        done += file.write(view[done:]) or 0
    return [start, done]


def _decode(parsed: Any, read: Callable[[object, Callable[[int], Any]], Any]) -> Any:
    match parsed:
        case list():
            return tuple(_decode(item, read) for item in parsed)
        case {"enum": name, "value": value}:
            return ENUMS[name](value)
        case {"bytes": place}:
            return bytes(read(place, bytearray))
        case {"array": place, "dtype": str(dtype), "shape": list(shape)}:
            kind = np.dtype(dtype)
            if kind.kind not in ARRAY_KINDS or prod(shape) * kind.itemsize != place[1]:
                raise ValueError("an array of another size")
            # Read into the array itself: a mosaic is copied once.
            return read(place, lambda length: np.empty(length, np.uint8)).view(kind).reshape(shape)
        case {"path": str(name)}:
            return Path(os.fsdecode(base64.b64decode(name)))
        case {"map": list(pairs)}:
            return {_decode(key, read): _decode(item, read) for key, item in pairs}
        case {"record": str(name), "fields": dict(known)}:
            return RECORDS[name](**{key: _decode(item, read) for key, item in known.items()})
        case dict():
            raise ValueError("words of an unknown kind")
    return parsed

"""A command's words as each format spells them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from enum import StrEnum
from xml.sax.saxutils import escape

Words = Sequence[str]


class Spelling(StrEnum):
    """A format that a command is written in."""

    SHELL = "sh"
    DESKTOP = "desktop entry"
    KEY_FILE = "key file"
    KEY_FILE_WINDOWS = "key file, Windows"
    BATCH = "cmd"
    PLIST = "sh in XML"
    LUA = "Lua"


def spell_command(words: Words, spelling: Spelling) -> str:
    """Spell a command so that what reads the format runs exactly these words."""
    match spelling:
        case Spelling.SHELL:
            return shlex.join(words)
        case Spelling.DESKTOP:
            return _escape_value(" ".join(map(_quote_for_desktop, words)))
        case Spelling.KEY_FILE:
            return _escape_value(shlex.join(words))
        case Spelling.KEY_FILE_WINDOWS:
            return _escape_value(subprocess.list2cmdline(words))
        case Spelling.BATCH:
            return " ".join(f'"{word.replace("%", "%%")}"' for word in words)
        case Spelling.PLIST:
            return escape(shlex.join(words))
        case Spelling.LUA:
            return spell_lua(words)


def spell_lua(words: Words) -> str:
    """One word as a Lua string, several as a table of them."""
    strings = [_quote_for_lua(word) for word in words]
    return strings[0] if len(strings) == 1 else "{" + ", ".join(strings) + "}"


def _quote_for_desktop(word: str) -> str:
    """A word of an Exec key, before the key's own escapes: quoted, with codes of fields taken as they are."""
    for character in ("\\", '"', "`", "$"):
        word = word.replace(character, f"\\{character}")
    return '"' + word.replace("%", "%%") + '"'


def _escape_value(value: str) -> str:
    """A value of a key file or desktop entry: backslashes twice, and no end of the line inside."""
    for character, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(character, escaped)
    return value


def _quote_for_lua(word: str) -> str:
    r"""A Lua string of any bytes: `\ddd` for what ends a line or a string, the rest as UTF-8."""
    spelled = "".join(
        f"\\{ord(character):03d}" if ord(character) < 32 or character in '"\\' else character
        for character in word
    )
    return f'"{spelled}"'

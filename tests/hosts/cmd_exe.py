"""A model of how cmd.exe and a C runtime take a command line apart, and a shell that runs it by that."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path


def expand_percents(line: str, variables: dict[str, str]) -> str:
    """As cmd.exe does first of all: %NAME% is replaced, in quotes too; what is no variable stays."""
    at, out = 0, ""
    while (start := line.find("%", at)) >= 0:
        end = line.find("%", start + 1)
        name = line[start + 1 : end] if end > start else None
        if name and name.upper() in variables:
            out, at = out + line[at:start] + variables[name.upper()], end + 1
        else:
            out, at = out + line[at : start + 1], start + 1
    return out + line[at:]


def split_at_redirections(line: str) -> tuple[str, dict[str, str]]:
    """As cmd.exe does next: ^ escapes outside quotes; < > 2> take the next word; & | would end it."""
    command, files, at, in_quotes = "", {}, 0, False
    stream: str | None = None
    target = ""
    while at < len(line):
        char = line[at]
        if char == '"':
            in_quotes = not in_quotes
        elif char == "^" and not in_quotes:
            at += 1
            char = line[at]
        elif not in_quotes:
            assert char not in "&|()", f"{char} outside quotes in {line}"
            if char in "<>":
                stream = command[-1] if command.endswith("2") and command[-2:-1] == " " else ""
                command = command.removesuffix(stream)
                stream, target, at = (stream or char), "", at + 1
                continue
            if stream and char == " " and target:
                files[stream], stream = target.replace('"', ""), None
        if stream:
            target += char
        else:
            command += char
        at += 1
    if stream:
        files[stream] = target.replace('"', "")
    return command, files


def split_arguments(command: str) -> list[str]:
    """As a program's C runtime does at last: backslashes count only before quotes, where two are one.

    Not so in the first word, the program: it ends at the first space outside quotes.
    """
    program = re.match(r'(?:"[^"]*"|[^" ])*', command)
    assert program is not None
    words, word, in_quotes, is_open, at = [program[0].replace('"', "")], "", False, False, program.end()
    while at < len(command):
        char = command[at]
        if char == "\\":
            end = at
            while end < len(command) and command[end] == "\\":
                end += 1
            count = end - at
            is_quoted = end < len(command) and command[end] == '"'
            word += "\\" * (count // 2 if is_quoted else count)
            is_open, at = True, end
            if is_quoted and count % 2:
                word, at = word + '"', at + 1
        elif char == '"':
            in_quotes, is_open, at = not in_quotes, True, at + 1
        elif char == " " and not in_quotes:
            if is_open:
                words.append(word)
            word, is_open, at = "", False, at + 1
        else:
            word, is_open, at = word + char, True, at + 1
    return [*words, word] if is_open else words


def cmd_exe(line: str, variables: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Words and redirections of a line for `cmd.exe /c`, which takes its outermost quotes off."""
    assert line.startswith('"')
    assert line.endswith('"')
    command, files = split_at_redirections(expand_percents(line[1:-1], variables))
    return split_arguments(command), files


def main(file: str) -> int:
    """Run the line in a file as Windows would."""
    words, files = cmd_exe(Path(file).read_text(encoding="utf-8"), {"OS": "Windows_NT"})
    assert files["<"] == "NUL"
    with ExitStack() as opened:
        output = opened.enter_context(Path(files[">"]).open("wb"))
        errors = opened.enter_context(Path(files["2"]).open("wb"))
        ended = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, check=False)
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""Where records become markup: the templates, with everything escaped that comes from elsewhere."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from rawdenoise.pages.number_format import THIN_SPACE


def render_template(name: str, **records: object) -> str:
    """Fill in a template of this folder."""
    return _environment().get_template(name).render(**records)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rawdenoise.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_replace_unprintable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _replace_unprintable(value: object) -> object:
    """Leave nothing in a text that is no letter: control characters, and bytes that were none."""
    if not isinstance(value, str) or hasattr(value, "__html__"):  # markup of a template's own
        return value
    return "".join(
        letter if letter.isprintable() or letter == THIN_SPACE else "\N{REPLACEMENT CHARACTER}"
        for letter in value
    )

from __future__ import annotations

from dataclasses import replace

import pytest

from rawdenoise import recipe
from rawdenoise.capture.raw import Cfa
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.output_levels import OutputLevels
from rawdenoise.recipe import Recipe


def test_a_recipe_is_another_whenever_a_result_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        Recipe(), Recipe(strength=0.5), Recipe(model="x"), Recipe(bundled="best"), Recipe(format=Format.TIFF),
        Recipe(levels=OutputLevels.FINE), Recipe(keep_hot_pixels=True), Recipe(keep_row_noise=True),
        Recipe(min_gain=1.0), Recipe(estimate=False),
    ]  # fmt: skip
    digests = {each.digest for each in others}
    assert len(digests) == len(others)
    assert Recipe().digest == Recipe().digest
    monkeypatch.setattr(recipe, "METHOD_VERSION", recipe.METHOD_VERSION + 1)
    assert Recipe().digest not in digests


def test_how_a_plain_mosaic_is_read_belongs_to_its_recipe() -> None:
    layout = PlainLayout(Cfa.RGGB, black=64.0, bits=10)
    layouts = [None, layout, replace(layout, black=65.0), replace(layout, cfa=Cfa.BGGR)]
    assert len({Recipe().digest_for(each) for each in layouts}) == len(layouts)
    assert Recipe().digest_for(None) == Recipe().digest

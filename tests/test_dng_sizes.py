"""Every size of mosaic, through both decoders that most raw developers are built on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from conftest import make_raw

from rawdenoise.capture.raw import Provenance
from rawdenoise.errors import VerificationError
from rawdenoise.formats.dng import writer as dng_module
from rawdenoise.formats.dng.writer import dng_bytes, tile_shape, write_dng

PROVENANCE = Provenance("1.2.3", "gr2r", 0.5)
# Below, at and above a tile, twice and thrice a tile, half of one, multiples of 16 and not, and odd ones.
CRITICAL = (64, 66, 126, 128, 130, 254, 255, 256, 257, 258, 270, 272, 274, 478, 480, 511, 512, 513, 514)
LARGER = (542, 544, 546, 766, 768, 770, 1022, 1024, 1026, 1088, 1278, 1280, 1300)


def check_size(height: int, width: int) -> None:
    image = make_raw(height, width, seed=height * 2000 + width)
    stream = dng_bytes(image, provenance=PROVENANCE)
    with rawpy.imread(stream) as raw:
        assert np.array_equal(raw.raw_image, image.mosaic), f"LibRaw misreads {width}x{height}"
    stream.seek(0)
    with tifffile.TiffFile(stream) as tif:
        assert np.array_equal(tif.pages[0].pages[0].asarray(), image.mosaic), f"{width}x{height}"


@pytest.mark.parametrize("side", [*CRITICAL, *LARGER])
def test_both_decoders_give_the_written_mosaic(side: int) -> None:
    check_size(64, side)
    check_size(side, 66)


@pytest.mark.parametrize("size", [(512, 512), (256, 512), (512, 256), (513, 512), (768, 512), (24, 32)])
def test_both_decoders_give_pictures_of_whole_and_half_tiles(size: tuple[int, int]) -> None:
    check_size(*size)


@pytest.mark.long
@pytest.mark.parametrize("start", range(64, 1300, 50))
def test_both_decoders_give_every_even_size(start: int) -> None:
    """Every even width and every even height from 64 to 1300, beside sides that run through all relations."""
    others = (64, 254, 256, 272, 512, 514, 768, 1024, 1280, 1300)
    for side in range(start, min(start + 50, 1301), 2):
        other = others[side // 2 % len(others)]
        check_size(other, side)
        check_size(side, other)
        check_size(65 + side % 7, side + 1)


def test_no_tile_is_wider_than_its_picture_or_half_as_wide() -> None:
    for width in range(16, 3000):
        rows, columns = tile_shape(width, width)
        assert columns <= width
        assert 2 * columns != width, "LibRaw takes such a tile for rows of Canon's kind"
        assert rows % 16 == columns % 16 == 0


def test_what_libraw_alone_misreads_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dng_module, "tile_shape", lambda height, width: (256, 256))
    with pytest.raises(VerificationError, match="as LibRaw decodes it"):
        write_dng(make_raw(256, 512), tmp_path / "a.dng", provenance=PROVENANCE)
    assert list(tmp_path.iterdir()) == []


def test_tiny_pictures_that_libraw_does_not_open_are_written_all_the_same(tmp_path: Path) -> None:
    for height, width in ((2, 2), (15, 40), (16, 16), (21, 64), (22, 22), (23, 25), (24, 24)):
        image = make_raw(height, width)
        path = tmp_path / f"{width}x{height}.dng"
        write_dng(image, path, provenance=PROVENANCE)
        with tifffile.TiffFile(path) as tif:
            assert np.array_equal(tif.pages[0].pages[0].asarray(), image.mosaic)

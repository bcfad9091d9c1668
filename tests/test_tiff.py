from __future__ import annotations

import errno
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import make_raw, raw_images
from hypothesis import HealthCheck, given, settings
from PIL import Image, ImageCms
from test_dng import PROVENANCE, make_capture

from rawdenoise.capture.raw import Levels, RawImage
from rawdenoise.errors import DiskFullError, VerificationError
from rawdenoise.formats.headerless import read_plain
from rawdenoise.formats.libraw import read_libraw
from rawdenoise.formats.metadata.source import is_denoised_by_us, read_metadata
from rawdenoise.formats.tiff import pictures as tiff_module
from rawdenoise.formats.tiff.mosaic_layout import format_layout, parse_layout
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff, write_tiff
from rawdenoise.formats.tiff.reading import numbers, text
from rawdenoise.formats.tiff.tags import Code


def flat_capture(red: int = 3000, blue: int = 3750, **more: int) -> RawImage:
    """A grey card under a light whose white balance is the capture's own: R and B are weaker than G."""
    mosaic = np.full((200, 300), 512 + 6000, np.uint16)
    mosaic[::2, ::2], mosaic[1::2, 1::2] = 512 + red, 512 + blue
    return make_capture(200, 300, mosaic=mosaic, **more)


def same_layout(one: RawImage, other: RawImage) -> bool:
    """Whether all is equal but the pixels, the metadata and the source."""
    pairs = zip(
        (one.levels.black_delta_rows, one.levels.black_delta_columns),
        (other.levels.black_delta_rows, other.levels.black_delta_columns),
        strict=True,
    )
    deltas = all((a is None and b is None) or np.array_equal(a, b) for a, b in pairs)  # type: ignore[arg-type]
    names = ("cfa", "active", "camera", "exposure", "color", "orientation", "notes")
    levels = (one.levels.black, one.levels.white) == (other.levels.black, other.levels.white)
    return deltas and levels and all(getattr(one, name) == getattr(other, name) for name in names)


@given(raw_images())
def test_a_layout_reads_back_as_it_was_written(image: RawImage) -> None:
    layout = parse_layout(format_layout(image))
    assert same_layout(layout.image(image.mosaic, image.source), image)
    assert layout.provenance is None


def test_a_layout_holds_all_that_an_image_knows() -> None:
    image = make_capture(orientation=6, notes=("a note",))
    image = replace(image, levels=Levels((1.25, 2, 3, 4), 1023.0, np.arange(300.0), np.arange(420.0)))
    said = format_layout(image, PROVENANCE)
    assert said.isascii()
    layout = parse_layout(said)
    assert same_layout(layout.image(image.mosaic, image.source), image)
    assert layout.provenance == PROVENANCE


@pytest.mark.parametrize(
    "broken",
    ["", "{}", "[1]", "no json", '{"format": "another"}', '{"format": "rawdenoise mosaic 1"}']
    + [
        format_layout(make_raw()).replace(old, new)
        for old, new in (('"RGGB"', '"XYZW"'), ('"top"', '"up"'), ("16383", '"w"'))
    ],
)
def test_a_broken_layout_is_refused(broken: str) -> None:
    with pytest.raises(ValueError):
        parse_layout(broken)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw_images())
def test_a_mosaic_tiff_is_the_mosaic(tmp_path: Path, image: RawImage) -> None:
    path = tmp_path / "a.mosaic.tif"
    write_mosaic_tiff(image, path, provenance=PROVENANCE)
    with tifffile.TiffFile(path) as tif:
        assert np.array_equal(tif.pages[0].asarray(), image.mosaic)
        assert parse_layout(tif.pages[0].description).cfa is image.cfa
        assert len(tif.pages) == 1


def test_a_mosaic_tiff_that_does_not_read_back_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_module.tifffile, "imread", lambda path: np.zeros((32, 48), np.uint16))
    with pytest.raises(VerificationError):
        write_mosaic_tiff(make_raw(), tmp_path / "a.tif", provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())


def test_a_denoised_mosaic_is_known_as_ours_when_it_is_read_again(tmp_path: Path) -> None:
    for name, provenance, ours in (
        ("denoised.tif", PROVENANCE, True),
        ("converted.tif", replace(PROVENANCE, strength=0.0), False),
    ):
        write_mosaic_tiff(make_raw(), tmp_path / name, provenance=provenance)
        image = read_plain(tmp_path / name, None)
        assert is_denoised_by_us(image.metadata, image.source) is ours
    capture = parse_layout(format_layout(make_raw())).image(make_raw().mosaic, Path())
    assert not is_denoised_by_us(capture.metadata, Path("a.tif"))


@pytest.mark.parametrize("damage", ["pixels", "directory"])
def test_a_rendering_that_does_not_read_back_is_not_kept(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tags = tiff_module._add_tags

    def damaging(path: Path, *tags: object) -> None:
        add_tags(path, *tags)  # type: ignore[arg-type]
        other = np.zeros((60, 80, 3), np.uint16)
        tifffile.imwrite(path, other, photometric="rgb") if damage == "pixels" else path.write_bytes(b"II")

    monkeypatch.setattr(tiff_module, "_add_tags", damaging)
    with pytest.raises(VerificationError, match=r"a\.tif"):
        write_tiff(make_capture(60, 80), tmp_path / "a.tif", provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())


def test_a_rendering_is_neutral_where_the_scene_was(tmp_path: Path) -> None:
    write_tiff(flat_capture(), tmp_path / "a.tif", provenance=PROVENANCE)
    rgb = tifffile.imread(tmp_path / "a.tif")
    assert rgb.shape == (200, 300, 3)
    assert rgb.dtype == np.uint16
    middle = rgb[50:150, 50:250].reshape(-1, 3).mean(axis=0)
    assert middle == pytest.approx(middle[1], rel=0.01)
    linear = 6000 / (16383 - 512)
    assert middle[1] / 65535 == pytest.approx(1.055 * linear ** (1 / 2.4) - 0.055, abs=0.01)


def test_a_rendering_is_upright(tmp_path: Path) -> None:
    mosaic = np.full((200, 300), 512, np.uint16)
    mosaic[:, :150] = 9000  # the left half is bright; turned by 90 degrees clockwise it is the top half
    write_tiff(
        make_capture(200, 300, mosaic=mosaic, orientation=6), tmp_path / "a.tif", provenance=PROVENANCE
    )
    rgb = tifffile.imread(tmp_path / "a.tif")
    assert rgb.shape == (300, 200, 3)
    assert rgb[:140].mean() > 10 * rgb[160:].mean()
    assert numbers(read_metadata(tmp_path / "a.tif").root[Code.Orientation]) == (1,)


def test_a_rendering_says_what_it_is(tmp_path: Path) -> None:
    write_tiff(make_capture(), tmp_path / "a.tif", provenance=PROVENANCE)
    found = read_metadata(tmp_path / "a.tif")
    assert text(found.root[Code.Make]) == "ACME"
    assert text(found.root[Code.Software]) == "rawdenoise 1.2.3"
    assert b"<rawdenoise:Strength>0.75<" in found.root[Code.XMP].data
    assert numbers(found.exif[Code.ISOSpeedRatings]) == (800,)
    with Image.open(tmp_path / "a.tif") as picture:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_equal_images_are_equal_renderings(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write_tiff(make_capture(60, 80), tmp_path / name, provenance=PROVENANCE)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_exif_and_gps_of_the_source_reach_a_rendering(shared_data: Path, tmp_path: Path) -> None:
    image = read_libraw(shared_data / "raws" / "nikon-d1.nef")
    gps = read_metadata(shared_data / "raws" / "unsupported-gopro-hero6.gpr").gps
    image = replace(image, metadata=replace(image.metadata, gps=gps))
    write_tiff(image, tmp_path / "a.tif", provenance=PROVENANCE)
    found = read_metadata(tmp_path / "a.tif")
    assert found.gps == gps
    for code in (Code.ExposureTime, Code.FNumber, Code.DateTimeOriginal, Code.FocalLength):
        assert found.exif[code] == image.metadata.exif[code]
    assert Code.MakerNote not in found.exif  # its offsets would be wrong there


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tiff_module.tifffile, "imwrite", fail)
    for write in (write_tiff, write_mosaic_tiff):
        with pytest.raises(DiskFullError):
            write(make_capture(60, 80), tmp_path / "a.tif", provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())

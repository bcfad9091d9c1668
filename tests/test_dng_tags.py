"""What becomes of a source's tags: noise, MakerNotes, lens corrections, identity, and what is made up."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_dng import KEPT_RAW, KEPT_ROOT, UNTOUCHED, make_capture
from test_metadata import EXIF, GPS, ROOT, cr3_file, tiff
from test_pipeline import NOISE, a_model, noisy

from rawdenoise.capture.raw import NO_TAGS, Camera, Ifd, Metadata, Provenance, RawImage, Tag
from rawdenoise.formats.dng.writer import dng_bytes, list_compromises, write_dng
from rawdenoise.formats.libraw import read_libraw
from rawdenoise.formats.metadata.source import is_denoised_by_us, read_metadata
from rawdenoise.formats.metadata.xmp_packet import read_packet
from rawdenoise.formats.tiff.reading import (
    DOUBLE,
    LONG,
    PANASONIC,
    RATIONAL,
    SHORT,
    UNDEFINED,
    ascii_tag,
    bytes_tag,
    numbers,
    numbers_tag,
    read_directory,
    read_header,
    text,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, Pixels, write_tree
from rawdenoise.pipeline import denoise
from rawdenoise.recipe import Recipe

HALF = Provenance("1.2.3", "gr2r", 0.5, noise_left=((4e-4, 1e-5), (2e-4, 3e-6), (4e-4, 5e-6), (1e-4, 2e-6)))
ALL = Provenance("1.2.3", "gr2r", 1.0)
PROFILE = numbers_tag(DOUBLE, 1e-3, 1e-5)
MEDIA = "{http://ns.adobe.com/xap/1.0/mm/}"


def write_source(
    path: Path, root: Ifd = NO_TAGS, raw: Ifd = NO_TAGS, *, split: bool = True, exif: Node | None = None
) -> None:
    """A camera's DNG of 140x100 pixels, in two directories or, not `split`, in one."""
    layout = {254: numbers_tag(LONG, 0), 256: numbers_tag(LONG, 140), 257: numbers_tag(LONG, 100)}
    layout |= {
        code: numbers_tag(SHORT, value) for code, value in ((258, 16), (259, 1), (262, 32803), (277, 1))
    }
    strip = Pixels(273, 279, 1, [bytes(range(256)) * 109 + bytes(96)])
    version = {Code.DNGVersion: bytes_tag(bytes((1, 6, 0, 0)))}
    links = {} if exif is None else {Code.ExifIFD: (exif,)}
    if split:
        links[Code.SubIFDs] = (Node({**KEPT_RAW, **layout, **raw}, pixels=strip),)
        node = Node({**KEPT_ROOT, **version, **root, 254: numbers_tag(LONG, 1)}, children=links)
    else:
        node = Node(
            {**KEPT_ROOT, **version, **KEPT_RAW, **layout, **root, **raw}, children=links, pixels=strip
        )
    with path.open("wb") as file:
        write_tree(file, node)


def written(tmp_path: Path, provenance: Provenance = HALF, **source: Any) -> Metadata:
    write_source(tmp_path / "source.dng", **source)
    write_dng(read_libraw(tmp_path / "source.dng"), tmp_path / "out.dng", provenance=provenance)
    return read_metadata(tmp_path / "out.dng")


def both(found: Metadata, code: Code) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A tag's numbers in IFD0 and in the mosaic's directory."""
    return numbers(found.root.get(code)), numbers(found.raw.get(code))


def dng_of(metadata: Metadata, tmp_path: Path, provenance: Provenance = HALF) -> Metadata:
    write_dng(replace(make_capture(), metadata=metadata), tmp_path / "out.dng", provenance=provenance)
    return read_metadata(tmp_path / "out.dng")


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("where", ["root", "raw", "one", "none"])
def test_the_noise_profile_stays_where_it_stood_if_nothing_was_done(tmp_path: Path, where: str) -> None:
    tags = {Code.NoiseProfile: PROFILE}
    source = {"one": {"root": tags, "split": False}, "none": {}}.get(where, {where: tags})
    found = written(tmp_path, UNTOUCHED, **source)
    assert (Code.NoiseProfile in found.root) == (where in ("root", "one"))
    assert (Code.NoiseProfile in found.raw) == (where in ("raw", "one"))
    assert {tags.get(Code.NoiseProfile, PROFILE) for tags in (found.root, found.raw)} == {PROFILE}


@pytest.mark.parametrize("where", ["root", "raw", "one", "none"])
def test_the_noise_that_is_left_stands_in_both_directories(tmp_path: Path, where: str) -> None:
    tags = {Code.NoiseProfile: PROFILE}
    source = {"one": {"root": tags, "split": False}, "none": {}}.get(where, {where: tags})
    left = pytest.approx((4e-4, 1e-5, 3e-4, 4e-6, 1e-4, 2e-6))  # green is the mean of both greens
    assert both(written(tmp_path, HALF, **source), Code.NoiseProfile) == (left, left)


def test_at_full_strength_rounding_is_left(tmp_path: Path) -> None:
    rounding = 1 / 12 / (1023 - 60.25) ** 2
    left = pytest.approx((rounding,) * 6)
    assert both(written(tmp_path, ALL, root={Code.NoiseProfile: PROFILE}), Code.NoiseProfile) == (left, left)


def test_noise_that_nobody_knows_is_not_stated(tmp_path: Path) -> None:
    found = written(tmp_path, replace(ALL, strength=0.75), root={Code.NoiseProfile: PROFILE})
    assert both(found, Code.NoiseProfile) == ((), ())


def test_of_the_noise_s_variance_the_square_of_what_is_mixed_in_is_left() -> None:
    denoised = denoise(noisy(96, 96), a_model(), Recipe(strength=0.75, estimate=False))
    left = denoised.provenance.noise_left
    assert left is not None
    pairs = zip(NOISE.shot, NOISE.read_variance, strict=True)
    assert left == tuple(pytest.approx((0.0625 * shot, 0.0625 * read)) for shot, read in pairs)


@pytest.mark.parametrize(
    ("root", "raw", "strength", "said"),
    [
        (None, None, 0.5, 0.5),
        (0.0, None, 0.5, 0.5),
        (0.0, 0.0, 1.0, 1.0),
        (0.8, None, 0.5, 0.8),
        (None, 0.8, 0.5, 0.8),
        (0.2, 0.8, 0.5, 0.8),
        (0.2, None, 0.0, 0.2),
        (None, 0.2, 0.0, 0.2),
        (0.2, 0.8, 0.0, 0.8),
        (None, None, 0.0, None),
    ],
)
@pytest.mark.parametrize("split", [True, False])
def test_noise_reduction_is_said_in_both_directories_and_never_lowered(
    tmp_path: Path, root: float | None, raw: float | None, strength: float, said: float | None, split: bool
) -> None:
    tags = [
        {} if value is None else {Code.NoiseReductionApplied: numbers_tag(RATIONAL, value)}
        for value in (root, raw)
    ]
    found = written(tmp_path, replace(HALF, strength=strength), root=tags[0], raw=tags[1], split=split)
    if not split and None not in (root, raw):  # in one directory the second is the only one
        said = max(raw or 0, strength)
    expected = () if said is None else (said,)
    assert both(found, Code.NoiseReductionApplied) == (expected, expected)


def test_unknown_noise_reduction_counts_as_none(tmp_path: Path) -> None:
    unknown = {Code.NoiseReductionApplied: Tag(RATIONAL, 1, bytes(8))}
    assert both(written(tmp_path, HALF, root=unknown), Code.NoiseReductionApplied) == ((0.5,), (0.5,))
    kept = written(tmp_path, UNTOUCHED, root=unknown)
    assert (
        kept.root[Code.NoiseReductionApplied]
        == kept.raw[Code.NoiseReductionApplied]
        == Tag(RATIONAL, 1, bytes(8))
    )


def test_noise_reduction_by_the_camera_is_not_ours(tmp_path: Path) -> None:
    applied = {Code.NoiseReductionApplied: numbers_tag(RATIONAL, 0.5)}
    out = tmp_path / "out.dng"
    assert not is_denoised_by_us(written(tmp_path, UNTOUCHED, root=applied), out)
    assert is_denoised_by_us(written(tmp_path, HALF, root=applied), out)
    assert is_denoised_by_us(written(tmp_path, HALF), out)


# ---------------------------------------------------------------- MakerNotes and lens corrections


def test_a_safe_maker_note_stays_however_far_it_lay(tmp_path: Path) -> None:
    note = bytes_tag(b"a note that its DNG calls safe", UNDEFINED)
    exif = Node({Code.MakerNote: note}, pinned={Code.MakerNote: 9_000_000})
    found = written(tmp_path, root={Code.MakerNoteSafety: numbers_tag(SHORT, 1)}, exif=exif)
    assert found.exif[Code.MakerNote] == note
    assert found.root[Code.DNGPrivateData] == KEPT_ROOT[Code.DNGPrivateData]
    assert (tmp_path / "out.dng").stat().st_size < 1_000_000
    unsafe = written(tmp_path, root={Code.MakerNoteSafety: numbers_tag(SHORT, 0)}, exif=exif)
    assert Code.MakerNote not in unsafe.exif
    assert any("MakerNote" in line for line in list_compromises(read_libraw(tmp_path / "source.dng")))


def test_a_maker_note_behind_the_picture_stays_at_its_offset(tmp_path: Path) -> None:
    exif = Node({Code.MakerNote: bytes_tag(b"its offsets count in the file", UNDEFINED)},
                pinned={Code.MakerNote: 1_200_000})  # fmt: skip
    assert written(tmp_path, exif=exif).maker_note_offset == 1_200_000
    assert (tmp_path / "out.dng").stat().st_size > 1_201_000  # dcraw reads on behind it


def test_exif_has_no_pixels(tmp_path: Path) -> None:
    """As PiDNG writes it: strips in EXIF, at offset 0."""
    strips = {Code.StripOffsets: numbers_tag(LONG, 0), Code.Compression: numbers_tag(SHORT, 1)}
    found = written(tmp_path, exif=Node({**EXIF, **strips}))
    assert EXIF.items() <= found.exif.items()
    assert not strips.keys() & found.exif.keys()


def rw2_file(note: bytes) -> bytes:
    """Panasonic's kind of TIFF: little is said in IFD0, the rest in the EXIF of the JPEG that IFD0 holds."""
    exif = Node({**EXIF, 40962: numbers_tag(LONG, 1920), Code.MakerNote: bytes_tag(note, UNDEFINED)},
                pinned={Code.MakerNote: 700})  # fmt: skip
    preview = io.BytesIO()
    links = {Code.ExifIFD: (exif,), Code.GPSInfo: (Node(GPS),)}
    write_tree(preview, Node({**ROOT, 315: ascii_tag("An artist")}, children=links))
    block = b"Exif\0\0" + preview.getvalue()
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 2) + block + b"\xff\xda\0\2"
    own = {
        Code.Make: ascii_tag("Panasonic"), Code.Model: ascii_tag("DMC-XY1"),
        0x02: numbers_tag(SHORT, 400), 0x2E: bytes_tag(jpeg, UNDEFINED),
        0x0119: bytes_tag(bytes(range(32)), UNDEFINED), 0x011A: numbers_tag(SHORT, 2),
        0x011B: bytes_tag(bytes(64), UNDEFINED),
    }  # fmt: skip
    own_exif = Node({Code.FNumber: numbers_tag(RATIONAL, 8)})
    file = io.BytesIO()
    write_tree(file, Node(own, children={Code.ExifIFD: (own_exif,)}), magic=PANASONIC)
    return file.getvalue()


def test_panasonic_s_metadata_is_kept_though_it_lives_in_a_jpeg(tmp_path: Path) -> None:
    note = b"Panasonic\0\0\0" + b"whose offsets count from that JPEG's TIFF"
    (tmp_path / "a.rw2").write_bytes(rw2_file(note))
    source = read_metadata(tmp_path / "a.rw2")
    assert text(source.root[Code.Make]) == "Panasonic"  # not the preview's
    assert numbers(source.exif[Code.FNumber]) == (8,)
    found = dng_of(source, tmp_path)
    said = {code: tag for code, tag in EXIF.items() if code != Code.FNumber}
    assert said.items() <= found.exif.items()
    assert Code.PixelXDimension not in found.exif
    assert found.gps == GPS
    assert text(found.root[315]) == "An artist"
    assert found.exif[Code.MakerNote].data == note
    assert found.maker_note_offset == 700
    assert found.root[0xF119].data == bytes(range(32))
    assert not {282, 283} & found.root.keys()  # which mean other things there


def test_canon_s_maker_note_of_a_cr3_is_a_directory_in_the_output(tmp_path: Path) -> None:
    (tmp_path / "a.cr3").write_bytes(cr3_file())
    found = dng_of(read_metadata(tmp_path / "a.cr3"), tmp_path)
    with (tmp_path / "out.dng").open("rb") as file:
        header = read_header(file)
        assert header is not None
        assert found.maker_note_offset is not None
        assert read_directory(file, header, found.maker_note_offset).tags == CANON_NOTE


CANON_NOTE = {1: numbers_tag(SHORT, 7), 6: ascii_tag("Canon EOS R5 of some length")}


def test_sony_s_lens_corrections_are_found_where_developers_look(tmp_path: Path) -> None:
    corrections = {code: numbers_tag(8, 2, code, -5) for code in (0x7032, 0x7035, 0x7037)}
    raw = {**corrections, 0x7310: numbers_tag(SHORT, 512)}
    found = dng_of(Metadata(root=ROOT, raw=raw), tmp_path)
    assert corrections.items() <= found.root.items()
    assert corrections.items() <= found.raw.items()
    assert 0x7310 not in found.root


# ---------------------------------------------------------------- what belongs where


GAINS = bytes_tag(bytes(64), UNDEFINED)
STATS = bytes_tag(bytes(12), UNDEFINED)


@pytest.mark.parametrize("where", ["root", "raw", "one"])
def test_the_gain_table_map_goes_to_the_mosaic(tmp_path: Path, where: str) -> None:
    tags = (
        {Code.ProfileGainTableMap: GAINS, 52544: GAINS}
        if where != "raw"
        else {Code.ProfileGainTableMap: GAINS}
    )
    found = written(tmp_path, **({"root": tags, "split": False} if where == "one" else {where: tags}))
    assert found.raw[Code.ProfileGainTableMap] == GAINS
    assert Code.ProfileGainTableMap not in found.root
    assert (52544 in found.root) == (where != "raw")  # that is a camera profile's, and IFD0 is its place
    assert 52544 not in found.raw


def test_statistics_of_former_pixels_go(tmp_path: Path) -> None:
    tags = {"root": {Code.ImageStats: STATS}, "raw": {Code.ImageStats: STATS}}
    denoised = written(tmp_path, **tags)
    assert Code.ImageStats not in {**denoised.root, **denoised.raw}
    assert written(tmp_path, UNTOUCHED, **tags).raw[Code.ImageStats] == STATS


def test_big_tables_come_along(tmp_path: Path) -> None:
    write_source(tmp_path / "plain.dng")
    data = (tmp_path / "plain.dng").read_bytes()
    tables = (b"a look table", b"a mask of the sky")
    index = {
        Code.BigTableDigests: bytes_tag(bytes(32)),
        Code.BigTableOffsets: numbers_tag(LONG, 4_000, 5_000),
        Code.BigTableByteCounts: numbers_tag(LONG, *map(len, tables)),
    }
    write_source(tmp_path / "source.dng", root=index)
    data = bytearray((tmp_path / "source.dng").read_bytes())
    for place, table in zip((4_000, 5_000), tables, strict=True):
        data[place : place + len(table)] = table
    (tmp_path / "source.dng").write_bytes(data)
    write_dng(read_libraw(tmp_path / "source.dng"), tmp_path / "out.dng", provenance=HALF)
    found = read_metadata(tmp_path / "out.dng")
    assert found.tables == tables
    assert found.root[Code.BigTableDigests] == index[Code.BigTableDigests]
    for broken in (
        {Code.BigTableOffsets: numbers_tag(LONG, 4_000, 1 << 30)},
        {Code.BigTableByteCounts: numbers_tag(LONG, 12)},
        {Code.BigTableByteCounts: numbers_tag(DOUBLE, float("nan"), 5)},
    ):
        lost = written(tmp_path, root={**index, **broken})
        assert not index.keys() & lost.root.keys()


# ---------------------------------------------------------------- identity, and what is made up


def ids(path: Path) -> dict[str, str | None]:
    rdf = read_packet(read_metadata(path).root[Code.XMP].data).rdf
    return {
        name: rdf.findtext(f"*/{MEDIA}{name}") for name in ("DocumentID", "InstanceID", "OriginalDocumentID")
    }


def test_every_output_has_ids_of_its_own_and_equal_work_equal_ones(tmp_path: Path) -> None:
    image, other = make_capture(), make_capture(seed=1)
    stated = replace(HALF, source_digest="5eed", recipe="cafe")

    def ids_of(image: RawImage, provenance: Provenance) -> dict[str, str | None]:
        write_dng(image, tmp_path / "a.dng", provenance=provenance)
        return ids(tmp_path / "a.dng")

    first = ids_of(image, stated)
    assert None not in first.values()
    assert len(set(first.values())) == 3
    assert ids_of(image, stated) == first
    elsewhere = replace(image, source=Path("renamed.dng"))
    assert ids_of(elsewhere, stated) == first  # the content is known
    assert ids_of(elsewhere, HALF)["OriginalDocumentID"] != ids_of(image, HALF)["OriginalDocumentID"]
    for different in (
        replace(stated, recipe="tea"),
        replace(stated, strength=0.75),
        replace(stated, model_id="m"),
    ):
        again = ids_of(image, different)
        assert again["OriginalDocumentID"] == first["OriginalDocumentID"]
        assert again["DocumentID"] != first["DocumentID"]
        assert again["InstanceID"] != first["InstanceID"]
    assert ids_of(replace(image, mosaic=np.asfortranarray(image.mosaic)), stated) == first
    pixels = ids_of(other, stated)
    assert pixels["DocumentID"] == first["DocumentID"]
    assert pixels["InstanceID"] != first["InstanceID"]


def test_the_original_s_name_is_always_said(tmp_path: Path) -> None:
    assert text(written(tmp_path).root[Code.OriginalRawFileName]) == "source.dng"
    stated = {Code.OriginalRawFileName: ascii_tag("IMG_0815.CR2")}
    assert text(written(tmp_path, root=stated).root[Code.OriginalRawFileName]) == "IMG_0815.CR2"
    odd = replace(make_capture(), source=Path("caf\udce9.nef"))  # Latin-1 on a disk
    stream = dng_bytes(odd, provenance=HALF)
    header = read_header(stream)
    assert header is not None
    root = read_directory(stream, header, header.first).tags
    assert root[Code.OriginalRawFileName].data == b"caf\xe9.nef\0"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Code.Make, "Make unknown"),
        (Code.Model, "Model ACME One (unique)"),
        (Code.UniqueCameraModel, "UniqueCameraModel ACME One"),
        (Code.ColorMatrix1, "ColorMatrix1"),
        (Code.AsShotNeutral, "AsShotNeutral"),
    ],
)
@pytest.mark.parametrize("empty", [True, False])
def test_what_is_made_up_is_said(tmp_path: Path, code: Code, words: str, empty: bool) -> None:
    """An empty name is as good as none."""
    write_source(tmp_path / "source.dng")
    whole = read_libraw(tmp_path / "source.dng")
    assert list_compromises(whole) == ()
    rest = {other: tag for other, tag in whole.metadata.root.items() if other != code}
    if empty and code in (Code.Make, Code.Model, Code.UniqueCameraModel):
        rest[code] = ascii_tag(" ")
    camera = whole.camera
    if code == Code.Make:
        camera = replace(camera, make="")
    if code == Code.Model:
        camera = replace(camera, model="ACME One (unique)")
    image = replace(whole, camera=camera, metadata=replace(whole.metadata, root=rest))
    (note,) = list_compromises(image)
    assert words in note
    write_dng(image, tmp_path / "out.dng", provenance=HALF)
    stated = read_metadata(tmp_path / "out.dng").root[code]
    assert stated.data.strip(b"\0 ")


def test_a_nameless_camera_of_another_raw_is_said() -> None:
    image = replace(make_capture(), camera=Camera())
    assert "Make unknown, Model unknown camera" in " ".join(list_compromises(image))


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("kind", [DOUBLE, RATIONAL, 11, 10, 2, 7])
@pytest.mark.parametrize("code", [Code.SubIFDs, Code.GPSInfo, Code.ExifIFD, Code.ExtraCameraProfiles])
def test_pointers_of_no_number_point_nowhere(tmp_path: Path, code: Code, kind: int) -> None:
    wrong = {
        DOUBLE: struct.pack("<d", float("nan")), RATIONAL: struct.pack("<II", 1, 0),
        11: struct.pack("<f", float("inf")), 10: struct.pack("<ii", -1, 0), 2: b"abcd", 7: b"abcd",
    }[kind]  # fmt: skip
    count = len(wrong) if kind in (2, 7) else 1
    path = tmp_path / "a.dng"
    path.write_bytes(tiff({**ROOT, code: Tag(kind, count, wrong)}))
    found = read_metadata(path)
    assert found.root[Code.Model] == ROOT[Code.Model]
    assert {**found.gps, **found.exif, **found.extra} == {}

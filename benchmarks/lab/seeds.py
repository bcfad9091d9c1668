"""Small whole files of every kind that is read, to be damaged."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image

import rawdenoise
from rawdenoise.capture import raw
from rawdenoise.capture.raw import Ifd, Provenance, RawImage
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.tiff.mosaic_layout import format_layout
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff
from rawdenoise.formats.tiff.reading import (
    BIG,
    CLASSIC,
    DOUBLE,
    LONG,
    PROFILE,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    ascii_tag,
    bytes_tag,
    numbers_tag,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, Pixels, write_tree
from rawdenoise.training.checkpoint import CHECKPOINT_FILE, Counters, Look, save_checkpoint
from rawdenoise.training.risk import RiskFigures

SCENE = "0001_001_S6_00100_00060_3200_L"
MATRIX = ((0.9, -0.3, 0.0), (-0.4, 1.2, 0.2), (0.0, 0.1, 0.7))
BASE = Path(rawdenoise.__file__).parent / "_base" / "fast.rawdenoise"
Seeds = Mapping[str, bytes]

WATCH_TOML = b"""
state = "state"
jobs = 3
device = "cpu"
settle = 1
[[root]]
in = "cards"
out = "done"
strength = 0.8
poll = 30
failed_dir = "failed"
sidecars = true
train = "never"
train_after = 12
min_gain = 1.5
[[root]]
in = "/mnt/nas"
out = "/srv/out"
model = "base"
levels = "fine"
"""


def capture(height: int = 64, width: int = 96) -> RawImage:
    """A noisy mosaic with all that a raw may say."""
    mosaic = np.random.default_rng(0).integers(500, 16000, (height, width)).astype(np.uint16)
    root: Ifd = {
        Code.Make: ascii_tag("Maker"), Code.Model: ascii_tag("Maker One"),
        Code.XMP: bytes_tag(b"<x:xmpmeta/>"), Code.Orientation: numbers_tag(SHORT, 6),
        Code.DateTime: ascii_tag("2026:01:02 03:04:05"),
    }  # fmt: skip
    exif = {Code.MakerNote: bytes_tag(b"Nikon\0\x02" + bytes(40), UNDEFINED)}
    exif |= _numbers(SHORT, ISOSpeedRatings=800)
    gps: Ifd = {0: bytes_tag(b"\2\3\0\0"), 2: numbers_tag(RATIONAL, 50.0, 5.0, 3.5)}
    return RawImage(
        mosaic=mosaic,
        cfa=raw.Cfa.GRBG,
        active=raw.Area(2, 2, height - 2, width - 4),
        levels=raw.Levels((512.25, 511.5, 512.0, 510.0), 16383.0, np.linspace(0, 1, height - 4)),
        source=Path("capture.nef"),
        camera=raw.Camera("Maker", "Maker One", "123", f"{width}x{height} 14-bit"),
        exposure=raw.Exposure(800, 0.01, 2.8, 35.0, "2026:01:02 03:04:05"),
        color=raw.Color((raw.ColorMatrix(21, MATRIX),), (0.5, 1.0, 0.7), (0.45, 1.0, 0.8)),
        metadata=raw.Metadata(root=root, raw=root, exif=exif, gps=gps, maker_note_offset=700),
    )


def raws(folder: Path) -> Seeds:
    """DNGs of several shapes, and what other cameras' files look like to those who read their tags."""
    ours = folder / "ours.dng"
    write_dng(capture(), ours, provenance=Provenance("0", "none", 0.0))
    plain = _dng_tree()
    return {
        "ours.dng": ours.read_bytes(),
        "plain.dng": _tiff(plain),
        "big.dng": _tiff(plain, BIG),
        "turned.dng": _big_endian(plain.tags, capture(32, 48).mosaic.astype(">u2").tobytes()),
        "nikon.nef": _tiff(_camera_tree()),
        "sony.arw": _tiff(_camera_tree()),
        "olympus.orf": b"IIRO" + _tiff(_camera_tree())[4:],
        "panasonic.rw2": _tiff(_camera_tree(), 0x55),
        "fuji.raf": _raf(),
        "canon.cr3": _cr3(),
        "canon.crw": b"II\x1a\0\0\0HEAPCCDR" + bytes(4000),
        "minolta.mrw": b"\0MRM" + struct.pack(">I", 200) + b"\0PRD" + bytes(2000),
        "picture.jpg.nef": _jpeg(),
    }


def plain_mosaics(folder: Path) -> Seeds:
    """Arrays, and TIFFs with and without a layout."""
    image = capture(32, 48)
    ours, bare = folder / "ours.tif", folder / "bare.tif"
    write_mosaic_tiff(image, ours, provenance=Provenance("0", "test", 0.5, noise_left=((1e-4, 1e-6),) * 4))
    tifffile.imwrite(bare, image.mosaic, tile=(16, 16), compression="lzw")
    arrays = {}
    for name, array in (
        ("words.npy", image.mosaic),
        ("columns.npy", np.asfortranarray(image.mosaic.astype("<i4"))),
        ("fractions.npy", (image.mosaic / 16383).astype("f4")),
    ):
        stream = io.BytesIO()
        np.save(stream, array)
        arrays[name] = stream.getvalue()
    words = {"words.raw": image.mosaic.tobytes(), "words.bin": image.mosaic.tobytes()}
    return {"ours.tif": ours.read_bytes(), "bare.tif": bare.read_bytes(), **arrays, **words}


def layouts() -> Seeds:
    """What a mosaic TIFF says of its layout."""
    return {"layout.json": format_layout(capture(32, 48), Provenance("0", "test", 0.5, gain_db=3.0)).encode()}


def matlab(folder: Path) -> Seeds:
    """Frames of both versions, compressed and not; none where scipy or h5py is missing."""
    if find_spec("scipy") is None or find_spec("h5py") is None:
        return {}
    import h5py
    from scipy import io as scipy_io

    x = np.random.default_rng(0).random((16, 24)).astype("f4")
    for name, packed in (("plain", False), ("packed", True)):
        scipy_io.savemat(folder / f"{SCENE}_{name}.mat", {"x": x}, do_compression=packed)
    with h5py.File(folder / f"{SCENE}_hdf5.mat", "w") as file:
        file.create_dataset("x", data=x.astype("f8"), chunks=(8, 8), compression="gzip", shuffle=True)
    with h5py.File(folder / f"{SCENE}_bare.mat", "w") as file:
        file["x"] = x
    return {path.name: path.read_bytes() for path in sorted(folder.glob(f"{SCENE}*.mat"))}


def matlab_notes(folder: Path) -> Seeds:
    """The METADATA beside a frame."""
    if find_spec("scipy") is None:
        return {}
    from scipy import io as scipy_io

    kinds = [("ID", object), ("Type", object), ("Value", object)]
    said = {
        "Make": "samsung", "Model": "SM-G925I", "ISOSpeedRatings": 100.0, "ColorMatrix1": np.arange(9.0),
        "AsShotNeutral": np.array([0.6, 1.2, 0.9]),
        "UnknownTags": np.array([(33422, "BYTE", np.uint8([1, 0, 2, 1]))], kinds),
        "Cell": np.array([1, "a"], object),
    }  # fmt: skip
    for name, packed in (("plain", False), ("packed", True)):
        scipy_io.savemat(folder / f"{name}_METADATA.mat", {"metadata": said}, do_compression=packed)
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*_METADATA.mat"))}


def model_parts() -> tuple[bytes, bytes]:
    """Card and weights of the bundled model."""
    with zipfile.ZipFile(BASE) as archive:
        card, weights = (archive.read(name) for name in ("card.json", "weights.safetensors"))
    said = {**json.loads(card), "id": "damaged"}
    said["evidence"] = [{
        "iso": 100, "tiles": 3, "pixels": 9, "gain_db": 1.0, "error_db": 0.1, "mean": 0.0, "chi2": 1.0,
        "divergence": 0.1, "structure": 0.0, "autocorrelation": [0.1, 0.2],
    }]  # fmt: skip
    return json.dumps(said).encode(), weights


def checkpoint(folder: Path) -> bytes:
    """A small training's."""
    history = (Look(8, 1.0, 0.5, RiskFigures(0.5, 0.9, 0.0, 0.1, 0.01)),)
    save_checkpoint(
        folder, Counters("run", 3, 8, 1.0, 0.5, history=history), {"net.weight": torch.zeros(3, 4)}
    )
    return (folder / CHECKPOINT_FILE).read_bytes()


# ---------------------------------------------------------------- containers


def _dng_tree() -> Node:
    """An uncompressed DNG in one directory, with the tags that tell levels, crops, colours and opcodes."""
    mosaic = capture(32, 48).mosaic
    height, width = mosaic.shape
    profile = io.BytesIO()
    write_tree(profile, Node({Code.ProfileName: ascii_tag("Portrait")}), magic=PROFILE)
    opcodes = struct.pack(">I", 1) + struct.pack(">IIII", 4, 0x01030000, 0, 8) + struct.pack(">II", 0, 0)
    tags: Ifd = {
        Code.NewSubfileType: numbers_tag(LONG, 0), Code.ImageWidth: numbers_tag(LONG, width),
        Code.ImageLength: numbers_tag(LONG, height), Code.BitsPerSample: numbers_tag(SHORT, 16),
        Code.Compression: numbers_tag(SHORT, 1), Code.PhotometricInterpretation: numbers_tag(SHORT, 32803),
        Code.Make: ascii_tag("Maker"), Code.Model: ascii_tag("Maker Two"),
        Code.Orientation: numbers_tag(SHORT, 1), Code.SamplesPerPixel: numbers_tag(SHORT, 1),
        Code.RowsPerStrip: numbers_tag(LONG, height), Code.CFARepeatPatternDim: numbers_tag(SHORT, 2, 2),
        Code.CFAPattern: bytes_tag(bytes((0, 1, 1, 2))), Code.CFAPlaneColor: bytes_tag(bytes((0, 1, 2))),
        Code.CFALayout: numbers_tag(SHORT, 1), Code.DNGVersion: bytes_tag(bytes((1, 4, 0, 0))),
        Code.UniqueCameraModel: ascii_tag("Maker Two"), Code.BlackLevelRepeatDim: numbers_tag(SHORT, 2, 2),
        Code.BlackLevel: numbers_tag(RATIONAL, 64.5, 64, 64, 63),
        Code.BlackLevelDeltaH: numbers_tag(SRATIONAL, *[0.5] * (width - 4)),
        Code.WhiteLevel: numbers_tag(LONG, 16383), Code.DefaultScale: numbers_tag(RATIONAL, 1.0, 1.0),
        Code.DefaultCropOrigin: numbers_tag(RATIONAL, 2.0, 2.0),
        Code.DefaultCropSize: numbers_tag(LONG, 40, 24),
        Code.ActiveArea: numbers_tag(LONG, 2, 2, height - 2, width - 2),
        51125: numbers_tag(RATIONAL, 0, 0, 1, 1),
        Code.ColorMatrix1: numbers_tag(SRATIONAL, *np.ravel(MATRIX).tolist()),
        Code.CalibrationIlluminant1: numbers_tag(SHORT, 21),
        Code.AsShotNeutral: numbers_tag(RATIONAL, 0.5, 1.0, 0.7),
        Code.BaselineExposure: numbers_tag(SRATIONAL, 0.25),
        Code.NoiseProfile: numbers_tag(DOUBLE, 1e-4, 1e-6),
        Code.LinearizationTable: numbers_tag(SHORT, *range(0, 16384, 64)),
        Code.OpcodeList1: bytes_tag(opcodes, UNDEFINED),
        Code.XMP: bytes_tag(b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'),
        Code.NoiseReductionApplied: numbers_tag(RATIONAL, 0.0),
        Code.DNGPrivateData: bytes_tag(b"Adobe\0MakN" + bytes(30)),
    }  # fmt: skip
    exif = Node({
        Code.ExposureTime: numbers_tag(RATIONAL, 0.01), Code.ISOSpeedRatings: numbers_tag(SHORT, 400),
        Code.MakerNote: bytes_tag(b"OLYMPUS\0" + bytes(60), UNDEFINED),
    })  # fmt: skip
    return Node(
        tags,
        children={Code.ExifIFD: (exif,), Code.GPSInfo: (Node({0: bytes_tag(b"\2\3\0\0")}),)},
        blobs={Code.ExtraCameraProfiles: (profile.getvalue(),)},
        pixels=Pixels(Code.StripOffsets, Code.StripByteCounts, 1, [mosaic.tobytes()]),
    )


def _camera_tree() -> Node:
    """IFD0, a preview and a mosaic below it, EXIF with a MakerNote, GPS."""
    kinds = _numbers(LONG, NewSubfileType=0, ImageWidth=64, ImageLength=48)
    kinds |= _numbers(SHORT, BitsPerSample=14, Compression=1, PhotometricInterpretation=32803)
    mosaic = Node(kinds, pixels=Pixels(273, 279, 1, [bytes(64 * 48 * 2)]))
    preview = Node(_numbers(LONG, NewSubfileType=1, ImageWidth=90, ImageLength=90))
    exif = Node(
        {
            Code.ExposureTime: numbers_tag(RATIONAL, 0.004),
            Code.MakerNote: bytes_tag(bytes(50), UNDEFINED),
            37510: bytes_tag(b"UNICODE\0ab", UNDEFINED),
        },
        children={Code.InteroperabilityIFD: (Node({1: ascii_tag("R98")}),)},
    )
    names = {271: "NIKON CORPORATION", 272: "NIKON D1", 306: "2026:01:02 03:04:05"}
    return Node(
        {code: ascii_tag(name) for code, name in names.items()},
        children={330: (preview, mosaic), 34665: (exif,), 34853: (Node({0: bytes_tag(b"\2\3\0\0")}),)},
    )


def _numbers(kind: int, **values: Any) -> Ifd:
    """Tags of numbers, by name."""
    several = {name: value if isinstance(value, Iterable) else (value,) for name, value in values.items()}
    return {Code[name]: numbers_tag(kind, *numbers) for name, numbers in several.items()}


def _tiff(root: Node, magic: int = CLASSIC) -> bytes:
    stream = io.BytesIO()
    write_tree(stream, root, magic=magic)
    return stream.getvalue()


def _big_endian(tags: Ifd, pixels: bytes) -> bytes:
    """One directory and one strip, the other way round."""
    sizes = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8}
    start = 8 + 2 + 12 * (len(tags) + 2) + 4  # of the strip, which the values follow
    strip = {273: numbers_tag(LONG, start), 279: numbers_tag(LONG, len(pixels))}
    entries, values, free = b"", b"", start + len(pixels)
    for code, tag in sorted({**tags, **strip}.items()):
        size = sizes.get(tag.type, 1)
        data = b"".join(tag.data[i : i + size][::-1] for i in range(0, len(tag.data), size))
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(">I", free + len(values))
        values += data if len(data) > 4 else b""
        entries += struct.pack(">HHI", code, tag.type, tag.count) + place
    return struct.pack(">2sHIH", b"MM", 42, 8, len(tags) + 2) + entries + bytes(4) + pixels + values


def _jpeg() -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[271], exif[272] = "FUJIFILM", "X100"
    exif.get_ifd(0x8769)[33434] = 0.01
    Image.new("RGB", (16, 16)).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def _raf() -> bytes:
    head = b"FUJIFILMCCD-RAW 0201FF383501" + b"FinePix S5".ljust(32, b"\0") + b"0100".ljust(24, b"\0")
    jpeg = _jpeg()
    head += struct.pack(">6I", 160, len(jpeg), 160 + len(jpeg), 64, 240 + len(jpeg), 6144)
    return head.ljust(160, b"\0") + jpeg + bytes(64 + 6144 + 100)


def _cr3() -> bytes:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    tiffs = {
        b"CMT1": _camera_tree().tags,
        b"CMT2": {33434: numbers_tag(RATIONAL, 0.01)},
        b"CMT4": {0: bytes_tag(b"\2\3\0\0")},
    }
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    inside = b"".join(box(kind, _tiff(Node(tags))) for kind, tags in tiffs.items())
    return (
        box(b"ftyp", b"crx \0\0\0\1crx isom")
        + box(b"moov", box(b"uuid", canon + inside) + box(b"mvhd", bytes(100)))
        + bytes(500)
    )

"""Small whole files of every kind that is read, to be damaged; cameras' own come of tests/captures.py."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import captures as cameras
import h5py
import numpy as np
import tifffile
import torch
from captures import ASCII, BYTE, DOUBLE, LONG, RATIONAL, SHORT, SRATIONAL, UNDEFINED, Directory, tiff
from PIL import Image
from scipy import io as scipy_io

import rawdenoise
from rawdenoise.capture import raw
from rawdenoise.capture.raw import Ifd, Provenance, RawImage, Tag
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.tiff.mosaic_layout import format_layout
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.training.checkpoint import CHECKPOINT_FILE, Counters, Look, save_checkpoint
from rawdenoise.training.risk import RiskFigures

SCENE = "0001_001_S6_00100_00060_3200_L"
MATRIX = ((0.9, -0.3, 0.0), (-0.4, 1.2, 0.2), (0.0, 0.1, 0.7))
BASE = Path(rawdenoise.__file__).parent / "_base" / "fast.rawdenoise"
SAID_BETTER = {"classic.dng", "big-endian.dng", "bigtiff.dng", "subifd-big-endian.dng", "pentax.pef"}  # here
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
    root = _tags({
        Code.Make: (ASCII, "Maker"), Code.Model: (ASCII, "Maker One"), Code.XMP: (BYTE, b"<x:xmpmeta/>"),
        Code.Orientation: (SHORT, 6), Code.DateTime: (ASCII, "2026:01:02 03:04:05"),
    })  # fmt: skip
    note = {Code.MakerNote: (UNDEFINED, b"Nikon\0\x02" + bytes(40)), Code.ISOSpeedRatings: (SHORT, 800)}
    profile = _tags({Code.ProfileName: (ASCII, "Portrait")})
    return RawImage(
        mosaic=mosaic,
        cfa=raw.Cfa.GRBG,
        active=raw.Area(2, 2, height - 2, width - 4),
        levels=raw.Levels((512.25, 511.5, 512.0, 510.0), 16383.0, np.linspace(0, 1, height - 4)),
        source=Path("capture.nef"),
        camera=raw.Camera("Maker", "Maker One", "123", f"{width}x{height} 14-bit"),
        exposure=raw.Exposure(800, 0.01, 2.8, 35.0, "2026:01:02 03:04:05"),
        color=raw.Color((raw.ColorMatrix(21, MATRIX),), (0.5, 1.0, 0.7), (0.45, 1.0, 0.8)),
        metadata=raw.Metadata(
            root=root, raw=root, exif=_tags(note), gps=_tags(GPS.tags), maker_note_offset=700,
            extra={Code.ExtraCameraProfiles: (profile,)},
        ),
    )  # fmt: skip


def _tags(values: Mapping[int, cameras.Value]) -> Ifd:
    return {code: Tag(*cameras.as_bytes(value, "<")) for code, value in values.items()}


def raws(folder: Path) -> Seeds:
    """Captures of every kind, DNGs that say all they can, and what is told of others by their tags alone."""
    ours = folder / "ours.dng"
    write_dng(capture(), ours, provenance=Provenance("0", "none", 0.0))
    return {
        **{name: write() for name, (write, _) in cameras.KINDS.items() if name not in SAID_BETTER},
        "ours.dng": ours.read_bytes(),
        "plain.dng": tiff(_dng("<")),
        "big.dng": tiff(_dng("<"), big=True),
        "turned.dng": tiff(_dng(">"), order=">"),
        "notes.nef": tiff(_camera(), order=">"),
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
    """Frames of both versions, compressed and not."""
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


GPS = Directory({0: (BYTE, b"\2\3\0\0"), 2: (RATIONAL, (50.0, 5.0, 3.5))})


def _dng(order: str) -> Directory:
    """An uncompressed DNG in one directory, with the tags that tell levels, crops, colours and opcodes."""
    mosaic = capture(32, 48).mosaic
    height, width = mosaic.shape
    opcodes = struct.pack(">IIIIIII", 1, 4, 0x01030000, 0, 8, 0, 0)
    tags: dict[int, cameras.Value] = {
        Code.NewSubfileType: (LONG, 0), Code.ImageWidth: (LONG, width), Code.ImageLength: (LONG, height),
        Code.BitsPerSample: (SHORT, 16), Code.Compression: (SHORT, 1),
        Code.PhotometricInterpretation: (SHORT, 32803), Code.Make: (ASCII, "Maker"),
        Code.Model: (ASCII, "Maker Two"), Code.Orientation: (SHORT, 1), Code.SamplesPerPixel: (SHORT, 1),
        Code.RowsPerStrip: (LONG, height), Code.CFARepeatPatternDim: (SHORT, (2, 2)),
        Code.CFAPattern: (BYTE, bytes((0, 1, 1, 2))), Code.CFAPlaneColor: (BYTE, bytes((0, 1, 2))),
        Code.CFALayout: (SHORT, 1), Code.DNGVersion: (BYTE, bytes((1, 4, 0, 0))),
        Code.UniqueCameraModel: (ASCII, "Maker Two"), Code.BlackLevelRepeatDim: (SHORT, (2, 2)),
        Code.BlackLevel: (RATIONAL, (64.5, 64, 64, 63)), Code.WhiteLevel: (LONG, 16383),
        Code.BlackLevelDeltaH: (SRATIONAL, (0.5,) * (width - 4)), Code.DefaultScale: (RATIONAL, (1.0, 1.0)),
        Code.DefaultCropOrigin: (RATIONAL, (2.0, 2.0)), Code.DefaultCropSize: (LONG, (40, 24)),
        Code.ActiveArea: (LONG, (2, 2, height - 2, width - 2)), 51125: (RATIONAL, (0, 0, 1, 1)),
        Code.ColorMatrix1: (SRATIONAL, tuple(np.ravel(MATRIX))), Code.CalibrationIlluminant1: (SHORT, 21),
        Code.AsShotNeutral: (RATIONAL, (0.5, 1.0, 0.7)), Code.BaselineExposure: (SRATIONAL, 0.25),
        Code.NoiseProfile: (DOUBLE, (1e-4, 1e-6)),
        Code.LinearizationTable: (SHORT, tuple(range(0, 16384, 64))), Code.OpcodeList1: (UNDEFINED, opcodes),
        Code.XMP: (BYTE, b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'),
        Code.NoiseReductionApplied: (RATIONAL, 0.0),
        Code.DNGPrivateData: (BYTE, b"Adobe\0MakN" + bytes(30)),
    }  # fmt: skip
    exif = Directory({
        Code.ExposureTime: (RATIONAL, 0.01), Code.ISOSpeedRatings: (SHORT, 400),
        Code.MakerNote: (UNDEFINED, b"OLYMPUS\0" + bytes(60)),
    })  # fmt: skip
    pixels = cameras.words(mosaic, order)
    return Directory(tags, {Code.ExifIFD: exif, Code.GPSInfo: GPS}, pixels)


def _camera() -> Directory:
    """IFD0, a mosaic below it, EXIF with a MakerNote, a comment and more below it, GPS."""
    exif = Directory(
        {
            Code.ExposureTime: (RATIONAL, 0.004), Code.MakerNote: (UNDEFINED, bytes(50)),
            37510: (UNDEFINED, b"UNICODE\0ab"),
        },
        {Code.InteroperabilityIFD: Directory({1: (ASCII, "R98")})},
    )  # fmt: skip
    root = {**cameras.camera("NIKON CORPORATION", "NIKON D100"), 306: (ASCII, "2026:01:02 03:04:05")}
    mosaic = Directory(cameras.picture(12), pixels=cameras.packed(cameras.mosaic(12), 12))
    return Directory(root, {330: mosaic, Code.ExifIFD: exif, Code.GPSInfo: GPS})


def _jpeg() -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[271], exif[272] = "FUJIFILM", "X100"
    exif.get_ifd(0x8769)[33434] = 0.01
    Image.new("RGB", (16, 16)).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def _cr3() -> bytes:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    tiffs = {b"CMT1": Directory(_camera().tags), b"CMT2": cameras.exif(), b"CMT4": GPS}
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    inside = b"".join(box(kind, tiff(root)) for kind, root in tiffs.items())
    return (
        box(b"ftyp", b"crx \0\0\0\1crx isom")
        + box(b"moov", box(b"uuid", canon + inside) + box(b"mvhd", bytes(100)))
        + bytes(500)
    )

"""The directories of a DNG: what is kept of the source's tags, what is said anew and where it stands."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from rawdenoise.capture.raw import Area, Cfa, Ifd, Metadata, Provenance, RawImage, Tag
from rawdenoise.capture.srgb import SRGB_TO_XYZ
from rawdenoise.formats.dng.codes import (
    BIG_TABLE_CODES,
    DISTORTION_IN_DNG,
    EXIF_CODES,
    NOISE_CODES,
    PANASONIC_DISTORTION,
    PICTURE_CODES,
    PIXEL_CODES,
    POINTER_CODES,
    PREVIEW_CODES,
    RAW_CODES,
    RESOLUTION_CODES,
    SONY_CORRECTIONS,
    STALE_CODES,
)
from rawdenoise.formats.dng.exif import exif_node, keeps_maker_note
from rawdenoise.formats.dng.noise_profile import noise_tags
from rawdenoise.formats.metadata import maker_note
from rawdenoise.formats.metadata.identity import identity_of
from rawdenoise.formats.metadata.xmp import add_provenance, is_readable
from rawdenoise.formats.rendering.framing import default_crop, shown_area
from rawdenoise.formats.rendering.preview import encode_preview
from rawdenoise.formats.tiff.reading import (
    LONG,
    PROFILE,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    ascii_tag,
    bytes_tag,
    numbers,
    numbers_tag,
    text,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, Pixels, write_tree

_CROP_MARGIN = 2  # pixels that demosaicing needs around the default crop
_MINIMUM_TRIMMED_SIDE = 8  # pixels; smaller pictures are left as they are
_CROP_CODES = (Code.DefaultCropOrigin, Code.DefaultCropSize)
_COLORS = {"R": 0, "G": 1, "B": 2}
UNKNOWN_MAKE = "unknown"
_NAMES = {Code.Make, Code.Model, Code.UniqueCameraModel}


def dng_tree(image: RawImage, provenance: Provenance, encoding: Ifd, pixels: Pixels) -> Node:
    """IFD0 with the preview, and below it the mosaic, EXIF, GPS and the camera profiles.

    `encoding` are the tags that tell how the mosaic's `pixels` are packed.
    """
    source = image.metadata
    exif = exif_node(image)
    of_root, of_raw = noise_tags(image, provenance)
    children: dict[int, tuple[Node, ...]] = {
        Code.SubIFDs: (Node({**_raw_tags(image, provenance), **of_raw, **encoding}, pixels=pixels),)
    }
    if exif is not None:
        children[Code.ExifIFD] = (exif,)
    if source.gps:
        children[Code.GPSInfo] = (Node(source.gps),)
    jpeg, preview_tags = _preview(image, provenance)
    kept = {**_camera_tags(image), **_keep_root(image), **of_root}
    return Node(
        {**kept, **_state_work(image, provenance), **preview_tags},
        children=children,
        blobs=_blobs(source),
        pixels=Pixels(Code.StripOffsets, Code.StripByteCounts, 1, [jpeg]),
    )


def list_compromises(image: RawImage) -> tuple[str, ...]:
    """What a DNG of this image makes up or leaves out beyond the image's own notes, in words for its user."""
    source, notes = image.metadata, []
    if not image.camera.model.strip():
        notes.append("camera unknown: the DNG has no camera profile to go by")
    made_up = _list_made_up(image)
    if made_up:
        notes.append(f"the source does not say, and the DNG does: {', '.join(made_up)}")
    if Code.MakerNote in source.exif and not keeps_maker_note(image):
        private = maker_note.make_private_data(source)
        if private is None or Code.DNGPrivateData in source.root:
            notes.append("the MakerNote is left out: it cannot be read at another place in a file")
        else:
            notes.append("the MakerNote moves to DNGPrivateData: it cannot be read at another place in EXIF")
    if Code.XMP in source.root and not is_readable(source.root[Code.XMP].data):
        notes.append("the XMP packet is damaged: it is kept, and the provenance stands in Software only")
    return tuple(notes)


def _list_made_up(image: RawImage) -> list[str]:
    """What is said of the camera that its file does not, each with its value; no defaults of TIFF and DNG."""
    source, camera = image.metadata, image.camera
    tags = {**source.raw, **source.root}
    made_up = []
    if not text(tags.get(Code.Make)) and not camera.make.strip():
        made_up.append(f"Make {UNKNOWN_MAKE}")
    if not text(tags.get(Code.Model)) and (source.is_dng or not camera.model.strip()):
        made_up.append(f"Model {camera.model or camera.name}")
    if source.is_dng:
        if not text(tags.get(Code.UniqueCameraModel)):
            made_up.append(f"UniqueCameraModel {camera.name}")
        if Code.ColorMatrix1 not in tags:
            made_up.append("ColorMatrix1")
        if not {Code.AsShotNeutral, Code.AsShotWhiteXY} & tags.keys():
            made_up.append("AsShotNeutral " + " ".join(f"{value:.3g}" for value in image.color.neutral))
    return made_up


def black_grid(image: RawImage) -> Float64[np.ndarray, "rows columns"]:
    """Black of the sites from the active area's top-left, as BlackLevel lists it: 2x2, or a larger repeat."""
    row, column = active_cfa(image).red
    red, green1, green2, blue = image.levels.black
    grid = np.empty((2, 2))
    grid[row, column], grid[row, 1 - column] = red, green1
    grid[1 - row, column], grid[1 - row, 1 - column] = green2, blue
    repeat = image.levels.black_repeat
    if repeat is None:
        return grid
    trimmed = active_area(image)
    repeat = np.roll(repeat, (image.active.top - trimmed.top, image.active.left - trimmed.left), (0, 1))
    whole: Float64[np.ndarray, "rows columns"] = np.tile(grid, np.array(repeat.shape) // 2) + repeat
    return whole


def active_area(image: RawImage) -> Area:
    """The active area as a DNG states it: a source DNG's own; of others at most a row and two columns less.

    LibRaw 0.22 rounds odd margins up but leaves the pattern of black levels where it was, so that unequal
    blacks get mixed up; RawTherapee 5.9 aborts on most pictures of odd width.
    """
    area = image.active
    if image.metadata.is_dng or min(area.height, area.width) < _MINIMUM_TRIMMED_SIDE:
        return area
    if len(set(image.levels.black)) > 1 or image.levels.black_repeat is not None:
        area = replace(area, top=area.top + area.top % 2, left=area.left + area.left % 2)
    return replace(area, right=area.right - area.width % 2)


def active_cfa(image: RawImage) -> Cfa:
    """The pattern from the active area's top-left, where a DNG counts it from."""
    area = active_area(image)
    return image.cfa.shift(area.top, area.left)


def _preview(image: RawImage, provenance: Provenance) -> tuple[bytes, Ifd]:
    """The preview's JPEG and the tags that describe it."""
    jpeg, width, height = encode_preview(image)
    return jpeg, {
        Code.NewSubfileType: numbers_tag(LONG, 1),
        Code.ImageWidth: numbers_tag(LONG, width),
        Code.ImageLength: numbers_tag(LONG, height),
        Code.BitsPerSample: numbers_tag(SHORT, 8, 8, 8),
        Code.Compression: numbers_tag(SHORT, 7),
        Code.PhotometricInterpretation: numbers_tag(SHORT, 6),
        Code.SamplesPerPixel: numbers_tag(SHORT, 3),
        Code.RowsPerStrip: numbers_tag(LONG, height),
        Code.PlanarConfiguration: numbers_tag(SHORT, 1),
        Code.YCbCrSubSampling: numbers_tag(SHORT, 2, 2),
        Code.PreviewApplicationName: ascii_tag("rawdenoise"),
        Code.PreviewApplicationVersion: ascii_tag(provenance.version),
        Code.PreviewColorSpace: numbers_tag(LONG, 2),
    }


def _keep_root(image: RawImage) -> Ifd:
    """The source's IFD0 without what belongs elsewhere or is no longer true."""
    source = image.metadata
    if not source.is_dng:
        kept = {code: tag for code, tag in source.root.items() if code in PICTURE_CODES}
        # Panasonic's IFD0 has other things at the numbers of the resolutions, which are rationals.
        other = {code for code in RESOLUTION_CODES & kept.keys() if kept[code].type != RATIONAL}
        return {code: tag for code, tag in kept.items() if code not in other}
    gone = PIXEL_CODES | STALE_CODES | PREVIEW_CODES | POINTER_CODES | EXIF_CODES | NOISE_CODES
    # These are of the mosaic wherever they stand: statistics in a preview's directory are the old preview's.
    gone |= {Code.ProfileGainTableMap, Code.ImageStats}
    gone |= _codes_said_by_neutral(image)
    if source.raw == source.root:
        gone |= RAW_CODES
    if not source.tables:
        gone |= BIG_TABLE_CODES
    gone |= {code for code in _NAMES if not text(source.root.get(code))}  # what is empty is filled in
    return {code: tag for code, tag in source.root.items() if code not in gone}


def _codes_said_by_neutral(image: RawImage) -> set[Code]:
    """AsShotWhiteXY, where AsShotNeutral says it: most readers know no other, and DNG allows only one."""
    return {Code.AsShotWhiteXY} if image.color.as_shot_neutral is not None else set()


def _camera_tags(image: RawImage) -> Ifd:
    """What readers need to know of the camera, for want of the source's own tags."""
    camera, color, source = image.camera, image.color, image.metadata
    tags: dict[int, Tag] = {
        Code.Make: ascii_tag(camera.make or UNKNOWN_MAKE),
        Code.Model: ascii_tag(camera.model or camera.name),
        Code.Orientation: numbers_tag(SHORT, image.orientation),
        Code.UniqueCameraModel: ascii_tag(camera.name),
        Code.BaselineExposure: numbers_tag(SRATIONAL, 0),
    }
    if Code.ColorMatrix1 not in source.root:
        tags |= _color_matrices(image)
    if Code.AsShotWhiteXY not in source.root or color.as_shot_neutral is not None:
        tags[Code.AsShotNeutral] = numbers_tag(RATIONAL, *color.neutral)
    if camera.serial:
        tags[Code.CameraSerialNumber] = ascii_tag(camera.serial)
    if image.exposure.taken_at:
        tags[Code.DateTime] = ascii_tag(image.exposure.taken_at)
    if Code.LensSpecification in source.exif:
        tags[Code.LensInfo] = source.exif[Code.LensSpecification]
    tags[Code.OriginalRawFileName] = ascii_tag(image.source.name)
    if not source.is_dng:
        tags |= _lens_corrections(source)
        tags[Code.ProfileName] = ascii_tag(f"{camera.name} matrix")
        tags[Code.ProfileEmbedPolicy] = numbers_tag(LONG, 0)
    if Code.MakerNote in source.exif and not keeps_maker_note(image):
        private = maker_note.make_private_data(source)
        if private is not None:
            tags[Code.DNGPrivateData] = bytes_tag(private)
    return tags


def _lens_corrections(source: Metadata) -> dict[int, Tag]:
    """Sony's and Panasonic's lens corrections, where darktable looks for them in a DNG."""
    corrections = _sony_corrections(source)
    distortion = source.root.get(PANASONIC_DISTORTION)
    if distortion is not None and distortion.type == UNDEFINED:  # TIFF's tag of that number is a SHORT
        corrections[DISTORTION_IN_DNG] = distortion
    return corrections


def _sony_corrections(source: Metadata) -> dict[int, Tag]:
    tags = {**source.root, **source.raw}
    return {code: tags[code] for code in SONY_CORRECTIONS if code in tags}


def _color_matrices(image: RawImage) -> dict[int, Tag]:
    """Of up to two light sources; linear sRGB's primaries where the camera's are not known."""
    matrices = [(entry.illuminant, np.array(entry.matrix)) for entry in image.color.matrices[:2]]
    tags: dict[int, Tag] = {}
    slots = (
        (Code.ColorMatrix1, Code.CalibrationIlluminant1),
        (Code.ColorMatrix2, Code.CalibrationIlluminant2),
    )
    for (light, matrix), (code, light_code) in zip(
        matrices or [(21, np.linalg.inv(SRGB_TO_XYZ))], slots, strict=False
    ):
        tags[code] = numbers_tag(SRATIONAL, *np.round(matrix, 4).ravel().tolist())
        tags[light_code] = numbers_tag(SHORT, light or 21)
    return tags


def _state_work(image: RawImage, provenance: Provenance) -> Ifd:
    """What this program says of its work, over what the source said in the same place."""
    root = image.metadata.root
    tags: dict[int, Tag] = {
        Code.Software: ascii_tag(f"rawdenoise {provenance.version}"),
        Code.DNGVersion: _raise_version(root.get(Code.DNGVersion), (1, 4, 0, 0)),
        Code.DNGBackwardVersion: _raise_version(root.get(Code.DNGBackwardVersion), (1, 1, 0, 0)),
    }
    packet = provenance_packet(image, provenance, media_type="image/dng")
    if packet is not None:
        tags[Code.XMP] = bytes_tag(packet)
    return tags


def provenance_packet(image: RawImage, provenance: Provenance, *, media_type: str) -> bytes | None:
    """The source's XMP with the provenance in it, or None where it cannot be added to."""
    root = image.metadata.root
    former = root.get(Code.XMP)
    return add_provenance(
        b"" if former is None else former.data,
        provenance,
        former_software=text(root.get(Code.Software)),
        identity=identity_of(image, provenance, media_type),
    )


def _raw_tags(image: RawImage, provenance: Provenance) -> Ifd:
    """What is said of the mosaic, but for its encoding."""
    source = image.metadata
    gone = PIXEL_CODES | STALE_CODES | POINTER_CODES | EXIF_CODES | NOISE_CODES
    gone |= _codes_said_by_neutral(image)
    if provenance.largest_strength > 0:
        gone |= {Code.ImageStats}  # of the former pixels
    kept = {code: tag for code, tag in source.raw.items() if source.is_dng and code not in gone}
    if source.raw == source.root:
        kept = {code: tag for code, tag in kept.items() if code in RAW_CODES}
    elif source.is_dng and Code.ProfileGainTableMap in source.root:  # Adobe's readers want it here
        kept.setdefault(Code.ProfileGainTableMap, source.root[Code.ProfileGainTableMap])
    # darktable up to 4.2 and RawTherapee look for Sony's corrections only here, as in the raw.
    corrections = {} if source.is_dng else _sony_corrections(source)
    return {**corrections, **_level_tags(image, kept), **kept, **_geometry_tags(image, kept)}


def _level_tags(image: RawImage, kept: Ifd) -> Ifd:
    """Black and white as the image has them, where the source DNG does not say; fractions stay fractions."""
    tags: dict[int, Tag] = {}
    levels = image.levels
    if Code.BlackLevel not in kept:
        black = black_grid(image)
        whole = bool((black == np.rint(black)).all())
        kind = RATIONAL if not whole else SHORT if black.max() < 65536 else LONG
        tags[Code.BlackLevelRepeatDim] = numbers_tag(SHORT, *black.shape)
        tags[Code.BlackLevel] = numbers_tag(kind, *black.ravel().tolist())
        area = active_area(image)
        if levels.black_delta_rows is not None:
            rows = levels.black_delta_rows[area.top - image.active.top :]
            tags[Code.BlackLevelDeltaV] = numbers_tag(SRATIONAL, *rows.tolist())
        if levels.black_delta_columns is not None:
            columns = levels.black_delta_columns[area.left - image.active.left :][: area.width]
            tags[Code.BlackLevelDeltaH] = numbers_tag(SRATIONAL, *columns.tolist())
    if Code.WhiteLevel not in kept:
        tags[Code.WhiteLevel] = numbers_tag(LONG, round(levels.white))
    return tags


def _geometry_tags(image: RawImage, kept: Ifd) -> Ifd:
    """Where the picture lies and its colours begin; the source DNG's bytes where they say the same."""
    active = active_area(image)
    wanted: dict[int, Tag] = {
        Code.CFARepeatPatternDim: numbers_tag(SHORT, 2, 2),
        Code.CFAPattern: bytes_tag(bytes(_COLORS[letter] for letter in active_cfa(image).value)),
        Code.CFAPlaneColor: bytes_tag(bytes((0, 1, 2))),
        Code.CFALayout: numbers_tag(SHORT, 1),
        Code.ActiveArea: numbers_tag(LONG, active.top, active.left, active.bottom, active.right),
    }
    if not image.metadata.is_dng:
        wanted |= _crop_tags(_trim_crop(image), active)
        if image.pixel_scale != (1, 1):
            down, across = image.pixel_scale
            wanted[Code.DefaultScale] = numbers_tag(RATIONAL, across, down)
    stated = [value for code in _CROP_CODES for value in numbers(kept.get(code))]
    if any(value % 1 != 0 for value in stated):  # darktable refuses fractions, and x/0 is no number
        wanted |= _crop_tags(default_crop(kept, active), active)
    return {
        code: tag for code, tag in wanted.items() if code not in kept or numbers(kept[code]) != numbers(tag)
    }


def _crop_tags(crop: Area, active: Area) -> dict[int, Tag]:
    """The default crop, which counts from the active area."""
    return {
        Code.DefaultCropOrigin: numbers_tag(LONG, crop.left - active.left, crop.top - active.top),
        Code.DefaultCropSize: numbers_tag(LONG, crop.width, crop.height),
    }


def _trim_crop(image: RawImage) -> Area:
    """What the maker shows of a picture, or all of it, as far as demosaicing has pixels around it."""
    active, shown = active_area(image), shown_area(image)
    (top, height), (left, width) = _trim_side(active.height), _trim_side(active.width)
    usual = Area(active.top + top, active.left + left, active.top + top + height, active.left + left + width)
    crop = Area(
        max(usual.top, shown.top),
        max(usual.left, shown.left),
        min(usual.bottom, shown.bottom),
        min(usual.right, shown.right),
    )
    return crop if crop.height > 0 and crop.width > 0 else usual


def _trim_side(side: int) -> tuple[int, int]:
    """Where the default crop of a side begins and how long it is: whole, even, off the edges."""
    margin = _CROP_MARGIN if side > 4 * _CROP_MARGIN else 0
    length = side - 2 * margin
    return margin, length - length % 2 if length > 2 else length


def _blobs(source: Metadata) -> Mapping[int, tuple[bytes, ...]]:
    """What IFD0 points to: ExtraCameraProfiles, each a small file of its own, and big tables."""
    profiles = []
    for tags in source.extra.get(Code.ExtraCameraProfiles, ()):
        stream = io.BytesIO()
        write_tree(stream, Node(tags), magic=PROFILE)
        profiles.append(stream.getvalue())
    blobs = {Code.ExtraCameraProfiles: tuple(profiles), Code.BigTableOffsets: source.tables}
    return {code: data for code, data in blobs.items() if data}


def _raise_version(tag: Tag | None, version: tuple[int, int, int, int]) -> Tag:
    """A DNG version tag, raised where it is older than what is written."""
    data = b"" if tag is None else tag.data
    return tag if tag is not None and len(data) == 4 and data >= bytes(version) else bytes_tag(bytes(version))

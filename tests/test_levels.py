from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import rawpy
import tifffile
from click.testing import CliRunner
from conftest import make_raw, raw_images
from hypothesis import given
from test_dng import write_source
from test_pipeline import NOISE, a_model

from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.capture.raw import Exposure, Ifd, Metadata, Provenance, RawImage
from rawdenoise.cli import main
from rawdenoise.errors import VerificationError
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng import directories as dng_directories
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.output_levels import (
    OutputLevels,
    find_fine_scale,
    find_output_scale,
    level_notes,
    scale_levels,
)
from rawdenoise.formats.tiff.reading import bytes_tag, numbers
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.noise.artefacts import remove_artefacts
from rawdenoise.pipeline import denoise, denoise_planes, write
from rawdenoise.recipe import Recipe
from rawdenoise.refinement.refine import refine

FINE = Recipe(levels=OutputLevels.FINE)
SENSOR = Recipe(levels=OutputLevels.SENSOR)
WHITE, BLACK = 1023.0, 60.0


def ten_bit(height: int = 90, width: int = 128, **more: object) -> RawImage:
    """A gradient with noise, saturated at the right, with margins."""
    rng = np.random.default_rng(0)
    top, left, bottom, right = margins = (2, 4, 1, 3)
    signal = np.linspace(0, 1.2, width + left + right) * np.ones((height + top + bottom, 1))
    dn = BLACK + (WHITE - BLACK) * (
        signal + rng.standard_normal(signal.shape) * np.sqrt(2e-3 * signal + 1e-5)
    )
    mosaic = np.clip(np.rint(dn), 0, WHITE).astype(np.uint16)
    return make_raw(
        height, width, margins=margins, mosaic=mosaic, black=(BLACK,) * 4, white=WHITE,
        exposure=Exposure(iso=800), **more,
    )  # fmt: skip


@given(raw_images())
def test_a_finer_scale_is_the_same_signal(raw: RawImage) -> None:
    scale = find_fine_scale(raw)
    fine = scale_levels(raw, scale)
    assert scale == {4095.0: 16, 16383.0: 4, 65535.0: 1}[raw.levels.white]
    assert np.array_equal(fine.mosaic, raw.mosaic.astype(int) * scale)
    np.testing.assert_allclose(pack(fine), pack(raw), atol=1e-6)


@pytest.mark.parametrize(
    ("white", "highest", "scale"),
    [(1023, 1023, 64), (2000, 4095, 16), (40000, 9, 1), (32767, 9, 2), (32768, 9, 1)],
)
def test_everything_fits_into_16_bits(white: int, highest: int, scale: int) -> None:
    raw = make_raw(8, 8, mosaic=np.full((8, 8), highest, np.uint16), black=(4.0,) * 4, white=float(white))
    assert find_fine_scale(raw) == scale


@pytest.mark.parametrize("one_directory", [False, True])
def test_a_fine_dng_states_its_own_levels(tmp_path: Path, one_directory: bool) -> None:
    write_source(tmp_path / "source.dng", one_directory=one_directory)
    source = read_raw(tmp_path / "source.dng")
    assert find_fine_scale(source) == 1
    assert "OpcodeList1" in level_notes(source, OutputLevels.FINE, strength=0)[0]
    kept = denoise(source, None, replace(FINE, strength=0.0)).image
    assert kept is source

    metadata = replace(source.metadata, **{
        name: {code: tag for code, tag in getattr(source.metadata, name).items() if code != Code.OpcodeList1}
        for name in ("root", "raw")
    })  # fmt: skip
    raw = replace(source, metadata=metadata)
    assert level_notes(raw, OutputLevels.FINE, strength=0) == ()
    output = tmp_path / "fine.dng"
    write(denoise(raw, None, replace(FINE, strength=0.0)), output)
    tags = read_metadata(output).raw
    assert numbers(tags[Code.WhiteLevel]) == (1023 * 64,)
    assert numbers(tags[Code.BlackLevel]) == tuple(64 * each for each in (60.25, 60.5, 60.5, 60.75))
    deltas = numbers(tags[Code.BlackLevelDeltaV])
    np.testing.assert_allclose(deltas, 64 * np.linspace(0, 0.5, 94), atol=1e-3)
    assert tags[Code.OpcodeList3] == metadata.raw[Code.OpcodeList3]
    back = read_raw(output)
    assert np.array_equal(back.mosaic, raw.mosaic * 64)
    np.testing.assert_allclose(pack(back), pack(raw), atol=1e-5)


@pytest.mark.parametrize("code", [Code.BlackLevel, Code.WhiteLevel])
def test_a_fine_dng_that_states_other_levels_is_not_kept(
    code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(tmp_path / "source.dng")
    source = read_raw(tmp_path / "source.dng")
    level_tags = dng_directories._level_tags

    def with_a_wrong_level(image: RawImage, kept: Ifd) -> Ifd:
        tags = level_tags(image, kept)
        return {**tags, code: level_tags(source, kept)[code]}  # as the sensor's scale has it

    monkeypatch.setattr(dng_directories, "_level_tags", with_a_wrong_level)
    with pytest.raises(VerificationError, match=code.name):
        write_dng(
            scale_levels(source, 64), tmp_path / "fine.dng", provenance=Provenance("1.2.3", "none", 0.0)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["source.dng"]


def test_fine_levels_lose_less_to_rounding(tmp_path: Path) -> None:
    raw, model = ten_bit(), a_model()
    output = write(denoise(raw, model, FINE), tmp_path / "fine.dng")
    back = read_raw(output)
    sound = remove_artefacts(pack(raw), NOISE, valid=~find_clipped(raw), known=None)
    exact = denoise_planes(sound.planes, NOISE, model)
    refine(sound.planes, exact, NOISE, valid=~find_clipped(raw) & ~sound.defects)
    inside = (pack(raw) < 0.9) & (exact > -0.05) & (exact < 1)
    fine = np.abs(pack(back) - exact)[inside].max() * (WHITE - BLACK)
    coarse = np.abs(pack(denoise(raw, model, SENSOR).image) - exact)[inside].max()
    assert fine <= 1 / 128 + 1e-3
    assert coarse * (WHITE - BLACK) > 0.4

    margin = np.ones(raw.mosaic.shape, bool)
    margin[raw.active.slices] = False
    as_they_are = margin | (raw.mosaic == WHITE)
    assert np.array_equal(back.mosaic[as_they_are], 64 * raw.mosaic[as_they_are])
    with rawpy.imread(str(output)) as reader:
        assert np.array_equal(reader.raw_image, back.mosaic)
        assert reader.white_level == 1023 * 64
        assert reader.black_level_per_channel == [60 * 64] * 4


def test_what_is_saturated_is_looked_for_in_the_sensor_s_scale() -> None:
    raw = ten_bit()
    mosaic = np.minimum(raw.mosaic, 700 - np.random.default_rng(1).integers(0, 9, raw.mosaic.shape))
    raw, model = replace(raw, mosaic=mosaic.astype(np.uint16)), a_model()
    coarse = denoise(raw, model, SENSOR).image
    fine = denoise(raw, model, FINE).image
    assert np.abs(fine.mosaic / 64 - coarse.mosaic).max() <= 0.5


@pytest.mark.parametrize("format", [Format.TIFF, Format.MOSAIC_TIFF])
def test_other_formats_take_fine_levels(tmp_path: Path, format: Format) -> None:
    raw = ten_bit()
    outputs = [
        write(denoise(raw, None, replace(options, strength=0.0)), tmp_path / name, format=format)
        for options, name in ((FINE, "fine.tif"), (SENSOR, "sensor.tif"))
    ]
    if format is Format.MOSAIC_TIFF:
        fine, sensor = map(read_raw, outputs)
        np.testing.assert_allclose(pack(fine), pack(sensor), atol=1e-6)
        assert fine.levels.white == 1023 * 64
    else:
        fine_rgb, sensor_rgb = (tifffile.imread(path).astype(int) for path in outputs)
        assert np.abs(fine_rgb - sensor_rgb).max() <= 64


def opcodes(*ids: int) -> Metadata:
    """A DNG whose OpcodeList1 has these opcodes, without parameters."""
    steps = b"".join(struct.pack(">4I", each, 0x01030000, 1, 0) for each in ids)
    return Metadata(is_dng=True, raw={Code.OpcodeList1: bytes_tag(struct.pack(">I", len(ids)) + steps, 7)})


@pytest.mark.parametrize(
    ("white", "strength", "scale"),
    [
        (255, 1, 256),
        (1023, 1, 64),
        (1023, 0.1, 64),
        (4095, 1, 16),
        (1023, 0, 1),
        (4096, 1, 8),
        (4097, 1, 1),
        (16383, 1, 1),
    ],
)
def test_a_sensor_of_12_bits_or_less_gets_the_finer_scale_where_it_is_denoised(
    white: int, strength: float, scale: int
) -> None:
    raw = make_raw(8, 8, black=(4.0,) * 4, white=float(white))
    assert find_output_scale(raw, Recipe().levels, strength=strength) == scale
    assert find_output_scale(raw, OutputLevels.SENSOR, strength=strength) == 1
    assert find_output_scale(raw, OutputLevels.FINE, strength=strength) == find_fine_scale(raw)


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ((), False),
        ((1, 5, 9, 12), False),
        ((4,), True),
        ((5, 4), True),
        ((7,), True),
        ((8,), True),
        ((99,), True),
    ],
)
def test_only_opcodes_with_stored_values_keep_the_sensor_s_scale(ids: tuple[int, ...], kept: bool) -> None:
    raw = ten_bit(metadata=opcodes(*ids))
    assert find_output_scale(raw, OutputLevels.AUTO, strength=1) == (1 if kept else 64)
    said = {levels: bool(level_notes(raw, levels, strength=1)) for levels in OutputLevels}
    assert said == {OutputLevels.AUTO: kept, OutputLevels.SENSOR: False, OutputLevels.FINE: kept}


@pytest.mark.parametrize("name", ["denoise", "watch"])
def test_auto_is_the_default_everywhere(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    (option,) = (param for param in command.params if param.name == "levels")
    assert isinstance(option.type, click.Choice)
    assert [*option.type.choices] == [*OutputLevels]
    assert option.default == Recipe().levels == "auto"


def test_a_list_of_opcodes_that_cannot_be_read_keeps_the_sensor_s_scale() -> None:
    whole = opcodes(5, 5).raw[Code.OpcodeList1].data
    for length in range(len(whole)):
        raw = ten_bit(metadata=Metadata(is_dng=True, raw={Code.OpcodeList1: bytes_tag(whole[:length], 7)}))
        assert find_output_scale(raw, OutputLevels.AUTO, strength=1) == 1


def test_the_noise_that_is_left_and_the_brightness_are_those_of_the_sensor_s_scale(tmp_path: Path) -> None:
    raw, model = ten_bit(), a_model()
    tags, pictures = [], []
    for options in (SENSOR, replace(SENSOR, levels=OutputLevels.AUTO)):
        output = write(
            denoise(raw, model, replace(options, strength=0.6)), tmp_path / f"{options.levels}.dng"
        )
        tags.append(read_metadata(output))
        with rawpy.imread(str(output)) as reader:
            pictures.append(reader.postprocess(no_auto_bright=True, use_camera_wb=True).astype(int))
    sensor, auto = tags
    assert numbers(sensor.raw[Code.WhiteLevel]) == (1023,)
    assert numbers(auto.raw[Code.WhiteLevel]) == (1023 * 64,)
    assert numbers(auto.raw[Code.BlackLevel]) == (60 * 64,) * 4
    assert auto.root[Code.NoiseProfile] == sensor.root[Code.NoiseProfile]
    assert np.abs(pictures[1] - pictures[0]).mean() < 1
    assert abs((pictures[1] - pictures[0]).mean()) < 0.1


def test_the_option_says_what_is_not_done(tmp_path: Path) -> None:
    untouched = Provenance("0", "none", 0.0)
    write_dng(ten_bit(), tmp_path / "in/a.dng", provenance=untouched)
    write_dng(ten_bit(metadata=opcodes(4)), tmp_path / "in/b.dng", provenance=untouched)
    whites, said = [], []
    for levels in ("sensor", "fine"):
        out = tmp_path / levels
        arguments = ["denoise", str(tmp_path / "in"), "-o", str(out), "--strength", "0", "--levels", levels]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        said.append("OpcodeList1" in result.stderr)
        whites.append([read_raw(out / name).levels.white for name in ("a.dng", "b.dng")])
    assert whites == [[1023, 1023], [1023 * 64, 1023]]
    assert said == [False, True]

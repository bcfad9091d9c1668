from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_bayer_dng

from rawdenoise.capture.raw import Cfa, Provenance, RawImage, Tag
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.gain_maps import apply_gains, read_gain_maps
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.rendering.picture import render
from rawdenoise.formats.rendering.preview import render_preview
from rawdenoise.formats.tiff.reading import SHORT, bytes_tag, numbers_tag
from rawdenoise.formats.tiff.tags import Code

HEIGHT, WIDTH = 96, 128


def opcode_list(*steps: tuple[int, bytes]) -> Tag:
    """OpcodeList2 with these opcodes."""
    data = b"".join(struct.pack(">4I", code, 0x01030000, 0, len(body)) + body for code, body in steps)
    return bytes_tag(struct.pack(">I", len(steps)) + data, 7)


def map_parameters(
    gains: np.ndarray,
    *,
    area: tuple[int, int, int, int] = (0, 0, HEIGHT, WIDTH),
    pitch: tuple[int, int] = (1, 1),
    spacing: tuple[float, float] | None = None,
    origin: tuple[float, float] = (0, 0),
    planes: tuple[int, int, int] = (0, 1, 1),
) -> bytes:
    """What a GainMap opcode says; `planes` are the first one, how many, and how many the map has."""
    points = gains.shape
    spacing = spacing or (1 / max(points[0] - 1, 1), 1 / max(points[1] - 1, 1))
    head = struct.pack(">10I4dI", *area, *planes[:2], *pitch, *points, *spacing, *origin, planes[2])
    return head + np.repeat(gains.astype(">f4")[..., None], planes[2], axis=-1).tobytes()


def gained(image: RawImage) -> np.ndarray:
    """What a mosaic of ones becomes, in bands of odd heights."""
    height, width = image.active.height, image.active.width
    whole = np.ones((height, width), np.float32)
    for top in range(0, height, 7):
        apply_gains(whole[top : top + 7], top, read_gain_maps(image), (height, width))
    return whole


def a_dng(path: Path, *steps: tuple[int, bytes], mosaic: np.ndarray | None = None, **more: Any) -> RawImage:
    mosaic = np.full((HEIGHT, WIDTH), 4000, np.uint16) if mosaic is None else mosaic
    tags = {Code.OpcodeList2: opcode_list(*steps), **more.pop("raw", {})}
    write_bayer_dng(path, mosaic, raw=tags, **more)
    return read_raw(path)


def test_gains_are_interpolated_between_the_points_and_held_beyond_them(tmp_path: Path) -> None:
    gains = np.array([[1.0, 2.0, 4.0], [3.0, 1.5, 2.0]])
    body = map_parameters(gains, spacing=(0.5, 0.25), origin=(0.25, 0.25))
    whole = gained(a_dng(tmp_path / "a.dng", (9, body)))
    for row, column in ((0, 0), (5, 100), (47, 63), (60, 20), (95, 127), (30, 40)):
        down = min(max(((row + 0.5) / HEIGHT - 0.25) / 0.5, 0), 1)
        across = min(max(((column + 0.5) / WIDTH - 0.25) / 0.25, 0), 2)
        left, share = min(int(across), 1), across - min(int(across), 1)
        above, below = ((1 - share) * line[left] + share * line[left + 1] for line in gains)
        assert whole[row, column] == pytest.approx((1 - down) * above + down * below, rel=1e-5)


def test_every_map_is_for_its_own_pixels(tmp_path: Path) -> None:
    steps = [
        (9, map_parameters(np.full((1, 1), gain), area=(y, x, HEIGHT - 2, WIDTH), pitch=(2, 2)))
        for (y, x), gain in {(0, 0): 2.0, (0, 1): 3.0, (1, 0): 5.0, (1, 1): 7.0}.items()
    ]
    far = (9, map_parameters(np.full((1, 1), 11.0), area=(50, 60, 70, 10**9), pitch=(5, 3)))
    whole = gained(a_dng(tmp_path / "a.dng", *steps, (1, b"a warp"), far))
    expected = np.ones((HEIGHT, WIDTH))
    expected[: HEIGHT - 2] = np.tile([[2, 3], [5, 7]], (HEIGHT // 2 - 1, WIDTH // 2))
    expected[50:70:5, 60::3] *= 11
    assert np.array_equal(whole, expected)


@pytest.mark.parametrize(
    "body",
    [
        map_parameters(np.array([[np.nan, 2]])),
        map_parameters(np.array([[-1.0, 2]])),
        map_parameters(np.array([[1e9, 2]])),
        map_parameters(np.full((2, 2), 2.0), spacing=(0.0, 1.0)),
        map_parameters(np.full((2, 2), 2.0), origin=(np.nan, 0)),
        map_parameters(np.full((1, 1), 2.0), pitch=(0, 1)),
        map_parameters(np.full((1, 1), 2.0), planes=(1, 1, 1)),
        map_parameters(np.full((1, 1), 2.0), planes=(0, 0, 1)),
        map_parameters(np.full((1, 1), 2.0), area=(200, 0, 300, 9)),
        map_parameters(np.full((1, 1), 2.0))[:-1],
        map_parameters(np.full((0, 4), 2.0)),
        struct.pack(">10I4dI", 0, 0, 9, 9, 0, 1, 1, 1, 2**31, 2**31, 1, 1, 0, 0, 9),
        b"",
    ],
)
def test_a_broken_map_changes_nothing(tmp_path: Path, body: bytes) -> None:
    assert (gained(a_dng(tmp_path / "a.dng", (9, body))) == 1).all()


def test_a_single_point_and_more_planes_than_the_mosaic_has_are_taken_as_adobe_does(tmp_path: Path) -> None:
    body = map_parameters(np.full((1, 1), 3.0), spacing=(0.0, 0.0), origin=(9.0, 9.0), planes=(0, 3, 3))
    assert (gained(a_dng(tmp_path / "a.dng", (9, body))) == 3).all()


def shaded(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    return np.rint(512 + (image - 512.0) / gains).astype(np.uint16)


@pytest.mark.parametrize("cfa", list(Cfa))
@pytest.mark.parametrize("margins", [(0, 0), (5, 7)])
def test_shading_is_gone_from_the_picture_and_its_preview(
    tmp_path: Path, cfa: Cfa, margins: tuple[int, int]
) -> None:
    """Each site has a map of its own, and the mosaic that is written keeps them."""
    top, left = margins
    corners = {(0, 0): 3.0, (0, 1): 2.0, (1, 0): 1.5, (1, 1): 2.5}
    maps = {site: np.array([[gain, 1.0], [1.0, gain]]) for site, gain in corners.items()}
    steps = [
        (9, map_parameters(gains, area=(y, x, HEIGHT, WIDTH), pitch=(2, 2))) for (y, x), gains in maps.items()
    ]
    area = {Code.ActiveArea: numbers_tag(SHORT, top, left, top + HEIGHT, left + WIDTH)}
    mosaic = np.full((HEIGHT + top, WIDTH + left), 8000, np.uint16)
    plain = a_dng(tmp_path / "even.dng", mosaic=mosaic, cfa=cfa, raw=area)
    probe = a_dng(tmp_path / "maps.dng", *steps, mosaic=mosaic, cfa=cfa, raw=area)
    mosaic[top:, left:] = shaded(mosaic[top:, left:], gained(probe))
    image = a_dng(tmp_path / "shaded.dng", *steps, mosaic=mosaic, cfa=cfa, raw=area)

    even = render(plain).astype(int)
    assert np.abs(render(image) - even).max() < 0.004 * even.max()
    assert np.abs(render_preview(image).astype(int) - render_preview(plain)).max() <= 1
    uneven = replace(image, metadata=replace(image.metadata, raw={}))
    assert np.ptp(render_preview(uneven)) > 50

    write_dng(image, tmp_path / "out.dng", provenance=Provenance("1", "none", 0.0))
    back = read_raw(tmp_path / "out.dng")
    assert np.array_equal(back.mosaic, mosaic)
    assert read_metadata(tmp_path / "out.dng").raw[Code.OpcodeList2] == image.metadata.raw[Code.OpcodeList2]


def test_what_a_gain_lifts_beyond_white_is_white(tmp_path: Path) -> None:
    mosaic = np.full((HEIGHT, WIDTH), 14000, np.uint16)
    image = a_dng(tmp_path / "a.dng", (9, map_parameters(np.full((1, 1), 2.0))), mosaic=mosaic)
    assert (render(image) == 65535).all()
    assert (render_preview(image) == 255).all()
